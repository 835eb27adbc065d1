use std::time::Duration;

use super::*;
use crate::up::testdata::{certificate, svid, token};

/// 2026-11-24 16:48:23 UTC, when the certificates of the test data were made.
const ISSUED: u64 = 1_795_538_903;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn tells_all_of_an_x509_svid() {
    let svid = svid("spiffe://example.org/plain", certificate("workload-plain.pem"));
    let rows = x509_svid(&svid, &[certificate("ca.pem")], at(ISSUED), &TimeZone::UTC);
    let expected = [
        ("SPIFFE ID", "spiffe://example.org/plain"),
        ("serial", "61B77028A13197B8EBD80D68BA0F0CE5"),
        ("subject", "O=SPIRE,C=US"),
        ("issuer", "SERIALNUMBER=29607940408903065950321920228539887644,O=SPIFFE,C=US"),
        ("valid from", "2026-11-24 16:48:13 UTC (10 s ago)"),
        ("valid until", "2026-11-24 17:48:23 UTC (60 min 0 s left)"),
        ("key", "EC P-256"),
        ("authorities", "1 in the bundle, valid until 2026-11-25 16:48:16 UTC"),
    ];
    assert_eq!(rows, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn tells_hint_dns_names_and_a_longer_chain_where_there_are_any() {
    let mut svid = svid("spiffe://example.org/minted-dns", certificate("minted-dns.pem"));
    svid.hint = "internal".into();
    svid.chain.push(certificate("another-ca.pem"));
    let rows = x509_svid(&svid, &[certificate("ca.pem"), certificate("another-ca.pem")], at(ISSUED), &TimeZone::UTC);
    for row in [
        ("hint", "internal"),
        ("DNS names", "b.example.org, a.example.org"),
        ("chain", "2 certificates below an authority"),
        ("authorities", "2 in the bundle, valid until 2026-11-25 16:48:16 UTC and 2026-11-25 16:48:51 UTC"),
    ] {
        assert!(rows.contains(&(row.0, row.1.to_owned())), "{row:?} in {rows:#?}");
    }
}

#[test]
fn tells_header_and_claims_of_a_token() {
    let rows = jwt_svid(&token("workload.jwt"), at(ISSUED), &TimeZone::UTC);
    let expected = [
        ("SPIFFE ID", "spiffe://example.org/plain"),
        ("header", "alg ES256, kid yj5Fj6DaZWFsYCyr0NvxdSeEBGqfSYoL, typ JWT"),
        ("for (aud)", "w-aud"),
        ("issued (iat)", "2026-11-24 16:48:23 UTC (now)"),
        ("ends (exp)", "2026-11-24 16:53:23 UTC (5 min 0 s left)"),
        ("other claims", "iss https://issuer.example.org"),
    ];
    assert_eq!(rows, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn a_header_that_is_none_is_empty() {
    for token in ["", "!", "e30.e30.", "bm8.e30."] {
        assert_eq!(members(&header(token)), "", "{token}");
    }
}
