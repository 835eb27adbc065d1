//! What the Workload API answers, read as a whole: one fault, and nothing of the answer is taken (SPIFFE Workload API,
//! section 4.5).

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use steeple_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidResponse, WitBundlesRequest, WitBundlesResponse, Witsvid,
    WitsvidRequest, WitsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest,
    X509svidResponse,
};
use tonic::{Response, Status, Streaming};
use zeroize::Zeroizing;

use super::client::Stub;
use crate::bundle::{X509Authority, jwks};
use crate::jwk::Jwk;
use crate::x509::parse_chain_der;
use crate::{
    Bundle, BundleError, BundleSet, Certificate, IdError, JwtError, JwtSvid, SpiffeId, TrustDomain, WitError, WitSvid,
    X509Error, X509Svid,
};

/// What a stream of the Workload API carries. Each answer is complete: it replaces the one before it (SPIFFE Workload
/// API, section 4.3).
pub trait Answer: sealed::Sealed {}

pub(super) mod sealed {
    use super::*;

    /// Which call an answer belongs to, and how its messages are read.
    pub trait Sealed: Sized + Send + Sync + 'static {
        type Request: Default + Send;
        type Message: Send + 'static;

        fn open(
            stub: &mut Stub,
            request: Self::Request,
        ) -> impl Future<Output = Result<Response<Streaming<Self::Message>>, Status>> + Send;

        fn read(message: Self::Message) -> Result<Self, AnswerError>;
    }
}

/// Everything that the Workload API says about the X.509 identities of this process (section 5.2.1).
#[derive(Debug, Clone, Default)]
pub struct X509Context {
    /// One at least, in the order of the answer: the first is the default identity (section 8). No two of them have the
    /// same hint, unless they have none.
    pub svids: Vec<Arc<X509Svid>>,
    /// The X.509 authorities of their own trust domains and of those that these federate with.
    pub bundles: BundleSet,
    /// Certificate revocation lists, DER, not looked at.
    pub crls: Vec<Vec<u8>>,
}

impl X509Context {
    /// Reads a message of `FetchX509SVID`.
    ///
    /// # Errors
    /// [`AnswerError`]; nothing of the message can be used.
    pub fn from_message(message: X509svidResponse) -> Result<Self, AnswerError> {
        let X509svidResponse { svids, crl, federated_bundles } = message;
        if svids.is_empty() {
            return Err(AnswerError::NoSvids);
        }
        let mut context = Self { crls: crl.into_iter().map(Into::into).collect(), ..Self::default() };
        let mut hints = HashSet::new();
        for (index, svid) in svids.into_iter().enumerate() {
            let (svid, bundle) = x509_svid(index, svid)?;
            add_bundle(&mut context.bundles, bundle)?;
            if svid.hint.is_empty() || hints.insert(svid.hint.clone()) {
                context.svids.push(Arc::new(svid));
            }
        }
        for (name, bundle) in federated_bundles {
            add_bundle(&mut context.bundles, x509_bundle(&name, &bundle)?)?;
        }
        Ok(context)
    }

    /// The default identity.
    pub fn default_svid(&self) -> Option<&Arc<X509Svid>> {
        self.svids.first()
    }

    /// The identity that the operator has marked with this hint.
    pub fn svid_with_hint(&self, hint: &str) -> Option<&Arc<X509Svid>> {
        self.svids.iter().find(|svid| svid.hint == hint)
    }
}

/// The X.509 authorities of the trust domains that this process should trust (section 5.2.2).
#[derive(Debug, Clone, Default)]
pub struct X509Bundles {
    /// By trust domain; one at least. For X.509-SVIDs alone.
    pub bundles: BundleSet,
    /// Certificate revocation lists, DER, not looked at.
    pub crls: Vec<Vec<u8>>,
}

