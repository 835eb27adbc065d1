//! A server that is killed while it answers: what it acknowledged is there, and the call that it died in has done all of
//! its work or none.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{BanAgentRequest, CreateJoinTokenRequest, DeleteAgentRequest};
use steeple_proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::bundle::v1::{
    BatchDeleteFederatedBundleRequest, BatchSetFederatedBundleRequest, GetBundleRequest,
};
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest,
};
use steeple_proto::spire::api::types::{Bundle, BundleMask, Entry, Selector, Spiffeid, Status};
use steeple_tests::{Domain, Kill, Shim, Trap};
use steeple_transport::dial;
use tonic::transport::Channel;

use super::authorities::Authorities;
use super::known::{Known, only_new};
use super::node::Node;
use super::{SOME_WRITES, killed, lanes, leaves_nothing_bad};

/// Servers that are killed at the same time.
const LANES: usize = 4;

#[test]
fn a_server_that_is_killed_while_it_answers_keeps_what_it_acknowledged_and_the_rest_whole_or_not_at_all() -> Result<()>
{
    killed("calls of a server", SOME_WRITES, async |scratch, shim, plan| {
        lanes(0..LANES, async |lane| {
            let domain = Domain::builder().write(scratch)?;
            let points = plan.points_of(lane, LANES);
            Lane { domain, shim, known: Known::default(), first: None }.run(points, plan.how).await
        })
        .await
    })
}

/// One server with its database, which is killed again and again: at operation 1 of the calls, at 5, at 9, say.
struct Lane<'s> {
    domain: Domain,
    shim: &'s Shim,
    known: Known,
    /// Before the first kill.
    first: Option<Authorities>,
}

/// The calls of a round, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A token, and the entry for the other ID that it gives.
    CreateToken,
    Attest,
    SetBundle,
    CreateEntry,
    UpdateEntry,
    Renew,
    /// The server forgets the SVID before the renewed one.
    UseRenewed,
    /// And takes it out of the entry.
    DeleteBundle,
    DeleteEntry,
    Ban,
    /// What `agent purge` does to each agent, too.
    Evict,
}

const STEPS: [Step; 11] = [
    Step::CreateToken,
    Step::Attest,
    Step::SetBundle,
    Step::CreateEntry,
    Step::UpdateEntry,
    Step::Renew,
    Step::UseRenewed,
    Step::DeleteBundle,
    Step::DeleteEntry,
    Step::Ban,
    Step::Evict,
];

/// Where a round ended.
struct Killed {
    step: Step,
    /// Whether the step had its answer.
    acknowledged: bool,
    what: String,
}

impl Lane<'_> {
    /// Returns how often it was killed.
    async fn run(mut self, points: impl Iterator<Item = usize>, how: Kill) -> Result<usize> {
        let mut trap = self.start().await?;
        for (count, at) in points.enumerate() {
            let mut round = Round::new(at, &self.domain)?;
            let killed = self.until_killed(&trap, at, how, &mut round).await;
            let Some(killed) = killed.with_context(|| format!("to be killed at operation {at}"))? else {
                self.domain.server.stop().await?;
                return Ok(count);
            };
            leaves_nothing_bad(&self.domain.server)?;
            let Killed { step, acknowledged, what } = killed;
            let told = format!("killed at {what} (operation {at}) in {step:?}, answered: {acknowledged}");
            trap = self.start().await.with_context(|| told.clone())?;
            self.look_after(step, acknowledged, &mut round).await.context(told)?;
        }
        bail!("no end of operations")
    }

    /// Starts the server, and looks at what it signs with.
    async fn start(&mut self) -> Result<Trap> {
        let trap = self.shim.before(&mut self.domain.server, Duration::ZERO)?;
        self.domain.server.start().await?;
        let found = Authorities::of(&self.domain.server, Duration::ZERO).await?;
        if let Some(first) = &self.first {
            ensure!(found.x509 == first.x509 && found.jwt == first.jwt, "other authorities sign");
            found.verify(&first.issued, Duration::ZERO)?;
        } else {
            self.first = Some(found);
        }
        Ok(trap)
    }

    async fn until_killed(&mut self, trap: &Trap, at: usize, how: Kill, round: &mut Round) -> Result<Option<Killed>> {
        self.known = Known::of(&round.channel).await?;
        trap.set(at, how)?;
        for step in STEPS {
            let performed = round.perform(step).await;
            let now = Known::of(&round.channel).await;
            if let Some(what) = trap.sprung()? {
                return Ok(Some(Killed { step, acknowledged: performed.is_ok(), what }));
            }
            performed.with_context(|| format!("{step:?}"))?;
            let now = now?;
            round.check(step, &self.known, &now).with_context(|| format!("{step:?}, untouched"))?;
            self.known = now;
        }
        trap.take_away()?;
        Ok(None)
    }

    /// All of a step is there or, if it was not answered, nothing.
    async fn look_after(&mut self, step: Step, acknowledged: bool, round: &mut Round) -> Result<()> {
        round.channel = dial::local(&self.domain.server.socket);
        let now = Known::of(&round.channel).await?;
        let is_done = match round.check(step, &self.known, &now) {
            Ok(()) => true,
            Err(error) if acknowledged || now != self.known => return Err(error),
            Err(_) => false,
        };
        round.go_on(step, is_done).await
    }
}

