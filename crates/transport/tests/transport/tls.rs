//! Handshakes in memory: who is accepted, and what is said about who is not.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig,
    SupportedProtocolVersion,
};
use steeple_pki::{LocalSigner, PublicKey, SignError, SignatureAlgorithm, Signer};
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_runtime::Clock;
use steeple_testkit::ca::Svid;
use steeple_testkit::{Ca, ManualClock};
use steeple_transport::dial;
use steeple_transport::listen::{Port, Proxies, TlsListener};
use steeple_transport::tls::{
    Credential, CredentialWatch, Expect, KeyExchange, client_config, client_config_with, credential_with_signer,
    is_unknown_authority, provider, server_config, server_config_with,
};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::Code;

use crate::{HOUR, Members, world};

/// A server and what it shows, and whom a client believes.
struct Case {
    manual: ManualClock,
    server: watch::Sender<Option<Credential>>,
    server_config: Arc<ServerConfig>,
}

impl Case {
    fn new(manual: ManualClock, svid: &Svid, members: Members) -> Self {
        let (server, shown) = watch::channel(Some(svid.credential()));
        let config = server_config(shown, Arc::new(members), manual.clock()).unwrap();
        Self { manual, server, server_config: Arc::new(config) }
    }

    /// Both ends' outcomes. A client that is refused learns it when it first reads, so both read and write a byte.
    async fn handshake(&self, client: ClientConfig) -> (io::Result<TheServerSaw>, io::Result<TheClientSaw>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (far, near) = tokio::io::duplex(64 * 1024);
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server_config));
        let server = async move {
            let mut stream = acceptor.accept(far).await?;
            stream.write_all(b"x").await?;
            stream.flush().await?;
            let session = stream.get_ref().1;
            let kind = session.handshake_kind();
            let (version, group) = (session.protocol_version(), session.negotiated_key_exchange_group());
            let group = group.map(|group| group.name());
            let client = session.peer_certificates().is_some();
            Ok(TheServerSaw { kind, version, group, client })
        };
        let client = async move {
            let name = ServerName::try_from("anything").unwrap();
            let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            Ok(TheClientSaw { leaf })
        };
        tokio::join!(server, client)
    }

    fn clock(&self) -> Clock {
        self.manual.clock()
    }

    /// A client that shows nothing and wants `id`, below the CA's authority.
    fn client(&self, ca: &Ca, id: &str) -> ClientConfig {
        client_config(None, verified(ca, id), self.clock()).unwrap()
    }

    /// A client that shows an SVID and wants the server of `ca`.
    fn client_with(&self, ca: &Ca, svid: &Svid) -> ClientConfig {
        client_config(Some(shown(svid)), verified(ca, "/spire/server"), self.clock()).unwrap()
    }
}

struct TheServerSaw {
    kind: Option<HandshakeKind>,
    version: Option<ProtocolVersion>,
    group: Option<NamedGroup>,
    client: bool,
}

#[derive(Debug)]
struct TheClientSaw {
    leaf: Vec<u8>,
}

fn verified(ca: &Ca, id: &str) -> Expect {
    let (_, authorities) = watch::channel(ca.authorities());
    Expect::Verified { id: ca.id(id), authorities }
}

fn shown(svid: &Svid) -> CredentialWatch {
    watch::channel(Some(svid.credential())).1
}

/// A server of example.org at a fixed moment, and its CA.
fn case() -> (Case, Ca) {
    let (manual, ca) = world();
    let now = manual.now();
    let svid = ca.svid("/spire/server", now..now + HOUR);
    let members = Members { cas: vec![ca.clone()], admitted: Vec::new() };
    (Case::new(manual, &svid, members), ca)
}

fn refusal(outcome: io::Result<TheClientSaw>) -> String {
    outcome.unwrap_err().to_string()
}

#[tokio::test]
async fn accepts_the_server_that_has_the_id() {
    let (case, ca) = case();
    let (server, client) = case.handshake(case.client(&ca, "/spire/server")).await;
    assert!(!server.unwrap().client);
    client.unwrap();
}

