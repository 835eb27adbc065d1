use steeple_config::flags::FlagSet;
use steeple_console::progress::Progress;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{
    CountAgentsRequest, CountAgentsResponse, ListAgentsRequest, ListAgentsResponse, list_agents_request,
};
use steeple_proto::spire::api::types;

use super::filter::{self, FilterFlags};
use super::pretty;
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, usage};

/// Prints the attested agents that a filter lets through.
pub(crate) async fn list(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut filter) = (ServerFlags::default(), Output::default(), FilterFlags::default());
    let flags = FlagSet::new("agent list").flag("output", &mut output, Output::HELP);
    usage::parse(filter.add_to(server.add_to(flags)), args)?;

    let filter = filter.filter()?;
    let agents = all(&server.server()?, filter).await?;
    match output.format() {
        Format::Json => print_json(&json::agents(&ListAgentsResponse { agents, next_page_token: String::new() })),
        Format::Pretty => console::out(&listing(&agents)),
    }
    Ok(())
}

/// Prints how many attested agents a filter lets through.
pub(crate) async fn count(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut filter) = (ServerFlags::default(), Output::default(), FilterFlags::default());
    let flags = FlagSet::new("agent count").flag("output", &mut output, Output::HELP);
    usage::parse(filter.add_to(server.add_to(flags)), args)?;

    let request = CountAgentsRequest { filter: Some(filter::for_count(filter.filter()?)) };
    let server = server.server()?;
    let response = AgentClient::new(server.channel()).count_agents(request).await;
    let CountAgentsResponse { count } = response.map_err(|status| server.failed(&status))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json::count(count)),
        Format::Pretty => {
            let noun = if count == 1 { "agent" } else { "agents" };
            console::out(&format!("{count} attested {noun}\n"));
        }
    }
    Ok(())
}

/// The agents that a filter lets through, page by page.
pub(super) async fn all(server: &Server, filter: list_agents_request::Filter) -> anyhow::Result<Vec<types::Agent>> {
    const PAGE_SIZE: i32 = 1000;
    let mut client = AgentClient::new(server.channel());
    let (mut agents, mut page_token) = (Vec::new(), String::new());
    let mut progress = Progress::new();
    loop {
        let filter = Some(filter.clone());
        let request = ListAgentsRequest { filter, output_mask: None, page_size: PAGE_SIZE, page_token };
        let page = client.list_agents(request).await.map_err(|status| server.failed(&status))?.into_inner();
        agents.extend(page.agents);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(agents);
        }
        progress.tell(&format!("{} agents", agents.len()));
    }
}

fn listing(agents: &[types::Agent]) -> String {
    match agents {
        [] => "No attested agents found\n".into(),
        [agent] => format!("Found 1 attested agent:\n\n{}", pretty::block(agent)),
        agents => {
            let blocks: String = agents.iter().map(pretty::block).collect();
            format!("Found {} attested agents:\n\n{blocks}", agents.len())
        }
    }
}
