//! Programs of Prometheus (`tests/prometheus`): the check of what is scraped, and the receiver of statsd's lines.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::go_program::GoProgram;
use crate::{Daemon, Scratch, free_port, http};

/// Prometheus' programs, built once a run.
pub struct Prometheus {
    check: &'static Path,
    exporter: &'static Path,
}

/// A program that takes statsd's and DogStatsD's lines, and is scraped.
pub struct StatsdExporter {
    /// Where it takes lines.
    pub address: String,
    web: u16,
    _process: Daemon,
}

impl Prometheus {
    /// None where nothing can build them, which is then said under `case`.
    ///
    /// # Errors
    /// They do not build, or nothing can build them where everything must run.
    pub fn find(case: &str) -> Result<Option<Self>> {
        static CHECK: GoProgram = GoProgram::command(["Prometheus' check", "steeple-metrics-check"], "prometheus", ".");
        static EXPORTER: GoProgram = GoProgram::command(
            ["Prometheus' statsd_exporter", "steeple-statsd-exporter"],
            "prometheus",
            "github.com/prometheus/statsd_exporter",
        );
        let found = CHECK.find(case)?.zip(EXPORTER.find(case)?);
        Ok(found.map(|(check, exporter)| Self { check, exporter }))
    }

    /// What Prometheus' check says of a scrape, a problem each.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub async fn problems(&self, scrape: &str) -> Result<Vec<String>> {
        let mut check = Command::new(self.check);
        check.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut running = check.spawn()?;
        let mut stdin = running.stdin.take().context("no standard input")?;
        stdin.write_all(scrape.as_bytes()).await?;
        drop(stdin);
        let ended = running.wait_with_output().await?;
        ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        Ok(String::from_utf8_lossy(&ended.stdout).lines().map(str::to_owned).collect())
    }

    /// Starts a receiver of lines.
    ///
    /// # Errors
    /// It does not start.
    pub async fn statsd_exporter(&self, scratch: &Scratch) -> Result<StatsdExporter> {
        let (web, address) = (free_port()?, format!("127.0.0.1:{}", free_port()?));
        let args = [
            format!("--web.listen-address=127.0.0.1:{web}"),
            format!("--statsd.listen-udp={address}"),
            "--statsd.listen-tcp=".to_owned(),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let log = scratch.path().join("statsd-exporter.log");
        let mut process = Daemon::start("statsd_exporter", self.exporter, &args, &log)?;
        let answers = async || http(web, "GET /-/ready", "").await.ok().filter(|(status, _)| *status == 200);
        process.until("its port", answers).await?;
        Ok(StatsdExporter { address, web, _process: process })
    }
}

impl StatsdExporter {
    /// What it has made of the lines that it was sent.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn scrape(&self) -> Result<String> {
        Ok(http(self.web, "GET /metrics", "").await?.1)
    }
}