#[tokio::test]
async fn refuses_a_server_that_has_another_id() {
    let (case, ca) = case();
    let (_, client) = case.handshake(case.client(&ca, "/other")).await;
    let error = client.unwrap_err();
    assert!(!is_unknown_authority(&error));
    assert!(error.to_string().contains("spiffe://example.org/spire/server"), "{error}");
}

#[tokio::test]
async fn refuses_a_server_below_an_authority_that_is_not_known_and_can_tell_so() {
    let (case, ca) = case();
    let stranger = Ca::new("example.org", case.manual.now());
    let (_, client) = case.handshake(case.client(&stranger, "/spire/server")).await;
    assert!(is_unknown_authority(&client.unwrap_err()));
    let nobody = Expect::Verified { id: ca.id("/spire/server"), authorities: watch::channel(Arc::from([])).1 };
    let (_, client) = case.handshake(client_config(None, nobody, case.clock()).unwrap()).await;
    assert!(is_unknown_authority(&client.unwrap_err()));
}

#[tokio::test]
async fn refuses_a_server_whose_svid_has_ended_or_not_begun() {
    let (case, ca) = case();
    let config = case.client(&ca, "/spire/server");
    case.manual.advance(HOUR + HOUR / 60);
    let (_, client) = case.handshake(config.clone()).await;
    let error = client.unwrap_err();
    assert!(!is_unknown_authority(&error), "{error}");

    case.manual.set(case.manual.now() - HOUR * 2);
    let (_, client) = case.handshake(config).await;
    assert!(client.is_err());
}

#[tokio::test]
async fn refuses_a_server_of_another_trust_domain_even_below_the_same_authority() {
    let (case, ca) = case();
    let now = case.manual.now();
    let foreign = Ca::new("other.org", now).id("/spire/server");
    case.server.send_replace(Some(ca.svid_of(&foreign, now..now + HOUR).credential()));
    let (_, client) = case.handshake(case.client(&ca, "/spire/server")).await;
    let error = refusal(client);
    assert!(error.contains("spiffe://other.org/spire/server"), "{error}");
}

#[tokio::test]
async fn an_insecure_client_believes_any_authority_but_not_any_id() {
    let (case, ca) = case();
    let insecure = |id| Expect::DangerouslyUnverified { id };
    let config = client_config(None, insecure(ca.id("/spire/server")), case.clock()).unwrap();
    case.handshake(config).await.1.unwrap();
    let config = client_config(None, insecure(ca.id("/other")), case.clock()).unwrap();
    assert!(refusal(case.handshake(config).await.1).contains("spiffe://example.org/spire/server"));
}

#[tokio::test]
async fn lets_in_members_of_the_trust_domain() {
    let (case, ca) = case();
    let now = case.manual.now();
    let svid = ca.svid("/web", now..now + HOUR);
    let (server, client) = case.handshake(case.client_with(&ca, &svid)).await;
    assert!(server.unwrap().client);
    client.unwrap();
}

#[tokio::test]
async fn refuses_members_whose_svid_has_ended_or_is_anothers() {
    let (case, ca) = case();
    let now = case.manual.now();
    let expired = ca.svid("/web", now - HOUR * 2..now - HOUR);
    let (server, client) = case.handshake(case.client_with(&ca, &expired)).await;
    assert!(server.is_err() && client.is_err());
    let forged = Ca::new("example.org", now).svid("/web", now..now + HOUR);
    let (server, client) = case.handshake(case.client_with(&ca, &forged)).await;
    assert!(server.is_err_and(|error| is_unknown_authority(&error)) && client.is_err());
}

