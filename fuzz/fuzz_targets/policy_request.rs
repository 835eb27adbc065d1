//! What an operator's policy is told of a request is what the handler decodes from the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use steeple_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchUpdateEntryRequest, ListEntriesRequest,
};
use steeple_proto::spire::api::server::trustdomain::v1::BatchCreateFederationRelationshipRequest;
use steeple_server::authpolicy::told;

fuzz_target!(|bytes: &[u8]| {
    agrees::<BatchCreateEntryRequest>("/spire.api.server.entry.v1.Entry/BatchCreateEntry", bytes);
    agrees::<BatchUpdateEntryRequest>("/spire.api.server.entry.v1.Entry/BatchUpdateEntry", bytes);
    agrees::<ListEntriesRequest>("/spire.api.server.entry.v1.Entry/ListEntries", bytes);
    agrees::<BatchCreateFederationRelationshipRequest>(
        "/spire.api.server.trustdomain.v1.TrustDomain/BatchCreateFederationRelationship",
        bytes,
    );
});

fn agrees<M: Message + Default>(path: &str, bytes: &[u8]) {
    // What the handler refuses may be told: nobody acts on it.
    if let Ok(decoded) = M::decode(bytes) {
        let told_of_bytes = told(path, bytes).expect("what the handler reads can be told");
        assert_eq!(told_of_bytes, told(path, &decoded.encode_to_vec()).expect("so can what it is encoded as"));
    }
}
