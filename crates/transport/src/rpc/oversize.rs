//! Messages that are too large, in the words that clients of the reference know.

use std::fmt::Display;

use http::Response;
use tonic::body::Body;
use tonic::{Code, Status};

/// RESOURCE_EXHAUSTED, as grpc-go has it, in place of the OUT_OF_RANGE that the codec answers.
pub(super) fn in_the_references_words(response: Response<Body>) -> Response<Body> {
    let told = Status::from_header_map(response.headers()).filter(|status| status.code() == Code::OutOfRange);
    match told.and_then(|status| sizes(status.message())) {
        Some((found, limit)) => too_large(found, limit).into_http(),
        None => response,
    }
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
