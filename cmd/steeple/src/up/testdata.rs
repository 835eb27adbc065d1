//! Certificates and tokens that SPIRE 1.15.3 has issued, from `tests/data`.

use steeple_spiffe::{Certificate, JwtSvid, X509Svid, x509};

pub(super) fn certificate(file: &str) -> Certificate {
    x509::parse_pem(&read(file)).unwrap().remove(0)
}

/// The certificate as if it were this identity's.
pub(super) fn svid(id: &str, leaf: Certificate) -> X509Svid {
    X509Svid { id: id.parse().unwrap(), chain: vec![leaf], key_pkcs8: Vec::new().into(), hint: String::new() }
}

pub(super) fn token(file: &str) -> JwtSvid {
    JwtSvid::parse_unverified(&read(file)).unwrap()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
