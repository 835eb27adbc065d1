//! Signing with the authorities that are active: nothing here waits for a rotation.

mod wit;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use steeple_catalog::credential_composer::{Holder, X509CaAttributes, X509SvidAttributes};
use steeple_pki::certificate::svid_subject;
use steeple_pki::{Issuer, Kind, Name, Serial, Subject, Template, jws};
use steeple_runtime::Clock;
use steeple_runtime::clock::unix_seconds;
use steeple_runtime::metrics::measure_success;
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{PublicKey, SpiffeId, TrustDomain};
use tokio::sync::watch;

use super::composed::Composers;
use super::{CaError, JwtAuthority, WitAuthority, X509Authority};
use crate::inventory::{self, Ground, Inventory, Token};

pub use wit::WorkloadWit;

/// Clocks of a trust domain may differ by this much: certificates begin that long before they are made.
pub(super) const BACKDATE: Duration = Duration::from_secs(10);

/// How long what is signed lasts where nobody says otherwise.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    /// `default_x509_svid_ttl`.
    pub x509_svid: Duration,
    /// `default_jwt_svid_ttl`.
    pub jwt_svid: Duration,
    /// `agent_ttl`.
    pub agent: Duration,
    /// `ca_ttl`, of the server's authorities and of those of downstream servers.
    pub ca: Duration,
}

/// The authorities that sign now; rotation sets them, [`Ca`] reads them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Signing(Arc<Shared>);

#[derive(Default)]
struct Shared {
    active: ArcSwap<Active>,
    /// The authority of this server that was tainted last.
    tainted: watch::Sender<Option<Certificate>>,
}

#[derive(Default)]
struct Active {
    x509: Option<X509Authority>,
    jwt: Option<JwtAuthority>,
    wit: Option<WitAuthority>,
}

impl Signing {
    pub(super) fn set(&self, x509: Option<X509Authority>, jwt: Option<JwtAuthority>, wit: Option<WitAuthority>) {
        self.0.active.store(Arc::new(Active { x509, jwt, wit }));
    }

    pub(super) fn taint(&self, authority: Option<Certificate>) {
        self.0.tainted.send_replace(authority);
    }
}

/// Signs SVIDs.
pub struct Ca {
    signing: Signing,
    lifetimes: Lifetimes,
    /// None when JWT-SVIDs are disabled.
    jwt_issuer: Option<String>,
    /// None when WIT-SVIDs are not wanted.
    wit_issuer: Option<String>,
    composers: Composers,
    inventory: Inventory,
    clock: Clock,
}

/// A workload's X.509-SVID to be made.
#[derive(Debug)]
pub struct WorkloadX509<'a> {
    /// Its SPIFFE ID.
    pub id: &'a SpiffeId,
    /// Its key.
    pub public_key: &'a PublicKey,
    /// Its lifetime; None for the default.
    pub ttl: Option<Duration>,
    /// Its DNS names; the first is also the common name.
    pub dns_names: &'a [String],
    /// A subject of the caller's own.
    pub subject: Option<Subject>,
}

/// A JWT-SVID to be made.
#[derive(Debug)]
pub struct WorkloadJwt<'a> {
    /// Its SPIFFE ID.
    pub id: &'a SpiffeId,
    /// For whom; empty strings are dropped.
    pub audience: &'a [String],
    /// Its lifetime; None for the default.
    pub ttl: Option<Duration>,
    /// Whether it carries a `jti`.
    pub include_jti: bool,
}

/// A signed JWT-SVID or WIT-SVID.
#[derive(Debug)]
pub struct SignedJwt {
    /// The compact form.
    pub token: String,
    /// `iat`, Unix seconds.
    pub issued_at: i64,
    /// `exp`, Unix seconds.
    pub expires_at: i64,
}

impl Ca {
    /// Signs with whatever `signing` holds at the time. Without an issuer (which may be empty) no JWT-SVIDs, and no
    /// WIT-SVIDs before [`Ca::with_wit_issuer`].
    pub fn new(signing: Signing, lifetimes: Lifetimes, jwt_issuer: Option<String>, clock: Clock) -> Self {
        let (composers, inventory) = (Composers::default(), Inventory::default());
        Self { signing, lifetimes, jwt_issuer, wit_issuer: None, composers, inventory, clock }
    }

    /// Has these change what is signed.
    #[must_use]
    pub fn with_composers(self, composers: Composers) -> Self {
        Self { composers, ..self }
    }

    /// Has everything written down that is signed.
    #[must_use]
    pub fn with_inventory(self, inventory: Inventory) -> Self {
        Self { inventory, ..self }
    }

