//! SPIFFE IDs and trust domains. What is accepted is printed as it was, and its parts make the same ID.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_spiffe::{SpiffeId, TrustDomain};

fuzz_target!(|text: &str| {
    if let Ok(id) = SpiffeId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert!(text.len() <= SpiffeId::MAX_LEN);
        assert_eq!(SpiffeId::new(&id.trust_domain(), id.path()).as_ref(), Ok(&id));
        assert!(id.is_member_of(&id.trust_domain()));
    }
    if let Ok(trust_domain) = TrustDomain::parse(text) {
        assert_eq!(TrustDomain::from_name(trust_domain.name()).as_ref(), Ok(&trust_domain));
        assert_eq!(TrustDomain::parse(trust_domain.id().as_str()).as_ref(), Ok(&trust_domain));
    }
});
