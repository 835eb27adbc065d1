//! A certificate authority of a trust domain, with real keys.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use serde_json::{Map, Value, json};
use steeple_pki::certificate::svid_subject;
use steeple_pki::{
    CertificateRequest, Issuer, KeyType, Kind, LocalSigner, Name, PkiError, PrivateKey, PublicKey, Serial,
    SignatureAlgorithm, Signer, Template, jws,
};
use steeple_proto::spire::api::types;
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::bundle::{JwtAuthority, X509Authority};
use steeple_spiffe::jwk::Jwk;
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{Bundle, SpiffeId, TrustDomain};
use steeple_transport::id::on_wire;
use steeple_transport::tls::Credential;
use zeroize::Zeroizing;

/// Certificates begin so much before the moment that they are made for, since clocks differ.
const BACKDATE: Duration = Duration::from_secs(10);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One X.509 authority (self-signed, P-256) and one JWT authority of a trust domain. What it signs is what a server signs.
#[derive(Clone, Debug)]
pub struct Ca {
    trust_domain: TrustDomain,
    root: Certificate,
    x509: LocalSigner,
    jwt: LocalSigner,
    jwt_key_id: String,
    jwt_end: SystemTime,
}

/// An X.509-SVID and its key.
#[derive(Clone, Debug)]
pub struct Svid {
    /// Its SPIFFE ID.
    pub id: SpiffeId,
    /// The chain, leaf first.
    pub chain: Vec<Certificate>,
    /// The leaf's key.
    pub key: Arc<PrivateKey>,
}

impl Ca {
    /// Of a trust domain, good for a year from `now`.
    pub fn new(trust_domain: &str, now: SystemTime) -> Self {
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        let (x509, jwt) = (signer(), signer());
        let serial = Serial::random().unwrap();
        let root = Template {
            subject: Name::try_from(&steeple_pki::Subject {
                countries: vec!["US".into()],
                organizations: vec!["SPIFFE".into()],
                serial_number: serial.to_string(),
                ..Default::default()
            })
            .unwrap(),
            uri_san: Some(trust_domain.id()),
            kind: Kind::Ca,
            ..template(serial, now - BACKDATE..now + YEAR)
        };
        let root = made(steeple_pki::self_signed(&root, &x509));
        let jwt_key_id = steeple_pki::random_key_id().unwrap();
        Self { trust_domain, root, x509, jwt, jwt_key_id, jwt_end: now + YEAR }
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The certificate of the X.509 authority.
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// [`Ca::root`], in the form that verifiers take.
    pub fn authorities(&self) -> Arc<[Certificate]> {
        [self.root.clone()].into()
    }

    /// The ID with a path in the trust domain.
    pub fn id(&self, path: &str) -> SpiffeId {
        SpiffeId::new(&self.trust_domain, path).unwrap()
    }

    /// An SVID with a key of its own, good within `validity`. One that is over is an expired one.
    pub fn svid(&self, path: &str, validity: Range<SystemTime>) -> Svid {
        self.svid_of(&self.id(path), validity)
    }

    /// As [`Ca::svid`], for any ID: also one that this authority has no right to.
    pub fn svid_of(&self, id: &SpiffeId, validity: Range<SystemTime>) -> Svid {
        let key = Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap());
        let leaf = self.certify(id, key.public_key(), validity);
        Svid { id: id.clone(), chain: vec![leaf], key }
    }

    /// The certificate of an SVID whose key is another's.
    pub fn certify(&self, id: &SpiffeId, key: &PublicKey, validity: Range<SystemTime>) -> Certificate {
        let template = Template { uri_san: Some(id.clone()), ..template(Serial::random().unwrap(), validity) };
        made(steeple_pki::issue(&template, key, &Issuer::new(&self.root, &self.x509)))
    }

    /// The certificate of an authority below this one, as it is asked for.
    pub fn certify_authority(&self, asked: CertificateRequest, validity: Range<SystemTime>) -> Certificate {
        let CertificateRequest { public_key, subject, extensions, .. } = asked;
        let serial = Serial::random().unwrap();
        // The names are among the extensions.
        let template = Template { extra_extensions: extensions, ..Template::new(serial, subject, validity, Kind::Ca) };
        made(steeple_pki::issue(&template, &public_key, &Issuer::new(&self.root, &self.x509)))
    }

    /// The certificate of a web server with a DNS name and no SPIFFE ID, with its key in PKCS#8.
    pub fn web(&self, dns_name: &str, validity: Range<SystemTime>) -> (Certificate, Zeroizing<Vec<u8>>) {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let dns_sans = vec![dns_name.to_owned()];
        let template = Template { dns_sans, ..template(Serial::random().unwrap(), validity) };
        let issuer = Issuer::new(&self.root, &self.x509);
        (made(steeple_pki::issue(&template, key.public_key(), &issuer)), key.to_pkcs8_der().unwrap())
    }

    /// A JWT-SVID, good within `validity`.
    pub fn jwt_svid(&self, id: &SpiffeId, audience: &[&str], validity: Range<SystemTime>) -> String {
        self.jwt_with(id, audience, validity, [])
    }

