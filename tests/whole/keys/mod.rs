//! Keys of the configuration that no other suite turns, each with what would be otherwise without it.

mod agent;
mod pruning;
mod server;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_spiffe::x509::Certificate;
use steeple_tests::{Installation, http, until};

/// By how much a certificate begins before it was signed.
const BACKDATED: Duration = Duration::from_secs(10);

/// For how long a certificate was signed.
fn lifetime(certificate: &Certificate) -> Result<Duration> {
    let length = certificate.not_after().duration_since(certificate.not_before())?;
    length.checked_sub(BACKDATED).context("a certificate that lives for a moment")
}

/// Has a daemon name the places in the program in its log, which is a file of its own, from its next start on.
fn log_with_places(daemon: &Installation) -> Result<()> {
    let log = daemon.conf.with_extension("out");
    let keys = format!(
        "log_source_location = true\n    log_format = \"json\"\n    log_file = \"{}\"\n    log_level = \"WARN\"",
        log.display()
    );
    daemon.reconfigure(|conf| conf.replacen("log_level = \"DEBUG\"", &keys, 1))?;
    Ok(())
}

/// Waits for a warning in that file, and looks at the form of all lines.
async fn is_logged_with_places(daemon: &Installation) -> Result<()> {
    let log = daemon.conf.with_extension("out");
    let text = until("a warning", async || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains("\"level\":\"warning\""))
    })
    .await?;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(line["file"].is_string() && line["func"].is_string(), "{line}");
        ensure!(["warning", "error"].iter().any(|level| line["level"] == **level), "{line}");
    }
    Ok(())
}

/// Has a daemon tell its health under other paths than the usual ones, from its next start on. Returns the port.
fn tell_health_elsewhere(daemon: &Installation) -> Result<u16> {
    let port = daemon.tell_health()?;
    let keys = "    live_path = \"/alive\"\n    ready_path = \"/prepared\"\n    bind_port";
    daemon.reconfigure(|conf| conf.replacen("    bind_port = \"", &format!("{keys} = \""), 1))?;
    Ok(port)
}

async fn tells_health_elsewhere(port: u16) -> Result<()> {
    let status = async |path: &str| http(port, &format!("GET {path}"), "").await.ok().map(|(status, _)| status);
    until("readiness", async || (status("/prepared").await == Some(200)).then_some(())).await?;
    let told = [status("/alive").await, status("/live").await, status("/ready").await];
    ensure!(told == [Some(200), Some(404), Some(404)], "{told:?}");
    Ok(())
}