#[tokio::test]
async fn refuses_foreigners_unless_they_are_admitted() {
    let (manual, ca) = world();
    let now = manual.now();
    let other = Ca::new("other.org", now);
    let server = ca.svid("/spire/server", now..now + HOUR);
    let members = Members { cas: vec![ca.clone(), other.clone()], admitted: vec![other.id("/admin")] };
    let case = Case::new(manual, &server, members);

    let admin = other.svid("/admin", now..now + HOUR);
    assert!(case.handshake(case.client_with(&ca, &admin)).await.0.unwrap().client);
    let somebody = other.svid("/somebody", now..now + HOUR);
    assert!(case.handshake(case.client_with(&ca, &somebody)).await.0.is_err());
    // The right ID, by the wrong authority.
    let forged = ca.svid_of(&other.id("/admin"), now..now + HOUR);
    assert!(case.handshake(case.client_with(&ca, &forged)).await.0.is_err());
    // A trust domain of which there is no bundle.
    let stranger = Ca::new("stranger.org", now).svid("/admin", now..now + HOUR);
    assert!(case.handshake(case.client_with(&ca, &stranger)).await.0.is_err());
}

#[tokio::test]
async fn a_rotated_credential_is_shown_at_the_next_handshake() {
    let (case, ca) = case();
    let config = case.client(&ca, "/spire/server");
    let first = case.handshake(config.clone()).await.1.unwrap().leaf;
    let now = case.manual.now();
    let rotated = ca.svid("/spire/server", now..now + HOUR);
    case.server.send_replace(Some(rotated.credential()));
    let (server, client) = case.handshake(config).await;
    let second = client.unwrap().leaf;
    assert_eq!(second, rotated.leaf().der());
    assert_ne!(first, second);
    // A resumed session would still be the first identity's.
    assert!(matches!(server.unwrap().kind, Some(HandshakeKind::Full)));
}

#[tokio::test]
async fn a_rotated_client_credential_is_shown_at_the_next_handshake() {
    let (case, ca) = case();
    let now = case.manual.now();
    let (client, shown) = watch::channel(None);
    let config = client_config(Some(shown), verified(&ca, "/spire/server"), case.clock()).unwrap();
    assert!(!case.handshake(config.clone()).await.0.unwrap().client);
    client.send_replace(Some(ca.svid("/web", now..now + HOUR).credential()));
    assert!(case.handshake(config).await.0.unwrap().client);
}

#[tokio::test]
async fn new_authorities_count_at_the_next_handshake() {
    let (case, ca) = case();
    let (authorities, watched) = watch::channel(Arc::from([]));
    let expect = Expect::Verified { id: ca.id("/spire/server"), authorities: watched };
    let config = client_config(None, expect, case.clock()).unwrap();
    assert!(case.handshake(config.clone()).await.1.is_err());
    authorities.send_replace(ca.authorities());
    case.handshake(config).await.1.unwrap();
}

#[tokio::test]
async fn there_is_no_handshake_without_a_credential() {
    let (case, ca) = case();
    case.server.send_replace(None);
    let (server, client) = case.handshake(case.client(&ca, "/spire/server")).await;
    assert!(server.is_err() && client.is_err());
}

#[tokio::test]
async fn post_quantum_key_exchange_is_preferred() {
    let (case, ca) = case();
    let server = case.handshake(case.client(&ca, "/spire/server")).await.0.unwrap();
    assert_eq!(server.version, Some(ProtocolVersion::TLSv1_3));
    assert_eq!(server.group, Some(NamedGroup::X25519MLKEM768));
}

type Negotiated = Result<Option<NamedGroup>, String>;

/// What a listener that requires it makes of a client that offers this group and version.
async fn required(group: &'static dyn SupportedKxGroup, version: &'static SupportedProtocolVersion) -> Negotiated {
    let (mut case, ca) = case();
    let members = Members { cas: vec![ca.clone()], admitted: Vec::new() };
    let (exchange, shown) = (KeyExchange::RequirePostQuantum, case.server.subscribe());
    case.server_config = Arc::new(server_config_with(exchange, shown, Arc::new(members), case.clock()).unwrap());
    let provider = CryptoProvider { kx_groups: vec![group], ..(*provider()).clone() };
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    let (server, _) = case.handshake(client).await;
    server.map(|server| server.group).map_err(|error| error.to_string())
}

