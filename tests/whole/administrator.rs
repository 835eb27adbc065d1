//! An administrator's own program, on the public SDK of SPIRE's APIs.

use anyhow::{Result, ensure};
use steeple_tests::{Domain, administer, case, own_selector, say};

const CASE: &str = "administration by the public SDK";

#[test]
fn the_public_sdk_administers_a_server_over_its_socket_and_over_tls() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        let selector = own_selector();
        let id = domain.id("/administrator");
        let admin = ["-parentID", &agent.id, "-spiffeID", &id, "-selector", &selector, "-admin"];
        domain.server.create_entry(&admin).await?;
        agent.workload().follow().until_id(&id).await?;

        let workload_api = format!("unix://{}", agent.socket.display());
        let Some(over_tls) = administer(&domain.server, Some(&workload_api), CASE).await? else { return Ok(()) };
        let Some(over_socket) = administer(&domain.server, None, CASE).await? else { return Ok(()) };
        ensure!(!over_tls.is_empty() && over_tls == over_socket, "{over_tls:?} is not {over_socket:?}");
        say(&format!("administrator: {} tests passed on the public SDK over TLS and over the socket", over_tls.len()));
        Ok(())
    })
}
