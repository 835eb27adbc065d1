//! A bundle as a document: PEM certificates, or the standard's JWKS.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use steeple_proto::spire::api::types;
use steeple_runtime::clock::{from_unix_seconds, unix_seconds};
use steeple_spiffe::bundle::{jwks, pem};
use steeple_spiffe::x509::parse_chain_der;
use steeple_spiffe::{Bundle, JwtAuthority, PublicKey, TrustDomain, WitAuthority, X509Authority};

/// The value of `-format`.
#[derive(Clone, Copy)]
pub(in crate::cli) enum DocumentFormat {
    /// X.509 authorities alone.
    Pem,
    /// The standard's document.
    Spiffe,
}

impl DocumentFormat {
    pub(super) const DEFAULT: &str = "pem";

    /// # Errors
    /// It is another one.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        match text.to_lowercase().as_str() {
            "" | "pem" => Ok(Self::Pem),
            "spiffe" => Ok(Self::Spiffe),
            _ => bail!("invalid format: {text:?}"),
        }
    }

    /// The document of a bundle.
    ///
    /// # Errors
    /// An authority in it is malformed.
    pub(super) fn write(self, bundle: types::Bundle) -> anyhow::Result<String> {
        let bundle = parsed(bundle)?;
        match self {
            Self::Pem => Ok(pem::marshal(&bundle)),
            Self::Spiffe => Ok(String::from_utf8(jwks::marshal(&bundle, jwks::Options::default()))? + "\n"),
        }
    }

    /// The bundle of a trust domain, in the form of the API. Beside PEM certificates the name is left to the server's
    /// judgement.
    ///
    /// # Errors
    /// The document, or with the standard's one the name, is malformed.
    pub(in crate::cli) fn read(self, trust_domain: &str, document: &[u8]) -> anyhow::Result<types::Bundle> {
        match self {
            Self::Pem => {
                let text = String::from_utf8_lossy(document);
                // The name of whose bundle it is does not come from here.
                let bundle = pem::parse(&TrustDomain::parse("unnamed")?, &text);
                let bundle = bundle.map_err(|error| anyhow!("unable to parse bundle data: {error}"))?;
                Ok(types::Bundle { trust_domain: trust_domain.to_owned(), ..api(&bundle) })
            }
            Self::Spiffe => {
                let bundle = jwks::parse(&TrustDomain::parse(trust_domain)?, document, jwks::Mode::Standard);
                let bundle =
                    bundle.map_err(|error| anyhow!("unable to parse to spiffe bundle: spiffebundle: {error}"))?;
                Ok(api(&bundle))
            }
        }
    }
}

fn api(bundle: &Bundle) -> types::Bundle {
    let Bundle { trust_domain, x509_authorities, jwt_authorities, wit_authorities: _, sequence_number, refresh_hint } =
        bundle;
    let root = |authority: &X509Authority| types::X509Certificate {
        asn1: authority.certificate.der().to_vec(),
        tainted: authority.tainted,
    };
    let key = |authority: &JwtAuthority| types::JwtKey {
        public_key: authority.public_key.spki_der().to_vec(),
        key_id: authority.key_id.clone(),
        expires_at: authority.expires_at.map(unix_seconds).unwrap_or_default(),
        tainted: authority.tainted,
    };
    types::Bundle {
        trust_domain: trust_domain.name().to_owned(),
        x509_authorities: x509_authorities.iter().map(root).collect(),
        jwt_authorities: jwt_authorities.iter().map(key).collect(),
        refresh_hint: refresh_hint.and_then(|hint| i64::try_from(hint.as_secs()).ok()).unwrap_or_default(),
        sequence_number: *sequence_number,
        // A server takes none from us.
        wit_authorities: Vec::new(),
    }
}

fn parsed(bundle: types::Bundle) -> anyhow::Result<Bundle> {
    let types::Bundle {
        trust_domain,
        x509_authorities,
        jwt_authorities,
        refresh_hint,
        sequence_number,
        wit_authorities,
    } = bundle;
    let x509 = x509_authorities.into_iter().map(|types::X509Certificate { asn1, tainted }| {
        // One behind the other, or none.
        let certificates = parse_chain_der(&asn1).context("unable to parse root CA")?;
        anyhow::Ok(certificates.into_iter().map(move |certificate| X509Authority { certificate, tainted }))
    });
    let x509 = x509.collect::<Result<Vec<_>, _>>()?;
    let jwt = jwt_authorities.into_iter().map(|types::JwtKey { public_key, key_id, expires_at, tainted }| {
        anyhow::Ok(JwtAuthority { public_key: key(&public_key)?, key_id, expires_at: moment(expires_at), tainted })
    });
    let wit = wit_authorities.into_iter().map(|types::WitKey { public_key, key_id, expires_at, tainted }| {
        anyhow::Ok(WitAuthority { public_key: key(&public_key)?, key_id, expires_at: moment(expires_at), tainted })
    });
    Ok(Bundle {
        trust_domain: TrustDomain::parse(&trust_domain)?,
        x509_authorities: x509.into_iter().flatten().collect(),
        jwt_authorities: jwt.collect::<Result<_, _>>()?,
        wit_authorities: wit.collect::<Result<_, _>>()?,
        sequence_number,
        refresh_hint: u64::try_from(refresh_hint).ok().filter(|hint| *hint > 0).map(Duration::from_secs),
    })
}

fn key(spki_der: &[u8]) -> anyhow::Result<PublicKey> {
    PublicKey::from_spki_der(spki_der).context("unable to parse public key")
}

fn moment(unix_seconds: i64) -> Option<std::time::SystemTime> {
    (unix_seconds != 0).then(|| from_unix_seconds(unix_seconds))
}