    /// The X.509 authority of this server that was tainted last; what it has signed is to be replaced.
    pub fn tainted(&self) -> watch::Receiver<Option<Certificate>> {
        self.signing.0.tainted.subscribe()
    }

    /// A workload's X.509-SVID: the chain, leaf first.
    ///
    /// # Errors
    /// See [`CaError`].
    pub async fn sign_workload(
        &self,
        params: WorkloadX509<'_>,
        ground: Ground<'_>,
    ) -> Result<Vec<Certificate>, CaError> {
        let WorkloadX509 { id, public_key, ttl, dns_names, subject } = params;
        let ttl = ttl.unwrap_or(self.lifetimes.x509_svid);
        let mut subject = subject.unwrap_or_else(svid_subject);
        if let Some(first) = dns_names.first() {
            subject.common_name.clone_from(first);
        }
        let svid = Some((Holder::Workload(id, public_key), subject));
        self.sign(Asked { svid, id, dns_names, public_key, ttl, ground }).await
    }

    /// An agent's X.509-SVID: the chain, leaf first.
    ///
    /// # Errors
    /// See [`CaError`].
    pub async fn sign_agent(
        &self,
        id: &SpiffeId,
        public_key: &PublicKey,
        ground: Ground<'_>,
    ) -> Result<Vec<Certificate>, CaError> {
        let (svid, ttl) = (Some((Holder::Agent(id, public_key), svid_subject())), self.lifetimes.agent);
        self.sign(Asked { svid, id, dns_names: &[], public_key, ttl, ground }).await
    }

    /// The server's own X.509-SVID: the chain, leaf first.
    ///
    /// # Errors
    /// See [`CaError`].
    pub async fn sign_server(&self, id: &SpiffeId, public_key: &PublicKey) -> Result<Vec<Certificate>, CaError> {
        let (svid, ttl) = (Some((Holder::Server, svid_subject())), self.lifetimes.x509_svid);
        self.sign(Asked { svid, id, dns_names: &[], public_key, ttl, ground: Ground::Own }).await
    }

    /// An authority of a downstream server, which signs in the name of this one: the chain, its certificate first.
    ///
    /// # Errors
    /// See [`CaError`].
    pub async fn sign_downstream(
        &self,
        trust_domain: &TrustDomain,
        public_key: &PublicKey,
        ttl: Option<Duration>,
        ground: Ground<'_>,
    ) -> Result<Vec<Certificate>, CaError> {
        let asked = Asked {
            svid: None,
            id: &trust_domain.id(),
            dns_names: &[],
            public_key,
            ttl: ttl.unwrap_or(self.lifetimes.ca),
            ground,
        };
        measure_success("server_ca.sign.x509_ca_svid", self.chain(asked)).await
    }

    async fn sign(&self, asked: Asked<'_>) -> Result<Vec<Certificate>, CaError> {
        measure_success("server_ca.sign.x509_svid", self.chain(asked)).await
    }

    async fn chain(&self, asked: Asked<'_>) -> Result<Vec<Certificate>, CaError> {
        let Asked { svid, id, dns_names, public_key, ttl, ground } = asked;
        let active = self.signing.0.active.load_full();
        let authority = active.x509.as_ref().ok_or(CaError::NoX509Authority)?;
        let (now, serial) = (self.clock.now(), Serial::random()?);
        // No certificate outlives its authority.
        let validity = now - BACKDATE..(now + ttl).min(authority.certificate.not_after());
        let issuer = Issuer::new(&authority.certificate, &*authority.signer);
        let made = match svid {
            Some((holder, subject)) => {
                let plain = X509SvidAttributes { subject, dns_sans: dns_names.to_vec(), extra_extensions: Vec::new() };
                let composed = self.composers.x509_svid(holder, plain).await?;
                let X509SvidAttributes { subject, dns_sans, extra_extensions } = composed;
                let template = Template {
                    uri_san: Some(id.clone()),
                    dns_sans,
                    extra_extensions,
                    ..Template::new(serial, Name::try_from(&subject)?, validity, Kind::Svid)
                };
                let made = steeple_pki::issue(&template, public_key, &issuer).await?;
                self.composers.check_x509_svid(&made, id)?;
                made
            }
            None => {
                let plain = X509CaAttributes { subject: below(authority), ..X509CaAttributes::default() };
                let template = authority_template(serial, self.composers.x509_ca(plain).await?, id, validity)?;
                let made = steeple_pki::issue(&template, public_key, &issuer).await?;
                self.composers.check_x509_ca(&made, id.as_str(), now)?;
                made
            }
        };
        self.inventory.record(|| inventory::certificate(ground, id, &made, &authority.certificate)).await?;
        Ok(std::iter::once(made).chain(authority.upstream_chain.iter().cloned()).collect())
    }

