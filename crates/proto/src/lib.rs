//! Generated types and stubs of every gRPC API, by proto package: `spire.api.server.svid.v1` is
//! [`spire::api::server::svid::v1`]. Nothing else lives here. The sources are in `proto/`.

#![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/packaged/mod.rs"));
include!(concat!(env!("OUT_DIR"), "/opentelemetry/mod.rs"));

/// The SPIFFE Workload API, which has no package.
pub mod workload {
    include!(concat!(env!("OUT_DIR"), "/workload/_.rs"));
}

/// The form in which a server stores its own authorities (`ca_journals.data`).
pub mod journal {
    include!(concat!(env!("OUT_DIR"), "/journal/_.rs"));
}

/// The compiled sources as serialized `google.protobuf.FileDescriptorSet`s: for reflection and for the comparison with
/// the wire table.
pub mod descriptors {
    /// Every file that has a package.
    pub const PACKAGED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packaged/descriptors.bin"));
    /// The Workload API.
    pub const WORKLOAD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/workload/descriptors.bin"));
    /// The journal.
    pub const JOURNAL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/journal/descriptors.bin"));
}
