//! Who may be at the other end.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::x509::verify_x509_svid_in;
use crate::{BundleSource, Certificate, SpiffeId, TrustDomain, X509Error};

/// Who may be at the other end of a connection, asked at each handshake that shows a certificate.
pub trait Peers: Send + Sync + 'static {
    /// Accepts a peer by its chain, leaf first and not empty, at `now`. That the peer has the leaf's key is checked
    /// elsewhere.
    ///
    /// # Errors
    /// [`PeerError`]: the handshake fails with it.
    fn accept(&self, chain: &[Certificate], now: SystemTime) -> Result<(), PeerError>;
}

/// Why a peer is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// What it shows is no X.509-SVID, or none that its trust domain vouches for.
    #[error(transparent)]
    X509(#[from] X509Error),
    /// It is who it says, but may not connect.
    #[error("unexpected ID {:?}", .0.as_str())]
    Unexpected(SpiffeId),
    /// It is who it says, but another is wanted.
    #[error("unexpected ID {:?}, expected {:?}", found.as_str(), expected.as_str())]
    Another {
        /// Who it is.
        found: SpiffeId,
        /// Who is wanted.
        expected: SpiffeId,
    },
}

/// Peers that the bundle of their own trust domain vouches for and that are authorized: the bundle of one trust domain
/// never vouches for a member of another, and a trust domain without a bundle has no members (SPIFFE Workload API, section
/// 4.6).
#[derive(Debug, Clone)]
pub struct Authorized<B> {
    bundles: B,
    authorize: Authorize,
}

impl<B: BundleSource> Authorized<B> {
    /// By what `bundles` has at each handshake.
    pub fn new(bundles: B, authorize: Authorize) -> Self {
        Self { bundles, authorize }
    }
}

impl<B: BundleSource + Send + Sync + 'static> Peers for Authorized<B> {
    fn accept(&self, chain: &[Certificate], now: SystemTime) -> Result<(), PeerError> {
        let id = verify_x509_svid_in(chain, &self.bundles, now)?;
        self.authorize.check(&id)
    }
}

/// Which identities are welcome, once they are proven.
#[derive(Clone)]
pub struct Authorize(Rule);

#[derive(Clone)]
enum Rule {
    Any,
    AnyOf(BTreeSet<SpiffeId>),
    MemberOf(TrustDomain),
    When(Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>),
}

impl Authorize {
    /// Everybody of every trust domain that there is a bundle of.
    pub fn any() -> Self {
        Self(Rule::Any)
    }

    /// This one alone.
    pub fn one(id: SpiffeId) -> Self {
        Self::any_of([id])
    }

    /// These alone.
    pub fn any_of(ids: impl IntoIterator<Item = SpiffeId>) -> Self {
        Self(Rule::AnyOf(ids.into_iter().collect()))
    }

    /// Everybody of this trust domain.
    pub fn member_of(trust_domain: TrustDomain) -> Self {
        Self(Rule::MemberOf(trust_domain))
    }

    /// Those for whom `rule` holds.
    pub fn when(rule: impl Fn(&SpiffeId) -> bool + Send + Sync + 'static) -> Self {
        Self(Rule::When(Arc::new(rule)))
    }

    /// Whether this proven identity is welcome.
    ///
    /// # Errors
    /// [`PeerError::Another`] where one alone is, else [`PeerError::Unexpected`].
    pub fn check(&self, id: &SpiffeId) -> Result<(), PeerError> {
        let welcome = match &self.0 {
            Rule::Any => true,
            Rule::AnyOf(ids) => ids.contains(id),
            Rule::MemberOf(trust_domain) => id.is_member_of(trust_domain),
            Rule::When(rule) => rule(id),
        };
        if welcome {
            return Ok(());
        }
        let one = match &self.0 {
            Rule::AnyOf(ids) if ids.len() == 1 => ids.first().cloned(),
            _ => None,
        };
        Err(match one {
            Some(expected) => PeerError::Another { found: id.clone(), expected },
            None => PeerError::Unexpected(id.clone()),
        })
    }
}

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Any => f.write_str("Any"),
            Rule::AnyOf(ids) => f.debug_tuple("AnyOf").field(ids).finish(),
            Rule::MemberOf(trust_domain) => f.debug_tuple("MemberOf").field(trust_domain).finish(),
            Rule::When(_) => f.write_str("When"),
        }
    }
}
