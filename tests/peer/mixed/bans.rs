//! Agents that are banned or forgotten at one server are refused by both.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{BanAgentRequest, DeleteAgentRequest};
use steeple_proto::spire::api::server::entry::v1::GetAuthorizedEntriesRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_tests::{AgentByHand, Port, Random, until};
use steeple_transport::dial;
use steeple_transport::id::on_wire;
use steeple_transport::tls::Credential;
use tonic::Code;

use super::{Cluster, Lags, SIDES, Side};

/// New agents attest at each side, one renews, and then one is banned and one forgotten at either side. Returns how many
/// were refused.
pub(super) async fn hold(cluster: &Cluster, random: &mut Random, lags: &mut Lags) -> Result<usize> {
    let ports = [cluster.port(Side::Theirs).await?, cluster.port(Side::Ours).await?];
    let at = |side| match side {
        Side::Theirs => &ports[0],
        Side::Ours => &ports[1],
    };
    for is_banned in [true, false] {
        let (home, enemy) = (*random.one_of(&SIDES), *random.one_of(&SIDES));
        let agent = AgentByHand::attest(&cluster.domain, at(home)).await?;
        for side in SIDES {
            becomes(at(side), &agent.credential, Code::Ok).await?;
        }
        // What is shown at one server counts at the other one.
        let renewed = agent.renew().await?;
        becomes(at(home.other()), &renewed, Code::Ok).await?;
        for side in SIDES {
            becomes(at(side), &agent.credential, Code::PermissionDenied).await?;
        }
        becomes(at(home), &renewed, Code::Ok).await?;

        let (mut agents, id) = (AgentClient::new(dial::local(&cluster.server(enemy).socket)), Some(on_wire(&agent.id)));
        if is_banned {
            agents.ban_agent(BanAgentRequest { id }).await?;
        } else {
            agents.delete_agent(DeleteAgentRequest { id }).await?;
        }
        let done = Instant::now();
        for side in SIDES {
            becomes(at(side), &renewed, Code::PermissionDenied).await?;
            let kind = match (side, enemy) {
                (Side::Ours, Side::Theirs) => "their ban or eviction at ours",
                (Side::Theirs, Side::Ours) => "our ban or eviction at theirs",
                _ => "a ban or eviction at home",
            };
            lags.entry(kind).or_default().push(done.elapsed());
        }
    }
    Ok(2)
}

/// Waits until a server answers an agent with this code.
async fn becomes(port: &Port, credential: &Credential, code: Code) -> Result<()> {
    let mut entries = EntryClient::new(port.channel(Some(credential.clone()))?);
    let mut last = None;
    let answered = async || {
        let answer = entries.get_authorized_entries(GetAuthorizedEntriesRequest { output_mask: None }).await;
        let is_it = answer.as_ref().map_or_else(|status| status.code(), |_| Code::Ok) == code;
        last = answer.err();
        is_it.then_some(())
    };
    until(&format!("the answer {code:?}"), answered).await.with_context(|| format!("{last:?}"))
}

/// Each of the agents is banned by the side that is not its server's, and ends.
pub(super) async fn end_real_agents(cluster: &mut Cluster) -> Result<()> {
    for number in 0..cluster.agents.len() {
        let (id, enemy) = (cluster.agents[number].id.clone(), if number < 2 { Side::Ours } else { Side::Theirs });
        cluster.server(enemy).command(&["agent", "ban", "-spiffeID", &id]).await?.ok()?;
        let process = cluster.agents[number].process()?;
        let status = process.exit().await?;
        ensure!(!status.success(), "{status}");
        if !process.log()?.contains("banned") {
            bail!("{id} ended for another reason");
        }
    }
    Ok(())
}