/// The JWT authorities of the trust domains that this process should trust (section 6.2.2).
#[derive(Debug, Clone, Default)]
pub struct JwtBundles {
    /// By trust domain; one at least. For JWT-SVIDs alone.
    pub bundles: BundleSet,
}

/// The WIT-SVIDs of this process (section 7.2.1).
#[derive(Debug, Clone, Default)]
pub struct WitSvids {
    /// One at least, in the order of the answer, the first being the default. No two have the same hint,
    /// unless they have none.
    pub svids: Vec<FetchedWitSvid>,
}

/// The WIT authorities of the trust domains that this process should trust (section 7.2.2).
#[derive(Debug, Clone, Default)]
pub struct WitBundles {
    /// By trust domain; one at least. For WIT-SVIDs alone.
    pub bundles: BundleSet,
}

/// A JWT-SVID as the Workload API gave it to its owner: not verified.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedJwtSvid {
    /// The token and what it says.
    pub svid: JwtSvid,
    /// What the operator set to tell several SVIDs of one workload apart; empty for nothing.
    pub hint: String,
}

/// A WIT-SVID as the Workload API gave it to its owner: not verified.
#[derive(Clone, PartialEq)]
pub struct FetchedWitSvid {
    /// The token and what it says.
    pub svid: WitSvid,
    /// The private key that the token is bound to, as a JWK.
    pub key_jwk: Zeroizing<String>,
    /// As for a [`FetchedJwtSvid`].
    pub hint: String,
}

impl fmt::Debug for FetchedWitSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { svid, key_jwk: _, hint } = self;
        f.debug_struct("FetchedWitSvid").field("svid", svid).field("hint", hint).finish_non_exhaustive()
    }
}

impl Answer for X509Context {}
impl Answer for X509Bundles {}
impl Answer for JwtBundles {}
impl Answer for WitSvids {}
impl Answer for WitBundles {}

impl sealed::Sealed for X509Context {
    type Request = X509svidRequest;
    type Message = X509svidResponse;

    async fn open(stub: &mut Stub, request: X509svidRequest) -> Result<Response<Streaming<X509svidResponse>>, Status> {
        stub.fetch_x509svid(request).await
    }

    fn read(message: X509svidResponse) -> Result<Self, AnswerError> {
        Self::from_message(message)
    }
}

impl sealed::Sealed for X509Bundles {
    type Request = X509BundlesRequest;
    type Message = X509BundlesResponse;

    async fn open(
        stub: &mut Stub,
        request: X509BundlesRequest,
    ) -> Result<Response<Streaming<X509BundlesResponse>>, Status> {
        stub.fetch_x509_bundles(request).await
    }

    fn read(message: X509BundlesResponse) -> Result<Self, AnswerError> {
        let X509BundlesResponse { crl, bundles } = message;
        let bundles = bundle_set(bundles, |name, document| x509_bundle(name, document))?;
        Ok(Self { bundles, crls: crl.into_iter().map(Into::into).collect() })
    }
}

impl sealed::Sealed for JwtBundles {
    type Request = JwtBundlesRequest;
    type Message = JwtBundlesResponse;

    async fn open(
        stub: &mut Stub,
        request: JwtBundlesRequest,
    ) -> Result<Response<Streaming<JwtBundlesResponse>>, Status> {
        stub.fetch_jwt_bundles(request).await
    }

    fn read(message: JwtBundlesResponse) -> Result<Self, AnswerError> {
        let JwtBundlesResponse { bundles } = message;
        Ok(Self {
            bundles: bundle_set(bundles, |name, document| token_bundle(name, document, jwks::parse_jwt_keys_document))?,
        })
    }
}

impl sealed::Sealed for WitSvids {
    type Request = WitsvidRequest;
    type Message = WitsvidResponse;

    async fn open(stub: &mut Stub, request: WitsvidRequest) -> Result<Response<Streaming<WitsvidResponse>>, Status> {
        stub.fetch_witsvid(request).await
    }

