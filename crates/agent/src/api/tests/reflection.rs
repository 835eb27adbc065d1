//! What the endpoint tells of itself: gRPC's reflection, in both versions of its protocol, which differ in their names alone.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use serde_json::Value;
use steeple_proto::descriptors;
use tonic_reflection::pb;

use super::*;

const VERSIONS: [&str; 2] = ["v1", "v1alpha"];

/// The answer to one question.
async fn asked(case: &Case, version: &str, question: Value) -> Value {
    let schema = Schema::new(&[pb::v1::FILE_DESCRIPTOR_SET, pb::v1alpha::FILE_DESCRIPTOR_SET]);
    let method = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let sent = Sent { requests: vec![question.clone()], ..Sent::default() };
    let mut received = schema.call(case.channel(), &method, sent).await;
    assert!(received.status.is_none(), "{version}: {question}: {received:?}");
    assert_eq!(received.responses.len(), 1, "{version}: {question}");
    received.responses.remove(0)
}

/// The names of all services.
async fn services(case: &Case, version: &str) -> Vec<String> {
    let told = asked(case, version, json!({"list_services": ""})).await;
    let services = told["list_services_response"]["service"].as_array().unwrap();
    services.iter().map(|service| service["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_endpoint_tells_its_services_by_reflection() {
    let others =
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
    let all = [&["SpiffeWorkloadAPI"], &others[..]].concat();
    let case = Case::new().await;
    let disabled = Case::with(Options { disabled: true, ..Options::default() }).await;
    for version in VERSIONS {
        assert_eq!(services(&case, version).await, all, "{version}");
        assert_eq!(services(&disabled, version).await, others, "{version}");
    }
}

#[tokio::test]
async fn who_knows_the_name_of_a_service_finds_all_that_its_calls_are_made_of() {
    let case = Case::new().await;
    for version in VERSIONS {
        for service in services(&case, version).await {
            let mut names = BTreeSet::new();
            let mut questions = vec![json!({"file_containing_symbol": service})];
            while let Some(question) = questions.pop() {
                let told = asked(&case, version, question).await;
                for file in told["file_descriptor_response"]["file_descriptor_proto"].as_array().unwrap() {
                    let file = STANDARD.decode(file.as_str().unwrap()).unwrap();
                    let file = FileDescriptorProto::decode(&*file).unwrap();
                    names.insert(file.name().to_owned());
                    let missing = file.dependency.into_iter().filter(|name| !names.contains(name));
                    questions.extend(missing.map(|name| json!({"file_by_filename": name})));
                }
            }
            if service == "SpiffeWorkloadAPI" {
                let known = FileDescriptorSet::decode(descriptors::WORKLOAD).unwrap().file;
                assert_eq!(names, known.into_iter().map(|file| file.name().to_owned()).collect(), "{version}");
            }
        }
    }
}

#[tokio::test]
async fn a_call_and_a_message_are_found_in_the_file_of_their_service() {
    let case = Case::new().await;
    let known = FileDescriptorSet::decode(descriptors::WORKLOAD).unwrap().file;
    let known = known.iter().find(|file| !file.service.is_empty()).unwrap();
    let expected = json!({"file_descriptor_proto": [STANDARD.encode(known.encode_to_vec())]});
    for version in VERSIONS {
        for symbol in ["SpiffeWorkloadAPI", "SpiffeWorkloadAPI.FetchX509SVID", "X509SVIDRequest"] {
            let told = asked(&case, version, json!({"file_containing_symbol": symbol})).await;
            assert_eq!(told["file_descriptor_response"], expected, "{version}: {symbol}");
        }
    }
}
