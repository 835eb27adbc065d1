//! What the calls of one peer may take together: their number, and the bytes of their messages. One that sends pieces of
//! many messages, or asks for many answers and reads none, fills its own account and nobody else's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::connection::Holder;
use crate::shares::{Share, Shares};

/// A message up to this size is not counted: so much a call takes anyway.
const FREE: usize = 16 << 10;
/// Of a message: whether it is compressed, and its length (gRPC over HTTP/2, `Length-Prefixed-Message`).
const PREFIX: usize = 5;

/// What the peers of one listener share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bounds(Option<Pools>);

#[derive(Clone, Debug)]
struct Pools {
    calls: Arc<Shares>,
    bytes: Arc<Shares>,
}

impl Bounds {
    /// For peers that are trusted with everything anyway.
    pub fn none() -> Self {
        Self(None)
    }

    /// So many calls at a time, one peer's among them, and so many bytes of messages that are not done with.
    pub fn new(calls: usize, calls_of_one: usize, bytes: usize) -> Self {
        let calls = Shares::limited("calls at a time", calls, calls_of_one);
        Self(Some(Pools { calls, bytes: Shares::new("bytes of messages", bytes) }))
    }

    /// Lets a call in, or says why not.
    pub(super) fn admit(&self, holder: impl FnOnce() -> Holder) -> Result<Admitted, Status> {
        let Some(Pools { calls, bytes }) = &self.0 else { return Ok(Admitted(None)) };
        let holder = holder();
        let received = Arc::new(bytes.share(holder.clone()));
        let call = calls.take(holder.clone(), 1);
        let call = call.ok_or_else(|| Status::resource_exhausted("too many calls at a time"))?;
        Ok(Admitted(Some(Account { call: Arc::new(call), received, bytes: Arc::clone(bytes), holder })))
    }
}

/// A call that was let in. What it takes is given back when its answer is out, or given up.
pub(super) struct Admitted(Option<Account>);

struct Account {
    /// One.
    call: Arc<Share>,
    /// By the message that was received last: a handler may work on it until the answer.
    received: Arc<Share>,
    /// For the parts of the answer.
    bytes: Arc<Shares>,
    holder: Holder,
}

impl Admitted {
    /// The request, whose messages are counted as they come in.
    pub(super) fn receive(&self, request: Request<Body>) -> Request<Body> {
        let Some(Account { received, .. }) = &self.0 else { return request };
        let share = Arc::clone(received);
        request.map(|inner| Body::new(Received { inner, message: Message::default(), share }))
    }

    /// The response, whose parts are counted until the network has taken them.
    ///
    /// What there is already is made now: a message in its bytes can be counted, and one that nobody takes would otherwise
    /// stay what its handler made.
    pub(super) async fn answer(self, response: Response<Body>) -> Response<Body> {
        let Some(account) = self.0 else { return response };
        // A refusal stands in the headers alone, and they must say that nothing follows: grpc-go wants it so.
        if response.body().is_end_stream() {
            return response;
        }
        let (parts, inner) = response.into_parts();
        let mut answered = Answered { inner, first: None, account };
        let first = std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut answered).poll_frame(context))).await;
        if let Poll::Ready(first) = first {
            answered.first = Some(first);
        }
        Response::from_parts(parts, Body::new(answered))
    }
}

/// How far a message has come.
#[derive(Default)]
struct Message {
    prefix: [u8; PREFIX],
    /// Of the body.
    length: usize,
    /// What has come, the prefix included.
    got: usize,
}

impl Message {
    /// Goes on with the next bytes, over as many messages as they hold. Returns the size of the last one as far as it has
    /// come.
    fn pass(&mut self, mut bytes: &[u8]) -> usize {
        while let [first, rest @ ..] = bytes {
            if self.got == PREFIX + self.length {
                *self = Self::default();
            }
            if self.got < PREFIX {
                self.prefix[self.got] = *first;
                self.got += 1;
                bytes = rest;
                if self.got == PREFIX {
                    let [_compressed, a, b, c, d] = self.prefix;
                    self.length = u32::from_be_bytes([a, b, c, d]) as usize;
                }
            } else {
                let taken = bytes.len().min(PREFIX + self.length - self.got);
                self.got += taken;
                bytes = &bytes[taken..];
            }
        }
        self.got
    }
}

struct Received {
    inner: Body,
    message: Message,
    share: Arc<Share>,
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let size = self.message.pass(data);
            if !self.share.set(counted(size)) {
                return Poll::Ready(Some(Err(Status::resource_exhausted("too many large messages at a time"))));
            }
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

struct Answered {
    inner: Body,
    /// What was made before it was asked for; the inner None is the end.
    first: Option<Option<Result<Frame<Bytes>, Status>>>,
    account: Account,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first);
        }
        let data = match ready!(Pin::new(&mut self.inner).poll_frame(context)).map(|frame| frame.map(Frame::into_data))
        {
            Some(Ok(Ok(data))) => data,
            Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
            Some(Err(status)) => return Poll::Ready(Some(Err(status))),
            None => return Poll::Ready(None),
        };
        let Account { call, bytes, holder, received: _ } = &self.account;
        let Some(share) = bytes.take(holder.clone(), counted(data.len())) else {
            self.inner = Body::empty();
            let mut trailers = HeaderMap::new();
            Status::resource_exhausted("too many large answers at a time").add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        };
        // HTTP/2 takes the last part at once, and sends it when the peer lets it: this body may be gone long before.
        let part = Part { data, _held: (share, Arc::clone(call)) };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Without the part that was made already it would be wrong.
        if self.first.is_none() { self.inner.size_hint() } else { SizeHint::default() }
    }
}

/// A part of an answer, with what is given back when it is out.
struct Part {
    data: Bytes,
    _held: (Share, Arc<Share>),
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// What is counted after each of these pieces of a body: the door of the fuzz target, which no other build has.
#[cfg(fuzzing)]
pub fn message_sizes<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<usize> {
    let mut message = Message::default();
    pieces.map(|piece| message.pass(piece)).collect()
}

fn counted(size: usize) -> usize {
    if size > FREE { size } else { 0 }
}

#[cfg(test)]
mod tests;
