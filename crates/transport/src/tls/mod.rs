//! TLS between workload identities: no host names, only SPIFFE IDs. TLS 1.2 and 1.3, post-quantum key exchange
//! preferred, no session tickets (a resumed session would outlive the identity it was made with).

mod signer;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use steeple_pki::Signer;
use steeple_runtime::Clock;
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{SpiffeId, TrustDomain};
use tokio::sync::watch;
use zeroize::Zeroizing;

pub(crate) use verify::in_words;
pub use verify::is_unknown_authority;

/// The protocol that gRPC speaks.
const H2: &[u8] = b"h2";

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

/// The credential in use, replaced at each rotation. Handshakes fail while there is none.
pub type CredentialWatch = watch::Receiver<Option<Credential>>;

/// Which key exchange handshakes may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyExchange {
    /// TLS 1.2 and 1.3; one that quantum computers do not break is preferred.
    #[default]
    PreferPostQuantum,
    /// TLS 1.3 with the groups X25519MLKEM768 and SecP256r1MLKEM768 alone (`require_pq_kem`).
    RequirePostQuantum,
}

/// Whom a server lets in, asked at each handshake that shows a certificate.
pub trait Admission: Send + Sync + 'static {
    /// The X.509 authorities of a trust domain, None when it is not known.
    fn authorities(&self, trust_domain: &TrustDomain) -> Option<Arc<[Certificate]>>;
    /// Whether a peer with this ID may connect at all.
    fn admits(&self, id: &SpiffeId) -> bool;
}

/// What a client demands of the server that it calls.
#[derive(Clone, Debug)]
pub enum Expect {
    /// The server has this ID and chains to one of these authorities.
    Verified {
        /// The one SPIFFE ID.
        id: SpiffeId,
        /// The authorities of its trust domain, as they are at each handshake.
        authorities: watch::Receiver<Arc<[Certificate]>>,
    },
    /// The server claims this ID. Who it is remains unproven: for a first contact that the operator declared insecure.
    DangerouslyUnverified {
        /// The one SPIFFE ID.
        id: SpiffeId,
    },
}

impl Credential {
    /// A chain, leaf first, and the PKCS#8 form of the leaf's key.
    ///
    /// # Errors
    /// When the key is unusable or another's.
    pub fn new(chain: &[Certificate], key_pkcs8: &Zeroizing<Vec<u8>>) -> Result<Self, TlsError> {
        let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pkcs8.as_slice()));
        let signer = provider().key_provider.load_private_key(key.clone_key()).map_err(TlsError::Key)?;
        let certified = CertifiedKey::new(chain, signer);
        certified.keys_match().map_err(TlsError::Key)?;
        Ok(Self(Arc::new(certified)))
    }

    /// A chain, leaf first, and the leaf's key, which may live elsewhere.
    ///
    /// # Errors
    /// When TLS knows no scheme for the signer's algorithm.
    pub fn with_signer(chain: &[Certificate], signer: Arc<dyn Signer>) -> Result<Self, TlsError> {
        let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
        Ok(Self(Arc::new(CertifiedKey::new(chain, Arc::new(signer::HandshakeKey::new(signer)?)))))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

impl KeyExchange {
    fn provider(self) -> Arc<CryptoProvider> {
        match self {
            Self::PreferPostQuantum => provider(),
            Self::RequirePostQuantum => {
                let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768];
                Arc::new(CryptoProvider { kx_groups, ..(*provider()).clone() })
            }
        }
    }

    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::PreferPostQuantum => VERSIONS,
            Self::RequirePostQuantum => NEW_VERSION,
        }
    }
}

/// The configuration of a listener: a client certificate is asked for, but not required.
///
/// # Errors
/// [`TlsError::Configuration`].
pub fn server_config(
    credential: CredentialWatch,
    admission: Arc<dyn Admission>,
    clock: Clock,
) -> Result<ServerConfig, TlsError> {
    server_config_with(KeyExchange::default(), credential, admission, clock)
}

/// As [`server_config`], with a policy for the key exchange.
///
/// # Errors
/// [`TlsError::Configuration`].
pub fn server_config_with(
    key_exchange: KeyExchange,
    credential: CredentialWatch,
    admission: Arc<dyn Admission>,
    clock: Clock,
) -> Result<ServerConfig, TlsError> {
    let verifier = verify::ClientVerifier::new(admission, clock.clone());
    let mut config = ServerConfig::builder_with_details(key_exchange.provider(), Arc::new(Time(clock)))
        .with_protocol_versions(key_exchange.versions())
        .map_err(TlsError::Configuration)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Current(credential)));
    config.alpn_protocols = vec![H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The configuration of a client, which shows the credential in use at each handshake, if any is asked for.
///
/// # Errors
/// [`TlsError::Configuration`].
pub fn client_config(
    credential: Option<CredentialWatch>,
    expect: Expect,
    clock: Clock,
) -> Result<ClientConfig, TlsError> {
    client_config_with(KeyExchange::default(), credential, expect, clock)
}

/// As [`client_config`], with a policy for the key exchange.
///
/// # Errors
/// [`TlsError::Configuration`].
pub fn client_config_with(
    key_exchange: KeyExchange,
    credential: Option<CredentialWatch>,
    expect: Expect,
    clock: Clock,
) -> Result<ClientConfig, TlsError> {
    let verifier = verify::ServerVerifier::new(expect, clock.clone());
    let builder = ClientConfig::builder_with_details(key_exchange.provider(), Arc::new(Time(clock)))
        .with_protocol_versions(key_exchange.versions())
        .map_err(TlsError::Configuration)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match credential {
        Some(credential) => builder.with_client_cert_resolver(Arc::new(Current(credential))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![H2.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// The one crypto back end.
pub fn provider() -> Arc<CryptoProvider> {
    use std::sync::OnceLock;
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NEW_VERSION: &[&SupportedProtocolVersion] = &[&TLS13];

#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.unix_seconds();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).ok()?)))
    }
}

/// The credential in use, looked up at each handshake.
#[derive(Debug)]
struct Current(CredentialWatch);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().as_ref().map(|credential| Arc::clone(&credential.0))
    }
}

/// Whatever authorities the server hints at.
impl ResolvesClientCert for Current {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().as_ref().map(|credential| Arc::clone(&credential.0))
    }

    fn has_certs(&self) -> bool {
        self.0.borrow().is_some()
    }
}
