//! `steeple.agent.sync.v1`: what an agent by hand can make the stream say, and how it ends.

use anyhow::{Context, Result, ensure};
use prost::Message as _;
use steeple_proto::spire::api::types::Entry;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_proto::steeple::agent::sync::v1::sync_client::SyncClient;
use steeple_proto::steeple::agent::sync::v1::{
    FollowRequest, FollowResponse, Open, Want, follow_request, follow_response,
};
use steeple_tests::{AgentByHand, Domain, Port, Server, case, until, within};
use steeple_transport::status::denial_reason;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::call;

const ENTRIES: &str = "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries";

/// A stream that is open.
struct Followed {
    requests: mpsc::Sender<FollowRequest>,
    answers: Streaming<FollowResponse>,
}

impl Followed {
    async fn open(channel: &Channel, held: Vec<u8>) -> Result<Self> {
        let (requests, asked) = mpsc::channel(1);
        let request = Some(follow_request::Request::Open(Open { held }));
        requests.send(FollowRequest { request }).await?;
        let answers = SyncClient::new(channel.clone()).follow(ReceiverStream::new(asked)).await?.into_inner();
        Ok(Self { requests, answers })
    }

    async fn want(&self, ids: &[&str]) -> Result<()> {
        let entry_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let request = Some(follow_request::Request::Want(Want { entry_ids }));
        Ok(self.requests.send(FollowRequest { request }).await?)
    }

    /// What is told until all is told: kinds, and the ids that stand in them. News that is none for this agent is passed
    /// over.
    async fn told(&mut self) -> Result<Vec<String>> {
        let mut told = Vec::new();
        loop {
            let answer = within("a message", self.answers.message()).await??.context("the end")?;
            told.push(match answer.change.context("nothing")? {
                follow_response::Change::Status(_) if told.is_empty() => continue,
                follow_response::Change::Status(_) => return Ok(told),
                follow_response::Change::Bundle(bundle) => format!("bundle {}", bundle.trust_domain),
                follow_response::Change::RemovedBundle(name) => format!("no bundle {name}"),
                follow_response::Change::Removed(removed) => format!("removed {}", removed.entry_ids.join(",")),
                follow_response::Change::Listing(listing) => {
                    let ids: Vec<_> = listing.entries.into_iter().map(|entry| entry.id).collect();
                    format!("listing {}", ids.join(","))
                }
                follow_response::Change::Entries(entries) => {
                    let ids = entries.entries.iter().map(|entry| Ok(Entry::decode(&**entry)?.id));
                    format!("entries {}", ids.collect::<Result<Vec<_>>>()?.join(","))
                }
            });
        }
    }

    /// How it ends.
    async fn end(mut self) -> Result<Status> {
        within("the end of the stream", async {
            loop {
                match self.answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break Status::ok(""),
                    Err(status) => break status,
                }
            }
        })
        .await
    }
}

#[test]
fn forged_digests_and_ids_tell_an_agent_nothing_of_others() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let partner = Domain::builder().name("partner.org").start(scratch).await?;
        let port = Port::of(&domain).await?;
        let (victim, intruder) =
            (AgentByHand::attest(&domain, &port).await?, AgentByHand::attest(&domain, &port).await?);
        let bundle = scratch.path().join("partner.json");
        let shown = partner.server.command(&["bundle", "show", "-format", "spiffe"]).await?.ok()?;
        std::fs::write(&bundle, shown)?;
        let path = bundle.to_string_lossy();
        let set = ["bundle", "set", "-id", "spiffe://partner.org", "-format", "spiffe", "-path", &path];
        domain.server.command(&set).await?.ok()?;
        let federates = &["-federatesWith", "spiffe://partner.org"];
        let theirs = domain.entry(victim.id.as_str(), "/payroll", federates).await?;
        let own = domain.entry(intruder.id.as_str(), "/web", &[]).await?;
        for agent in [&victim, &intruder] {
            let known = async || {
                let mut followed = Followed::open(&agent.channel, Vec::new()).await.ok()?;
                followed
                    .told()
                    .await
                    .ok()?
                    .iter()
                    .any(|told| told.starts_with("listing ") && told.len() > 9)
                    .then_some(())
            };
            until("the entry", known).await?;
        }

        for held in [Vec::new(), vec![0; 32], vec![0xff; 32], vec![7; 1 << 20]] {
            let mut followed = Followed::open(&intruder.channel, held).await?;
            // Nor of the bundle of the partner, whom none of its entries federates with.
            assert_eq!(followed.told().await?, ["bundle example.org".to_owned(), format!("listing {own}")]);
            for id in [&*theirs, "7f2b7b0e-0000-4000-8000-000000000000", "", intruder.id.as_str(), victim.id.as_str()] {
                followed.want(&[id]).await?;
                assert_eq!(followed.told().await?, [format!("removed {id}")]);
            }
            followed.want(&[&theirs, &own, &own]).await?;
            assert_eq!(followed.told().await?, [format!("removed {theirs}"), format!("entries {own},{own}")]);
        }
        let followed = Followed::open(&intruder.channel, Vec::new()).await?;
        followed.want(&vec![&*theirs; 10_000]).await?;
        assert_eq!(followed.end().await?.code(), Code::InvalidArgument);

        // What becomes of the other's entry is nothing to it: the next that it is told is of its own.
        let mut followed = Followed::open(&intruder.channel, Vec::new()).await?;
        followed.told().await?;
        domain.server.command(&["entry", "delete", "-entryID", &theirs]).await?.ok()?;
        let new = domain.entry(intruder.id.as_str(), "/api", &[]).await?;
        assert_eq!(followed.told().await?, [format!("entries {new}")]);
        Ok(())
    })
}

