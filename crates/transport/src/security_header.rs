//! The header of every call of the Workload API (SPIFFE Workload Endpoint, section 3): whoever tricks a program into
//! requesting a URL cannot make it send this as well.

use http::HeaderMap;
use tonic::Request;
use tonic::metadata::MetadataValue;

const NAME: &str = "workload.spiffe.io";
const VALUE: &str = "true";

/// A message as a call's request, with the header.
pub fn with<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(NAME, MetadataValue::from_static(VALUE));
    request
}

/// Whether a call's metadata have it: once, and letter by letter.
pub fn is_in(metadata: &HeaderMap) -> bool {
    let mut values = metadata.get_all(NAME).iter();
    values.next().is_some_and(|value| value == VALUE) && values.next().is_none()
}
