//! What both ends of `steeple.agent.sync.v1` compute alike.

/// The digest over a set of entries, each with the SHA-256 of its encoding, ids ascending in byte order. Empty for none.
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
