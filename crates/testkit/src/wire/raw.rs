//! Calls whose body is any bytes.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

/// Before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What a call with any bytes came to.
#[derive(Debug)]
pub struct Answer {
    /// The end, which is OK where it was not waited for.
    pub status: Status,
    /// The first message, if there was one.
    pub message: Option<Bytes>,
}

/// Calls a method with this body, and reads its answer; where `first_alone`, only until the first message is there.
///
/// # Errors
/// The connection failed, or what came is no answer.
pub async fn ask(
    channel: &Channel,
    method: &str,
    headers: &[(&'static str, &'static str)],
    body: Bytes,
    first_alone: bool,
) -> Result<Answer, Box<dyn Error + Send + Sync>> {
    let mut request = Request::post(method).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut channel = channel.clone();
    let answer = channel.ready().await?.call(request.body(Body::new(Full::new(body)))?).await?;
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return Ok(Answer { status, message: None });
    }
    let (mut body, mut read, mut status) = (answer.into_body(), BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => status = frame.trailers_ref().and_then(Status::from_header_map),
        }
        if first_alone && first(&read).is_some() {
            status = Some(Status::new(Code::Ok, ""));
            break;
        }
    }
    Ok(Answer { status: status.ok_or("an answer without an end")?, message: first(&read) })
}

fn first(read: &[u8]) -> Option<Bytes> {
    let (prefix, rest) = read.split_at_checked(PREFIX)?;
    let [_, length @ ..] = prefix else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    rest.get(..usize::try_from(length).ok()?).map(Bytes::copy_from_slice)
}
