//! What both ends of an agent's synchronization have alike.

use steeple_proto::spire::api::types::EntryMask;

/// The fields of an entry that an agent uses.
pub const MASK: EntryMask = EntryMask {
    spiffe_id: true,
    selectors: true,
    federates_with: true,
    admin: true,
    downstream: true,
    revision_number: true,
    store_svid: true,
    hint: true,
    additional_attributes: true,
    created_at: true,
    parent_id: false,
    x509_svid_ttl: false,
    expires_at: false,
    dns_names: false,
    jwt_svid_ttl: false,
};

/// The digest over a set of entries of `steeple.agent.sync.v1`, each with the SHA-256 of its encoding, ids ascending in byte order. Empty for none.
pub fn digest<'a>(entries: impl IntoIterator<Item = (&'a str, [u8; 32])>) -> Vec<u8> {
    let mut input = Vec::new();
    for (id, content) in entries {
        // Ids are at most 255 bytes.
        input.extend_from_slice(&(id.len() as u32).to_be_bytes());
        input.extend_from_slice(id.as_bytes());
        input.extend_from_slice(&content);
    }
    if input.is_empty() { input } else { steeple_pki::sha256(&input).to_vec() }
}
