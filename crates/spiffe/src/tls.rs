//! TLS by SPIFFE ID with rustls: no host names, only identities (X509-SVID, section 5). TLS 1.2 and 1.3, post-quantum key
//! exchange preferred, no resumption: a resumed session would outlive the identity that it was made with.
//!
//! A configuration asks its sources at each handshake, so that rotation needs no new one:
//!
//! ```no_run
//! # #[cfg(feature = "workload-api")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use steeple_spiffe::tls::{self, Authorize};
//! use steeple_spiffe::workload_api::X509Source;
//!
//! let source = X509Source::new().await?;
//! let server = tls::server_config(&source, Authorize::member_of("example.org".parse()?))?;
//! let client = tls::client_config(&source, Authorize::one("spiffe://example.org/db".parse()?))?;
//! # Ok(())
//! # }
//! ```
//!
//! What the application speaks above TLS (`alpn_protocols`) is for the caller to set in the configuration. rustls wants a
//! server name of its clients; any will do, since it is neither sent nor looked at.

mod peers;
mod verify;

pub use peers::{Authorize, Authorized, PeerError, Peers};
pub use verify::{in_words, is_unknown_authority};

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, ProtocolVersion, ServerConfig, SignatureScheme, SupportedProtocolVersion};

use crate::{BundleSource, Certificate, X509Svid};

/// A server's configuration that shows the identity of `source` and lets in clients that are `authorized`. Each client
/// must show an SVID, and the bundle of its trust domain in `source` must vouch for it.
///
/// # Errors
/// [`TlsError::Configuration`].
pub fn server_config<S>(source: &S, authorized: Authorize) -> Result<ServerConfig, TlsError>
where
    S: CredentialSource + BundleSource + Clone + Send + Sync + 'static,
{
    Config::new(Authorized::new(source.clone(), authorized)).with_identity(source.clone()).server()
}

/// A client's configuration that shows the identity of `source` and takes servers that are `authorized`. The bundle of
/// the server's trust domain in `source` must vouch for it.
///
/// # Errors
/// [`TlsError::Configuration`].
pub fn client_config<S>(source: &S, authorized: Authorize) -> Result<ClientConfig, TlsError>
where
    S: CredentialSource + BundleSource + Clone + Send + Sync + 'static,
{
    Config::new(Authorized::new(source.clone(), authorized)).with_identity(source.clone()).client()
}

/// Which key exchange handshakes may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyExchange {
    /// Any of the library's; one that quantum computers do not break is preferred.
    #[default]
    PreferPostQuantum,
    /// TLS 1.3 with the groups X25519MLKEM768 and SecP256r1MLKEM768 alone (`require_pq_kem`).
    RequirePostQuantum,
}

impl KeyExchange {
    /// What an operator says who may require it.
    pub fn post_quantum(required: bool) -> Self {
        if required { Self::RequirePostQuantum } else { Self::PreferPostQuantum }
    }

    fn provider(self) -> Arc<CryptoProvider> {
        match self {
            Self::PreferPostQuantum => provider(),
            Self::RequirePostQuantum => {
                let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768];
                Arc::new(CryptoProvider { kx_groups, ..(*provider()).clone() })
            }
        }
    }
}

/// What configurations are made of.
#[derive(Clone)]
pub struct Config {
    peers: Arc<dyn Peers>,
    identity: Option<Arc<dyn CredentialSource>>,
    time: Arc<dyn TimeProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    key_exchange: KeyExchange,
    clients: Clients,
}

/// What a server wants of its clients.
#[derive(Clone)]
enum Clients {
    /// A certificate that is accepted.
    Known,
    /// As [`Clients::Known`], or none.
    KnownOrAnonymous,
    /// What this says, whatever the peers are.
    Other(Arc<dyn ClientCertVerifier>),
}

impl Config {
    /// Without an identity, by the clock of this machine.
    pub fn new(peers: impl Peers) -> Self {
        let versions = vec![&rustls::version::TLS13, &rustls::version::TLS12];
        let time = Arc::new(DefaultTimeProvider);
        let peers = Arc::new(peers);
        let key_exchange = KeyExchange::default();
        Self { peers, identity: None, time, versions, key_exchange, clients: Clients::Known }
    }

    /// Shows what `source` has at each handshake: a server must, a client may. Where it has nothing, a server's
    /// handshakes fail, and a client shows nothing.
    #[must_use]
    pub fn with_identity(self, source: impl CredentialSource) -> Self {
        Self { identity: Some(Arc::new(source)), ..self }
    }

    /// Verifies by another clock.
    #[must_use]
    pub fn with_time(self, time: Arc<dyn TimeProvider>) -> Self {
        Self { time, ..self }
    }

    /// Speaks these versions of TLS alone; without this, 1.3 and 1.2.
    #[must_use]
    pub fn with_versions(self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self { versions: versions.to_vec(), ..self }
    }

    /// Exchanges keys in no other way. Versions that cannot are not spoken, whatever
    /// [`with_versions`](Self::with_versions) says; when none is left, no configuration can be made.
    #[must_use]
    pub fn with_key_exchange(self, key_exchange: KeyExchange) -> Self {
        Self { key_exchange, ..self }
    }

