//! The message of a call, looked at before the call goes on: what is asked may decide who may ask it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;

use super::oversize;

/// Of a message: whether it is compressed, and its length (gRPC over HTTP/2, `Length-Prefixed-Message`).
const PREFIX: usize = 5;
/// Bytes of a message, as the codec behind has it.
const MOST: usize = 4 << 20;

/// The first message of a request, whose body holds it afterwards as before.
///
/// # Errors
/// What the codec would answer when there is none, or none that can be read.
pub(super) async fn first(request: &mut Request<Body>) -> Result<Bytes, Status> {
    let mut rest = std::mem::replace(request.body_mut(), Body::empty());
    let mut read = BytesMut::new();
    while read.len() < end(&read)? {
        match rest.frame().await {
            // Nobody reads the trailers of a request.
            Some(frame) => read.extend_from_slice(&frame?.into_data().unwrap_or_default()),
            None => return Err(Status::internal("Missing request message.")),
        }
    }
    let end = end(&read)?;
    let read = read.freeze();
    let message = read.slice(PREFIX..end);
    *request.body_mut() = Body::new(Resumed { read: Some(read), rest });
    Ok(message)
}

/// Where the message ends; while that is not known, where its prefix does.
fn end(mut read: &[u8]) -> Result<usize, Status> {
    if read.len() < PREFIX {
        return Ok(PREFIX);
    }
    if read.get_u8() != 0 {
        return Err(Status::unimplemented("compressed messages are not read"));
    }
    let length = usize::try_from(read.get_u32()).unwrap_or(usize::MAX);
    if length > MOST { Err(oversize::too_large(length, MOST)) } else { Ok(PREFIX + length) }
}

/// A body that was read from, from its beginning.
struct Resumed {
    read: Option<Bytes>,
    rest: Body,
}

impl HttpBody for Resumed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.read.take() {
            Some(read) => Poll::Ready(Some(Ok(Frame::data(read)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::StreamBody;
    use tonic::Code;

    use super::*;

    fn request(frames: &[&[u8]]) -> Request<Body> {
        let frames: Vec<_> =
            frames.iter().map(|part| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(part)))).collect();
        Request::new(Body::new(StreamBody::new(stream::iter(frames))))
    }

    #[tokio::test]
    async fn a_message_is_read_however_it_is_cut_and_is_there_afterwards() {
        let whole = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 1], b"d"].concat();
        for cut in 0..whole.len() {
            let (one, two) = whole.split_at(cut);
            let mut request = request(&[one, two]);
            assert_eq!(first(&mut request).await.unwrap(), "abc");
            assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), whole);
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        for (frames, code) in [
            (&[][..], Code::Internal),
            (&[&[0, 0, 0][..]][..], Code::Internal),
            (&[&[0, 0, 0, 0, 2][..], b"a"], Code::Internal),
            (&[&[1, 0, 0, 0, 0][..]], Code::Unimplemented),
            (&[&[0, 255, 255, 255, 255][..]], Code::ResourceExhausted),
        ] {
            assert_eq!(first(&mut request(frames)).await.unwrap_err().code(), code, "{frames:?}");
        }
    }
}
