//! Private keys as JSON Web Keys (RFC 7518, section 6): the form in which the Workload API hands out the key of a
//! WIT-SVID.

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{EcdsaKeyPair, RsaKeyPair};
use base64::Engine;
use der::asn1::{AnyRef, OctetStringRef, UintRef};
use der::{Decode, Encode, Sequence};
use serde::Deserialize;
use steeple_spiffe::jwk::{BASE64URL, Jwk};
use zeroize::Zeroizing;

use super::{CURVES, Pair};
use crate::{PkiError, PrivateKey};

/// The longest document that is looked at, in bytes: RSA of 8192 bits needs some 6300.
const MAX_LEN: usize = 16 << 10;

impl PrivateKey {
    /// Writes the key as a JWK: the members of the public key and behind them the private ones, in the order in which
    /// SPIRE's JOSE library writes them. Neither `kid` nor `alg`.
    ///
    /// # Errors
    /// [`PkiError::PrivateKey`] when the back end cannot write its own key.
    pub fn to_jwk(&self) -> Result<Zeroizing<String>, PkiError> {
        // Reserved at once: growing would leave copies of the key behind.
        let mut json = Zeroizing::new(String::with_capacity(MAX_LEN));
        let public = serde_json::to_string(&Jwk::new(&self.public_key)).map_err(|_| PkiError::PrivateKey)?;
        json.push_str(public.trim_end_matches('}'));
        let mut member = |name: &str, number: &[u8]| {
            for text in [",\"", name, "\":\""] {
                json.push_str(text);
            }
            BASE64URL.encode_string(number, &mut json);
            json.push('"');
        };
        match &self.pair {
            Pair::Ec(pair) => {
                let private = pair.private_key().as_be_bytes().map_err(|_| PkiError::PrivateKey)?;
                member("d", private.as_ref());
            }
            Pair::Rsa(_) => {
                let document = self.to_pkcs8_der()?;
                let RsaNumbers { version: _, n: _, e: _, d, p, q, dp, dq, qi } = rsa_numbers(&document)?;
                for (name, number) in [("d", d), ("p", p), ("q", q), ("dp", dp), ("dq", dq), ("qi", qi)] {
                    member(name, number.as_bytes());
                }
            }
        }
        json.push('}');
        Ok(json)
    }

    /// Reads a JWK with a private key of a kind that is generated. An RSA key must have its primes.
    ///
    /// # Errors
    /// [`PkiError::PrivateKey`]: it is malformed, or its private and public members do not belong together; or
    /// [`PkiError::UnsupportedKey`].
    pub fn from_jwk(json: &str) -> Result<Self, PkiError> {
        if json.len() > MAX_LEN {
            return Err(PkiError::PrivateKey);
        }
        let public: Jwk = serde_json::from_str(json).map_err(|_| PkiError::PrivateKey)?;
        let private: Private = serde_json::from_str(json).map_err(|_| PkiError::PrivateKey)?;
        let public_key = public.public_key()?;
        let pair = match public.kty.as_str() {
            "EC" => {
                let d = number(&private.d)?;
                CURVES.into_iter().find_map(|curve| {
                    EcdsaKeyPair::from_private_key_and_public_key(curve, &d, public_key.bits()).ok().map(Pair::Ec)
                })
            }
            _ => {
                let document = pkcs1(&public, &private)?;
                RsaKeyPair::from_der(&document).ok().map(Pair::Rsa)
            }
        };
        let key = pair.ok_or(PkiError::PrivateKey).and_then(Self::new)?;
        if *key.public_key() == public_key { Ok(key) } else { Err(PkiError::PrivateKey) }
    }
}

/// The private members (RFC 7518, sections 6.2.2 and 6.3.2).
#[derive(Deserialize)]
struct Private {
    d: Member,
    p: Option<Member>,
    q: Option<Member>,
    dp: Option<Member>,
    dq: Option<Member>,
    qi: Option<Member>,
}

type Member = Zeroizing<String>;

/// RSAPrivateKey (RFC 8017, A.1.2) of two primes.
#[derive(Sequence)]
struct RsaNumbers<'a> {
    version: u8,
    n: UintRef<'a>,
    e: UintRef<'a>,
    d: UintRef<'a>,
    p: UintRef<'a>,
    q: UintRef<'a>,
    dp: UintRef<'a>,
    dq: UintRef<'a>,
    qi: UintRef<'a>,
}

/// PrivateKeyInfo (RFC 5208, section 5).
#[derive(Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: AnyRef<'a>,
    key: &'a OctetStringRef,
}

fn rsa_numbers(pkcs8: &[u8]) -> Result<RsaNumbers<'_>, PkiError> {
    let PrivateKeyInfo { version: _, algorithm: _, key } =
        PrivateKeyInfo::from_der(pkcs8).map_err(|_| PkiError::PrivateKey)?;
    RsaNumbers::from_der(key.as_bytes()).map_err(|_| PkiError::PrivateKey)
}

fn pkcs1(public: &Jwk, private: &Private) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let Private { d, p, q, dp, dq, qi } = private;
    let members = [&public.n, &public.e].map(|member| member.as_deref());
    let secrets = [p, q, dp, dq, qi].map(|member| member.as_ref().map(|member| member.as_str()));
    let members = members.into_iter().chain([Some(d.as_str())]).chain(secrets);
    let members: Vec<Zeroizing<Vec<u8>>> =
        members.map(|member| number(member.ok_or(PkiError::PrivateKey)?)).collect::<Result<_, _>>()?;
    let numbers: Vec<UintRef<'_>> = members
        .iter()
        .map(|number| UintRef::new(number))
        .collect::<der::Result<_>>()
        .map_err(|_| PkiError::PrivateKey)?;
    let &[n, e, d, p, q, dp, dq, qi] = numbers.as_slice() else { return Err(PkiError::PrivateKey) };
    let document = RsaNumbers { version: 0, n, e, d, p, q, dp, dq, qi };
    let mut buffer = Zeroizing::new(vec![0; MAX_LEN]);
    let length = document.encode_to_slice(&mut buffer).map_err(|_| PkiError::PrivateKey)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

fn number(member: &str) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    BASE64URL.decode(member).map(Zeroizing::new).map_err(|_| PkiError::PrivateKey)
}
