use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use steeple_pki::PrivateKey;

use super::artifact;

#[test]
fn writes_every_recorded_key_back_to_the_byte() {
    let mut keys = Vec::new();
    for folder in ["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"] {
        for file in ["server-keys.json", "agent-keys.json"] {
            keys.extend(key_file(&format!("{folder}/{file}")));
        }
        let documents = ["minted", "workload-plain", "workload-dns", "workload-ttl", "workload-hint"];
        keys.extend(documents.map(|name| {
            let name = format!("{folder}/{name}.key.pkcs8.der");
            let document = artifact(&name);
            (name, document)
        }));
    }
    let total = keys.len();
    let equal = keys.into_iter().filter(|(name, document)| {
        let key = PrivateKey::from_pkcs8_der(document).unwrap_or_else(|error| panic!("{name}: {error}"));
        *key.to_pkcs8_der().unwrap() == *document
    });
    let equal = equal.count();
    println!("keys: {equal} of {total} equal");
    assert_eq!(equal, total);
    assert!(total >= 36, "{total}");
}

pub(crate) fn recorded(file: &str, name: &str) -> PrivateKey {
    let (_, document) = key_file(file).into_iter().find(|(found, _)| found.ends_with(name)).unwrap();
    PrivateKey::from_pkcs8_der(&document).unwrap()
}

fn key_file(file: &str) -> Vec<(String, Vec<u8>)> {
    let keys: Value = serde_json::from_slice(&artifact(file)).unwrap();
    let keys = keys["keys"].as_object().unwrap();
    keys.iter()
        .map(|(name, key)| (format!("{file} {name}"), BASE64_STANDARD.decode(key.as_str().unwrap()).unwrap()))
        .collect()
}
