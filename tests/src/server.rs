use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use steeple_transport::dial;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{Daemon, Output, Program};

/// A server: its files, and its process while it runs.
pub struct Server {
    /// Its executable.
    pub program: Program,
    /// Its configuration file.
    pub conf: PathBuf,
    /// Its data: database and keys.
    pub data_dir: PathBuf,
    /// Its admin socket.
    pub socket: PathBuf,
    /// The TCP port of its API.
    pub port: u16,
    pub(crate) log: PathBuf,
    pub(crate) process: Option<Daemon>,
}

impl Server {
    /// Starts it and waits until it says that it is healthy.
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
        self.process = Some(launch("server", &self.program, &self.conf, flags, &self.log)?);
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
        self.process.as_mut().context("the server was not started")
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
        stop("server", &mut self.process).await
    }

    /// Runs one of the commands that speak to its admin socket.
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

    /// A new join token.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn token(&self, flags: &[&str]) -> Result<String> {
        let args = [&["token", "generate", "-output", "json"], flags].concat();
        let answer = self.command(&args).await?.json()?;
        Ok(answer["value"].as_str().with_context(|| format!("no token in {answer}"))?.to_owned())
    }

    /// Creates an entry with the flags of `entry create`; returns its ID.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn create_entry(&self, flags: &[&str]) -> Result<String> {
        // As text: with JSON the command does not fail when the entry is refused.
        let text = self.command(&[&["entry", "create"], flags].concat()).await?.ok()?;
        let id = text.lines().find_map(|line| line.strip_prefix("Entry ID")).map(|rest| rest.trim_matches([' ', ':']));
        Ok(id.with_context(|| format!("no entry ID in {text}"))?.to_owned())
    }

    /// The IDs of all entries.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn entry_ids(&self) -> Result<BTreeSet<String>> {
        let answer = self.command(&["entry", "show", "-output", "json"]).await?.json()?;
        let entries = answer["entries"].as_array().with_context(|| format!("no entries in {answer}"))?;
        Ok(entries.iter().filter_map(|entry| entry["id"].as_str()).map(str::to_owned).collect())
    }

    /// The attested agents, as `agent list` gives them.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn agents(&self) -> Result<Vec<Value>> {
        let answer = self.command(&["agent", "list", "-output", "json"]).await?.json()?;
        Ok(answer["agents"].as_array().with_context(|| format!("no agents in {answer}"))?.clone())
    }

    /// The X.509 authorities of its bundle, as PEM.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn bundle_pem(&self) -> Result<String> {
        self.command(&["bundle", "show"]).await?.ok()
    }

    /// All authorities of its bundle, X.509 and JWT.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn authorities(&self) -> Result<Value> {
        let mut bundle = self.command(&["bundle", "show", "-output", "json"]).await?.json()?;
        Ok(serde_json::json!({ "x509": bundle["x509_authorities"].take(), "jwt": bundle["jwt_authorities"].take() }))
    }
}

pub(crate) fn launch(name: &str, program: &Program, conf: &Path, flags: &[&str], log: &Path) -> Result<Daemon> {
    let conf = conf.to_string_lossy();
    Daemon::start(name, &program.path, &[&["run", "-config", &conf], flags].concat(), log)
}

pub(crate) async fn stop(name: &str, process: &mut Option<Daemon>) -> Result<()> {
    let process = process.take().with_context(|| format!("{name} was not started"))?;
    let status = process.stop().await?;
    anyhow::ensure!(status.success(), "{name} did not end well: {status}");
    Ok(())
}

/// Whether a daemon's socket answers its health check with SERVING.
pub(crate) async fn serving(socket: &Path) -> bool {
    let mut client = HealthClient::new(dial::local(socket));
    let answer = client.check(HealthCheckRequest::default()).await;
    answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
}