    /// Lets a server accept clients that show no certificate. One that is shown is verified none the less.
    #[must_use]
    pub fn with_anonymous_clients(self) -> Self {
        Self { clients: Clients::KnownOrAnonymous, ..self }
    }

    /// Has a server ask its clients for something else than an identity of SPIFFE, or for nothing.
    #[must_use]
    pub fn with_other_clients(self, verifier: Arc<dyn ClientCertVerifier>) -> Self {
        Self { clients: Clients::Other(verifier), ..self }
    }

    /// The configuration of a server.
    ///
    /// # Errors
    /// [`TlsError::Configuration`].
    pub fn server(self) -> Result<ServerConfig, TlsError> {
        let versions = self.spoken();
        let Self { peers, identity, time, versions: _, key_exchange, clients } = self;
        let verifier: Arc<dyn ClientCertVerifier> = match clients {
            Clients::Known => Arc::new(verify::Verifier::new(peers, true)),
            Clients::KnownOrAnonymous => Arc::new(verify::Verifier::new(peers, false)),
            Clients::Other(verifier) => verifier,
        };
        let mut config = ServerConfig::builder_with_details(key_exchange.provider(), time)
            .with_protocol_versions(&versions)
            .map_err(TlsError::Configuration)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Shown(identity)));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// The configuration of a client.
    ///
    /// # Errors
    /// [`TlsError::Configuration`].
    pub fn client(self) -> Result<ClientConfig, TlsError> {
        let versions = self.spoken();
        let Self { peers, identity, time, versions: _, key_exchange, clients: _ } = self;
        let mut config = ClientConfig::builder_with_details(key_exchange.provider(), time)
            .with_protocol_versions(&versions)
            .map_err(TlsError::Configuration)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verify::Verifier::new(peers, true)))
            .with_client_cert_resolver(Arc::new(Shown(identity)));
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        Ok(config)
    }

    /// TLS 1.2 has no key exchange that quantum computers do not break.
    fn spoken(&self) -> Vec<&'static SupportedProtocolVersion> {
        let any = self.key_exchange != KeyExchange::RequirePostQuantum;
        self.versions.iter().copied().filter(|version| any || version.version == ProtocolVersion::TLSv1_3).collect()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Config")
    }
}

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The private key is not one that TLS can sign with, or does not fit the certificate.
    #[error("unusable TLS key: {0}")]
    Key(rustls::Error),
    /// The protocol versions and the provider do not go together.
    #[error("unable to configure TLS: {0}")]
    Configuration(rustls::Error),
}

/// A certificate chain and its key, ready for handshakes. Cheap to clone.
#[derive(Clone)]
pub struct Credential(Arc<CertifiedKey>);

impl Credential {
    /// Of an X.509-SVID.
    ///
    /// # Errors
    /// [`TlsError::Key`]: the key is unusable or another's.
    pub fn of_svid(svid: &X509Svid) -> Result<Self, TlsError> {
        Self::new(&svid.chain, &svid.key_pkcs8)
    }

    /// A chain, leaf first, and the PKCS #8 form of the leaf's key.
    ///
    /// # Errors
    /// [`TlsError::Key`]: the key is unusable or another's.
    pub fn new(chain: &[Certificate], key_pkcs8: &[u8]) -> Result<Self, TlsError> {
        // A borrowed key: rustls would not erase a copy of its own.
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pkcs8));
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(TlsError::Key)?;
        let certified = CertifiedKey::new(der_chain(chain), key);
        certified.keys_match().map_err(TlsError::Key)?;
        Ok(Self(Arc::new(certified)))
    }

    /// A chain, leaf first, and the leaf's key, which may live elsewhere. Whether they belong together shows at the first
    /// handshake.
    pub fn with_key(chain: &[Certificate], key: Arc<dyn SigningKey>) -> Self {
        Self(Arc::new(CertifiedKey::new(der_chain(chain), key)))
    }

    /// The chain, leaf first, each certificate in DER.
    pub fn chain_der(&self) -> impl Iterator<Item = &[u8]> {
        self.0.cert.iter().map(AsRef::as_ref)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// Where the own identity comes from, asked at each handshake.
pub trait CredentialSource: Send + Sync + 'static {
    /// What is to be shown now, if there is anything.
    fn credential(&self) -> Option<Credential>;
}

/// The same at all times.
impl CredentialSource for Credential {
    fn credential(&self) -> Option<Credential> {
        Some(self.clone())
    }
}

impl<F: Fn() -> Option<Credential> + Send + Sync + 'static> CredentialSource for F {
    fn credential(&self) -> Option<Credential> {
        self()
    }
}

/// The one crypto back end.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// The credential in use, looked up at each handshake.
struct Shown(Option<Arc<dyn CredentialSource>>);

impl Shown {
    fn now(&self) -> Option<Arc<CertifiedKey>> {
        self.0.as_ref()?.credential().map(|Credential(key)| key)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.now()
    }
}

/// Whatever authorities the server hints at.
impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.now()
    }

    fn has_certs(&self) -> bool {
        self.now().is_some()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

fn der_chain(chain: &[Certificate]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect()
}
