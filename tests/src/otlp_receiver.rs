//! The receiver of OpenTelemetry's own collector (`tests/otlp`), which reads what daemons send with code of others.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::go_program::GoProgram;
use crate::{Daemon, Scratch, free_port};

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
        static PROGRAM: GoProgram =
            GoProgram::command(["OpenTelemetry's receiver", "steeple-otlp-receiver"], "otlp", ".");
        let Some(program) = PROGRAM.find(case)? else { return Ok(None) };
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
