//! An agent in this process, which attests with a token and a key of the case's choice.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
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
use steeple_transport::dial::{self, Proxy};
use steeple_transport::tls::{self, Credential, Expect};
use tokio::sync::watch;
use tonic::transport::Channel;

/// A key, and what the server has certified for it.
pub(super) struct Node {
    key: PrivateKey,
    chain: Vec<Certificate>,
}

impl Node {
    /// One that has not attested.
    ///
    /// # Errors
    /// There is no key to be had.
    pub(super) fn new() -> Result<Self> {
        Ok(Self { key: PrivateKey::generate(KeyType::EcP256)?, chain: Vec::new() })
    }

    /// Attests with a token; returns its ID.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub(super) async fn attest(&mut self, port: u16, token: &str) -> Result<SpiffeId> {
        let params = attest_agent_request::Params {
            data: Some(AttestationData { r#type: "join_token".to_owned(), payload: token.as_bytes().to_vec() }),
            params: Some(self.params()?),
        };
        let request = AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) };
        let mut client = AgentClient::new(self.channel(port)?);
        let mut answers = client.attest_agent(tokio_stream::once(request)).await?.into_inner();
        let answer = answers.message().await?.and_then(|answer| answer.step);
        let Some(attest_agent_response::Step::Result(result)) = answer else { bail!("no result: {answer:?}") };
        self.take(result.svid)
    }

    /// Renews its SVID. The one before holds until the new one is used.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub(super) async fn renew(&mut self, port: u16) -> Result<SpiffeId> {
        let request = RenewAgentRequest { params: Some(self.params()?) };
        let renewed = AgentClient::new(self.channel(port)?).renew_agent(request).await?;
        self.take(renewed.into_inner().svid)
    }

    /// Calls the server as agents do.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub(super) async fn call(&self, port: u16) -> Result<()> {
        let request = GetAuthorizedEntriesRequest { output_mask: None };
        EntryClient::new(self.channel(port)?).get_authorized_entries(request).await?;
        Ok(())
    }

    /// The serial number of the SVID that it has.
    ///
    /// # Errors
    /// It has none.
    pub(super) fn serial(&self) -> Result<String> {
        Ok(self.chain.first().context("no SVID")?.serial_decimal())
    }

    fn params(&self) -> Result<AgentX509svidParams> {
        let subject = Name::try_from(&certificate::svid_subject())?;
        Ok(AgentX509svidParams { csr: csr::build(&subject, None, &[], &self.key)? })
    }

    fn take(&mut self, svid: Option<X509svid>) -> Result<SpiffeId> {
        let chain = svid.context("no SVID")?.cert_chain;
        self.chain = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
        Ok(self.chain.first().context("no certificate")?.spiffe_id()?)
    }

    /// Who the server is, other cases look at.
    fn channel(&self, port: u16) -> Result<Channel> {
        let credential = match self.chain.as_slice() {
            [] => None,
            chain => Some(watch::channel(Some(Credential::new(chain, &self.key.to_pkcs8_der()?)?)).1),
        };
        let expect = Expect::DangerouslyUnverified { id: SpiffeId::parse("spiffe://example.org/spire/server")? };
        let config = tls::client_config(credential, expect, Clock::system())?;
        Ok(dial::server("127.0.0.1", port, Arc::new(config), Proxy::none(), Clock::system()))
    }
}
