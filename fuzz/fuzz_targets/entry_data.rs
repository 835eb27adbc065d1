//! The files of `entry create -data`, `entry delete -file` and `federation create -data`, and the moment of
//! `-expiresBefore`. Members that mean nothing change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_server_cmd::{check_date, read_entries, read_entry_ids, read_relationships};
use steeple_spiffe::{SpiffeId, TrustDomain};

fuzz_target!(|data: &[u8]| {
    if let Ok(entries) = read_entries(data) {
        for entry in &entries {
            for id in [&entry.spiffe_id, &entry.parent_id] {
                let id = id.as_ref().expect("it was read");
                let trust_domain = TrustDomain::from_name(&id.trust_domain).expect("it was read");
                assert!(SpiffeId::new(&trust_domain, &id.path).is_ok());
            }
            assert!(entry.federates_with.iter().all(|name| TrustDomain::from_name(name).is_ok()));
        }
        assert_eq!(read_entries(&with_another_member(data)).ok(), Some(entries));
    }
    if let Ok(ids) = read_entry_ids(data) {
        assert_eq!(read_entry_ids(&with_another_member(data)).ok(), Some(ids));
    }
    if let Ok(relationships) = read_relationships(data) {
        assert!(relationships.iter().all(|it| it.bundle_endpoint_profile.is_some() && !it.trust_domain.is_empty()));
        assert_eq!(read_relationships(&with_another_member(data)).ok(), Some(relationships));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if check_date(text).is_ok() {
            assert!(text.is_ascii() && check_date(&format!("{text}x")).is_err());
        }
    }
});

/// A document that is an object has one member more; others stay as they are.
fn with_another_member(json: &[u8]) -> Vec<u8> {
    let text = json.trim_ascii();
    match text.strip_suffix(b"}") {
        Some(open) if !open.trim_ascii_end().ends_with(b"{") => [open, br#","of_no_meaning":[{}]}"#].concat(),
        _ => json.to_vec(),
    }
}
