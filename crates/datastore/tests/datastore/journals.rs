use prost::Message;
use steeple_datastore::Error;
use steeple_datastore::journals::{CaJournal, PruneCaJournals, SetCaJournal};
use steeple_proto::journal::{Entries, JwtKeyEntry, WitKeyEntry, X509caEntry};

use crate::opened::Opened;

fn journal(active: &str, x509: i64, jwt: i64) -> CaJournal {
    let data = Entries {
        x509_c_as: vec![X509caEntry { not_after: x509, ..X509caEntry::default() }],
        jwt_keys: vec![JwtKeyEntry { not_after: jwt, ..JwtKeyEntry::default() }],
        wit_keys: vec![WitKeyEntry { not_after: i64::MAX, ..WitKeyEntry::default() }],
    };
    CaJournal { id: 0, data: data.encode_to_vec(), active_x509_authority_id: active.into() }
}

pub(crate) async fn a_server_finds_its_journal_by_its_active_authority(store: Opened) {
    let first = journal("a", 1, 1);
    assert_eq!(store.write(SetCaJournal(first.clone())).await.unwrap(), 1);
    assert_eq!(store.write(SetCaJournal(journal("b", 2, 2))).await.unwrap(), 2);
    let stored = CaJournal { id: 1, ..first };
    assert_eq!(store.fetch_ca_journal("a").await.unwrap(), Some(stored.clone()));
    let rotated = CaJournal { active_x509_authority_id: "c".into(), ..stored };
    assert_eq!(store.write(SetCaJournal(rotated.clone())).await.unwrap(), 1);
    assert_eq!(store.fetch_ca_journal("a").await.unwrap(), None);
    assert_eq!(store.fetch_ca_journal("c").await.unwrap(), Some(rotated.clone()));
    let unknown = CaJournal { id: 99, ..rotated };
    assert!(matches!(store.write(SetCaJournal(unknown)).await, Err(Error::NotFound)));
    assert_eq!(store.sql("SELECT active_jwt_authority_id FROM ca_journals").await, [[""], [""]]);
}

pub(crate) async fn prunes_journals_whose_authorities_have_all_expired(store: Opened) {
    for (active, x509, jwt) in [("gone", 99, 100), ("x509", 101, 50), ("jwt", 50, 101)] {
        store.write(SetCaJournal(journal(active, x509, jwt))).await.unwrap();
    }
    let unreadable =
        CaJournal { data: vec![0xff], active_x509_authority_id: "unreadable".into(), ..CaJournal::default() };
    store.write(SetCaJournal(unreadable)).await.unwrap();
    assert_eq!(store.write(PruneCaJournals { expired_by: 100 }).await.unwrap(), 1);
    let left = store.sql("SELECT active_x509_authority_id FROM ca_journals ORDER BY id").await.concat();
    assert_eq!(left, ["x509", "jwt", "unreadable"]);
}
