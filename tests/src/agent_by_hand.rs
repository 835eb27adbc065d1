//! An agent that is a test: it has attested like any other, and calls what it likes.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use steeple_pki::{KeyType, Name, PrivateKey, certificate, csr};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, RenewAgentRequest, attest_agent_request, attest_agent_response,
};
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::types::{AttestationData, X509svid};
use steeple_runtime::Clock;
use steeple_spiffe::{Certificate, SpiffeId};
use steeple_transport::dial::{self, Proxy};
use steeple_transport::tls::{self, Credential, Expect};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::Status;
use tonic::transport::Channel;

use crate::{Domain, Server};

/// The server's TCP port, as a stranger finds it.
pub struct Port {
    server: SpiffeId,
    authorities: Arc<[Certificate]>,
    number: u16,
}

impl Port {
    /// Of the first server.
    ///
    /// # Errors
    /// The server does not say which authorities there are.
    pub async fn of(domain: &Domain) -> Result<Self> {
        Self::of_server(domain, &domain.server).await
    }

    /// Of one of several servers.
    ///
    /// # Errors
    /// The server does not say which authorities there are.
    pub async fn of_server(domain: &Domain, server: &Server) -> Result<Self> {
        let mut bundles = BundleClient::new(dial::local(&server.socket));
        let bundle = bundles.get_bundle(GetBundleRequest { output_mask: None }).await?.into_inner();
        let authorities = bundle.x509_authorities.iter().map(|authority| Certificate::from_der(&authority.asn1));
        let id = SpiffeId::parse(&domain.id("/spire/server"))?;
        Ok(Self { server: id, authorities: authorities.collect::<Result<_, _>>()?, number: server.port })
    }

    /// A channel that shows this credential, or none.
    ///
    /// # Errors
    /// The credential cannot be used for TLS.
    pub fn channel(&self, credential: Option<Credential>) -> Result<Channel> {
        Ok(dial::server("127.0.0.1", self.number, self.tls(credential)?, Proxy::none(), Clock::system()))
    }

    /// A bare connection from one of this host's addresses.
    ///
    /// # Errors
    /// The server is not there.
    pub async fn dial(&self, from: Ipv4Addr) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        Ok(socket.connect((Ipv4Addr::LOCALHOST, self.number).into()).await?)
    }

    /// A connection whose handshake is done.
    ///
    /// # Errors
    /// The server is not there, or refuses the credential.
    pub async fn connect(&self, from: Ipv4Addr, credential: Option<Credential>) -> Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.tls(credential)?);
        let name = ServerName::try_from("nobody").context("a name for nobody")?;
        Ok(connector.connect(name, self.dial(from).await?).await?)
    }

    fn tls(&self, credential: Option<Credential>) -> Result<Arc<ClientConfig>> {
        let (id, authorities) = (self.server.clone(), watch::channel(Arc::clone(&self.authorities)).1);
        let credential = credential.map(|credential| watch::channel(Some(credential)).1);
        Ok(Arc::new(tls::client_config(credential, Expect::Verified { id, authorities }, Clock::system())?))
    }

    /// Attests with this token and key, whosever they are.
    ///
    /// # Errors
    /// The server's.
    pub async fn attest(&self, token: &str, csr: Vec<u8>) -> Result<X509svid, Status> {
        let params = attest_agent_request::Params {
            data: Some(AttestationData { r#type: "join_token".into(), payload: token.as_bytes().to_vec() }),
            params: Some(AgentX509svidParams { csr }),
        };
        let step = Some(attest_agent_request::Step::Params(params));
        let channel = self.channel(None).map_err(|error| Status::internal(error.to_string()))?;
        let messages = tokio_stream::once(AttestAgentRequest { step });
        let mut answers = AgentClient::new(channel).attest_agent(messages).await?.into_inner();
        match answers.message().await?.and_then(|answer| answer.step) {
            Some(attest_agent_response::Step::Result(result)) => Ok(result.svid.unwrap_or_default()),
            _ => Err(Status::internal("no SVID")),
        }
    }
}

/// An attested agent.
pub struct AgentByHand {
    /// Its SPIFFE ID.
    pub id: SpiffeId,
    /// What it attested with.
    pub token: String,
    /// Its SVID, leaf first.
    pub chain: Vec<Certificate>,
    /// What it got when it attested, and shows until [`AgentByHand::show`].
    pub credential: Credential,
    /// To the server that it attested at.
    pub channel: Channel,
}

impl AgentByHand {
    /// A new one, with a token of its own.
    ///
    /// # Errors
    /// The server gives no token, or refuses it.
    pub async fn attest(domain: &Domain, port: &Port) -> Result<Self> {
        let token = domain.server.token(&[]).await?;
        Self::attest_with(domain, port, token).await
    }

    /// A new one, with this token.
    ///
    /// # Errors
    /// The server's [`Status`].
    pub async fn attest_with(domain: &Domain, port: &Port, token: String) -> Result<Self> {
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let svid = port.attest(&token, Self::request(&key, None)?).await?;
        let (chain, credential) = (Self::chain(&svid)?, credential(&svid, &key)?);
        let id = SpiffeId::parse(&domain.id(&format!("/spire/agent/join_token/{token}")))?;
        Ok(Self { id, token, chain, channel: port.channel(Some(credential.clone()))?, credential })
    }

    /// Renews its SVID; the one before it stays good until the new one is shown.
    ///
    /// # Errors
    /// The server's [`Status`].
    pub async fn renew(&self) -> Result<Credential> {
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let params = Some(AgentX509svidParams { csr: Self::request(&key, None)? });
        let answer = AgentClient::new(self.channel.clone()).renew_agent(RenewAgentRequest { params }).await?;
        credential(&answer.into_inner().svid.context("no SVID")?, &key)
    }

    /// Shows this one from now on.
    ///
    /// # Errors
    /// It cannot be used for TLS.
    pub fn show(&mut self, port: &Port, credential: Credential) -> Result<()> {
        self.channel = port.channel(Some(credential))?;
        Ok(())
    }

    /// A request for a certificate of this key, with a name that is asked for.
    ///
    /// # Errors
    /// The request cannot be signed.
    pub fn request(key: &PrivateKey, id: Option<&SpiffeId>) -> Result<Vec<u8>> {
        Ok(csr::build(&Name::try_from(&certificate::svid_subject())?, id, &[], key)?)
    }

    /// The certificates of an SVID, leaf first.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn chain(svid: &X509svid) -> Result<Vec<Certificate>> {
        Ok(svid.cert_chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?)
    }
}

fn credential(svid: &X509svid, key: &PrivateKey) -> Result<Credential> {
    Ok(Credential::new(&AgentByHand::chain(svid)?, &key.to_pkcs8_der()?)?)
}