/// What a round works with. The token, the agent, the entry and the bundle of a round are its own.
struct Round {
    number: usize,
    channel: Channel,
    port: u16,
    node: Node,
}

impl Round {
    fn new(number: usize, domain: &Domain) -> Result<Self> {
        let server = &domain.server;
        Ok(Self { number, channel: dial::local(&server.socket), port: server.port, node: Node::new()? })
    }

    async fn perform(&mut self, step: Step) -> Result<()> {
        let (mut agents, mut bundles, mut entries) = (
            AgentClient::new(self.channel.clone()),
            BundleClient::new(self.channel.clone()),
            EntryClient::new(self.channel.clone()),
        );
        match step {
            Step::CreateToken => {
                let agent_id = Some(id(&format!("/other/{}", self.number)));
                let request = CreateJoinTokenRequest { ttl: 3600, token: self.token(), agent_id };
                agents.create_join_token(request).await?;
            }
            Step::Attest => {
                self.node.attest(self.port, &self.token()).await?;
            }
            Step::SetBundle => {
                let own = bundles.get_bundle(GetBundleRequest { output_mask: None }).await?.into_inner();
                let request = BatchSetFederatedBundleRequest {
                    bundle: vec![self.bundle(own)],
                    output_mask: Some(BundleMask::default()),
                };
                let result = bundles.batch_set_federated_bundle(request).await?.into_inner().results.pop();
                ok(result.and_then(|result| result.status))?;
            }
            Step::CreateEntry => {
                let request = BatchCreateEntryRequest { entries: vec![self.created()], output_mask: None };
                let result = entries.batch_create_entry(request).await?.into_inner().results.pop();
                ok(result.and_then(|result| result.status))?;
            }
            Step::UpdateEntry => {
                let request =
                    BatchUpdateEntryRequest { entries: vec![self.updated()], input_mask: None, output_mask: None };
                let result = entries.batch_update_entry(request).await?.into_inner().results.pop();
                ok(result.and_then(|result| result.status))?;
            }
            Step::Renew => {
                self.node.renew(self.port).await?;
            }
            Step::UseRenewed => self.node.call(self.port).await?,
            Step::DeleteBundle => {
                let request = BatchDeleteFederatedBundleRequest {
                    trust_domains: vec![self.trust_domain()],
                    mode: Mode::Dissociate.into(),
                };
                let result = bundles.batch_delete_federated_bundle(request).await?.into_inner().results.pop();
                ok(result.and_then(|result| result.status))?;
            }
            Step::DeleteEntry => {
                let request = BatchDeleteEntryRequest { ids: vec![self.entry_id()] };
                let result = entries.batch_delete_entry(request).await?.into_inner().results.pop();
                ok(result.and_then(|result| result.status))?;
            }
            Step::Ban => {
                agents.ban_agent(BanAgentRequest { id: Some(id(&self.agent_path())) }).await?;
            }
            Step::Evict => {
                agents.delete_agent(DeleteAgentRequest { id: Some(id(&self.agent_path())) }).await?;
            }
        }
        Ok(())
    }

