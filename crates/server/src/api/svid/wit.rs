//! WIT-SVIDs. Where none are signed, a batch tells what is wrong with its requests all the same, as in the reference.

use steeple_proto::spire::api::server::svid::v1::{MintWitsvidRequest, NewWitsvidParams};
use steeple_proto::spire::api::types;
use steeple_runtime::clock::{from_unix_seconds, rfc3339};
use steeple_spiffe::{PublicKey, PublicKeyError, PublicKeyKind, SignatureAlgorithm, SpiffeId};
use steeple_transport::id::on_wire;
use steeple_transport::rpc::{Call, Fields};
use tonic::Status;
use tracing::debug;

use super::{Service, audited, caller, ids, status};
use crate::ca::CaError;
use crate::ca::sign::{SignedJwt, WorkloadWit, ttl_of};
use crate::inventory::Ground;

/// What the document of a P-224 key begins with (RFC 5480). The point behind it is not looked at, for no token is made of
/// it.
const P224: &[u8] = b"\x30\x4e\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x21\x03\x3a\x00\x04";
const P224_LEN: usize = 80;

impl Service {
    pub(super) fn check_wit(&self) -> Result<(), Status> {
        if self.0.ca.signs_wit() {
            return Ok(());
        }
        Err(status::log(Status::unimplemented("WIT functionality is disabled")))
    }

    /// One that no entry has to be there for.
    pub(super) async fn mint_wit_svid(
        &self,
        call: &Call,
        request: MintWitsvidRequest,
    ) -> Result<types::Witsvid, Status> {
        let MintWitsvidRequest { id, public_key, ttl, signing_algorithm } = request;
        call.audit("ttl", ttl);
        let id = ids::workload(id.as_ref(), &self.0.trust_domain)
            .map_err(|error| status::invalid("invalid SPIFFE ID", error))?;
        call.audit("spiffe_id", id.as_str());
        let (public_key, algorithm) = self.workload_key(&public_key, &signing_algorithm, "invalid public key")?;
        let params = WorkloadWit { id: &id, public_key: &public_key, algorithm, ttl: ttl_of(ttl) };
        self.wit_svid(params, Ground::Mint(&caller(call))).await
    }

    /// One that an agent asks for, and what the audit log tells of it. It lasts as long as an X.509-SVID of its entry,
    /// which has no lifetime for this kind.
    pub(super) async fn new_wit_svid(
        &self,
        agent: &SpiffeId,
        params: NewWitsvidParams,
    ) -> (Fields, Result<types::Witsvid, Status>) {
        let mut fields = vec![audited::field("entry_id", &params.entry_id)];
        let made = self.sign_for_entry(agent, params, &mut fields).await;
        fields.extend(made.as_ref().ok().map(|svid| audited::moment("expires_at", svid.expires_at)));
        (fields, made)
    }

    async fn sign_for_entry(
        &self,
        agent: &SpiffeId,
        params: NewWitsvidParams,
        audit: &mut Fields,
    ) -> Result<types::Witsvid, Status> {
        let NewWitsvidParams { entry_id, public_key, signing_algorithm } = params;
        if entry_id.is_empty() {
            return Err(status::invalid_argument("missing entry ID"));
        }
        if public_key.is_empty() {
            return Err(status::invalid_argument("missing public key"));
        }
        let (id, terms) = self.authorized_entry(agent, &entry_id)?;
        audit.push(audited::field("spiffe_id", id.as_str()));
        let (public_key, algorithm) = self.workload_key(&public_key, &signing_algorithm, "malformed public key")?;
        let params = WorkloadWit { id: &id, public_key: &public_key, algorithm, ttl: ttl_of(terms.x509_svid_ttl) };
        self.wit_svid(params, Ground::Entry { agent, entry_id: &entry_id }).await
    }

    async fn wit_svid(&self, params: WorkloadWit<'_>, ground: Ground<'_>) -> Result<types::Witsvid, Status> {
        let id = on_wire(params.id);
        let signed = self.0.ca.sign_wit(params, ground).await;
        let SignedJwt { token, issued_at, expires_at } =
            signed.map_err(|error| status::internal("failed to sign WIT-SVID", error))?;
        debug!(
            target: "api",
            expiration = rfc3339(from_unix_seconds(expires_at)),
            "Server CA successfully signed WIT-SVID"
        );
        Ok(types::Witsvid { token, id: Some(id), expires_at, issued_at, hint: String::new() })
    }

    /// A workload's key with what it signs by, which is named as in JOSE.
    fn workload_key(
        &self,
        public_key: &[u8],
        algorithm: &str,
        malformed: &str,
    ) -> Result<(PublicKey, SignatureAlgorithm), Status> {
        let key = PublicKey::from_spki_der(public_key).map_err(|error| match error {
            // The reference reads such a key, takes any algorithm with it, and finds no way to write it down.
            PublicKeyError::Unsupported(_) if public_key.starts_with(P224) && public_key.len() == P224_LEN => {
                self.refuse_p224()
            }
            other => status::invalid(malformed, other),
        })?;
        let algorithm = fitting(key.kind(), algorithm)
            .map_err(|error| status::invalid("invalid signing algorithm or key type", error))?;
        Ok((key, algorithm))
    }

    fn refuse_p224(&self) -> Status {
        const MESSAGE: &str = "failed to sign WIT-SVID";
        if self.0.ca.signs_wit() {
            status::internal(
                MESSAGE,
                "unable to sign JWT SVID: failed to sign WIT SVID: elliptic curve P-224 is unsupported",
            )
        } else {
            status::internal(MESSAGE, CaError::NoWitAuthority)
        }
    }
}

/// The algorithm of this name, if keys of this kind sign by it.
fn fitting(kind: PublicKeyKind, algorithm: &str) -> Result<SignatureAlgorithm, String> {
    let key = match kind {
        PublicKeyKind::EcP256 => "ec-p256",
        PublicKeyKind::EcP384 => "ec-p384",
        PublicKeyKind::EcP521 => "ec-p521",
        PublicKeyKind::Rsa(_) => "RSA",
        PublicKeyKind::Ed25519 => return Err("unsupported key type 'ed25519.PublicKey'".to_owned()),
        other => return Err(format!("unsupported key type '{other}'")),
    };
    SignatureAlgorithm::from_jose_name(algorithm)
        .filter(|algorithm| kind.signs_jws_with(*algorithm))
        .ok_or_else(|| format!("unsupported signing algorithm for {key} key: {algorithm}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_with_the_algorithms_of_its_kind() {
        let of = |kind, algorithm: &str| fitting(kind, algorithm).err();
        for (kind, name, fitting) in [
            (PublicKeyKind::EcP256, "ec-p256", &["ES256"][..]),
            (PublicKeyKind::EcP384, "ec-p384", &["ES384"]),
            (PublicKeyKind::EcP521, "ec-p521", &["ES512"]),
            (PublicKeyKind::Rsa(2048), "RSA", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
            // Which the reference takes.
            (PublicKeyKind::Rsa(1024), "RSA", &[]),
        ] {
            for algorithm in
                ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "HS256", ""]
            {
                let refused = format!("unsupported signing algorithm for {name} key: {algorithm}");
                let expected = (!fitting.contains(&algorithm)).then_some(refused);
                assert_eq!(of(kind, algorithm), expected);
            }
        }
        assert_eq!(of(PublicKeyKind::Ed25519, "EdDSA").unwrap(), "unsupported key type 'ed25519.PublicKey'");
    }
}
