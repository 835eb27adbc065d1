//! Entries and bundles on the wire. What the server takes it shows again as it was, and an agent can use it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use steeple_proto::spire::api::types;
use steeple_server::{take_bundle, take_entry};
use steeple_spiffe::TrustDomain;

fuzz_target!(|data: &[u8]| {
    let trust_domain = TrustDomain::parse("example.org").expect("a name");
    let read = steeple_agent::read_entry(data);
    if let Ok(entry) = types::Entry::decode(data)
        && let Ok(shown) = take_entry(entry.clone(), &trust_domain)
    {
        assert_eq!(take_entry(shown.clone(), &trust_domain).as_ref().ok(), Some(&shown));
        assert_eq!(shown.selectors, entry.selectors);
        if !entry.id.is_empty() {
            let mut selectors = read.expect("the server has taken it");
            let told = entry.selectors.iter().map(|selector| format!("{}:{}", selector.r#type, selector.value));
            let mut told: Vec<String> = told.collect();
            selectors.sort();
            told.sort();
            told.dedup();
            assert_eq!(selectors, told);
        }
    }
    let Ok(bundle) = types::Bundle::decode(data) else { return };
    let read = steeple_agent::read_bundle(bundle.clone());
    if let Ok(shown) = take_bundle(bundle.clone(), &trust_domain) {
        assert_eq!(take_bundle(shown.clone(), &trust_domain).as_ref(), Ok(&shown));
        let again = steeple_agent::read_bundle(shown).expect("the server has taken it");
        if let Ok((x509, _)) = read {
            assert_eq!(again.0, x509);
        }
    }
});