    /// As [`Ca::jwt_svid`], with further claims.
    pub fn jwt_with(
        &self,
        id: &SpiffeId,
        audience: &[&str],
        validity: Range<SystemTime>,
        claims: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> String {
        let mut all: Map<String, Value> = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        all.insert("sub".into(), json!(id.as_str()));
        all.insert("aud".into(), json!(audience));
        all.insert("iat".into(), json!(unix_seconds(validity.start)));
        all.insert("exp".into(), json!(unix_seconds(validity.end)));
        made(jws::sign_jwt_svid(&all, &self.jwt_key_id, &self.jwt))
    }

    /// A WIT-SVID with a key of its own, good within `validity`, and that key as a JWK. Nothing can be signed with it: its
    /// private part is not one.
    pub fn wit_svid(&self, id: &SpiffeId, validity: Range<SystemTime>) -> (String, String) {
        let workload = PrivateKey::generate(KeyType::EcP256).unwrap();
        let key = workload.public_key();
        let claims = json!({"sub": id.as_str(), "exp": unix_seconds(validity.end)});
        let claims = claims.as_object().unwrap();
        let signing = jws::sign_wit_svid(claims, key, SignatureAlgorithm::EcdsaSha256, &self.jwt_key_id, &self.jwt);
        let mut jwk = serde_json::to_value(Jwk::new(key)).unwrap();
        jwk["d"] = "private".into();
        (made(signing), jwk.to_string())
    }

    /// The bundle with both authorities.
    pub fn bundle(&self) -> Bundle {
        let mut bundle = Bundle::new(self.trust_domain.clone());
        bundle.x509_authorities = vec![X509Authority { certificate: self.root.clone(), tainted: false }];
        bundle.jwt_authorities = vec![JwtAuthority {
            key_id: self.jwt_key_id.clone(),
            public_key: self.jwt.public_key().clone(),
            expires_at: Some(self.jwt_end),
            tainted: false,
        }];
        bundle
    }

    /// The bundle as servers send it.
    pub fn api_bundle(&self) -> types::Bundle {
        types::Bundle {
            trust_domain: self.trust_domain.name().to_owned(),
            x509_authorities: vec![types::X509Certificate { asn1: self.root.der().to_vec(), tainted: false }],
            jwt_authorities: vec![types::JwtKey {
                public_key: self.jwt.public_key().spki_der().to_vec(),
                key_id: self.jwt_key_id.clone(),
                expires_at: unix_seconds(self.jwt_end),
                tainted: false,
            }],
            sequence_number: 1,
            ..types::Bundle::default()
        }
    }
}

impl Svid {
    /// The leaf.
    pub fn leaf(&self) -> &Certificate {
        &self.chain[0]
    }

    /// For handshakes.
    pub fn credential(&self) -> Credential {
        Credential::new(&self.chain, &self.key_der()).unwrap()
    }

    /// The key, for what signs.
    pub fn signer(&self) -> Arc<dyn Signer> {
        Arc::new(LocalSigner(Arc::clone(&self.key)))
    }

    /// The chain as DER, one certificate behind the other, leaf first.
    pub fn chain_der(&self) -> Vec<u8> {
        self.chain.iter().flat_map(|certificate| certificate.der().iter().copied()).collect()
    }

    /// The key as PKCS#8 DER.
    pub fn key_der(&self) -> Zeroizing<Vec<u8>> {
        self.key.to_pkcs8_der().unwrap()
    }
}

/// A chain as servers send it.
pub(crate) fn api_svid(id: &SpiffeId, chain: &[Certificate]) -> types::X509svid {
    types::X509svid {
        cert_chain: chain.iter().map(|certificate| certificate.der().to_vec()).collect(),
        id: Some(on_wire(id)),
        expires_at: chain.first().map_or(0, |leaf| unix_seconds(leaf.not_after())),
        hint: String::new(),
    }
}

fn signer() -> LocalSigner {
    LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()))
}

/// A leaf, unless told otherwise.
fn template(serial: Serial, validity: Range<SystemTime>) -> Template {
    Template::new(serial, Name::try_from(&svid_subject()).unwrap(), validity, Kind::Svid)
}

/// A key in memory signs at once: no runtime is needed.
fn made<T>(making: impl Future<Output = Result<T, PkiError>>) -> T {
    making.now_or_never().expect("a local key signs at once").unwrap()
}

#[cfg(test)]
mod tests {
    use steeple_spiffe::{BundleSet, jwt, verify_x509_svid};

    use super::*;

    #[test]
    fn what_it_signs_verifies_with_its_bundle_and_no_other() {
        let now = SystemTime::UNIX_EPOCH + YEAR * 50;
        let (ca, other) = (Ca::new("example.org", now), Ca::new("example.org", now));
        let hour = now..now + Duration::from_secs(3600);
        let svid = ca.svid("/web", hour.clone());
        assert_eq!(verify_x509_svid(&svid.chain, &ca.authorities(), now).unwrap(), ca.id("/web"));
        assert!(verify_x509_svid(&svid.chain, &other.authorities(), now).is_err());
        assert!(verify_x509_svid(&svid.chain, &ca.authorities(), hour.end + Duration::from_secs(1)).is_err());

        let token = ca.jwt_svid(&ca.id("/web"), &["db"], hour);
        let bundles = |ca: &Ca| BundleSet::from_iter([ca.bundle()]);
        assert_eq!(jwt::validate(&token, &bundles(&ca), "db", now).unwrap().id, ca.id("/web"));
        assert!(jwt::validate(&token, &bundles(&other), "db", now).is_err());
    }
}
