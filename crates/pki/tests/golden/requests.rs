use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use steeple_pki::{CertificateRequest, Name, PkiError, PublicKeyKind, csr};
use steeple_spiffe::SpiffeId;
use x509_cert::der::Decode;
use x509_cert::request::CertReq;

use super::certificates::subject;
use super::{Recorded, artifact, data, facts};

#[tokio::test]
async fn makes_every_recorded_request_to_the_byte() {
    let (mut equal, mut total) = (0, 0);
    for (name, facts) in facts("csrs") {
        let recorded = artifact(facts["file"].as_str().unwrap());
        let request = CertificateRequest::parse_and_verify(&recorded).unwrap_or_else(|error| panic!("{name}: {error}"));
        let signature = CertReq::from_der(&recorded).unwrap().signature.raw_bytes().to_vec();
        let signer = Recorded { public_key: request.public_key, signature };
        let uri = uri(&facts);
        assert_eq!(request.uri_sans, uri.iter().map(ToString::to_string).collect::<Vec<_>>(), "{name}");
        assert!(request.dns_sans.is_empty(), "{name}");
        let name = Name::try_from(&subject(&facts["subject"])).unwrap();
        assert_eq!(request.subject, name);
        total += 1;
        if csr::build_with(&name, uri.as_ref(), &[], &[], &signer).await.unwrap() == recorded {
            equal += 1;
        }
    }
    println!("requests: {equal} of {total} equal");
    assert_eq!((equal, total), (11, 11));
}

#[test]
fn verifies_the_requests_of_every_kind_of_key() {
    for (name, kind) in [
        ("agent-1", PublicKeyKind::EcP256),
        ("p384", PublicKeyKind::EcP384),
        ("p521", PublicKeyKind::EcP521),
        ("rsa2048", PublicKeyKind::Rsa(2048)),
        ("rsa1024", PublicKeyKind::Rsa(1024)),
        ("ed25519", PublicKeyKind::Ed25519),
    ] {
        let request = CertificateRequest::parse_and_verify(&input("api-csrs.json", Some("csrs"), name)).unwrap();
        assert_eq!(request.public_key.kind(), kind, "{name}");
        assert!(request.subject.is_empty(), "{name}");
    }
}

#[test]
fn reads_the_names_of_foreign_requests() {
    let read = |name| CertificateRequest::parse_and_verify(&input("csrs.json", None, name)).unwrap();
    let request = read("workload1");
    assert_eq!(request.uri_sans, ["spiffe://example.org/csr1"]);
    assert_eq!(request.dns_sans, ["a.example.org", "b.example.org"]);
    assert_eq!(read("two-uris").uri_sans.len(), 2);
    assert!(read("no-uri").uri_sans.is_empty());
    let subject = read("workload-subject").subject.to_subject();
    assert_eq!(subject.to_string(), "CN=my workload,O=GOLDEN,C=US");
}

#[test]
fn refuses_the_requests_that_their_key_did_not_sign() {
    for (file, section, name) in
        [("csrs.json", None, "bad-signature"), ("api-csrs.json", Some("csrs"), "agent-1-bad-signature")]
    {
        let error = CertificateRequest::parse_and_verify(&input(file, section, name)).unwrap_err();
        assert!(matches!(error, PkiError::RequestSignature(_)));
        assert_eq!(error.to_string(), "x509: ECDSA verification failure");
    }
}

fn input(file: &str, section: Option<&str>, name: &str) -> Vec<u8> {
    let inputs: Value = serde_json::from_slice(&data(file)).unwrap();
    let inputs = section.map_or(&inputs, |section| &inputs[section]);
    BASE64_STANDARD.decode(inputs[name]["csr"].as_str().unwrap()).unwrap()
}

fn uri(facts: &Value) -> Option<SpiffeId> {
    let names = facts["attributes"].as_array()?.first()?["extensions"][0]["value"].as_array()?;
    SpiffeId::parse(names[0].as_str()?.strip_prefix("URI:")?).ok()
}