    /// Whether JWT-SVIDs are signed at all.
    pub fn signs_jwt(&self) -> bool {
        self.jwt_issuer.is_some()
    }

    /// A JWT-SVID.
    ///
    /// # Errors
    /// See [`CaError`].
    pub async fn sign_jwt(&self, params: WorkloadJwt<'_>, ground: Ground<'_>) -> Result<SignedJwt, CaError> {
        measure_success("server_ca.sign.jwt_svid", self.token(params, ground)).await
    }

    async fn token(&self, params: WorkloadJwt<'_>, ground: Ground<'_>) -> Result<SignedJwt, CaError> {
        let WorkloadJwt { id, audience, ttl, include_jti } = params;
        let issuer = self.jwt_issuer.as_ref().ok_or(CaError::JwtDisabled)?;
        let active = self.signing.0.active.load_full();
        let authority = active.jwt.as_ref().ok_or(CaError::NoJwtAuthority)?;
        let audience: Vec<Value> = audience.iter().filter(|a| !a.is_empty()).map(|a| a.as_str().into()).collect();
        if audience.is_empty() {
            return Err(CaError::NoAudience);
        }
        let now = self.clock.now();
        let issued_at = unix_seconds(now);
        let end = now + ttl.unwrap_or(self.lifetimes.jwt_svid);
        let expires_at = unix_seconds(end.min(authority.not_after));
        let mut claims = Map::new();
        claims.insert("aud".into(), audience.into());
        claims.insert("exp".into(), expires_at.into());
        claims.insert("iat".into(), issued_at.into());
        if !issuer.is_empty() {
            claims.insert("iss".into(), issuer.as_str().into());
        }
        if include_jti {
            claims.insert("jti".into(), token_id().into());
        }
        claims.insert("sub".into(), id.as_str().into());
        let claims = self.composers.jwt_svid(id, claims, now).await?;
        let seconds = |claim: &str| claims.get(claim).and_then(Value::as_i64);
        let (issued_at, expires_at) = (seconds("iat").unwrap_or(issued_at), seconds("exp").unwrap_or(expires_at));
        let jti = claims.get("jti").and_then(Value::as_str).map(str::to_owned);
        let token = jws::sign_jwt_svid(&claims, &authority.key_id, &*authority.signer).await?;
        let told = Token { id, token: &token, jti, key: None, authority: &authority.key_id, expires: expires_at };
        self.inventory.record(|| inventory::token(ground, told)).await?;
        Ok(SignedJwt { token, issued_at, expires_at })
    }
}

/// A certificate to be made.
struct Asked<'a> {
    /// Whose X.509-SVID it is to be, and its subject; None for an authority below whichever one signs.
    svid: Option<(Holder<'a>, Subject)>,
    id: &'a SpiffeId,
    dns_names: &'a [String],
    public_key: &'a PublicKey,
    ttl: Duration,
    ground: Ground<'a>,
}

/// A certificate of an authority of the trust domain with this ID.
pub(super) fn authority_template(
    serial: Serial,
    composed: X509CaAttributes,
    own: &SpiffeId,
    validity: Range<SystemTime>,
) -> Result<Template, CaError> {
    let X509CaAttributes { subject, policy_identifiers, extra_extensions } = composed;
    Ok(Template {
        uri_san: Some(own.clone()),
        policies: policy_identifiers,
        extra_extensions,
        ..Template::new(serial, Name::try_from(&subject)?, validity, Kind::Ca)
    })
}

/// The name of an authority below this one: all of its own, its serial number too, but for a unit that counts how deep it
/// stands.
fn below(authority: &X509Authority) -> Subject {
    let depth = authority.upstream_chain.len().max(1);
    let own = authority.certificate.subject().without_extra();
    Subject { organizational_units: vec![format!("DOWNSTREAM-{depth}")], ..own }
}

/// 22 characters, by which a relying party tells a token that it has seen.
fn token_id() -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes())
}

/// The end of a chain's leaf, Unix seconds.
pub fn expires_at(chain: &[Certificate]) -> i64 {
    chain.first().map_or(0, |leaf| unix_seconds(leaf.not_after()))
}

/// Seconds of a request as a lifetime: nothing and less means the default.
pub fn ttl_of(seconds: i32) -> Option<Duration> {
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}
