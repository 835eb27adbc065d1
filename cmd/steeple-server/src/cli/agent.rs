//! `agent list`

mod date;

use anyhow::{Context, bail};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{ListAgentsRequest, ListAgentsResponse, list_agents_request};
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::selector_match::MatchBehavior;

use super::client::{Server, ServerFlags};
use super::output::{Format, Output, print_json};
use super::{console, id, json, time, usage};

/// Prints the attested agents that a filter lets through.
pub(crate) async fn list(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut filter) = (ServerFlags::default(), Output::default(), FilterFlags::default());
    let flags = FlagSet::new("agent list").flag("output", &mut output, Output::HELP);
    usage::parse(filter.add_to(server.add_to(flags)), args)?;

    let filter = filter.filter()?;
    let agents = all(&server.server()?, filter).await?;
    match output.format() {
        Format::Json => print_json(&json::agents(&ListAgentsResponse { agents, next_page_token: String::new() })),
        Format::Pretty => console::out(&pretty(&agents)),
    }
    Ok(())
}

/// The flags that say which agents are meant.
struct FilterFlags {
    selectors: Vec<String>,
    match_selectors_on: String,
    attestation_type: String,
    can_reattest: String,
    banned: String,
    expires_before: String,
}

impl Default for FilterFlags {
    fn default() -> Self {
        Self {
            selectors: Vec::new(),
            match_selectors_on: "superset".into(),
            attestation_type: String::new(),
            can_reattest: String::new(),
            banned: String::new(),
            expires_before: String::new(),
        }
    }
}

impl FilterFlags {
    fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        let Self { selectors, match_selectors_on, attestation_type, can_reattest, banned, expires_before } = self;
        flags
            .flag("selector", selectors, "A selector, `type:value`, of the agents; repeatable")
            .flag("matchSelectorsOn", match_selectors_on, "How selectors match: exact, any, superset or subset")
            .flag("attestationType", attestation_type, "How agents were attested, like join_token")
            .flag("canReattest", can_reattest, "true or false: whether agents can attest again; anything else: all")
            .flag("banned", banned, "true or false: whether agents are banned; anything else: all")
            .flag("expiresBefore", expires_before, "When SVIDs have ended, as `2006-01-02 15:04:05 -0700 -07`")
    }

    fn filter(self) -> anyhow::Result<list_agents_request::Filter> {
        let Self { selectors, match_selectors_on, attestation_type, can_reattest, banned, expires_before } = self;
        let mut by_selector_match = None;
        // Without selectors it does not matter how they match, not even whether the word means anything.
        if !selectors.is_empty() {
            let r#match = match match_selectors_on.as_str() {
                "exact" => MatchBehavior::MatchExact,
                "any" => MatchBehavior::MatchAny,
                "superset" => MatchBehavior::MatchSuperset,
                "subset" => MatchBehavior::MatchSubset,
                _ => bail!("unsupported match behavior"),
            };
            let parsed = |text: &String| id::selector(text).with_context(|| format!("error parsing selector {text:?}"));
            let selectors = selectors.iter().map(parsed).collect::<Result<_, _>>()?;
            by_selector_match = Some(types::SelectorMatch { selectors, r#match: r#match.into() });
        }
        if !expires_before.is_empty() {
            date::check(&expires_before).context("date is not valid")?;
        }
        Ok(list_agents_request::Filter {
            by_attestation_type: attestation_type,
            by_selector_match,
            by_banned: yes_or_no(&banned),
            by_can_reattest: yes_or_no(&can_reattest),
            by_expires_before: expires_before,
        })
    }
}

fn yes_or_no(word: &str) -> Option<bool> {
    match word {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

async fn all(server: &Server, filter: list_agents_request::Filter) -> anyhow::Result<Vec<types::Agent>> {
    const PAGE_SIZE: i32 = 1000;
    let mut client = AgentClient::new(server.channel());
    let (mut agents, mut page_token) = (Vec::new(), String::new());
    loop {
        let filter = Some(filter.clone());
        let request = ListAgentsRequest { filter, output_mask: None, page_size: PAGE_SIZE, page_token };
        let page = client.list_agents(request).await.map_err(|status| server.failed(&status))?.into_inner();
        agents.extend(page.agents);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(agents);
        }
    }
}

fn pretty(agents: &[types::Agent]) -> String {
    match agents {
        [] => "No attested agents found\n".into(),
        [agent] => format!("Found 1 attested agent:\n\n{}", block(agent)),
        agents => {
            let blocks: String = agents.iter().map(block).collect();
            format!("Found {} attested agents:\n\n{blocks}", agents.len())
        }
    }
}

fn block(agent: &types::Agent) -> String {
    let types::Agent {
        id: agent_id,
        attestation_type,
        x509svid_serial_number,
        x509svid_expires_at,
        selectors: _,
        banned,
        can_reattest,
        agent_version,
    } = agent;
    let mut lines = vec![
        ("SPIFFE ID", id::text(agent_id.as_ref())),
        ("Attestation type", attestation_type.clone()),
        ("Expiration time", time::local(*x509svid_expires_at)),
    ];
    // A banned agent has no SVID that counts.
    lines.push(match banned {
        true => ("Banned", "true".into()),
        false => ("Serial number", x509svid_serial_number.clone()),
    });
    lines.push(("Can re-attest", can_reattest.to_string()));
    if !agent_version.is_empty() {
        lines.push(("Agent version", agent_version.clone()));
    }
    let lines: String = lines.into_iter().map(|(label, value)| format!("{label:<18}: {value}\n")).collect();
    lines + "\n"
}
