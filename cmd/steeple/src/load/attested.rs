//! Agents without a host: each attests with a join token of its own, and calls as agents do.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use steeple_pki::{KeyType, Name, PrivateKey, certificate, csr};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, RenewAgentRequest, attest_agent_request, attest_agent_response,
};
use steeple_proto::spire::api::server::entry::v1::GetAuthorizedEntriesRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::types::{AttestationData, X509svid};
use steeple_runtime::Clock;
use steeple_spiffe::{Certificate, SpiffeId};
use steeple_transport::dial::{self, Place, Proxy, Servers};
use steeple_transport::sync::MASK;
use steeple_transport::tls::{self, Credential, CredentialWatch, Expect};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

use super::advice::failed;
use super::server::{AT_ONCE, BATCH, Server};

/// Where agents attest, and how they get there.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) server: &'a Server,
    /// Agents take turns among them.
    pub(super) places: &'a [Place],
    pub(super) clock: &'a Clock,
}

/// An agent that has attested, and its connection to the server. A clone is the same agent.
#[derive(Clone)]
pub(super) struct Attested {
    pub(super) id: SpiffeId,
    pub(super) channel: Channel,
    number: u64,
    credential: CredentialWatch,
}

impl Site<'_> {
    /// A new agent. Agents with the same number have the same place and address.
    ///
    /// # Errors
    /// The server refuses, or cannot be reached there.
    pub(super) async fn attested(&self, number: u64) -> Result<Attested> {
        let token = self.server.join_token().await?;
        let what = format!("cannot attest at {}", self.place(number)?);
        self.attest(number, token).await.map_err(|status| failed(&what, &status))
    }

    /// So many new agents.
    ///
    /// # Errors
    /// As [`Self::attested`].
    pub(super) async fn several(&self, count: u64) -> Result<Vec<Attested>> {
        let agents = stream::iter(0..count).map(|number| self.attested(number));
        agents.buffered(AT_ONCE).try_collect().await
    }

    /// A new agent with this token.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn attest(&self, number: u64, (token, id): Token) -> Result<Attested, Status> {
        let key = PrivateKey::generate(KeyType::EcP256).map_err(internal)?;
        let params = attest_agent_request::Params {
            data: Some(AttestationData { r#type: "join_token".into(), payload: token.into_bytes() }),
            params: Some(AgentX509svidParams { csr: request(&key).map_err(internal)? }),
        };
        let step = Some(attest_agent_request::Step::Params(params));
        let messages = tokio_stream::once(AttestAgentRequest { step });
        let channel = self.channel(number, None)?;
        let mut answers = AgentClient::new(channel.clone()).attest_agent(messages).await?.into_inner();
        let answer = answers.message().await?.and_then(|answer| answer.step);
        let Some(attest_agent_response::Step::Result(result)) = answer else {
            return Err(Status::data_loss("the server did not answer the attestation with an SVID"));
        };
        let credential = credential(result.svid, &key)?;
        self.connected(Attested { id, channel, number, credential })
    }

    /// The same agent with a new SVID, which it has used once: only then the server has done all that a renewal takes.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn renew(&self, agent: Attested) -> Result<Attested, Status> {
        let agent = self.renewed(agent).await?;
        agent.authorized().await?;
        Ok(agent)
    }

    /// The same agent with a new SVID, which it shows from its next call on. The one before is over then.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn renewed(&self, agent: Attested) -> Result<Attested, Status> {
        let Attested { id, channel, number, credential: _ } = agent;
        let key = PrivateKey::generate(KeyType::EcP256).map_err(internal)?;
        let params = Some(AgentX509svidParams { csr: request(&key).map_err(internal)? });
        let answer = AgentClient::new(channel.clone()).renew_agent(RenewAgentRequest { params }).await?.into_inner();
        let credential = credential(answer.svid, &key)?;
        self.connected(Attested { id, channel, number, credential })
    }

    /// The same agent with a connection that is made at its next call; the one that it had ends.
    ///
    /// # Errors
    /// Its SVID cannot be used.
    pub(super) fn connected(&self, agent: Attested) -> Result<Attested, Status> {
        let Attested { id, channel: _, number, credential } = agent;
        Ok(Attested { id, channel: self.channel(number, Some(credential.clone()))?, number, credential })
    }

    fn place(&self, number: u64) -> Result<&Place> {
        let turn = usize::try_from(number)?.checked_rem(self.places.len());
        turn.and_then(|turn| self.places.get(turn)).context("no place of a server is known")
    }

    fn channel(&self, number: u64, credential: Option<CredentialWatch>) -> Result<Channel, Status> {
        let Self { server, places: _, clock } = self;
        let place = self.place(number).map_err(internal)?.clone();
        let id = SpiffeId::new(&server.trust_domain, "/spire/server").map_err(internal)?;
        // The run is short: the authorities that there were at its beginning will do.
        let authorities = watch::channel(Arc::clone(&server.authorities)).1;
        let tls = tls::client_config(credential, Expect::Verified { id, authorities }, (*clock).clone());
        let own = own_address(&place, number);
        let mut servers = Servers::new(place, []);
        if let Some(own) = own {
            servers = servers.reached_from(own);
        }
        Ok(dial::servers(servers, Arc::new(tls.map_err(internal)?), Proxy::of_environment(), (*clock).clone()))
    }
}

