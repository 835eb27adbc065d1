//! The daemons' TLS: [`steeple_spiffe::tls`] with what they have of their own, which is a clock that tests advance, keys
//! that may live in another process, and whom a server lets in.

mod files;
mod signer;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig};
use steeple_pki::Signer;
use steeple_runtime::Clock;
use steeple_spiffe::tls::{Config, PeerError, Peers};
use steeple_spiffe::x509::{self, Certificate, X509Error};
use steeple_spiffe::{SpiffeId, TrustDomain};
use tokio::sync::watch;

pub use steeple_spiffe::tls::{Credential, KeyExchange, TlsError, is_unknown_authority, provider};

pub use files::system_roots;

pub(crate) use files::{certificates, read, roots};
pub(crate) use steeple_spiffe::tls::in_words;

/// The protocol that gRPC speaks.
pub(crate) const H2: &[u8] = b"h2";

/// The credential in use, replaced at each rotation. Handshakes fail while there is none.
pub type CredentialWatch = watch::Receiver<Option<Credential>>;

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

/// A chain, leaf first, and the leaf's key, which may live elsewhere.
///
/// # Errors
/// [`TlsError::Key`] when TLS knows no scheme for the signer's algorithm.
pub fn credential_with_signer(chain: &[Certificate], signer: Arc<dyn Signer>) -> Result<Credential, TlsError> {
    Ok(Credential::with_key(chain, Arc::new(signer::HandshakeKey::new(signer)?)))
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
    let config = Config::new(Admitted(admission)).with_identity(shown(credential)).with_time(Arc::new(Time(clock)));
    let mut config = config.with_key_exchange(key_exchange).with_anonymous_clients().server()?;
    config.alpn_protocols = vec![H2.to_vec()];
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
    let mut config = Config::new(expect).with_time(Arc::new(Time(clock))).with_key_exchange(key_exchange);
    if let Some(credential) = credential {
        config = config.with_identity(shown(credential));
    }
    let mut config = config.client()?;
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(config)
}

pub(crate) fn shown(credential: CredentialWatch) -> impl Fn() -> Option<Credential> + Send + Sync + 'static {
    move || credential.borrow().clone()
}

/// Who is let in by a listener.
pub(crate) struct Admitted(pub(crate) Arc<dyn Admission>);

impl Peers for Admitted {
    fn accept(&self, chain: &[Certificate], now: SystemTime) -> Result<(), PeerError> {
        let id = claimed_id(chain)?;
        // Before the chain is looked at: whoever may not come in costs no signature.
        if !self.0.admits(&id) {
            return Err(PeerError::Unexpected(id));
        }
        let trust_domain = id.trust_domain();
        let authorities = self.0.authorities(&trust_domain).ok_or(X509Error::UnknownTrustDomain(trust_domain))?;
        x509::verify_x509_svid(chain, &authorities, now)?;
        Ok(())
    }
}

impl Peers for Expect {
    fn accept(&self, chain: &[Certificate], now: SystemTime) -> Result<(), PeerError> {
        let (expected, found) = match self {
            Self::Verified { id, authorities } => {
                let authorities = Arc::clone(&authorities.borrow());
                (id, x509::verify_x509_svid(chain, &authorities, now)?)
            }
            Self::DangerouslyUnverified { id } => (id, claimed_id(chain)?),
        };
        if *expected != found {
            return Err(PeerError::Another { found, expected: expected.clone() });
        }
        Ok(())
    }
}

fn claimed_id(chain: &[Certificate]) -> Result<SpiffeId, X509Error> {
    chain.first().ok_or(X509Error::EmptyChain)?.spiffe_id()
}

/// TLS' time is the clock's.
#[derive(Debug)]
pub(crate) struct Time(pub(crate) Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.unix_seconds();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).ok()?)))
    }
}
