//! What servers write.

use steeple_datastore::bundles::{CreateBundle, DeleteBundle, DeleteMode, SetBundle};
use steeple_datastore::entries::{
    CreateEntries, CreateEntry, DeleteEntry, EntryFilter, EntryMask, UpdateEntries, UpdateEntry,
};
use steeple_datastore::nodes::{ActivateNodeSerial, AttestNode, DeleteNode, SetNodeSelectors, UpdateNode};
use steeple_datastore::{Bundle, DataStore, Error, Page};

use super::history::version;
use super::*;

/// Entries that are written again and again.
const ENTRIES: u64 = 30;
const PARTNER: &str = "spiffe://partner.org";
/// Agents that nobody is: they attest, renew, are banned and evicted.
pub(super) const STRANGERS: [&str; 3] = [
    "spiffe://example.org/spire/agent/x509pop/a",
    "spiffe://example.org/spire/agent/x509pop/b",
    "spiffe://example.org/spire/agent/x509pop/c",
];
/// When their SVIDs end.
const FAR: i64 = 4_102_444_800;

/// What is there before anything happens.
pub(super) async fn base(store: &DataStore) {
    store.write(CreateBundle(partner(0))).await.unwrap();
}

/// Some writes and reads of one server. Those that fail have no effect, or one that nobody was told of.
pub(super) async fn burst(store: &DataStore, history: &History, length: u64, mut random: Random) {
    for _ in 0..length {
        if write(store, history, &mut random).await.is_ok() {
            history.wrote();
        }
        if random.below(4) == 0
            && let Ok(listing) = store.list_entries(&EntryFilter::default(), &Page::default()).await
        {
            listing.rows.iter().for_each(|entry| history.check(entry));
        }
    }
}

async fn write(store: &DataStore, history: &History, random: &mut Random) -> Result<(), Error> {
    let mut next = || {
        let entry = history.next(&format!("e{}", random.below(ENTRIES)));
        let federates_with = if random.below(4) == 0 { vec![PARTNER.to_owned()] } else { Vec::new() };
        Entry { federates_with, ..entry }
    };
    let mask = EntryMask::ALL;
    match (next(), next(), next()) {
        (one, ..) if one.x509_svid_ttl % 5 == 0 => store.write(CreateEntry { entry: one }).await.map(drop),
        (one, ..) if one.x509_svid_ttl % 5 == 1 => store.write(UpdateEntry { entry: one, mask }).await.map(drop),
        (one, two, three) if one.x509_svid_ttl % 5 == 2 => {
            // Refused after its row was written: its list holds a name twice.
            let refused = Entry { dns_names: vec!["a.test".into(), "a.test".into()], ..two };
            history.never(&refused);
            store.write(CreateEntries { entries: vec![one, refused, three] }).await.map(drop)
        }
        (one, two, three) if one.x509_svid_ttl % 5 == 3 => {
            store.write(UpdateEntries { entries: vec![one, two, three], mask }).await.map(drop)
        }
        (one, ..) => match random.below(8) {
            0 => store.write(SetBundle(partner(one.x509_svid_ttl.into()))).await.map(drop),
            1 => {
                let delete = DeleteBundle { trust_domain: PARTNER.to_owned(), mode: DeleteMode::Dissociate };
                store.write(delete).await.map(drop)
            }
            2 => {
                let spiffe_id = version("", random.below(2) as i32).parent_id;
                let selectors = (0..random.below(3)).map(|zone| Selector::new("zone", zone.to_string())).collect();
                store.write(SetNodeSelectors { spiffe_id, selectors }).await.map(drop)
            }
            3..=5 => write_stranger(store, one.x509_svid_ttl.to_string(), random).await,
            _ => store.write(DeleteEntry { entry_id: one.entry_id }).await.map(drop),
        },
    }
}

/// What an agent or an operator does; `serial` is that of an SVID, if there is a new one.
async fn write_stranger(store: &DataStore, serial: String, random: &mut Random) -> Result<(), Error> {
    let spiffe_id = STRANGERS[random.below(STRANGERS.len() as u64) as usize].to_owned();
    match random.below(6) {
        0 | 1 => {
            let attestation_type = "x509pop".to_owned();
            let selectors = vec![Selector::new("x509pop", serial.clone())];
            let attest =
                AttestNode { spiffe_id, attestation_type, serial, expires_at: FAR, can_reattest: true, selectors };
            store.write(attest).await.map(drop)
        }
        2 => {
            let (new_serial, new_expires_at) = (Some(serial), Some(Some(FAR)));
            store.write(UpdateNode { spiffe_id, new_serial, new_expires_at, ..UpdateNode::default() }).await.map(drop)
        }
        3 => {
            let serial = store.fetch_node(&spiffe_id).await?.map(|node| node.new_serial).unwrap_or_default();
            store.write(ActivateNodeSerial { spiffe_id, serial }).await.map(drop)
        }
        4 => {
            let none = Some(String::new());
            let ban = UpdateNode { spiffe_id, serial: none.clone(), new_serial: none, ..UpdateNode::default() };
            store.write(ban).await.map(drop)
        }
        _ => store.write(DeleteNode { spiffe_id }).await.map(drop),
    }
}

fn partner(refresh_hint: i64) -> Bundle {
    Bundle { trust_domain_id: PARTNER.to_owned(), refresh_hint, ..Bundle::default() }
}
