//! Stored rows in the forms of the APIs.

use steeple_datastore as datastore;
use steeple_proto::spire::{api::types, common};
use steeple_spiffe::SpiffeId;
use steeple_spiffe::x509::parse_chain_der;
use steeple_transport::id::on_wire;

use super::IndexedBundle;

/// What agents ask for of an entry: SPIRE's and ours alike, always.
pub(crate) const FOR_AGENTS: types::EntryMask = types::EntryMask {
    spiffe_id: true,
    parent_id: false,
    selectors: true,
    x509_svid_ttl: false,
    federates_with: true,
    admin: true,
    downstream: true,
    expires_at: false,
    dns_names: false,
    revision_number: true,
    store_svid: true,
    jwt_svid_ttl: false,
    hint: true,
    created_at: true,
    additional_attributes: true,
};

/// A stored entry as the Entry API shows it. None when an ID in it is malformed.
pub(crate) fn entry(row: &datastore::Entry) -> Option<types::Entry> {
    let datastore::Entry {
        entry_id,
        spiffe_id,
        parent_id,
        selectors,
        federates_with,
        x509_svid_ttl,
        jwt_svid_ttl,
        admin,
        downstream,
        expires_at,
        dns_names,
        revision_number,
        store_svid,
        hint,
        additional_attributes,
        created_at,
    } = row;
    let name_of = |id: &String| id.strip_prefix("spiffe://").unwrap_or(id).to_owned();
    Some(types::Entry {
        id: entry_id.clone(),
        spiffe_id: Some(id(spiffe_id)?),
        parent_id: Some(id(parent_id)?),
        selectors: selectors.iter().map(selector).collect(),
        x509_svid_ttl: *x509_svid_ttl,
        federates_with: federates_with.iter().map(name_of).collect(),
        admin: *admin,
        downstream: *downstream,
        expires_at: *expires_at,
        dns_names: dns_names.clone(),
        revision_number: *revision_number,
        store_svid: *store_svid,
        jwt_svid_ttl: *jwt_svid_ttl,
        hint: hint.clone(),
        created_at: *created_at,
        additional_attributes: additional_attributes.as_ref().map(|attributes| {
            let datastore::AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti } = *attributes;
            types::entry::AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti }
        }),
    })
}

pub(crate) fn selector(selector: &datastore::Selector) -> types::Selector {
    let datastore::Selector { kind, value } = selector;
    types::Selector { r#type: kind.clone(), value: value.clone() }
}

pub(crate) fn id(text: &str) -> Option<types::Spiffeid> {
    SpiffeId::parse(text).ok().map(|id| on_wire(&id))
}

/// A stored bundle as the Bundle API shows it, and its certificates. An authority may be several certificates, one behind
/// the other. What does not parse is left out.
pub(super) fn bundle(stored: &common::Bundle) -> IndexedBundle {
    let api = api_bundle(stored);
    let parsed = api.x509_authorities.iter().filter_map(|authority| parse_chain_der(&authority.asn1).ok());
    IndexedBundle { authorities: parsed.flatten().collect(), api }
}

/// A stored bundle as the Bundle API shows it.
pub(crate) fn api_bundle(stored: &common::Bundle) -> types::Bundle {
    let common::Bundle { trust_domain_id, root_cas, jwt_signing_keys, refresh_hint, sequence_number, wit_signing_keys } =
        stored;
    let trust_domain = trust_domain_id.strip_prefix("spiffe://").unwrap_or(trust_domain_id);
    types::Bundle {
        trust_domain: trust_domain.to_owned(),
        x509_authorities: root_cas
            .iter()
            .map(|root| types::X509Certificate { asn1: root.der_bytes.clone(), tainted: root.tainted_key })
            .collect(),
        jwt_authorities: jwt_signing_keys
            .iter()
            .map(|key| types::JwtKey {
                public_key: key.pkix_bytes.clone(),
                key_id: key.kid.clone(),
                expires_at: key.not_after,
                tainted: key.tainted_key,
            })
            .collect(),
        refresh_hint: *refresh_hint,
        sequence_number: *sequence_number,
        wit_authorities: wit_signing_keys
            .iter()
            .map(|key| types::WitKey {
                public_key: key.pkix_bytes.clone(),
                key_id: key.kid.clone(),
                expires_at: key.not_after,
                tainted: key.tainted_key,
            })
            .collect(),
    }
}