    fn read(message: WitsvidResponse) -> Result<Self, AnswerError> {
        let WitsvidResponse { svids } = message;
        if svids.is_empty() {
            return Err(AnswerError::NoSvids);
        }
        let (mut read, mut hints) = (Vec::new(), HashSet::new());
        for (index, Witsvid { spiffe_id, wit_svid, wit_svid_key, hint }) in svids.into_iter().enumerate() {
            let key_jwk = Zeroizing::new(wit_svid_key);
            let id = named_id(index, &spiffe_id)?;
            present(index, "wit_svid", wit_svid.as_bytes())?;
            present(index, "wit_svid_key", key_jwk.as_bytes())?;
            let svid = WitSvid::parse_unverified(&wit_svid).map_err(|reason| AnswerError::Wit { index, reason })?;
            same_id(index, &id, &svid.id)?;
            let key: Jwk = serde_json::from_str(&key_jwk).map_err(|_| AnswerError::WitKey { index })?;
            if key.public_key().ok().as_ref() != Some(&svid.public_key) {
                return Err(AnswerError::WitKey { index });
            }
            if hint.is_empty() || hints.insert(hint.clone()) {
                read.push(FetchedWitSvid { svid, key_jwk, hint });
            }
        }
        Ok(Self { svids: read })
    }
}

impl sealed::Sealed for WitBundles {
    type Request = WitBundlesRequest;
    type Message = WitBundlesResponse;

    async fn open(
        stub: &mut Stub,
        request: WitBundlesRequest,
    ) -> Result<Response<Streaming<WitBundlesResponse>>, Status> {
        stub.fetch_wit_bundles(request).await
    }

    fn read(message: WitBundlesResponse) -> Result<Self, AnswerError> {
        let WitBundlesResponse { bundles } = message;
        Ok(Self {
            bundles: bundle_set(bundles, |name, document| {
                token_bundle(name, document.as_bytes(), jwks::parse_wit_keys_document)
            })?,
        })
    }
}

/// Reads the answer to `FetchJWTSVID`, which was asked for `audience` and perhaps for one subject.
pub(super) fn jwt_svids(
    message: JwtsvidResponse,
    audience: &[String],
    subject: Option<&SpiffeId>,
) -> Result<Vec<FetchedJwtSvid>, AnswerError> {
    let JwtsvidResponse { svids } = message;
    if svids.is_empty() {
        return Err(AnswerError::NoSvids);
    }
    let (mut read, mut hints) = (Vec::new(), HashSet::new());
    for (index, Jwtsvid { spiffe_id, svid, hint }) in svids.into_iter().enumerate() {
        let id = named_id(index, &spiffe_id)?;
        present(index, "svid", svid.as_bytes())?;
        let svid = JwtSvid::parse_unverified(&svid).map_err(|reason| AnswerError::Jwt { index, reason })?;
        same_id(index, &id, &svid.id)?;
        if let Some(subject) = subject {
            same_id(index, subject, &svid.id)?;
        }
        if let Some(missing) = audience.iter().find(|wanted| !svid.audience.contains(wanted)) {
            return Err(AnswerError::Audience { index, missing: missing.clone() });
        }
        if hint.is_empty() || hints.insert(hint.clone()) {
            read.push(FetchedJwtSvid { svid, hint });
        }
    }
    Ok(read)
}

/// Reads a message as a stream of the Workload API does: a door of the fuzz target, which no other build has, like the next
/// one.
///
/// # Errors
/// [`AnswerError`]
#[cfg(fuzzing)]
pub fn read<A: Answer>(message: A::Message) -> Result<A, AnswerError> {
    A::read(message)
}

/// Reads the answer to a call for tokens.
///
/// # Errors
/// [`AnswerError`]
#[cfg(fuzzing)]
pub fn read_jwt_svids(message: JwtsvidResponse, audience: &[String]) -> Result<Vec<FetchedJwtSvid>, AnswerError> {
    jwt_svids(message, audience, None)
}

