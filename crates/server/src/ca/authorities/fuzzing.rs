//! The door of a fuzz target, which no other build has.

use std::collections::HashMap;

use prost::Message;
use steeple_catalog::KeyManager;
use steeple_catalog::key_manager::Key;
use steeple_pki::KeyType;
use steeple_proto::journal::Entries;
use steeple_runtime::Clock;
use steeple_spiffe::PublicKey;
use steeple_spiffe::x509::Certificate;

use super::{Authority, Loading, Slots};

/// Takes up a row of `ca_journals` as a server does that has all keys of which it tells. Returns the IDs of what signs and
/// of what stands beside it, for X.509, JWT and WIT.
///
/// # Errors
/// The row makes no sense.
pub fn take_up_journal(row: &[u8], keys: &KeyManager) -> Result<[Vec<String>; 3], String> {
    let Entries { x509_c_as, jwt_keys, wit_keys } = Entries::decode(row).map_err(|error| error.to_string())?;
    let mut held = HashMap::new();
    let mut hold = |kind: &str, slot: &str, spki: &[u8]| {
        if let Ok(public_key) = PublicKey::from_spki_der(spki)
            && let Some(key_type) = KeyType::of(public_key.kind())
        {
            let id = format!("{kind}-{slot}");
            held.insert(id.clone(), Key { id, public_key, key_type });
        }
    };
    for entry in &x509_c_as {
        if let Ok(certificate) = Certificate::from_der(&entry.certificate) {
            hold("x509-CA", &entry.slot_id, certificate.spki_der());
        }
    }
    jwt_keys.iter().for_each(|entry| hold("JWT-Signer", &entry.slot_id, &entry.public_key));
    wit_keys.iter().for_each(|entry| hold("WIT-Signer", &entry.slot_id, &entry.public_key));
    let loading = Loading { held: &held, keys, bundle: None, has_upstream: true, clock: &Clock::system() };
    Ok([
        ids(&Slots::from_journal(x509_c_as.iter().rev().filter_map(|entry| loading.x509(entry)))),
        ids(&Slots::from_journal(jwt_keys.iter().rev().filter_map(|entry| loading.jwt(entry)))),
        ids(&Slots::from_journal(wit_keys.iter().rev().filter_map(|entry| loading.wit(entry)))),
    ])
}

fn ids<A: Authority>(slots: &Slots<A>) -> Vec<String> {
    [slots.active(), slots.prepared(), slots.old()].into_iter().flatten().map(Authority::authority_id).collect()
}
