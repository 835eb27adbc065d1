//! What credential composers change, in their order, and what they may not change.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use steeple_catalog::credential_composer::{Holder, Plugin, X509SvidAttributes};
use steeple_catalog::{CredentialComposer, PluginError};
use steeple_pki::{Extension, ObjectIdentifier};

use super::*;
use crate::ca::sign::WorkloadX509;

/// Adds its name, and that of the holder, to what it is given.
struct Signed(&'static str);

impl Signed {
    fn on(&self, subject: &mut Subject, holder: &str) {
        // Of several values of one attribute the order would be lost.
        subject.common_name.push_str(&format!("{}-{holder} ", self.0));
    }
}

#[async_trait]
impl Plugin for Signed {
    async fn compose_x509_ca(&self, mut attributes: X509CaAttributes) -> Result<X509CaAttributes, PluginError> {
        self.on(&mut attributes.subject, "ca");
        Ok(attributes)
    }

    async fn compose_x509_svid(
        &self,
        holder: Holder<'_>,
        mut attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, PluginError> {
        let holder = match holder {
            Holder::Server => "server".to_owned(),
            Holder::Agent(id, _) => format!("agent{}", id.path()),
            Holder::Workload(id, _) => format!("workload{}", id.path()),
        };
        self.on(&mut attributes.subject, &holder);
        Ok(attributes)
    }

    async fn compose_jwt_svid(
        &self,
        id: &SpiffeId,
        mut claims: Map<String, Value>,
    ) -> Result<Map<String, Value>, PluginError> {
        let by = claims.entry("by").or_insert_with(|| json!([]));
        by.as_array_mut().unwrap().push(format!("{}{}", self.0, id.path()).into());
        Ok(claims)
    }
}

/// Adds an extension to each X.509-SVID and authority, and sets claims of each JWT-SVID.
#[derive(Default)]
struct Adds {
    extension: Option<Extension>,
    claims: Vec<(&'static str, Value)>,
}

#[async_trait]
impl Plugin for Adds {
    async fn compose_x509_ca(&self, mut attributes: X509CaAttributes) -> Result<X509CaAttributes, PluginError> {
        attributes.extra_extensions.extend(self.extension.clone());
        Ok(attributes)
    }

    async fn compose_x509_svid(
        &self,
        _: Holder<'_>,
        mut attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, PluginError> {
        attributes.extra_extensions.extend(self.extension.clone());
        Ok(attributes)
    }

    async fn compose_jwt_svid(
        &self,
        _: &SpiffeId,
        mut claims: Map<String, Value>,
    ) -> Result<Map<String, Value>, PluginError> {
        for (claim, value) in &self.claims {
            claims.insert((*claim).to_owned(), value.clone());
        }
        Ok(claims)
    }
}

/// Refuses everything.
struct Refuses;

#[async_trait]
impl Plugin for Refuses {
    async fn compose_x509_svid(&self, _: Holder<'_>, _: X509SvidAttributes) -> Result<X509SvidAttributes, PluginError> {
        Err(PluginError::failed_precondition("not today"))
    }
}

fn extension(oid: &str, value: &[u8]) -> Adds {
    let extension = Extension { oid: ObjectIdentifier::new_unwrap(oid), critical: false, value: value.to_vec() };
    Adds { extension: Some(extension), ..Adds::default() }
}

fn claims<const N: usize>(claims: [(&'static str, Value); N]) -> Adds {
    Adds { claims: claims.into(), ..Adds::default() }
}

fn both() -> Composers {
    let composer = |name| CredentialComposer::new(name, Arc::new(Signed(name)));
    Composers::new(vec![composer("one"), composer("two")])
}

fn one(plugin: impl Plugin + 'static) -> Composers {
    Composers::new(vec![CredentialComposer::new("fake", Arc::new(plugin))])
}

fn ca(place: &Place, signing: Signing, composers: Composers) -> Ca {
    let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR, agent: HOUR, ca: DAY };
    Ca::new(signing, lifetimes, Some(String::new()), place.manual.clock()).with_composers(composers)
}

fn web() -> SpiffeId {
    SpiffeId::parse("spiffe://example.org/web").unwrap()
}

async fn workload(ca: &Ca) -> Result<Certificate, CaError> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let asked = WorkloadX509 { id: &web(), public_key: key.public_key(), ttl: None, dns_names: &[], subject: None };
    Ok(ca.sign_workload(asked, Ground::Own).await?.swap_remove(0))
}

async fn token(ca: &Ca) -> Result<JwtSvid, CaError> {
    let asked = WorkloadJwt { id: &web(), audience: &["db".to_owned()], ttl: None, include_jti: false };
    let signed = ca.sign_jwt(asked, Ground::Own).await?;
    Ok(JwtSvid::parse_unverified(&signed.token).unwrap())
}

#[tokio::test]
async fn each_kind_is_composed_by_all_in_their_order() {
    let place = Place { composers: both(), ..Place::new().await };
    let (authorities, signing) = place.start().await;
    let name = |certificate: &Certificate| certificate.subject().common_name;
    assert_eq!(name(&authorities.x509.active().unwrap().certificate), "one-ca two-ca ");

    let ca = ca(&place, signing, both());
    let (key, id) = (PrivateKey::generate(KeyType::EcP256).unwrap(), web());
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let server = ca.sign_server(&id, key.public_key()).await.unwrap();
    let agent = ca.sign_agent(&id, key.public_key(), Ground::Own).await.unwrap();
    let below = ca.sign_downstream(&trust_domain, key.public_key(), None, Ground::Own).await.unwrap();
    assert_eq!(name(&server[0]), "one-server two-server ");
    assert_eq!(name(&agent[0]), "one-agent/web two-agent/web ");
    assert_eq!(name(&workload(&ca).await.unwrap()), "one-workload/web two-workload/web ");
    // Behind the name of the one above, which was composed, too.
    assert_eq!(name(&below[0]), "one-ca two-ca one-ca two-ca ");
    assert_eq!(token(&ca).await.unwrap().claims["by"], json!(["one/web", "two/web"]));
}

#[tokio::test]
async fn an_authority_below_another_asks_for_what_was_composed() {
    let mut place = Place { composers: both(), ..Place::new().await };
    place.upstream = Some(Upstream::new(Root::new("above.test", place.manual.now()), place.manual.clock()));
    let (authorities, _) = place.start().await;
    let active = &authorities.x509.active().unwrap().certificate;
    assert_eq!(active.subject().common_name, "one-ca two-ca ");
}

#[tokio::test]
async fn a_composer_that_fails_fails_the_signing_and_is_named() {
    let place = Place::new().await;
    let (_, signing) = place.start().await;
    let ca = ca(&place, signing, one(Refuses));
    assert_eq!(workload(&ca).await.unwrap_err().to_string(), "credentialcomposer(fake): not today");
    assert!(token(&ca).await.is_ok());
}

#[tokio::test]
async fn an_extension_may_be_added_but_no_identity_changed() {
    let place = Place::new().await;
    let (_, signing) = place.start().await;
    let with = |plugin: Adds| ca(&place, signing.clone(), one(plugin));
    workload(&with(extension("1.2.3.4", b"\x05\x00"))).await.unwrap();
    for (oid, value, wrong) in [
        ("2.5.29.19", &b"\x30\x03\x01\x01\xff"[..], "cA constraint must not be set"),
        ("2.5.29.15", b"\x03\x02\x01\x06", "digitalSignature key usage must be set"),
        (
            "2.5.29.15",
            b"\x03\x02\x01\x86",
            "only digitalSignature, keyEncipherment, and keyAgreement key usage can be set",
        ),
        ("2.5.29.37", b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02", "missing serverAuth extended key usage"),
        ("2.5.29.37", b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01", "missing clientAuth extended key usage"),
        ("2.5.29.17", b"\x30\x03\x82\x01a", "missing URI SAN"),
        (
            "2.5.29.17",
            b"\x30\x0c\x86\x0aspiffe://o",
            "expected URI SAN \"spiffe://example.org/web\" but got [\"spiffe://o\"]",
        ),
    ] {
        let refused = workload(&with(extension(oid, value))).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("invalid X509-SVID: {wrong}"));
    }
}

#[tokio::test]
async fn what_is_no_authority_any_more_is_not_published() {
    let place = Place { composers: one(extension("2.5.29.19", b"\x30\x00")), ..Place::new().await };
    let refused = place.load().await.0.rotate().await.unwrap_err();
    assert_eq!(refused.to_string(), "invalid X509 CA: it is no authority");
    assert_eq!(place.bundle().await, (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn claims_may_be_changed_as_long_as_they_are_those_of_a_jwt_svid() {
    let place = Place::new().await;
    let (_, signing) = place.start().await;
    let with = |plugin: Adds| ca(&place, signing.clone(), one(plugin));
    let now = unix_seconds(place.manual.now());
    // Numbers of another process have a fraction.
    let changed = token(&with(claims([("exp", json!((now + 60) as f64)), ("aud", json!("web"))]))).await.unwrap();
    assert_eq!(changed.claims["exp"], json!(now + 60));
    assert_eq!(changed.audience, ["web"]);
    for (claim, value, wrong) in [
        (
            "sub",
            json!("spiffe://example.org/other"),
            "expected \"spiffe://example.org/web\" but got \"spiffe://example.org/other\"",
        ),
        ("exp", json!(null), "required but missing"),
        ("exp", json!(now), "already expired"),
        ("nbf", json!(now + 1), "not yet valid"),
        ("aud", json!([]), "required but missing"),
        ("aud", json!(["web", ""]), "contains empty value"),
    ] {
        let refused = token(&with(claims([(claim, value)]))).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("invalid JWT-SVID \"{claim}\" claim: {wrong}"));
    }
}
