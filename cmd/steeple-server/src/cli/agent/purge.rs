use std::time::SystemTime;

use anyhow::anyhow;
use serde_json::{Value, json};
use steeple_config::duration::Duration;
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{DeleteAgentRequest, list_agents_request};
use steeple_proto::spire::api::types;
use steeple_runtime::Clock;
use steeple_runtime::clock::from_unix_seconds;

use super::list::all;
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, id, usage};

/// Forgets agents whose SVIDs ended long ago and that can attest again. Banned ones stay: without their row they could come
/// back. (The reference forgets them too.)
pub(crate) async fn purge(args: &[String]) -> anyhow::Result<()> {
    const MONTH: i64 = 720 * 60 * 60;
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut expired_for, mut dry_run) = (Duration::from_secs(MONTH), false);
    let flags = FlagSet::new("agent purge")
        .flag("output", &mut output, Output::HELP)
        .flag("expiredFor", &mut expired_for, "How long ago the SVIDs of the agents must have ended")
        .flag("dryRun", &mut dry_run, "Only tell which agents would be forgotten");
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let filter = list_agents_request::Filter {
        by_can_reattest: Some(true),
        by_banned: Some(false),
        ..list_agents_request::Filter::default()
    };
    let agents = all(&server, filter).await.map_err(|error| anyhow!("failed to list agents: {error}"))?;
    let ended_before = before(Clock::system().now(), expired_for);
    let mut expired = Vec::new();
    for agent in agents.into_iter().filter(|agent| from_unix_seconds(agent.x509svid_expires_at) < ended_before) {
        let fate = if dry_run { Fate::Kept } else { forget(&server, agent.id.clone()).await };
        expired.push((id::text(agent.id.as_ref()), fate));
    }
    match output.format() {
        Format::Json => print_json(&json!({ "expired_agents": expired.iter().map(as_json).collect::<Vec<_>>() })),
        Format::Pretty => console::out(&pretty(&expired, dry_run)),
    }
    Ok(())
}

/// What became of an agent.
enum Fate {
    Forgotten,
    Kept,
    /// It could not be forgotten, for this reason.
    Refused(String),
}

async fn forget(server: &Server, id: Option<types::Spiffeid>) -> Fate {
    match AgentClient::new(server.channel()).delete_agent(DeleteAgentRequest { id }).await {
        Ok(_) => Fate::Forgotten,
        Err(status) => Fate::Refused(server.failed(&status).to_string()),
    }
}

/// The moment that lies so long before another. A negative length lies behind it, as in the reference.
fn before(now: SystemTime, length: Duration) -> SystemTime {
    let shift = std::time::Duration::from_nanos(length.as_nanos().unsigned_abs());
    let moved = if length < Duration::ZERO { now.checked_add(shift) } else { now.checked_sub(shift) };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn as_json((id, fate): &(String, Fate)) -> Value {
    match fate {
        Fate::Forgotten => json!({ "agent_id": id, "deleted": true }),
        Fate::Kept => json!({ "agent_id": id, "deleted": false }),
        Fate::Refused(error) => json!({ "agent_id": id, "deleted": false, "error": error }),
    }
}

/// Empty lines where the reference has them.
fn pretty(expired: &[(String, Fate)], dry_run: bool) -> String {
    let noun = match expired.len() {
        0 => return "No agents to purge.\n".into(),
        1 => "agent",
        _ => "agents",
    };
    let mut text = format!("Found {} expired {noun}\n\n", expired.len());
    let (mut purged, mut refused) = (String::new(), String::new());
    for (id, fate) in expired {
        let line = format!("SPIFFE ID         : {id}\n");
        match fate {
            Fate::Forgotten | Fate::Kept => purged.push_str(&line),
            Fate::Refused(error) => refused.push_str(&format!("{line}Error             : {error}\n")),
        }
    }
    if dry_run {
        return format!("{text}\nAgents that can be purged:\n{purged}");
    }
    for (title, lines) in [("Agents purged", purged), ("Agents not purged", refused)] {
        if !lines.is_empty() {
            text.push_str(&format!("{title}:\n{lines}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_which_agents_went_and_why_others_did_not() {
        let expired = [("a".to_owned(), Fate::Forgotten), ("b".to_owned(), Fate::Refused("no".into()))];
        let one = "SPIFFE ID         : ";
        let text = format!(
            "Found 2 expired agents\n\nAgents purged:\n{one}a\nAgents not purged:\n{one}b\nError             : no\n"
        );
        assert_eq!(pretty(&expired, false), text);
        assert_eq!(
            pretty(&expired[1..], false),
            format!("Found 1 expired agent\n\nAgents not purged:\n{one}b\nError             : no\n")
        );
        assert_eq!(as_json(&expired[1]).to_string(), r#"{"agent_id":"b","deleted":false,"error":"no"}"#);
    }

    #[test]
    fn a_length_reaches_back_and_a_negative_one_forward() {
        let now = from_unix_seconds(1_000_000);
        assert_eq!(before(now, Duration::from_secs(10)), from_unix_seconds(999_990));
        assert_eq!(before(now, Duration::from_secs(-10)), from_unix_seconds(1_000_010));
    }
}
