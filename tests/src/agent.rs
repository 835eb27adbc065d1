use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::server::{launch, serving, stop};
use crate::{Daemon, Output, Program, Workload};

/// An agent: its files, and its process while it runs.
pub struct Agent {
    /// What the case calls it.
    pub name: String,
    /// Its SPIFFE ID; empty until it has attested.
    pub id: String,
    /// Its executable.
    pub program: Program,
    /// Its configuration file.
    pub conf: PathBuf,
    /// Its data: SVID, bundle and key.
    pub data_dir: PathBuf,
    /// The socket of the Workload API.
    pub socket: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) process: Option<Daemon>,
}

impl Agent {
    /// Starts it with the identity that it has, and waits until it says that it is healthy.
    ///
    /// # Errors
    /// It ends instead, or takes too long.
    pub async fn start(&mut self) -> Result<()> {
        self.launch(&[])?;
        self.healthy().await
    }

    /// Starts it with further flags, and does not wait.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn launch(&mut self, flags: &[&str]) -> Result<()> {
        self.kill();
        self.process = Some(launch(&self.name, &self.program, &self.conf, flags, &self.log)?);
        Ok(())
    }

    /// Waits until it says that it is healthy.
    ///
    /// # Errors
    /// It ends instead, or takes too long.
    pub async fn healthy(&mut self) -> Result<()> {
        let socket = self.socket.clone();
        self.process()?.until("health", async || serving(&socket).await.then_some(())).await
    }

    /// The running process.
    ///
    /// # Errors
    /// It was not started.
    pub fn process(&mut self) -> Result<&mut Daemon> {
        self.process.as_mut().with_context(|| format!("{} was not started", self.name))
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it in an orderly way.
    ///
    /// # Errors
    /// It does not end, or not with success.
    pub async fn stop(&mut self) -> Result<()> {
        stop(&self.name, &mut self.process).await
    }

    /// Runs one of the commands that speak to its public socket.
    ///
    /// # Errors
    /// The command cannot be run; its own failure is in the output.
    pub async fn command(&self, args: &[&str]) -> Result<Output> {
        let socket = self.socket.to_string_lossy();
        Output::of(&self.program.path, &[args, &["-socketPath", &socket]].concat()).await
    }

    /// Runs `validate` on a configuration file.
    ///
    /// # Errors
    /// The command cannot be run.
    pub async fn validate(&self, conf: &Path) -> Result<Output> {
        Output::of(&self.program.path, &["validate", "-config", &conf.to_string_lossy()]).await
    }

    /// A workload of this node: this process.
    pub fn workload(&self) -> Workload {
        Workload::at(&self.socket)
    }
}
