//! Signed tokens: JWS in compact serialization (RFC 7515) as JWT-SVIDs and WIT-SVIDs have it.

use base64::Engine;
use der::Decode;
use serde_json::{Map, Value, json};
use steeple_spiffe::jwk::{BASE64URL, Jwk};
use steeple_spiffe::{PublicKey, PublicKeyError, PublicKeyKind, SignatureAlgorithm, wit};

use crate::ecdsa::EcdsaSignature;
use crate::{PkiError, SignError, Signer};

/// Signs a JWT-SVID (SPIFFE JWT-SVID, section 3): header `alg`, `kid`, `typ`; the claims as they are given, in
/// alphabetical order.
///
/// # Errors
/// The signer fails, or its algorithm is none of JOSE.
pub async fn sign_jwt_svid(claims: &Map<String, Value>, key_id: &str, signer: &dyn Signer) -> Result<String, PkiError> {
    sign("JWT", &object(claims.iter().map(|(name, value)| (name, value.to_string()))), key_id, signer).await
}

/// Signs a WIT-SVID (SPIFFE WIT-SVID, sections 2 and 3): as a JWT-SVID, with `typ` `wit+jwt` and the claim `cnf`, which
/// holds the workload's key and the algorithm that it will sign with. A `cnf` among the claims is replaced.
///
/// # Errors
/// As [`sign_jwt_svid`]; the workload's algorithm is none of JOSE or does not fit its key; the claims lack `sub` or
/// `exp`, or have `aud`, which belongs to tokens that need no proof.
pub async fn sign_wit_svid(
    claims: &Map<String, Value>,
    workload_key: &PublicKey,
    workload_algorithm: SignatureAlgorithm,
    key_id: &str,
    signer: &dyn Signer,
) -> Result<String, PkiError> {
    let alg = jose_name(workload_algorithm)?;
    if !workload_key.kind().signs_jws_with(workload_algorithm) {
        return Err(PublicKeyError::Algorithm.into());
    }
    for (claim, wanted) in [("sub", true), ("exp", true), ("aud", false)] {
        if claims.contains_key(claim) != wanted {
            return Err(PkiError::WitClaim { claim, wanted });
        }
    }
    let jwk = Jwk { alg: Some(alg.into()), ..Jwk::new(workload_key) };
    // Made from the struct, whose members have an order that a JSON map would not keep.
    let jwk = serde_json::to_string(&jwk).unwrap_or_default();
    let others = claims.iter().filter(|(name, _)| *name != "cnf").map(|(name, value)| (name, value.to_string()));
    let cnf = &"cnf".to_owned();
    let payload = object(others.chain([(cnf, format!(r#"{{"jwk":{jwk}}}"#))]));
    sign(wit::TYPE, &payload, key_id, signer).await
}

async fn sign(typ: &str, payload: &str, key_id: &str, signer: &dyn Signer) -> Result<String, PkiError> {
    let alg = jose_name(signer.algorithm())?;
    let header = format!(r#"{{"alg":{},"kid":{},"typ":{}}}"#, json!(alg), json!(key_id), json!(typ));
    let mut token = BASE64URL.encode(header);
    token.push('.');
    BASE64URL.encode_string(payload, &mut token);
    let signature = sign_raw(token.as_bytes(), signer).await?;
    token.push('.');
    BASE64URL.encode_string(signature, &mut token);
    Ok(token)
}

/// Signs a message as JWS signs it (RFC 7515): what a workload does to prove that it has the key of its WIT-SVID.
///
/// # Errors
/// The signer fails, or its algorithm is none of JOSE.
pub async fn sign_raw(message: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, PkiError> {
    jose_name(signer.algorithm())?;
    Ok(jws_signature(signer.sign(message).await?, signer.public_key().kind())?)
}

/// A JSON object of members that are JSON already, sorted by name.
fn object<'n>(members: impl Iterator<Item = (&'n String, String)>) -> String {
    let mut members: Vec<_> = members.collect();
    members.sort();
    let members: Vec<String> =
        members.into_iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    format!("{{{}}}", members.join(","))
}

fn jose_name(algorithm: SignatureAlgorithm) -> Result<&'static str, PkiError> {
    algorithm.jose_name().ok_or(PkiError::NotJose(algorithm))
}

/// Turns an ECDSA signature from DER into r and s side by side, each as wide as the curve (RFC 7518, section 3.4).
/// Others stay as they are.
fn jws_signature(signature: Vec<u8>, kind: PublicKeyKind) -> Result<Vec<u8>, SignError> {
    let Some((_, width)) = kind.curve() else { return Ok(signature) };
    let EcdsaSignature { r, s } = EcdsaSignature::from_der(&signature).map_err(|_| SignError::Malformed)?;
    let mut raw = vec![0; 2 * width];
    for (half, number) in raw.chunks_exact_mut(width).zip([r.as_bytes(), s.as_bytes()]) {
        let start = width.checked_sub(number.len()).ok_or(SignError::Malformed)?;
        half[start..].copy_from_slice(number);
    }
    Ok(raw)
}

#[cfg(test)]
mod tests;
