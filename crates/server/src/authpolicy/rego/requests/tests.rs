use steeple_proto::spire::api::server::agent::v1::CreateJoinTokenRequest;
use steeple_proto::spire::api::server::entry::v1::{BatchCreateEntryRequest, ListEntriesRequest, list_entries_request};
use steeple_proto::spire::api::server::trustdomain::v1::BatchCreateFederationRelationshipRequest;
use steeple_proto::spire::api::types::federation_relationship::BundleEndpointProfile;
use steeple_proto::spire::api::types::{
    Bundle, EntryMask, FederationRelationship, HttpsWebProfile, HttpsspiffeProfile, JwtKey, Selector, SelectorMatch,
    Spiffeid,
};
use steeple_transport::rpc::Methods;

use super::super::DESCRIPTORS;
use super::*;
use crate::authpolicy::local_services;

fn read(path: &str, request: &impl prost::Message) -> Value {
    Requests::new(DESCRIPTORS).unwrap().read(path, &request.encode_to_vec()).unwrap()
}

const CREATE: &str = "/spire.api.server.entry.v1.Entry/BatchCreateEntry";

#[test]
fn what_is_empty_is_absent_and_a_message_is_there() {
    let id = |path: &str| Some(Spiffeid { trust_domain: "example.org".into(), path: path.into() });
    let selectors = vec![Selector { r#type: "unix".into(), value: "uid:1".into() }, Selector::default()];
    let entry = steeple_proto::spire::api::types::Entry {
        spiffe_id: id("/w"),
        parent_id: id(""),
        selectors,
        admin: true,
        dns_names: vec![String::new(), "a.test".into()],
        expires_at: 4_070_908_800,
        ..Default::default()
    };
    let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: Some(EntryMask::default()) };
    assert_eq!(
        read(CREATE, &request),
        serde_json::json!({
            "entries": [{
                "spiffe_id": {"trust_domain": "example.org", "path": "/w"},
                "parent_id": {"trust_domain": "example.org"},
                "selectors": [{"type": "unix", "value": "uid:1"}, {}],
                "admin": true,
                "dns_names": ["", "a.test"],
                "expires_at": 4_070_908_800_u64,
            }],
            "output_mask": {},
        })
    );
}

#[test]
fn enums_are_numbers_and_wrappers_are_objects() {
    let by_selectors = SelectorMatch { selectors: Vec::new(), r#match: 1 };
    let filter = list_entries_request::Filter {
        by_selectors: Some(by_selectors),
        by_hint: Some(String::new()),
        by_downstream: Some(true),
        ..Default::default()
    };
    let request = ListEntriesRequest { filter: Some(filter), page_size: -1, ..Default::default() };
    assert_eq!(
        read("/spire.api.server.entry.v1.Entry/ListEntries", &request),
        serde_json::json!({
            "filter": {"by_selectors": {"match": 1}, "by_hint": {}, "by_downstream": {"value": true}},
            "page_size": -1,
        })
    );
}

#[test]
fn a_oneof_stands_under_its_go_name_and_bytes_are_base64() {
    let relationship = |profile| FederationRelationship {
        bundle_endpoint_profile: profile,
        trust_domain_bundle: Some(Bundle {
            jwt_authorities: vec![JwtKey { public_key: vec![255, 254], ..Default::default() }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let spiffe = HttpsspiffeProfile { endpoint_spiffe_id: "spiffe://a/b".into() };
    let request = BatchCreateFederationRelationshipRequest {
        federation_relationships: vec![
            relationship(Some(BundleEndpointProfile::HttpsWeb(HttpsWebProfile {}))),
            relationship(Some(BundleEndpointProfile::HttpsSpiffe(spiffe))),
            relationship(None),
        ],
        output_mask: None,
    };
    let read = read("/spire.api.server.trustdomain.v1.TrustDomain/BatchCreateFederationRelationship", &request);
    let profile = |at: usize| &read["federation_relationships"][at]["BundleEndpointProfile"];
    assert_eq!(profile(0), &serde_json::json!({"HttpsWeb": {}}));
    assert_eq!(profile(1), &serde_json::json!({"HttpsSpiffe": {"endpoint_spiffe_id": "spiffe://a/b"}}));
    let third = &read["federation_relationships"][2];
    assert!(third["BundleEndpointProfile"].is_null() && third.get("BundleEndpointProfile").is_some());
    assert_eq!(third["trust_domain_bundle"]["jwt_authorities"][0]["public_key"], "//4=");
}

#[test]
fn every_field_of_every_request_can_be_told() {
    let requests = Requests::new(DESCRIPTORS).unwrap();
    let mut told = 0;
    for method in Methods::new(&local_services()).iter().filter(|method| requests.has(&method.path)) {
        let mut left = vec![requests.kind(&method.path).unwrap()];
        while let Some(kind) = left.pop() {
            for field in requests.messages[kind].fields.values() {
                assert!(!matches!(field.kind, Kind::Other), "{kind}.{}", field.name);
                if let Kind::Message(inner) = &field.kind {
                    left.push(inner.as_str());
                }
                told += 1;
            }
        }
    }
    assert!(told > 100, "{told}");
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    let requests = Requests::new(DESCRIPTORS).unwrap();
    let path = "/spire.api.server.agent.v1.Agent/CreateJoinToken";
    for bytes in [&[0x0a_u8, 5, 1][..], &[0x0a], &[0x0d, 1, 0, 0, 0], &[0x0a, 1, 8], &[0x12, 2, 0xff, 0xfe]] {
        assert!(CreateJoinTokenRequest::decode(bytes).is_err(), "{bytes:?}");
        assert_eq!(requests.read(path, bytes).unwrap_err().code(), tonic::Code::Internal, "{bytes:?}");
    }
}

mod agreement {
    //! What the handler decodes is what the policy was told of.

    use proptest::collection::vec;
    use proptest::prelude::*;
    use steeple_proto::spire::api::server::entry::v1::BatchUpdateEntryRequest;

    use super::*;

    /// Bytes that are a request now and then: fields of the right numbers, with values that are often of the right kind.
    fn message(depth: u32) -> BoxedStrategy<Vec<u8>> {
        let varint = (1_u32..20, prop_oneof![Just(0_u64), Just(1), any::<u64>()]).prop_map(|(number, value)| {
            let mut bytes = Vec::new();
            prost::encoding::encode_key(number, WireType::Varint, &mut bytes);
            prost::encoding::encode_varint(value, &mut bytes);
            bytes
        });
        let content = if depth == 0 { vec(any::<u8>(), 0..4).boxed() } else { message(depth - 1) };
        let delimited = (1_u32..20, content).prop_map(|(number, content)| {
            let mut bytes = Vec::new();
            prost::encoding::encode_key(number, WireType::LengthDelimited, &mut bytes);
            prost::encoding::encode_varint(content.len() as u64, &mut bytes);
            [bytes, content].concat()
        });
        vec(prop_oneof![varint, delimited.clone(), delimited], 0..4).prop_map(|parts| parts.concat()).boxed()
    }

    fn agrees<M: prost::Message + Default>(path: &str, bytes: &[u8]) {
        let requests = Requests::new(DESCRIPTORS).unwrap();
        match M::decode(bytes) {
            Ok(decoded) => assert_eq!(
                requests.read(path, bytes).unwrap(),
                requests.read(path, &decoded.encode_to_vec()).unwrap(),
                "{bytes:?}"
            ),
            Err(_) => assert!(requests.read(path, bytes).is_err(), "{bytes:?}"),
        }
    }

    proptest! {
        #[test]
        fn a_request_is_told_as_the_handler_decodes_it(bytes in message(3)) {
            agrees::<BatchCreateEntryRequest>(CREATE, &bytes);
            agrees::<BatchUpdateEntryRequest>("/spire.api.server.entry.v1.Entry/BatchUpdateEntry", &bytes);
            agrees::<ListEntriesRequest>("/spire.api.server.entry.v1.Entry/ListEntries", &bytes);
            let relationships = "/spire.api.server.trustdomain.v1.TrustDomain/BatchCreateFederationRelationship";
            agrees::<BatchCreateFederationRelationshipRequest>(relationships, &bytes);
        }
    }
}

/// Two bytes each on the wire, and hundreds in front of a policy.
#[test]
fn a_request_with_more_fields_than_a_policy_is_told_of_is_refused() {
    let requests = Requests::new(DESCRIPTORS).unwrap();
    let path = "/spire.api.server.trustdomain.v1.TrustDomain/BatchCreateFederationRelationship";
    let empty = [0x0a, 0x00];
    let read = |count| requests.read(path, &empty.repeat(count));
    assert_eq!(read(MOST_FIELDS).unwrap()["federation_relationships"].as_array().unwrap().len(), MOST_FIELDS);
    assert_eq!(read(MOST_FIELDS + 1).unwrap_err().code(), tonic::Code::ResourceExhausted);
}
