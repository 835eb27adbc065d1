//! WIT-SVIDs, which nothing signs yet: what is wrong with a request is told all the same.

use steeple_proto::spire::api::server::svid::v1::NewWitsvidParams;
use steeple_spiffe::{PublicKey, PublicKeyKind, SignatureAlgorithm, SpiffeId};
use steeple_transport::rpc::Fields;
use tonic::Status;

use super::{Service, audited, entry_id_of, status};

impl Service {
    /// Why an item of a batch gets no WIT-SVID.
    pub(super) fn refuse_wit_svid(&self, agent: &SpiffeId, params: &NewWitsvidParams, audit: &mut Fields) -> Status {
        match self.check_wit(agent, params, audit) {
            Ok(()) => status::internal("failed to sign WIT-SVID", "WIT key is not available for signing"),
            Err(refusal) => refusal,
        }
    }

    fn check_wit(&self, agent: &SpiffeId, params: &NewWitsvidParams, audit: &mut Fields) -> Result<(), Status> {
        let NewWitsvidParams { entry_id, public_key, signing_algorithm } = params;
        if entry_id.is_empty() {
            return Err(status::invalid_argument("missing entry ID"));
        }
        if public_key.is_empty() {
            return Err(status::invalid_argument("missing public key"));
        }
        let entry = self.authorized_entry(agent, entry_id)?;
        audit.push(audited::field("spiffe_id", entry_id_of(&entry)?.as_str()));
        let key =
            PublicKey::from_spki_der(public_key).map_err(|error| status::invalid("malformed public key", error))?;
        check_algorithm(key.kind(), signing_algorithm)
            .map_err(|error| status::invalid("invalid signing algorithm or key type", error))
    }
}

/// Whether a workload can sign with a key by an algorithm, which is named as in JOSE.
fn check_algorithm(kind: PublicKeyKind, algorithm: &str) -> Result<(), String> {
    let key = match kind {
        PublicKeyKind::EcP256 => "ec-p256",
        PublicKeyKind::EcP384 => "ec-p384",
        PublicKeyKind::EcP521 => "ec-p521",
        PublicKeyKind::Rsa(_) => "RSA",
        PublicKeyKind::Ed25519 => return Err("unsupported key type 'ed25519.PublicKey'".to_owned()),
        other => return Err(format!("unsupported key type '{other}'")),
    };
    if SignatureAlgorithm::from_jose_name(algorithm).is_some_and(|algorithm| kind.signs_jws_with(algorithm)) {
        return Ok(());
    }
    Err(format!("unsupported signing algorithm for {key} key: {algorithm}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_with_the_algorithms_of_its_kind() {
        let of = |kind, algorithm: &str| check_algorithm(kind, algorithm).err();
        for (kind, name, fitting) in [
            (PublicKeyKind::EcP256, "ec-p256", &["ES256"][..]),
            (PublicKeyKind::EcP384, "ec-p384", &["ES384"]),
            (PublicKeyKind::EcP521, "ec-p521", &["ES512"]),
            (PublicKeyKind::Rsa(2048), "RSA", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
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
