//! An agent without a host: it attests with a join token of its own, and calls as agents do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use steeple_pki::{KeyType, Name, PrivateKey, certificate, csr};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, attest_agent_request, attest_agent_response,
};
use steeple_proto::spire::api::server::entry::v1::GetAuthorizedEntriesRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::types::AttestationData;
use steeple_runtime::Clock;
use steeple_spiffe::{Certificate, SpiffeId};
use steeple_transport::dial::{self, Proxy};
use steeple_transport::sync::MASK;
use steeple_transport::tls::{self, Credential, CredentialWatch, Expect};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

use super::advice::failed;
use super::server::{BATCH, Server};

/// An agent that has attested, and its connection to the server.
pub(super) struct Attested {
    pub(super) id: SpiffeId,
    pub(super) channel: Channel,
}

impl Attested {
    /// Attests a new one at the server that listens at `address`.
    ///
    /// # Errors
    /// The server refuses, or cannot be reached there.
    pub(super) async fn attest(server: &Server, address: &(String, u16), clock: &Clock) -> Result<Self> {
        let (token, id) = server.join_token().await?;
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let connect = |credential| channel(server, address, credential, clock);
        let params = attest_agent_request::Params {
            data: Some(AttestationData { r#type: "join_token".into(), payload: token.into_bytes() }),
            params: Some(AgentX509svidParams { csr: request(&key)? }),
        };
        let step = Some(attest_agent_request::Step::Params(params));
        let messages = tokio_stream::once(AttestAgentRequest { step });
        let answered = async {
            let mut answers = AgentClient::new(connect(None)?).attest_agent(messages).await?.into_inner();
            let answer = answers.message().await?.and_then(|answer| answer.step);
            Ok::<_, Attesting>(answer)
        };
        let what = format!("cannot attest at {}:{}", address.0, address.1);
        let answer = answered.await.map_err(|error| match error {
            Attesting::Status(status) => failed(&what, &status),
            Attesting::Other(error) => error.context(what),
        })?;
        let Some(attest_agent_response::Step::Result(result)) = answer else {
            bail!("the server did not answer the attestation with an SVID");
        };
        let chain = result.svid.unwrap_or_default().cert_chain;
        let chain = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>();
        let credential = Credential::new(&chain.context("the agent's SVID is malformed")?, &key.to_pkcs8_der()?)?;
        Ok(Self { id, channel: connect(Some(watch::channel(Some(credential)).1))? })
    }

    /// Creates so many entries below this agent, and waits until the server's answers to it have them. Returns their
    /// IDs.
    ///
    /// # Errors
    /// The server refuses, or does not have them within a minute.
    pub(super) async fn authorize(&self, server: &Server, count: u64, clock: &Clock) -> Result<Vec<String>> {
        let entries = (0..count).map(|number| server.entry(number, &self.id, ("unix", &format!("uid:{number}"))));
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

enum Attesting {
    Status(Status),
    Other(anyhow::Error),
}

impl From<Status> for Attesting {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<anyhow::Error> for Attesting {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

fn channel(
    server: &Server,
    (host, port): &(String, u16),
    credential: Option<CredentialWatch>,
    clock: &Clock,
) -> Result<Channel> {
    let id = SpiffeId::new(&server.trust_domain, "/spire/server")?;
    // The run is short: the authorities that there were at its beginning will do.
    let authorities = watch::channel(Arc::clone(&server.authorities)).1;
    let tls = tls::client_config(credential, Expect::Verified { id, authorities }, clock.clone())?;
    Ok(dial::server(host, *port, Arc::new(tls), Proxy::of_environment(), clock.clone()))
}

/// A hundred thousand entries in one answer.
const LARGEST: usize = 256 << 20;
/// SPIRE's server reads its database every five seconds.
const KNOWN_LIMIT: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(100);