    /// Whether a step has led from one state to another, with all that it changes and nothing else.
    fn check(&self, step: Step, before: &Known, after: &Known) -> Result<()> {
        let mut expected = before.clone();
        match step {
            Step::CreateToken => {
                let (found, entry) = only_new(&before.entries, &after.entries)?;
                let parent = id(&self.agent_path());
                ensure!(entry.parent_id == Some(parent), "the entry of another agent: {entry:?}");
                expected.entries.insert(found.clone(), entry.clone());
            }
            Step::Attest => {
                let (found, agent) = only_new(&before.agents, &after.agents)?;
                ensure!(*found == self.agent_path() && !agent.x509svid_serial_number.is_empty(), "{agent:?}");
                expected.agents.insert(found.clone(), agent.clone());
            }
            Step::SetBundle => {
                let (found, bundle) = only_new(&before.bundles, &after.bundles)?;
                ensure!(*found == self.trust_domain() && bundle.x509_authorities.len() == 1, "{bundle:?}");
                expected.bundles.insert(found.clone(), bundle.clone());
            }
            Step::CreateEntry | Step::UpdateEntry => {
                let asked = if step == Step::CreateEntry { self.created() } else { self.updated() };
                let entry = after.entries.get(&self.entry_id()).context("no entry")?;
                let Entry { created_at, revision_number, .. } = *entry;
                ensure!(*entry == Entry { created_at, revision_number, ..asked }, "in part: {entry:?}");
                expected.entries.insert(entry.id.clone(), entry.clone());
            }
            // The list names the SVID that was used last.
            Step::Renew => {}
            Step::UseRenewed => {
                let agent = after.agents.get(&self.agent_path()).context("no agent")?;
                ensure!(agent.x509svid_serial_number == self.node.serial()?, "the SVID is not known as used");
                expected.agents.insert(self.agent_path(), agent.clone());
            }
            Step::DeleteBundle => {
                expected.bundles.remove(&self.trust_domain()).context("there was no bundle")?;
                let entry = after.entries.get(&self.entry_id()).context("no entry")?;
                ensure!(entry.federates_with.is_empty(), "the bundle is still in the entry");
                expected.entries.insert(entry.id.clone(), entry.clone());
            }
            Step::DeleteEntry => drop(expected.entries.remove(&self.entry_id()).context("there was no entry")?),
            Step::Ban => {
                let agent = after.agents.get(&self.agent_path()).context("no agent")?;
                ensure!(agent.banned, "not banned");
                expected.agents.insert(self.agent_path(), agent.clone());
            }
            Step::Evict => {
                expected.agents.remove(&self.agent_path()).context("there was no agent")?;
                // With it goes the entry for its other ID.
                expected.entries.retain(|_, entry| entry.parent_id != Some(id(&self.agent_path())));
            }
        }
        ensure!(*after == expected, "something else has changed:\n{after:#?}\nin place of\n{expected:#?}");
        Ok(())
    }

    /// Whoever had no answer asks again.
    async fn go_on(&mut self, step: Step, is_done: bool) -> Result<()> {
        match step {
            Step::CreateToken => {
                let attested = self.node.attest(self.port, &self.token()).await;
                ensure!(attested.is_ok() == is_done, "an entry for a token that is not there, or the other way round");
            }
            Step::Attest => {
                self.node.attest(self.port, &self.token()).await.context("the same token with the same key")?;
                self.node.call(self.port).await?;
            }
            Step::Ban => {
                ensure!(self.node.call(self.port).await.is_ok() != is_done, "a banned agent may call");
            }
            Step::Evict => {
                ensure!(self.node.call(self.port).await.is_err(), "an agent that was banned or evicted may call");
                let again = self.node.attest(self.port, &self.token()).await;
                ensure!(again.is_err(), "it attests again with its token");
            }
            // Whichever SVID it has got, it has not used it yet, or used it for the last call.
            _ => {
                self.node.renew(self.port).await?;
                self.node.call(self.port).await?;
            }
        }
        Ok(())
    }

    fn token(&self) -> String {
        format!("token-{}", self.number)
    }

    fn agent_path(&self) -> String {
        format!("/spire/agent/join_token/{}", self.token())
    }

    fn trust_domain(&self) -> String {
        format!("foreign{}.example", self.number)
    }

    fn entry_id(&self) -> String {
        format!("entry-{}", self.number)
    }

    fn bundle(&self, own: Bundle) -> Bundle {
        let Bundle { x509_authorities, jwt_authorities, .. } = own;
        Bundle { trust_domain: self.trust_domain(), x509_authorities, jwt_authorities, ..Bundle::default() }
    }

    fn created(&self) -> Entry {
        Entry {
            id: self.entry_id(),
            spiffe_id: Some(id(&format!("/killed/{}", self.number))),
            parent_id: Some(id(&self.agent_path())),
            selectors: vec![selector("uid:1"), selector("gid:1")],
            federates_with: vec![self.trust_domain()],
            dns_names: vec!["a.example".to_owned(), "b.example".to_owned()],
            x509_svid_ttl: 60,
            ..Entry::default()
        }
    }

    fn updated(&self) -> Entry {
        Entry {
            selectors: vec![selector("uid:2")],
            dns_names: vec!["c.example".to_owned()],
            x509_svid_ttl: 120,
            hint: "updated".to_owned(),
            ..self.created()
        }
    }
}

fn id(path: &str) -> Spiffeid {
    Spiffeid { trust_domain: "example.org".to_owned(), path: path.to_owned() }
}

fn selector(value: &str) -> Selector {
    Selector { r#type: "unix".to_owned(), value: value.to_owned() }
}

fn ok(status: Option<Status>) -> Result<()> {
    let Status { code, message } = status.context("no status")?;
    ensure!(code == 0, "{message}");
    Ok(())
}
