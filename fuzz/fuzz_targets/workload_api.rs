//! What the Workload API answers, as our client reads it: the first byte says which message the others are.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use steeple_proto::workload::{
    JwtBundlesResponse, JwtsvidResponse, ValidateJwtsvidResponse, WitBundlesResponse, WitsvidResponse,
    X509BundlesResponse, X509svidResponse,
};
use steeple_spiffe::bundle::jwks;
use steeple_spiffe::workload_api::{
    JwtBundles, WitBundles, WitSvids, X509Bundles, X509Context, read, read_jwt_svids, read_validated,
};

fuzz_target!(|data: &[u8]| {
    let Some((kind, message)) = data.split_first() else { return };
    match kind {
        b'x' => message_of::<X509svidResponse>(message, |message| {
            let Ok(X509Context { svids, bundles, crls: _ }) = X509Context::from_message(message) else { return };
            assert!(!svids.is_empty());
            distinct(svids.iter().map(|svid| svid.hint.as_str()));
            for svid in svids {
                assert_eq!(svid.chain.first().map(|leaf| leaf.spiffe_id()), Some(Ok(svid.id.clone())));
                assert!(bundles.get(&svid.id.trust_domain()).is_some());
            }
        }),
        b'b' => message_of::<X509BundlesResponse>(message, |message| {
            let named = message.bundles.len();
            let Ok(X509Bundles { bundles, crls: _ }) = read::<X509Bundles>(message) else { return };
            assert!((1..=named).contains(&bundles.len()));
            assert!(bundles.iter().all(|bundle| bundle.jwt_authorities.is_empty()));
        }),
        b'j' => message_of::<JwtBundlesResponse>(message, |message| {
            let Ok(JwtBundles { bundles }) = read::<JwtBundles>(message) else { return };
            assert!(bundles.iter().next().is_some());
            for bundle in bundles.iter() {
                let written = jwks::jwt_keys_document(bundle);
                let read = jwks::parse_jwt_keys_document(&bundle.trust_domain, &written);
                assert_eq!(read.as_ref(), Ok(&**bundle));
            }
        }),
        b'w' => message_of::<WitBundlesResponse>(message, |message| {
            let Ok(WitBundles { bundles }) = read::<WitBundles>(message) else { return };
            assert!(bundles.iter().next().is_some());
            assert!(bundles.iter().all(|bundle| bundle.x509_authorities.is_empty()));
        }),
        b'W' => message_of::<WitsvidResponse>(message, |message| {
            let Ok(WitSvids { svids }) = read::<WitSvids>(message) else { return };
            assert!(!svids.is_empty());
            distinct(svids.iter().map(|svid| svid.hint.as_str()));
        }),
        b'J' => message_of::<JwtsvidResponse>(message, |message| {
            let Ok(svids) = read_jwt_svids(message, &["aud1".to_owned()]) else { return };
            assert!(!svids.is_empty());
            distinct(svids.iter().map(|svid| svid.hint.as_str()));
            assert!(svids.iter().all(|svid| svid.svid.audience.iter().any(|audience| audience == "aud1")));
        }),
        _ => message_of::<ValidateJwtsvidResponse>(message, |message| {
            if let Ok(valid) = read_validated(message) {
                assert!(!valid.claims.is_empty());
            }
        }),
    }
});

fn message_of<M: Message + Default>(encoded: &[u8], then: impl FnOnce(M)) {
    if let Ok(message) = M::decode(encoded) {
        then(message);
    }
}

/// No hint comes twice, but for none.
fn distinct<'a>(hints: impl Iterator<Item = &'a str>) {
    let mut seen = HashSet::new();
    assert!(hints.filter(|hint| !hint.is_empty()).all(|hint| seen.insert(hint)));
}