/// Why an answer of the Workload API is not taken. SVIDs are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It has no SVIDs (sections 5.2.1, 6.2.1, 7.2.1).
    #[error("the answer has no SVIDs")]
    NoSvids,
    /// It has no bundles (sections 5.2.2, 6.2.2, 7.2.2).
    #[error("the answer has no bundles")]
    NoBundles,
    /// A mandatory field is empty (section 4.5).
    #[error("SVID {index} has no {field}")]
    Missing {
        /// Which SVID.
        index: usize,
        /// The field, as it is called in the .proto file.
        field: &'static str,
    },
    /// The field with the SPIFFE ID of an SVID has none.
    #[error("SVID {index} has a malformed spiffe_id: {reason}")]
    Id {
        /// Which SVID.
        index: usize,
        /// The rule that is broken.
        reason: IdError,
    },
    /// The SVID is of another than the answer names, or than was asked for.
    #[error("SVID {index} is of {found}, not of {expected}")]
    OtherId {
        /// Which SVID.
        index: usize,
        /// Whose it should be.
        expected: SpiffeId,
        /// Whose it is.
        found: SpiffeId,
    },
    /// The chain or the private key breaks the rules of X.509-SVIDs, or they do not belong together.
    #[error("SVID {index}: {reason}")]
    X509 {
        /// Which SVID.
        index: usize,
        /// Why it is refused.
        reason: X509Error,
    },
    /// The token is no JWT-SVID.
    #[error("SVID {index}: {reason}")]
    Jwt {
        /// Which SVID.
        index: usize,
        /// Why it is refused.
        reason: JwtError,
    },
    /// The token is no WIT-SVID.
    #[error("SVID {index}: {reason}")]
    Wit {
        /// Which SVID.
        index: usize,
        /// Why it is refused.
        reason: WitError,
    },
    /// The private key of a WIT-SVID is no JWK, or says that it is another's than the one that the token is bound to.
    #[error("SVID {index} is not bound to the key that came with it")]
    WitKey {
        /// Which SVID.
        index: usize,
    },
    /// The token is not for one of those that it was asked for.
    #[error("SVID {index} is not for {missing:?}")]
    Audience {
        /// Which SVID.
        index: usize,
        /// Whom it should be for as well.
        missing: String,
    },
    /// What a bundle is filed under is no trust domain.
    #[error("bundle of {name:?}, which is no trust domain: {reason}")]
    TrustDomain {
        /// As it stands in the answer.
        name: String,
        /// The rule that is broken.
        reason: IdError,
    },
    /// A bundle is filed under the SPIFFE ID of a workload.
    #[error("bundle of {0:?}, which is no trust domain but a member of one")]
    BundleOfWorkload(String),
    /// The answer has two bundles of one trust domain that differ, so that it depends on the reader which counts.
    #[error("two different bundles of trust domain {:?}", .0.name())]
    SeveralBundles(TrustDomain),
    /// The bundle of a trust domain is malformed.
    #[error("bundle of trust domain {:?}: {reason}", trust_domain.name())]
    Bundle {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// Why it is refused.
        reason: BundleError,
    },
    /// The answer to a validation lacks the SPIFFE ID or the claims (section 6.2.3).
    #[error("the answer has no {0}")]
    Unvalidated(&'static str),
}

fn x509_svid(index: usize, svid: X509svid) -> Result<(X509Svid, Bundle), AnswerError> {
    let X509svid { spiffe_id, x509_svid, x509_svid_key, bundle, hint } = svid;
    // From here on the key is erased when it is done with; the buffer that it came in is the connection's.
    let key = Zeroizing::new(Vec::from(x509_svid_key));
    let id = named_id(index, &spiffe_id)?;
    for (field, value) in [("x509_svid", &*x509_svid), ("x509_svid_key", &key), ("bundle", &bundle)] {
        present(index, field, value)?;
    }
    let refused = |reason| AnswerError::X509 { index, reason };
    let mut svid = X509Svid::new(parse_chain_der(&x509_svid).map_err(refused)?, key).map_err(refused)?;
    same_id(index, &id, &svid.id)?;
    svid.hint = hint;
    Ok((svid, x509_bundle_of(id.trust_domain(), &bundle)?))
}

