use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use steeple_transport::dial;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{Daemon, Output, Program, free_port};

/// A daemon of either kind as its operator has it: its files, and its process while it runs.
pub struct Installation {
    /// What the case calls it.
    pub name: String,
    /// Its executable.
    pub program: Program,
    /// Its configuration file.
    pub conf: PathBuf,
    /// Its data.
    pub data_dir: PathBuf,
    /// The socket by which this host's processes reach it.
    pub socket: PathBuf,
    /// The command that it is started by, such as `env NAME=VALUE`. It must become the daemon, with the same process ID.
    pub starter: Vec<String>,
    pub(crate) log: PathBuf,
    pub(crate) process: Option<Daemon>,
}

impl Installation {
    /// One whose configuration is `NAME.conf` in `dir`, which is written by others, and whose data are in a folder beside
    /// it.
    pub fn new(name: &str, program: &Program, dir: &Path) -> Self {
        let file = |extension: &str| dir.join(format!("{name}.{extension}"));
        Self {
            name: name.to_owned(),
            program: program.clone(),
            conf: file("conf"),
            data_dir: dir.join(name),
            socket: file("sock"),
            starter: Vec::new(),
            log: file("log"),
            process: None,
        }
    }

    /// Changes its configuration file. Returns the text that was there.
    ///
    /// # Errors
    /// The file cannot be read or written, or the change changes nothing.
    pub fn reconfigure(&self, change: impl FnOnce(&str) -> String) -> Result<String> {
        let text = fs::read_to_string(&self.conf)?;
        let changed = change(&text);
        ensure!(changed != text, "nothing to change in {}", self.conf.display());
        fs::write(&self.conf, changed)?;
        Ok(text)
    }

    /// Has it tell its health over HTTP, from its next start on. Returns the port.
    ///
    /// # Errors
    /// The file cannot be written, or there is no port.
    pub fn tell_health(&self) -> Result<u16> {
        let port = free_port()?;
        let block = format!(
            "health_checks {{\n    listener_enabled = true\n    bind_address = \"127.0.0.1\"\n    bind_port = \"{port}\"\n}}\n"
        );
        self.reconfigure(|conf| format!("{conf}{block}"))?;
        Ok(port)
    }

    /// Has Prometheus scrape it, with further keys of the section `telemetry`, from its next start on. Returns the port.
    ///
    /// # Errors
    /// The file cannot be written, or there is no port.
    pub fn tell_measurements(&self, keys: &str) -> Result<u16> {
        let port = free_port()?;
        let block = format!(
            "telemetry {{\n    Prometheus {{\n        host = \"127.0.0.1\"\n        port = {port}\n    }}\n    {keys}\n}}\n"
        );
        self.reconfigure(|conf| format!("{conf}{block}"))?;
        Ok(port)
    }

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
        let (program, conf) = (self.program.path.to_string_lossy(), self.conf.to_string_lossy());
        let starter = self.starter.iter().map(String::as_str);
        let words: Vec<&str> =
            starter.chain([&*program, "run", "-config", &*conf]).chain(flags.iter().copied()).collect();
        let (first, args) = words.split_first().context("no command")?;
        self.process = Some(Daemon::start(&self.name, Path::new(first), args, &self.log)?);
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

    /// What all its runs have written, also when none is running.
    ///
    /// # Errors
    /// It was never started.
    pub fn written(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
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
        let process = self.process.take().with_context(|| format!("{} was not started", self.name))?;
        let status = process.stop().await?;
        ensure!(status.success(), "{} did not end well: {status}", self.name);
        Ok(())
    }

    /// Runs one of the commands that speak to its socket.
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
}

/// Whether a daemon's socket answers its health check with SERVING.
async fn serving(socket: &Path) -> bool {
    let mut client = HealthClient::new(dial::local(socket));
    let answer = client.check(HealthCheckRequest::default()).await;
    answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
}
