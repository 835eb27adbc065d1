//! Templates of agents' paths. What is rendered is an agent's ID in the trust domain, and the same each time.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use steeple_plugins::node_attestor::x509pop::agent_id;
use steeple_spiffe::x509::{Certificate, parse_pem};
use steeple_spiffe::{SpiffeId, TrustDomain};

fuzz_target!(|template: &str| {
    let trust_domain = TrustDomain::parse("static.test").expect("a name");
    let render = || agent_id(template, &LEAF, &trust_domain).map_err(|error| error.to_string());
    let id = render();
    if let Ok(id) = &id {
        let read = SpiffeId::parse(id).expect("an ID");
        assert!(read.is_member_of(&trust_domain));
        assert!(read.path().starts_with("/spire/agent/"), "{id}");
    }
    assert_eq!(render(), id);
});

/// A certificate that has something of everything that a template can name.
static LEAF: LazyLock<Certificate> = LazyLock::new(|| {
    let pem = include_str!("../static.leaf.pem");
    parse_pem(pem).expect("certificates").remove(0)
});
