//! The messages of `x509pop`, as JSON: bytes are base64, and both members of a union are always there.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use steeple_catalog::PluginError;
use steeple_pki::PublicKeyKind;
use steeple_pki::possession::Proof;

/// What either side adds to what is signed, in bytes.
pub(super) const NONCE: usize = 32;

/// The first message: the agent's certificates, leaf first.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Evidence {
    #[serde(default, deserialize_with = "nullable")]
    pub certificates: Vec<Base64>,
}

/// The second: the server's number, under the name of the algorithm that it expects.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Challenge {
    rsa_signature: Option<ChallengeNonce>,
    ecdsa_signature: Option<ChallengeNonce>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ChallengeNonce {
    nonce: Base64,
}

/// The third: the agent's number, and the signature.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Response {
    rsa_signature: Option<RsaResponse>,
    ecdsa_signature: Option<EcdsaResponse>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct RsaResponse {
    nonce: Base64,
    signature: Base64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct EcdsaResponse {
    nonce: Base64,
    r: Base64,
    s: Base64,
}

/// Which signature a key makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Algorithm {
    Rsa,
    Ecdsa,
}

impl Algorithm {
    /// What keys of this kind sign with, if any may.
    pub(super) fn of(key: PublicKeyKind) -> Result<Self, String> {
        match key {
            PublicKeyKind::Rsa(_) => Ok(Self::Rsa),
            PublicKeyKind::EcP256 | PublicKeyKind::EcP384 | PublicKeyKind::EcP521 => Ok(Self::Ecdsa),
            other => Err(format!("unsupported public key type {other}")),
        }
    }
}

impl Challenge {
    pub(super) fn new(algorithm: Algorithm, nonce: [u8; NONCE]) -> Self {
        let nonce = Some(ChallengeNonce { nonce: Base64(nonce.into()) });
        match algorithm {
            Algorithm::Rsa => Self { rsa_signature: nonce, ecdsa_signature: None },
            Algorithm::Ecdsa => Self { rsa_signature: None, ecdsa_signature: nonce },
        }
    }

    /// The server's number, if it asks for such a signature and for no other.
    pub(super) fn nonce(self, algorithm: Algorithm) -> Option<[u8; NONCE]> {
        let nonce = match (algorithm, self.rsa_signature, self.ecdsa_signature) {
            (Algorithm::Rsa, Some(nonce), None) | (Algorithm::Ecdsa, None, Some(nonce)) => nonce,
            _ => return None,
        };
        nonce.nonce.0.try_into().ok()
    }
}

impl Response {
    pub(super) fn new(nonce: [u8; NONCE], proof: Proof) -> Self {
        let nonce = Base64(nonce.into());
        match proof {
            Proof::Rsa(signature) => {
                let rsa = RsaResponse { nonce, signature: Base64(signature) };
                Self { rsa_signature: Some(rsa), ecdsa_signature: None }
            }
            Proof::Ecdsa { r, s } => {
                let ecdsa = EcdsaResponse { nonce, r: Base64(r), s: Base64(s) };
                Self { rsa_signature: None, ecdsa_signature: Some(ecdsa) }
            }
        }
    }

    /// The agent's number and signature, or what is missing; the member that was not asked for is not looked at.
    pub(super) fn into_parts(self, algorithm: Algorithm) -> Result<([u8; NONCE], Proof), &'static str> {
        let (nonce, proof) = match algorithm {
            Algorithm::Rsa => {
                let RsaResponse { nonce, signature } = self.rsa_signature.ok_or("expecting RSA response")?;
                (nonce, Proof::Rsa(signature.0))
            }
            Algorithm::Ecdsa => {
                let EcdsaResponse { nonce, r, s } = self.ecdsa_signature.ok_or("expecting ECDSA response")?;
                (nonce, Proof::Ecdsa { r: r.0, s: s.0 })
            }
        };
        Ok((nonce.0.try_into().map_err(|_| "invalid response nonce")?, proof))
    }
}

/// What is signed.
pub(super) fn message(of_server: &[u8; NONCE], of_agent: &[u8; NONCE]) -> Vec<u8> {
    [*of_server, *of_agent].concat()
}

/// Reads a message; the error begins with `failure`.
pub(super) fn read<T: DeserializeOwned>(failure: &str, json: &[u8]) -> Result<T, PluginError> {
    serde_json::from_slice(json).map_err(|error| PluginError::invalid_argument(format!("{failure}: {error}")))
}

pub(super) fn write(message: &impl Serialize) -> Result<Vec<u8>, PluginError> {
    serde_json::to_vec(message).map_err(PluginError::internal)
}

/// Bytes.
#[derive(Debug, PartialEq)]
pub(super) struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Go writes bytes that are not there as null.
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        BASE64_STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Base64>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_references_form() {
        let text = |message: Vec<u8>| String::from_utf8(message).unwrap();
        let evidence = Evidence { certificates: vec![Base64(b"leaf".into()), Base64(b"ca".into())] };
        assert_eq!(text(write(&evidence).unwrap()), r#"{"certificates":["bGVhZg==","Y2E="]}"#);
        let nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(
            text(write(&Challenge::new(Algorithm::Rsa, [0; 32])).unwrap()),
            format!(r#"{{"rsa_signature":{{"nonce":"{nonce}"}},"ecdsa_signature":null}}"#)
        );
        assert_eq!(
            text(write(&Challenge::new(Algorithm::Ecdsa, [0; 32])).unwrap()),
            format!(r#"{{"rsa_signature":null,"ecdsa_signature":{{"nonce":"{nonce}"}}}}"#)
        );
        let rsa = Response::new([0; 32], Proof::Rsa(b"sig".into()));
        assert_eq!(
            text(write(&rsa).unwrap()),
            format!(r#"{{"rsa_signature":{{"nonce":"{nonce}","signature":"c2ln"}},"ecdsa_signature":null}}"#)
        );
        let ecdsa = Response::new([0; 32], Proof::Ecdsa { r: vec![1], s: vec![2] });
        assert_eq!(
            text(write(&ecdsa).unwrap()),
            format!(r#"{{"rsa_signature":null,"ecdsa_signature":{{"nonce":"{nonce}","r":"AQ==","s":"Ag=="}}}}"#)
        );
    }

    #[test]
    fn what_does_not_fit_is_nothing() {
        let read = |json: &str| read::<Challenge>("unreadable", json.as_bytes());
        for json in ["{}", r#"{"rsa_signature":{"nonce":"AQ=="}}"#, r#"{"rsa_signature":null,"ecdsa_signature":null}"#]
        {
            assert_eq!(read(json).unwrap().nonce(Algorithm::Rsa), None, "{json}");
        }
        let both = write(&Challenge {
            rsa_signature: Some(ChallengeNonce { nonce: Base64(vec![0; 32]) }),
            ecdsa_signature: Some(ChallengeNonce { nonce: Base64(vec![0; 32]) }),
        });
        assert_eq!(read(std::str::from_utf8(&both.unwrap()).unwrap()).unwrap().nonce(Algorithm::Rsa), None);
        assert_eq!(Challenge::new(Algorithm::Rsa, [1; 32]).nonce(Algorithm::Ecdsa), None);
        for json in ["", "7", r#"{"rsa_signature":{"nonce":"?"}}"#, r#"{"rsa_signature":7}"#] {
            let error = read(json).unwrap_err();
            assert!(error.message.starts_with("unreadable: "), "{error}");
        }
        let evidence = super::read::<Evidence>("unreadable", br#"{"certificates":null,"more":1}"#).unwrap();
        assert!(evidence.certificates.is_empty());
    }
}
