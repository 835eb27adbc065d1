//! Between bundles of the API and stored ones.

use steeple_datastore::Bundle;
use steeple_datastore::bundles::BundleMask;
use steeple_proto::spire::api::types;
use steeple_proto::spire::common;
use steeple_spiffe::x509::parse_chain_der;
use steeple_spiffe::{PublicKey, PublicKeyError, TrustDomain, X509Error};

use crate::api::keep;

/// Why an authority is refused.
#[derive(Debug, thiserror::Error)]
pub(in crate::api) enum BadAuthority {
    /// Its bytes are no certificates.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// It has no bytes.
    #[error("no certificate")]
    Empty,
    /// Its bytes are no public key.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
    /// Tokens could not name it.
    #[error("missing key ID")]
    NoKeyId,
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub(in crate::api) enum BadBundle {
    /// An X.509 authority.
    #[error("unable to parse X.509 authority: {0}")]
    X509(BadAuthority),
    /// A JWT authority.
    #[error("unable to parse JWT authority: {0}")]
    Jwt(BadAuthority),
}

/// The bundle of a foreign trust domain that a caller sent. Taints are decisions of the trust domain itself, which only
/// its own servers take; they are left out, and so are WIT authorities, as in the reference.
pub(in crate::api) fn stored(trust_domain: &TrustDomain, bundle: types::Bundle) -> Result<Bundle, BadBundle> {
    let types::Bundle {
        trust_domain: _,
        x509_authorities,
        jwt_authorities,
        refresh_hint,
        sequence_number,
        wit_authorities: _,
    } = bundle;
    let roots = x509_authorities.into_iter().map(root).collect::<Result<_, _>>();
    let keys = jwt_authorities.into_iter().map(jwt_key).collect::<Result<_, _>>();
    Ok(Bundle {
        trust_domain_id: trust_domain.id().to_string(),
        root_cas: roots.map_err(BadBundle::X509)?,
        jwt_signing_keys: keys.map_err(BadBundle::Jwt)?,
        refresh_hint,
        sequence_number,
        wit_signing_keys: Vec::new(),
    })
}

/// One certificate or several, one behind the other. None at all is accepted, as in the reference.
pub(super) fn root(authority: types::X509Certificate) -> Result<common::Certificate, BadAuthority> {
    let types::X509Certificate { asn1, tainted: _ } = authority;
    parse_chain_der(&asn1)?;
    Ok(common::Certificate { der_bytes: asn1, tainted_key: false })
}

/// As [`root`], for the own bundle: an authority that is none has no place there.
pub(super) fn own_root(authority: types::X509Certificate) -> Result<common::Certificate, BadAuthority> {
    if authority.asn1.is_empty() {
        return Err(BadAuthority::Empty);
    }
    root(authority)
}

/// A key that verifies JWT-SVIDs.
pub(super) fn jwt_key(key: types::JwtKey) -> Result<common::PublicKey, BadAuthority> {
    let types::JwtKey { public_key, key_id, expires_at, tainted: _ } = key;
    PublicKey::from_spki_der(&public_key)?;
    if key_id.is_empty() {
        return Err(BadAuthority::NoKeyId);
    }
    Ok(common::PublicKey { pkix_bytes: public_key, kid: key_id, not_after: expires_at, tainted_key: false })
}

/// The fields that an input mask names; without a mask all. WIT authorities are never taken from a request, so that a mask
/// leaves them as they are, and no mask empties them.
pub(super) fn fields_of(mask: Option<types::BundleMask>) -> BundleMask {
    let Some(mask) = mask else { return BundleMask::ALL };
    let types::BundleMask { x509_authorities, jwt_authorities, refresh_hint, sequence_number, wit_authorities: _ } =
        mask;
    BundleMask {
        root_cas: x509_authorities,
        jwt_signing_keys: jwt_authorities,
        wit_signing_keys: false,
        refresh_hint,
        sequence_number,
    }
}

/// The bundle with what a mask asks for; the trust domain always. Without a mask, all.
pub(super) fn masked(bundle: types::Bundle, mask: Option<&types::BundleMask>) -> types::Bundle {
    let Some(mask) = mask else { return bundle };
    let types::BundleMask { x509_authorities, jwt_authorities, refresh_hint, sequence_number, wit_authorities } = *mask;
    types::Bundle {
        trust_domain: bundle.trust_domain,
        x509_authorities: keep(x509_authorities, bundle.x509_authorities),
        jwt_authorities: keep(jwt_authorities, bundle.jwt_authorities),
        refresh_hint: keep(refresh_hint, bundle.refresh_hint),
        sequence_number: keep(sequence_number, bundle.sequence_number),
        wit_authorities: keep(wit_authorities, bundle.wit_authorities),
    }
}