#[tokio::test]
async fn required_post_quantum_key_exchange_takes_no_other() {
    for group in [kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768] {
        assert_eq!(required(group, &TLS13).await, Ok(Some(group.name())));
    }
    for group in [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1] {
        assert!(required(group, &TLS13).await.is_err(), "{group:?}");
    }
    // TLS 1.2 has no such key exchange.
    assert!(required(kx_group::X25519, &TLS12).await.is_err());

    let (case, ca) = case();
    let expect = verified(&ca, "/spire/server");
    let client = client_config_with(KeyExchange::RequirePostQuantum, None, expect, case.clock()).unwrap();
    let (server, _) = case.handshake(client).await;
    assert_eq!(server.unwrap().group, Some(NamedGroup::X25519MLKEM768));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_lives_elsewhere_signs_handshakes_of_both_versions() {
    let (case, ca) = case();
    let now = case.manual.now();
    let svid = ca.svid("/spire/server", now..now + HOUR);
    let signer = Arc::new(Elsewhere(LocalSigner(Arc::clone(&svid.key))));
    case.server.send_replace(Some(credential_with_signer(&svid.chain, signer).unwrap()));
    case.handshake(case.client(&ca, "/spire/server")).await.1.unwrap();

    let tls12 = ClientConfig::builder_with_provider(steeple_transport::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    let (server, client) = case.handshake(tls12).await;
    assert_eq!(server.unwrap().version, Some(ProtocolVersion::TLSv1_2));
    client.unwrap();
}

/// A signer that has to wait before it signs.
#[derive(Debug)]
struct Elsewhere(LocalSigner);

#[async_trait::async_trait]
impl Signer for Elsewhere {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        tokio::task::yield_now().await;
        self.0.sign(message).await
    }
}

#[test]
fn a_credential_needs_its_own_key() {
    let (manual, ca) = world();
    let now = manual.now();
    let (one, other) = (ca.svid("/a", now..now + HOUR), ca.svid("/b", now..now + HOUR));
    assert!(Credential::new(&one.chain, &one.key_der()).is_ok());
    let error = Credential::new(&one.chain, &other.key_der()).unwrap_err();
    assert!(error.to_string().starts_with("unusable TLS key: "), "{error}");
    assert!(Credential::new(&one.chain, b"nothing").is_err());
}

/// What an agent sees of a server that is not the one it knows.
#[tokio::test]
async fn an_unknown_authority_is_told_through_a_calls_status() {
    let (manual, ca) = world();
    let now = manual.now();
    let svid = ca.svid("/spire/server", now..now + HOUR);
    let members = Members { cas: vec![ca.clone()], admitted: Vec::new() };
    let tls = server_config(shown(&svid), Arc::new(members), manual.clock()).unwrap();
    let (port, tls) = (Port::claim(([127, 0, 0, 1], 0).into()).unwrap(), Arc::new(tls));
    let listener = TlsListener::on(port, move || Arc::clone(&tls), Proxies::default(), None, manual.clock()).unwrap();
    let port = listener.address().port();

    let call = async |ca: &Ca| {
        let tls = client_config(None, verified(ca, "/spire/server"), manual.clock()).unwrap();
        let mut client =
            BundleClient::new(dial::server("127.0.0.1", port, Arc::new(tls), dial::Proxy::none(), manual.clock()));
        client.get_bundle(GetBundleRequest { output_mask: None }).await.unwrap_err()
    };
    let status = call(&Ca::new("example.org", now)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(is_unknown_authority(&status), "{status:?}");

    drop(listener);
    let status = call(&ca).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!is_unknown_authority(&status), "{status:?}");
}

/// A client that asks nothing.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = steeple_transport::tls::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = steeple_transport::tls::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        steeple_transport::tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