fn named_id(index: usize, id: &str) -> Result<SpiffeId, AnswerError> {
    present(index, "spiffe_id", id.as_bytes())?;
    SpiffeId::parse(id).map_err(|reason| AnswerError::Id { index, reason })
}

fn present(index: usize, field: &'static str, value: &[u8]) -> Result<(), AnswerError> {
    if value.is_empty() { Err(AnswerError::Missing { index, field }) } else { Ok(()) }
}

fn same_id(index: usize, expected: &SpiffeId, found: &SpiffeId) -> Result<(), AnswerError> {
    if expected == found {
        return Ok(());
    }
    Err(AnswerError::OtherId { index, expected: expected.clone(), found: found.clone() })
}

/// A map of bundles that has one at least.
fn bundle_set<D>(
    bundles: impl IntoIterator<Item = (String, D)>,
    read: impl Fn(&str, &D) -> Result<Bundle, AnswerError>,
) -> Result<BundleSet, AnswerError> {
    let mut set = BundleSet::new();
    for (name, document) in bundles {
        add_bundle(&mut set, read(&name, &document)?)?;
    }
    if set.is_empty() { Err(AnswerError::NoBundles) } else { Ok(set) }
}

/// The same bundle may come with each SVID; bundles are never merged, and none takes the place of another.
fn add_bundle(set: &mut BundleSet, bundle: Bundle) -> Result<(), AnswerError> {
    match set.get(&bundle.trust_domain) {
        None => drop(set.insert(bundle)),
        Some(known) if **known == bundle => {}
        Some(_) => return Err(AnswerError::SeveralBundles(bundle.trust_domain)),
    }
    Ok(())
}

/// The key is the SPIFFE ID of the trust domain; its bare name is read as well.
fn trust_domain(name: &str) -> Result<TrustDomain, AnswerError> {
    let trust_domain =
        TrustDomain::parse(name).map_err(|reason| AnswerError::TrustDomain { name: name.into(), reason })?;
    // Reading cuts a path off, and the bundle of a workload, whatever that is, would be its trust domain's.
    if name != trust_domain.name() && name != trust_domain.id().as_str() {
        return Err(AnswerError::BundleOfWorkload(name.into()));
    }
    Ok(trust_domain)
}

fn x509_bundle(name: &str, concatenated: &[u8]) -> Result<Bundle, AnswerError> {
    x509_bundle_of(trust_domain(name)?, concatenated)
}

/// No certificates make a bundle that vouches for nobody: what a trust domain without X.509 authorities has.
fn x509_bundle_of(trust_domain: TrustDomain, concatenated: &[u8]) -> Result<Bundle, AnswerError> {
    let mut bundle = Bundle::new(trust_domain);
    match parse_chain_der(concatenated) {
        Ok(certificates) => {
            let authority = |certificate: Certificate| X509Authority { certificate, tainted: false };
            bundle.x509_authorities = certificates.into_iter().map(authority).collect();
            Ok(bundle)
        }
        Err(reason) => Err(AnswerError::Bundle { trust_domain: bundle.trust_domain, reason: reason.into() }),
    }
}

/// A JWK Set whose keys sign tokens of one kind.
fn token_bundle(
    name: &str,
    document: &[u8],
    read: fn(&TrustDomain, &[u8]) -> Result<Bundle, BundleError>,
) -> Result<Bundle, AnswerError> {
    let trust_domain = trust_domain(name)?;
    read(&trust_domain, document).map_err(|reason| AnswerError::Bundle { trust_domain, reason })
}