#[test]
fn the_stream_of_an_agent_that_is_none_any_more_ends_and_tells_it_why() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let port = Port::of(&domain).await?;
        for (what, reason) in
            [("ban", Reason::AgentBanned), ("evict", Reason::AgentNotAttested), ("supersede", Reason::AgentNotActive)]
        {
            let agent = AgentByHand::attest(&domain, &port).await?;
            let mut followed = Followed::open(&agent.channel, Vec::new()).await?;
            followed.told().await?;
            if what == "supersede" {
                let renewed = port.channel(Some(agent.renew().await?))?;
                // Renewed is not yet superseded: that comes when the new SVID is first seen.
                let entry = domain.entry(agent.id.as_str(), "/web", &[]).await?;
                assert_eq!(followed.told().await?, [format!("entries {entry}")]);
                call(&renewed, ENTRIES, &[]).await??;
            } else {
                domain.server.command(&["agent", what, "-spiffeID", agent.id.as_str()]).await?.ok()?;
            }
            refused(&followed.end().await?, reason).with_context(|| what.to_owned())?;
            logged(1, &domain.server, &agent, "Follow", reason).await?;
            // And there is no other one.
            let again = Followed::open(&agent.channel, Vec::new()).await;
            let again = match again {
                Ok(followed) => followed.end().await?,
                Err(error) => error.downcast()?,
            };
            refused(&again, reason).with_context(|| format!("{what}, again"))?;
            logged(2, &domain.server, &agent, "Follow", reason).await?;
        }
        Ok(())
    })
}

#[test]
fn the_stream_of_an_agent_whose_svid_ends_ends_with_it() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().agent_ttl("4s").start(scratch).await?;
        let port = Port::of(&domain).await?;
        let agent = AgentByHand::attest(&domain, &port).await?;
        let mut followed = Followed::open(&agent.channel, Vec::new()).await?;
        followed.told().await?;
        refused(&followed.end().await?, Reason::AgentExpired)?;
        logged(1, &domain.server, &agent, "Follow", Reason::AgentExpired).await?;
        // On the connection that it has, it is refused the same way; another one it does not get.
        let refusal = call(&agent.channel, ENTRIES, &[]).await?.err().context("it is answered")?;
        refused(&refusal, Reason::AgentExpired)?;
        logged(1, &domain.server, &agent, "GetAuthorizedEntries", Reason::AgentExpired).await?;
        let anew = port.channel(Some(agent.credential.clone()))?;
        let refusal = call(&anew, ENTRIES, &[]).await.and_then(|answered| answered.map_err(Into::into));
        ensure!(refusal.is_err(), "an SVID that has ended connects");
        Ok(())
    })
}

/// Our own agent renews, and what the server says to the stream of its old SVID is no reason for anything.
#[test]
fn a_renewal_disturbs_neither_the_agent_nor_its_workloads() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().agent_ttl("16s").start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id(&domain.id("/web")).await?;
        let mut stream = follower.into_stream()?;
        let quiet = agent.process()?.log()?.len();
        let serial = async || {
            let agents = domain.server.agents().await.ok()?;
            agents[0]["x509svid_serial_number"].as_str().map(str::to_owned)
        };
        let mut serials = vec![until("an agent", serial).await?];
        while serials.len() < 3 {
            let next = until("a renewal", async || serial().await.filter(|serial| !serials.contains(serial)));
            serials.push(next.await?);
            // A change that comes after it is pushed to the same stream of the same workload.
            let path = format!("/after-{}", serials.len());
            domain.entry(&agent.id, &path, &[]).await?;
            let id = domain.id(&path);
            within("the change", async {
                while !stream
                    .message()
                    .await?
                    .context("the stream has ended")?
                    .svids
                    .iter()
                    .any(|svid| svid.spiffe_id == id)
                {}
                anyhow::Ok(())
            })
            .await??;
        }
        let log = agent.process()?.log()?;
        let alarming = |line: &&str| ["level=error", "level=warn", "ttestation"].iter().any(|word| line.contains(word));
        let alarms: Vec<_> = log[quiet..].lines().filter(alarming).collect();
        ensure!(alarms.is_empty(), "{alarms:#?}");
        Ok(())
    })
}

fn refused(status: &Status, reason: Reason) -> Result<()> {
    let told = (status.code(), denial_reason(status));
    ensure!(told == (Code::PermissionDenied, Some(reason)), "{status:?}");
    Ok(())
}

/// Waits until the server's log has so many denials of an agent at a method, with the reason that the caller gets.
async fn logged(count: usize, server: &Server, agent: &AgentByHand, method: &str, reason: Reason) -> Result<()> {
    let fields =
        ["level=error", agent.id.as_str(), &format!("method={method}"), &format!("reason={}", reason.as_str_name())];
    let what = format!("{count} lines with {fields:?}");
    let told = async || {
        let log = server.written().ok()?;
        let denials = log.lines().filter(|line| fields.iter().all(|field| line.contains(field)));
        (denials.count() == count).then_some(())
    };
    until(&what, told).await
}
