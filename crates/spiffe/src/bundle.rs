//! Trust bundles (SPIFFE Trust Domain and Bundle, sections 3 to 5): the authorities of a trust domain, and maps of them.

pub mod jwks;
pub mod map;
pub mod pem;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{Certificate, IdError, PublicKey, PublicKeyError, TrustDomain, X509Error};

/// The authorities of one trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Whose authorities these are.
    pub trust_domain: TrustDomain,
    /// Those that sign X.509-SVIDs.
    pub x509_authorities: Vec<X509Authority>,
    /// Those that sign JWT-SVIDs.
    pub jwt_authorities: Vec<JwtAuthority>,
    /// Those that sign WIT-SVIDs.
    pub wit_authorities: Vec<WitAuthority>,
    /// Grows with each change; 0 when it is not known.
    pub sequence_number: u64,
    /// How often the bundle should be looked at; whole seconds.
    pub refresh_hint: Option<Duration>,
}

impl Bundle {
    /// A bundle without authorities.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            x509_authorities: Vec::new(),
            jwt_authorities: Vec::new(),
            wit_authorities: Vec::new(),
            sequence_number: 0,
            refresh_hint: None,
        }
    }

    /// The certificates of the X.509 authorities, tainted ones included.
    pub fn x509_certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.x509_authorities.iter().map(|authority| &authority.certificate)
    }

    /// The JWT authority with this key ID.
    pub fn jwt_authority(&self, key_id: &str) -> Option<&JwtAuthority> {
        self.jwt_authorities.iter().find(|authority| authority.key_id == key_id)
    }

    /// The WIT authority with this key ID.
    pub fn wit_authority(&self, key_id: &str) -> Option<&WitAuthority> {
        self.wit_authorities.iter().find(|authority| authority.key_id == key_id)
    }
}

/// A certificate that signs X.509-SVIDs or intermediate authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X509Authority {
    /// The certificate.
    pub certificate: Certificate,
    /// It still verifies, but nothing new should be signed by it, and what it signed should be replaced.
    pub tainted: bool,
}

/// A key that signs JWT-SVIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtAuthority {
    /// The `kid` of the tokens that it signs.
    pub key_id: String,
    /// The key.
    pub public_key: PublicKey,
    /// When it ends, in whole seconds; `None` when nobody said so, as for all keys that came in a document.
    pub expires_at: Option<SystemTime>,
    /// It still verifies, but nothing new should be signed by it, and what it signed should be replaced.
    pub tainted: bool,
}

/// A key that signs WIT-SVIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitAuthority {
    /// The `kid` of the tokens that it signs.
    pub key_id: String,
    /// The key.
    pub public_key: PublicKey,
    /// As for a [`JwtAuthority`].
    pub expires_at: Option<SystemTime>,
    /// As for a [`JwtAuthority`].
    pub tainted: bool,
}

/// Bundles by trust domain; one each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleSet(BTreeMap<TrustDomain, Arc<Bundle>>);

impl BundleSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a bundle in; returns the one of the same trust domain that it replaces.
    pub fn insert(&mut self, bundle: impl Into<Arc<Bundle>>) -> Option<Arc<Bundle>> {
        let bundle = bundle.into();
        self.0.insert(bundle.trust_domain.clone(), bundle)
    }

    /// Takes a bundle out.
    pub fn remove(&mut self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.0.remove(trust_domain)
    }

    /// The bundle of a trust domain.
    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&Arc<Bundle>> {
        self.0.get(trust_domain)
    }

    /// All bundles, ordered by trust domain.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Bundle>> {
        self.0.values()
    }

    /// How many bundles there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<B: Into<Arc<Bundle>>> FromIterator<B> for BundleSet {
    fn from_iter<I: IntoIterator<Item = B>>(bundles: I) -> Self {
        let mut set = Self::new();
        for bundle in bundles {
            set.insert(bundle);
        }
        set
    }
}

/// Where a verifier finds the bundle of a trust domain: a [`BundleSet`], or a closure over whatever the caller holds.
pub trait BundleSource {
    /// The bundle of the trust domain, if there is one.
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>>;
}

impl BundleSource for BundleSet {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.get(trust_domain).cloned()
    }
}

impl<F: Fn(&TrustDomain) -> Option<Arc<Bundle>>> BundleSource for F {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self(trust_domain)
    }
}

/// What is wrong with a bundle document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The document exceeds [`jwks::MAX_LEN`].
    #[error("bundle document is too long")]
    TooLong,
    /// It is no JSON, or a member has another type.
    #[error("unable to parse JWKS: {0}")]
    Json(String),
    /// It has no `keys`.
    #[error("no authorities found")]
    NoKeys,
    /// One of its keys is refused.
    #[error("error adding authority {index} of JWKS: {reason}")]
    Authority {
        /// Which one, counted from 0.
        index: usize,
        /// Why.
        reason: AuthorityError,
    },
    /// A map of bundles has no `trust_domains`.
    #[error("no trust domains found")]
    NoTrustDomains,
    /// A map of bundles has one trust domain twice, so that it depends on the reader which of the two counts.
    #[error("trust domain {0:?} occurs more than once")]
    DuplicateTrustDomain(String),
    /// One of the bundles of a map is refused.
    #[error("bundle of trust domain {name:?}: {reason}")]
    InMap {
        /// The trust domain as it is written in the map.
        name: String,
        /// Why.
        reason: Box<BundleError>,
    },
    /// A name in a map of bundles is none of a trust domain.
    #[error(transparent)]
    TrustDomain(#[from] IdError),
    /// The PEM or a certificate in it is refused.
    #[error(transparent)]
    X509(#[from] X509Error),
}

/// What is wrong with one key of a bundle document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A JWT or WIT key has no name, so no token can refer to it.
    #[error("keyID cannot be empty")]
    NoKeyId,
    /// An X.509 key needs exactly one certificate.
    #[error("expected a single certificate in x5c, found {0}")]
    Certificates(usize),
    /// The certificate is not base64.
    #[error("x5c is not base64")]
    Base64,
    /// The certificate is malformed.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The key is malformed or of an unsupported kind.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
    /// In strict mode: the key does not say what it is for.
    #[error("missing \"use\"")]
    NoUse,
    /// In strict mode: the key is for something else.
    #[error("unrecognized use {0:?}")]
    UnknownUse(String),
}

#[cfg(test)]
mod tests;
