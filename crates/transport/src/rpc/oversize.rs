//! Messages that are too large, in the words that clients of the reference know.

use std::fmt::Display;

use tonic::Status;

/// RESOURCE_EXHAUSTED, as grpc-go has it, in place of the OUT_OF_RANGE that the codec answers.
pub(super) fn in_known_words(of_the_codec: &Status) -> Option<Status> {
    sizes(of_the_codec.message()).map(|(found, limit)| too_large(found, limit))
}

/// The words themselves.
pub(super) fn too_large(found: impl Display, limit: impl Display) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({found} vs. {limit})"))
}

/// What the codec found and what it allows, from its text: it gives them nowhere else.
fn sizes(text: &str) -> Option<(u64, u64)> {
    let text = text.strip_prefix("Error, decoded message length too large: found ")?;
    let (found, limit) = text.split_once(" bytes, the limit is: ")?;
    Some((found.parse().ok()?, limit.strip_suffix(" bytes")?.parse().ok()?))
}
