//! Stands in front of all services: writes down each call, and does to it what a test wants instead of an answer.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use steeple_transport::connection::Connection;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::{Called, Shared};

/// What a server does instead of answering.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// It refuses.
    Refuse(Status),
    /// It never answers.
    Hang,
    /// It answers what is no message.
    Garbage,
    /// It answers this encoded message, whatever it was asked.
    Answer(Vec<u8>),
    /// It does what it is asked, and the answer is lost on the way.
    LoseAnswer,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Layer(pub(super) Arc<Shared>);

/// A service behind a [`Layer`].
#[derive(Clone)]
pub(super) struct Guarded<S> {
    shared: Arc<Shared>,
    inner: S,
}

impl<S> tower::Layer<S> for Layer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { shared: Arc::clone(&self.0), inner }
    }
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().to_owned();
        let connection = request.extensions().get::<Arc<Connection>>();
        let serial = connection.and_then(|it| it.svid()).map(|svid| svid.certificate.serial_decimal());
        let name = method.rsplit('/').next().unwrap_or_default();
        let misbehaviour = self.shared.script().misbehaviour.get(name).cloned();
        let urgency = request.headers().get("steeple-urgency").and_then(|said| said.to_str().ok()).map(str::to_owned);
        self.shared.see(|seen| seen.calls.push(Called { method, serial, urgency }));
        match misbehaviour {
            None => Box::pin(self.inner.call(request)),
            Some(Misbehaviour::Refuse(status)) => Box::pin(async move { Ok(status.into_http()) }),
            Some(Misbehaviour::Hang) => Box::pin(pending()),
            // No message begins with these bytes.
            Some(Misbehaviour::Garbage) => Box::pin(async { Ok(framed(&[0xff; 4])) }),
            Some(Misbehaviour::Answer(message)) => Box::pin(async move { Ok(framed(&message)) }),
            Some(Misbehaviour::LoseAnswer) => {
                let answering = self.inner.call(request);
                Box::pin(async move {
                    answering.await?;
                    Ok(Status::unavailable("the connection broke").into_http())
                })
            }
        }
    }
}

/// An answer that ends well: a sound frame around these bytes.
fn framed(message: &[u8]) -> Response<Body> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = [&[0][..], &length, message].concat();
    let ended = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(frame)).with_trailers(ready(Some(Ok(ended))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
