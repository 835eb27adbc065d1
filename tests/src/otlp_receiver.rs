//! The receiver of OpenTelemetry's own collector (`tests/otlp`), which reads what daemons send with code of others.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{Daemon, Scratch, cannot_run_here, foreign, free_port};

/// A receiver of traces and metrics at a port of this host.
pub struct OtlpReceiver {
    /// Its port.
    pub port: u16,
    /// Which writes a line of JSON for each export.
    process: Daemon,
}

impl OtlpReceiver {
    /// One that runs; None where nothing can build it, which is then said under `case`.
    ///
    /// # Errors
    /// It does not build or start, or nothing can build it where everything must run.
    pub async fn start(case: &str, scratch: &Scratch) -> Result<Option<Self>> {
        static BUILT: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
        let build = || foreign::go_program("otlp", ".", "steeple-otlp-receiver");
        let program = match BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
            Ok(Some(program)) => program,
            Ok(None) => return cannot_run_here(case, "there is no `go` for OpenTelemetry's receiver").map(|()| None),
            Err(error) => return Err(anyhow!("OpenTelemetry's receiver: {error}")),
        };
        let (port, log) = (free_port()?, scratch.path().join("otlp-receiver.log"));
        let mut process = Daemon::start("otlp-receiver", program, &[&format!("127.0.0.1:{port}")], &log)?;
        let answers = async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok();
        process.until("its port", answers).await?;
        Ok(Some(Self { port, process }))
    }

    /// The elements of all exports in this list, such as `resourceSpans`, by OTLP's rules for JSON.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn received(&self, list: &str) -> Result<Vec<Value>> {
        let text = self.process.log()?;
        // The last line may be one that is being written.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let exports = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(exports.flat_map(|export| export[list].as_array().cloned().unwrap_or_default()).collect())
    }
}
