//! Generated types and stubs of every gRPC API, by proto package: `spire.api.server.svid.v1` is
//! [`spire::api::server::svid::v1`]. Nothing else lives here. The sources are in `proto/`.

#![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/services/mod.rs"));

/// The form in which a server stores its own authorities (`ca_journals.data`).
pub mod journal {
    include!(concat!(env!("OUT_DIR"), "/journal/_.rs"));
}

/// The compiled sources of all services, as a serialized `google.protobuf.FileDescriptorSet`: for reflection and for
/// the comparison with the wire table.
pub const SERVICES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/services/descriptors.bin"));

/// The same for the journal.
pub const JOURNAL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/journal/descriptors.bin"));
