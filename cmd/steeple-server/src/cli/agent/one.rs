//! The commands that are about one agent.

use anyhow::ensure;
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{BanAgentRequest, DeleteAgentRequest, GetAgentRequest};
use steeple_proto::spire::api::types;

use super::pretty;
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, id, json, usage};

/// Prints an agent.
pub(crate) async fn show(args: &[String]) -> anyhow::Result<()> {
    let Asked { server, id, format } = parse("agent show", args)?;
    let request = GetAgentRequest { id: Some(id), output_mask: None };
    let response = AgentClient::new(server.channel()).get_agent(request).await;
    let agent = response.map_err(|status| server.failed(&status))?.into_inner();
    match format {
        Format::Json => print_json(&json::agent(&agent)),
        Format::Pretty => {
            let (block, selectors) = (pretty::block(&agent), pretty::selectors(&agent));
            console::out(&format!("Found an attested agent given its SPIFFE ID\n\n{block}{selectors}"));
        }
    }
    Ok(())
}

/// Shuts an agent out until it is evicted.
pub(crate) async fn ban(args: &[String]) -> anyhow::Result<()> {
    let Asked { server, id, format } = parse("agent ban", args)?;
    let response = AgentClient::new(server.channel()).ban_agent(BanAgentRequest { id: Some(id) }).await;
    response.map_err(|status| server.failed(&status))?;
    say(format, "Agent banned successfully\n");
    Ok(())
}

/// Forgets an agent, which has to attest itself again.
pub(crate) async fn evict(args: &[String]) -> anyhow::Result<()> {
    let Asked { server, id, format } = parse("agent evict", args)?;
    let response = AgentClient::new(server.channel()).delete_agent(DeleteAgentRequest { id: Some(id) }).await;
    response.map_err(|status| server.failed(&status))?;
    say(format, "Agent evicted successfully\n");
    Ok(())
}

/// What the flags ask for.
struct Asked {
    server: Server,
    id: types::Spiffeid,
    format: Format,
}

fn parse(command: &str, args: &[String]) -> anyhow::Result<Asked> {
    let (mut server, mut output, mut spiffe_id) = (ServerFlags::default(), Output::default(), String::new());
    let flags = FlagSet::new(command).flag("output", &mut output, Output::HELP).flag(
        "spiffeID",
        &mut spiffe_id,
        "The agent's SPIFFE ID",
    );
    usage::parse(server.add_to(flags), args)?;

    ensure!(!spiffe_id.is_empty(), "a SPIFFE ID is required");
    Ok(Asked { id: id::parse("-spiffeID", &spiffe_id)?, server: server.server()?, format: output.format() })
}

/// For a call whose answer is empty.
fn say(format: Format, done: &str) {
    match format {
        Format::Json => print_json(&json::empty()),
        Format::Pretty => console::out(done),
    }
}
