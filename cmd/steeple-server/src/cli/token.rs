//! `token generate`

use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::agent::v1::CreateJoinTokenRequest;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;

use super::client::ServerFlags;
use super::output::{Format, Output, print_json};
use super::{console, id, json, usage};

/// Makes a join token, with which one agent can attest itself once.
pub(crate) async fn generate(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut ttl, mut spiffe_id) = (600, String::new());
    let flags = FlagSet::new("generate")
        .flag("output", &mut output, Output::HELP)
        .flag("ttl", &mut ttl, "How many seconds the token can be used")
        .flag("spiffeID", &mut spiffe_id, "A SPIFFE ID that the agent also gets, through an entry of its own");
    usage::parse(server.add_to(flags), args)?;

    let agent_id = if spiffe_id.is_empty() { None } else { Some(id::parse("-spiffeID", &spiffe_id)?) };
    // No token of the caller's choice: the server makes one.
    let request = CreateJoinTokenRequest { ttl: id::int32("TTL", ttl)?, token: String::new(), agent_id };
    let server = server.server()?;
    let token = AgentClient::new(server.channel()).create_join_token(request).await;
    let token = token.map_err(|status| server.failed(&status))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json::join_token(&token)),
        Format::Pretty => {
            console::out(&format!("Token: {}\n", token.value));
            if spiffe_id.is_empty() {
                console::out("Warning: Missing SPIFFE ID.\n");
            }
        }
    }
    Ok(())
}
