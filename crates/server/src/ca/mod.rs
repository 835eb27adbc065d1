//! The server's own authorities: two slots a kind, of which one signs while the other is being prepared
//! ([`authorities`]), what plugins have said of them ([`composed`]), what is remembered of them ([`journal`]), when they
//! change ([`rotation`]), what operators do to them ([`orders`]), whether the bundle still has them ([`published`]), and
//! signing ([`sign`]). What stands above them, if anything does, is in [`upstream`].

pub mod authorities;
mod composed;
mod journal;
pub mod orders;
mod published;
mod rotation;
pub mod sign;
mod slots;
mod upstream;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use steeple_catalog::PluginError;
use steeple_pki::{KeyType, PkiError, Signer};
use steeple_spiffe::x509::Certificate;

use crate::inventory::NotRecorded;

pub use composed::Composers;
pub use orders::Orders;
pub use rotation::Rotation;
pub use sign::Ca;

/// What the operator decides about authorities.
#[derive(Clone, Debug)]
pub struct CaConfig {
    /// `ca_ttl`: how long an authority is valid from its preparation.
    pub ttl: Duration,
    /// `ca_key_type`, of X.509 authorities and of the server's own SVID.
    pub x509_key_type: KeyType,
    /// `jwt_key_type`.
    pub jwt_key_type: KeyType,
    /// `experimental.wit_key_type`; None without the feature flag `wit-svid`: then no WIT authority is made.
    pub wit_key_type: Option<KeyType>,
    /// `disable_jwt_svids`: no JWT authority is made, and none signs.
    pub disable_jwt: bool,
    /// `ca_subject`.
    pub subject: CaSubject,
}

/// `ca_subject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaSubject {
    /// Values of C.
    pub countries: Vec<String>,
    /// Values of O.
    pub organizations: Vec<String>,
    /// CN; empty for none.
    pub common_name: String,
}

impl Default for CaSubject {
    fn default() -> Self {
        Self { countries: vec!["US".into()], organizations: vec!["SPIFFE".into()], common_name: String::new() }
    }
}

/// An X.509 authority that can sign.
#[derive(Clone, Debug)]
pub struct X509Authority {
    /// Its certificate.
    pub certificate: Certificate,
    /// What is delivered behind a leaf: empty below a self-signed authority.
    pub upstream_chain: Vec<Certificate>,
    /// Its key.
    pub signer: Arc<dyn Signer>,
    /// When it was prepared.
    pub issued_at: SystemTime,
}

/// A JWT authority that can sign.
#[derive(Clone, Debug)]
pub struct JwtAuthority {
    /// Its `kid`.
    pub key_id: String,
    /// Its key.
    pub signer: Arc<dyn Signer>,
    /// When it was prepared.
    pub issued_at: SystemTime,
    /// When it ends; no token outlives it.
    pub not_after: SystemTime,
}

/// A WIT authority that can sign: nothing but what it signs sets it apart.
pub type WitAuthority = JwtAuthority;

/// Why an authority could not be made, or could not sign.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// No X.509 authority is active yet.
    #[error("X509 CA is not available for signing")]
    NoX509Authority,
    /// No JWT authority is active yet.
    #[error("JWT key is not available for signing")]
    NoJwtAuthority,
    /// No WIT authority is active, because the operator wants none or not yet.
    #[error("WIT key is not available for signing")]
    NoWitAuthority,
    /// The operator wants no JWT-SVIDs.
    #[error("JWT functionality is disabled")]
    JwtDisabled,
    /// The key manager, the upstream authority or a credential composer refused.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// What the upstream authority has signed is no authority for this server.
    #[error("X509 CA minted by upstream authority is invalid: {0}")]
    Minted(String),
    /// What credential composers have made is not what it has to be.
    #[error("invalid {0}")]
    Composed(String),
    /// A certificate or token cannot be made from what was asked, or its key did not sign.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A token was asked for without an audience.
    #[error("invalid JWT-SVID audience: cannot be empty")]
    NoAudience,
    /// The journal cannot be read. A server that began anew would overwrite the keys that it tells of.
    #[error("failed to load journal from datastore: unable to unmarshal entries from CA journal record: {0}")]
    Journal(String),
    /// What was signed must not be handed out.
    #[error(transparent)]
    NotRecorded(#[from] NotRecorded),
    /// The datastore refused.
    #[error(transparent)]
    DataStore(#[from] steeple_datastore::Error),
}

impl CaError {
    /// Whether the datastore or the inventory is away: what was asked may be asked again.
    pub fn is_away(&self) -> bool {
        match self {
            Self::NotRecorded(_) => true,
            Self::DataStore(error) => error.is_away(),
            _ => false,
        }
    }
}

impl steeple_runtime::metrics::Coded for CaError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoX509Authority | Self::NoJwtAuthority | Self::NoWitAuthority | Self::NotRecorded(_) => "Unavailable",
            Self::Plugin(error) => error.code(),
            Self::DataStore(error) => error.code(),
            Self::JwtDisabled => "Unimplemented",
            Self::NoAudience | Self::Minted(_) => "InvalidArgument",
            Self::Pki(_) | Self::Composed(_) | Self::Journal(_) => "Internal",
        }
    }
}