/// A join token, and the ID of the agent that attests with it.
pub(super) type Token = (String, SpiffeId);

/// On this host, each agent has an address of its own, as agents have: a server's limits are for one address.
fn own_address(place: &Place, number: u64) -> Option<IpAddr> {
    let is_here = place.host.parse::<Ipv4Addr>().is_ok_and(|host| host.is_loopback());
    // From 127.1.0.0 on, up to 127.255.255.255.
    let offset = u32::try_from(number % ADDRESSES).ok().filter(|_| is_here)?;
    Some(Ipv4Addr::from_bits(FIRST_ADDRESS + offset).into())
}

fn credential(svid: Option<X509svid>, key: &PrivateKey) -> Result<CredentialWatch, Status> {
    let chain = svid.unwrap_or_default().cert_chain;
    let chain = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| Status::data_loss(format!("the agent's SVID is malformed: {error}")))?;
    let credential = Credential::new(&chain, &key.to_pkcs8_der().map_err(internal)?).map_err(internal)?;
    Ok(watch::channel(Some(credential)).1)
}

/// What fails on this side.
fn internal(error: impl Display) -> Status {
    Status::internal(format!("{error:#}"))
}

impl Attested {
    /// Creates so many entries below this agent, and waits until the server's answers to it have them. Returns their
    /// IDs.
    ///
    /// # Errors
    /// The server refuses, or does not have them within a minute.
    pub(super) async fn authorize(&self, server: &Server, count: u64, clock: &Clock) -> Result<Vec<String>> {
        let numbers = (0..count).map(|number| self.number * count + number);
        let entries = numbers.map(|number| server.entry(number, &self.id, ("unix", &format!("uid:{number}"))));
        let entries = entries.collect::<Result<Vec<_>>>()?;
        let ids = entries.iter().map(|entry| entry.id.clone()).collect();
        for entries in entries.chunks(BATCH) {
            server.create(entries.to_vec()).await.map_err(|status| failed("cannot create entries", &status))?;
        }
        let known = async {
            while self.authorized().await? < count {
                clock.sleep(ASK_AGAIN).await;
            }
            Ok::<_, Status>(())
        };
        let known = clock.within(KNOWN_LIMIT, known).await;
        let known = known.with_context(|| format!("the server does not give the agent its {count} entries"))?;
        known.map_err(|status| failed("cannot get the agent's entries", &status))?;
        Ok(ids)
    }

    /// How many entries the server gives this agent, all that agents use of them.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn authorized(&self) -> Result<u64, Status> {
        let request = GetAuthorizedEntriesRequest { output_mask: Some(MASK) };
        let mut client = EntryClient::new(self.channel.clone()).max_decoding_message_size(LARGEST);
        Ok(client.get_authorized_entries(request).await?.into_inner().entries.len() as u64)
    }
}

/// A request for a certificate of this key that names nobody, as agents make it.
///
/// # Errors
/// The back end fails.
pub(super) fn request(key: &PrivateKey) -> Result<Vec<u8>> {
    Ok(csr::build(&Name::try_from(&certificate::svid_subject())?, None, &[], key)?)
}

/// A hundred thousand entries in one answer.
const LARGEST: usize = 256 << 20;
/// SPIRE's server reads its database every five seconds.
const KNOWN_LIMIT: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(100);
const FIRST_ADDRESS: u32 = Ipv4Addr::new(127, 1, 0, 0).to_bits();
/// How many there are.
const ADDRESSES: u64 = 255 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_this_host_each_agent_has_an_address_of_its_own() {
        let own = |place: &str, number| own_address(&place.parse().unwrap(), number).map(|own| own.to_string());
        assert_eq!(own("127.0.0.1:1", 0).as_deref(), Some("127.1.0.0"));
        assert_eq!(own("127.0.0.2:1", 65_536 + 258).as_deref(), Some("127.2.1.2"));
        assert_eq!(own("127.0.0.1:1", ADDRESSES - 1).as_deref(), Some("127.255.255.255"));
        assert_eq!(own("127.0.0.1:1", ADDRESSES), own("127.0.0.1:1", 0));
        for elsewhere in ["192.0.2.1:1", "server.example.org:1", "[::1]:1"] {
            assert_eq!(own(elsewhere, 7), None, "{elsewhere}");
        }
    }
}
