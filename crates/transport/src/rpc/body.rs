//! A call has ended when its answer's trailers are out, which for a stream is long after its handler returned.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use super::{Ending, told};

/// Sees to it that the response ends in words that its caller can read, and makes `ending` happen when it is complete, or
/// dropped before.
pub(super) fn watch(mut response: Response<Body>, ending: impl Into<Option<Ending>>) -> Response<Body> {
    let ending = ending.into();
    told::retell(response.headers_mut());
    if let Some(status) = Status::from_header_map(response.headers()) {
        if let Some(ending) = ending {
            ending.end(status.code(), status.message());
        }
        return response;
    }
    response.map(|inner| Body::new(Watched { inner, ending }))
}

struct Watched {
    inner: Body,
    ending: Option<Ending>,
}

impl Watched {
    fn end(&mut self, trailers: Option<&HeaderMap>) {
        let Some(ending) = self.ending.take() else { return };
        match trailers.map(Status::from_header_map) {
            Some(Some(status)) => ending.end(status.code(), status.message()),
            Some(None) => ending.end(Code::Ok, ""),
            None => {
                let code = ending.given_up;
                ending.end(code, "the caller is gone");
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // Of a stream, what is done for its answers is part of the call, too.
        let Self { inner, ending } = &mut *self;
        let frame = match ending.as_ref().and_then(|ending| ending.traced.as_ref()) {
            Some(traced) => traced.enter(|| Pin::new(inner).poll_frame(context)),
            None => Pin::new(inner).poll_frame(context),
        };
        let mut frame = ready!(frame);
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    told::retell(trailers);
                    self.end(Some(trailers));
                } else if let Some(ending) = &mut self.ending {
                    ending.answered();
                }
            }
            Some(Err(status)) => {
                if let Some(ending) = self.ending.take() {
                    ending.end(status.code(), status.message());
                }
            }
            None => self.end(Some(&HeaderMap::new())),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
