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
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{Cluster, Lags, RELOAD, SIDES, Side};

/// New agents attest at each side, one renews, and then one is banned and one forgotten at either side, and both refuse them
/// within an interval of the reference. Returns what they show.
pub(super) async fn take_hold(cluster: &Cluster, random: &mut Random, lags: &mut Lags) -> Result<Vec<Credential>> {
    let ports = [cluster.port(Side::Theirs).await?, cluster.port(Side::Ours).await?];
    let at = |side| match side {
        Side::Theirs => &ports[0],
        Side::Ours => &ports[1],
    };
    let mut refused = Vec::new();
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
        refused.push(renewed);
    }
    Ok(refused)
}

/// Whom one side has banned or forgotten both refuse for good, whatever was killed since.
pub(super) async fn hold(cluster: &Cluster, refused: &[Credential]) -> Result<()> {
    for side in SIDES {
        let port = cluster.port(side).await?;
        for credential in refused {
            let answer = answer(port.channel(Some(credential.clone()))?).await;
            let is_refused = answer.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied);
            ensure!(is_refused, "{side:?}: {answer:?}");
        }
    }
    Ok(())
}

/// Waits until a server answers an agent with this code, which it has to do within an interval of the reference.
async fn becomes(port: &Port, credential: &Credential, code: Code) -> Result<()> {
    let (channel, mut last) = (port.channel(Some(credential.clone()))?, None);
    let answered = until("the answer", async || {
        let answer = answer(channel.clone()).await;
        let is_it = answer.as_ref().map_or_else(Status::code, |()| Code::Ok) == code;
        last = answer.err();
        is_it.then_some(())
    });
    timeout(RELOAD, answered).await.with_context(|| format!("no {code:?} in time: {last:?}"))?
}

async fn answer(channel: Channel) -> Result<(), Status> {
    let request = GetAuthorizedEntriesRequest { output_mask: None };
    EntryClient::new(channel).get_authorized_entries(request).await.map(drop)
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
