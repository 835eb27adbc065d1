//! What the reference printed of an agent's answers. Each of its commands was run twice, once with `-output json`: that
//! record has the answer itself, and the other what a person gets to see of it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use steeple_proto::workload::{JwtBundlesResponse, Jwtsvid, JwtsvidResponse, X509svid, X509svidResponse};
use steeple_spiffe::workload_api::X509Context;

use super::update::{Style, Update};
use super::{fetch_jwt, fetch_x509, json};

fn record(name: &str) -> Value {
    let lines = include_str!("../../../tests/data/cli.jsonl").lines();
    let mut records = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.find(|record| record["name"] == name).unwrap()
}

/// What a record's command printed.
fn printed(name: &str) -> String {
    text(&record(name)["stdout"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn bytes<B: From<Vec<u8>>>(value: &Value) -> B {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap().into()
}

fn by_trust_domain<B: From<Vec<u8>>>(value: &Value) -> HashMap<String, B> {
    value.as_object().unwrap().iter().map(|(id, bundle)| (id.clone(), bytes(bundle))).collect()
}

fn x509_svids(answer: &Value) -> X509svidResponse {
    let svid = |svid: &Value| X509svid {
        spiffe_id: text(&svid["spiffe_id"]),
        x509_svid: bytes(&svid["x509_svid"]),
        x509_svid_key: bytes(&svid["x509_svid_key"]),
        bundle: bytes(&svid["bundle"]),
        hint: text(&svid["hint"]),
    };
    X509svidResponse {
        svids: answer["svids"].as_array().unwrap().iter().map(svid).collect(),
        crl: Vec::new(),
        federated_bundles: by_trust_domain(&answer["federated_bundles"]),
    }
}

fn jwt_svids(answer: &Value) -> JwtsvidResponse {
    let svid = |svid: &Value| Jwtsvid {
        spiffe_id: text(&svid["spiffe_id"]),
        svid: text(&svid["svid"]),
        hint: text(&svid["hint"]),
    };
    JwtsvidResponse { svids: answer["svids"].as_array().unwrap().iter().map(svid).collect() }
}

/// The blocks of a text, in no order: trust domains come in any.
fn blocks(text: &str) -> BTreeMap<&str, i32> {
    let mut blocks = BTreeMap::new();
    text.split("bundle(").for_each(|block| *blocks.entry(block.trim_end()).or_default() += 1);
    blocks
}

#[test]
fn x509_svids_are_printed_as_the_reference_prints_them() {
    let line = printed("fetch-x509-json");
    let answer = serde_json::from_str(&line).unwrap();
    assert_eq!(json::x509_svids(&x509_svids(&answer)), answer);
    let update = Update::from(X509Context::from_message(x509_svids(&answer)).unwrap());
    for (record, nanos, style) in [("fetch-x509", 4_017_897, Style::Fetch), ("watch-two", 2_527_922, Style::Watch)] {
        assert_eq!(update.pretty(Duration::from_nanos(nanos), style), printed(record), "{record}");
    }
}

#[test]
fn jwt_svids_are_printed_as_the_reference_prints_them() {
    let line = printed("fetch-jwt-format-json");
    let answer: Value = serde_json::from_str(&line).unwrap();
    let svids = jwt_svids(&answer[0]);
    let bundles = JwtBundlesResponse { bundles: by_trust_domain(&answer[1]["bundles"]) };
    assert_eq!(json::jwt_svids(&svids), answer[0]);
    assert_eq!(json::jwt_bundles(&bundles), answer[1]);
    let pretty = fetch_jwt::pretty(svids, bundles).unwrap();
    assert_eq!(blocks(&pretty), blocks(&printed("fetch-jwt")));
}

#[test]
fn files_are_written_as_the_reference_writes_them() {
    let answer = serde_json::from_str(&printed("fetch-x509-json")).unwrap();
    let update = Update::from(X509Context::from_message(x509_svids(&answer)).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (out, mut said) = (dir.path().join("out"), String::new());
    fs::create_dir(&out).unwrap();
    fs::write(out.join("svid.0.key"), "with another mode").unwrap();
    fetch_x509::write(&out, &update, |line| said.push_str(&line)).unwrap();
    let said = said.replace(out.to_str().unwrap(), "out");
    assert!(printed("fetch-x509-write").ends_with(&said), "{said}");

    let record = record("fetch-x509-write");
    let files = record["files_written"].as_object().unwrap();
    assert_eq!(fs::read_dir(&out).unwrap().count(), files.len());
    for (name, facts) in files {
        let pem = fs::read_to_string(out.join(name)).unwrap();
        let blocks: Vec<_> = steeple_spiffe::pem::parse(&pem).unwrap().into_iter().map(|block| block.label).collect();
        assert_eq!(Value::from(blocks), facts["pem_blocks"], "{name}");
        assert!(pem.ends_with('\n'), "{name}");
        if name.ends_with(".key") {
            let mode = fs::metadata(out.join(name)).unwrap().permissions().mode();
            assert_eq!(format!("{:04o}", mode & 0o777), text(&facts["mode"]), "{name}");
        }
    }
}
