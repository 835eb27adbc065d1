//! Health over HTTP. What is told while the database is away stands in `outages`.

use anyhow::{Result, ensure};
use steeple_tests::{Domain, case, http, until};

/// As SPIRE's server answers.
const SERVER: &str = "{\"catalog.datastore\":{},\"server\":{},\"server.ca\":{},\"server.ca.rotator\":{}}\n";
/// As SPIRE's agent answers.
const AGENT: &str = "{\"agent\":{}}\n";
const STARTING: &str = "{\"agent\":{\"make_new_x509_err\":\"workload api is unavailable\"}}\n";

/// Waits until a path has this answer.
async fn until_told(port: u16, path: &str, status: u16, body: &str) -> Result<()> {
    let what = format!("GET {path}");
    let told = async || http(port, &what, "").await.is_ok_and(|told| told == (status, body.to_owned())).then_some(());
    until(&format!("{status} at {path}"), told).await
}

#[test]
fn daemons_that_are_well_say_so_in_the_references_words() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        let at = domain.server.tell_health()?;
        domain.server.start().await?;
        let mut agent = domain.new_agent("node1").await?;
        let at_agent = agent.tell_health()?;
        domain.attest(&mut agent).await?;
        for path in ["/live", "/ready"] {
            until_told(at, path, 200, SERVER).await?;
            until_told(at_agent, path, 200, AGENT).await?;
        }
        for port in [at, at_agent] {
            let (status, body) = http(port, "GET /health", "").await?;
            ensure!(status == 404 && body == "404 page not found\n", "{status}: {body}");
        }
        // The socket is what workloads need.
        std::fs::remove_file(&agent.socket)?;
        until_told(at_agent, "/live", 500, STARTING).await?;
        until_told(at_agent, "/ready", 500, STARTING).await
    })
}

#[test]
fn an_agent_that_has_no_identity_yet_is_alive_and_not_ready() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        let port = agent.tell_health()?;
        agent.launch(&["-joinToken", "unknown"])?;
        until_told(port, "/ready", 500, STARTING).await?;
        let (status, body) = http(port, "GET /live", "").await?;
        ensure!(status == 200 && body == AGENT, "{status}: {body}");
        Ok(())
    })
}

#[test]
fn a_port_that_is_taken_stops_no_daemon() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        let _taken = std::net::TcpListener::bind(("127.0.0.1", domain.server.tell_health()?))?;
        domain.server.start().await?;
        domain.server.process()?.line("Error serving health checks").await?;
        ensure!(domain.server.process()?.exited()?.is_none(), "it has ended");
        Ok(())
    })
}
