//! A row of `ca_journals`, which either program may have written, taken up by a server that has all keys of which it tells.
//! What is taken up is taken up alike when the row is written again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use steeple_catalog::{Configuration, Host, KeyManager};
use steeple_config::plugins::PluginData;
use steeple_plugins::key_manager::memory;
use steeple_proto::journal::Entries;
use steeple_runtime::Clock;
use steeple_server::ca::authorities::take_up_journal;
use steeple_spiffe::TrustDomain;

/// Nobody asks it to sign.
static KEYS: LazyLock<KeyManager> = LazyLock::new(|| {
    let configuration = Configuration {
        trust_domain: TrustDomain::parse("example.org").expect("a name"),
        data: PluginData::None,
        host: Host::new(Clock::system()),
    };
    KeyManager::of_server("memory", memory::build(&configuration).expect("a key manager"))
});

fuzz_target!(|row: &[u8]| {
    let Ok(taken_up) = take_up_journal(row, &KEYS) else { return };
    assert!(taken_up.iter().all(|kind| kind.len() <= 2), "more than two slots of a kind: {taken_up:?}");
    let again = Entries::decode(row).expect("it was read").encode_to_vec();
    assert_eq!(take_up_journal(&again, &KEYS).as_ref(), Ok(&taken_up));
});
