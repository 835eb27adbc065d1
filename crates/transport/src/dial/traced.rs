//! Calls that tell whoever answers them which trace they belong to.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{BoxFuture, Either};
use http::{HeaderValue, Request, Response};
use steeple_runtime::trace::{HEADER, Kind, current};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::channel::ResponseFuture;
use tonic::transport::{self, Channel};
use tower::Service;

use crate::status::code_name;

/// A channel to the server of the own trust domain: nobody else learns of traces. A call that is in no trace passes
/// through it as it is.
#[derive(Clone, Debug)]
pub struct Traced(Channel);

impl From<Channel> for Traced {
    fn from(channel: Channel) -> Self {
        Self(channel)
    }
}

impl Service<Request<Body>> for Traced {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = Either<ResponseFuture, BoxFuture<'static, Result<Response<Body>, transport::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), transport::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let name = || request.uri().path().trim_start_matches('/').to_owned();
        let Some(mut open) = current(name, Kind::Client) else { return Either::Left(self.0.call(request)) };
        if let Some(server) = request.uri().host() {
            open = open.to(server);
        }
        if let Ok(parent) = HeaderValue::try_from(open.parent().header()) {
            request.headers_mut().insert(HEADER, parent);
        }
        let call = self.0.call(request);
        let traced = async move {
            let answer = call.await;
            // An error that a server tells at once is in the first headers, and nothing else of it is waited for.
            let code = match &answer {
                Ok(response) => Status::from_header_map(response.headers()).map_or("OK", |it| code_name(it.code())),
                Err(_) => "Unavailable",
            };
            open.end(code);
            answer
        };
        Either::Right(traced.boxed())
    }
}
