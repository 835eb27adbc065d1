//! The layers around every service, outermost first: log, metrics, authorization, limits, audit. [`Layers::call`] is all
//! five, read from top to bottom; a call that authorization refuses meets neither limits nor handler, and is audited as that
//! of nobody. Around them stand the [`Bounds`] of what one peer's calls may take, which hold for calls of unknown methods
//! too. Where traces are asked for, a call is a span, and what the layers and the handler do is inside of it.

mod body;
mod bounds;
mod call;
mod limits;
mod message;
mod method;
mod oversize;
mod told;
mod traced;
mod turns;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use steeple_runtime::metrics;
use steeple_runtime::trace::{self, Tracer};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span, debug, error};

use crate::connection::Connection;
use crate::status::{code_name, describe};
pub use bounds::Bounds;
#[cfg(fuzzing)]
pub use bounds::message_sizes;
use call::Named;
pub use call::{Audit, Authorized, Call, Fields};
pub use limits::{Buckets, Limiter, Limits, Rate};
use method::Connections;
pub use method::{Method, Methods, ServiceName};
pub use turns::{Class, Turn, Turns};

/// Decides who may call what, for the third layer.
#[async_trait]
pub trait Authorize: Send + Sync + 'static {
    /// As what the caller may make this call.
    ///
    /// # Errors
    /// The status that the caller gets, details included.
    async fn authorize(&self, request: Incoming<'_>) -> Result<Authorized, Status>;

    /// Whether it has to see what a call of this method asks. Such calls wait here until their message has come.
    fn reads(&self, _method: &Method) -> bool {
        false
    }
}

/// What authorization may look at.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The method called.
    pub method: &'static Method,
    /// Who calls.
    pub connection: &'a Connection,
    /// The call's metadata.
    pub headers: &'a HeaderMap,
    /// The encoded message, where authorization reads it.
    pub message: Option<&'a Bytes>,
}

/// The five layers, as a layer of tower. Methods that are not in its table meet none of them: the router behind
/// answers UNIMPLEMENTED, and [`named`] gives that its words.
#[derive(Clone)]
pub struct Layers {
    methods: Arc<Methods>,
    authorize: Arc<dyn Authorize>,
    limits: watch::Receiver<Arc<Limits>>,
    audit: Audit,
    bounds: Bounds,
    /// None where all are served at once.
    turns: Option<Turns>,
    /// Whom a call's log lines name.
    named: Named,
    /// None where nothing is traced.
    tracer: Option<Tracer>,
}

impl Layers {
    /// Layers for the methods of one listener. Limits can change while it serves.
    pub fn new(
        methods: Methods,
        authorize: Arc<dyn Authorize>,
        limits: watch::Receiver<Arc<Limits>>,
        audit: Audit,
        bounds: Bounds,
    ) -> Self {
        let methods = Arc::new(methods);
        Self { methods, authorize, limits, audit, bounds, turns: None, named: Named::Request, tracer: None }
    }

    /// Handlers that ask for their turn get it one after the other, by what their calls are for.
    pub fn in_turns(self, turns: Turns) -> Self {
        Self { turns: Some(turns), ..self }
    }

    /// Log lines name the process that calls, as an agent's do, and not the request and what it was let in as.
    pub fn naming_processes(self) -> Self {
        Self { named: Named::Process, ..self }
    }

    /// Calls are spans of their callers' traces, or begin traces.
    pub fn traced(self, tracer: Option<Tracer>) -> Self {
        Self { tracer, ..self }
    }
}

impl<S> Layer<S> for Layers {
    type Service = Stack<S>;

    fn layer(&self, inner: S) -> Stack<S> {
        Stack { layers: self.clone(), inner }
    }
}

/// A service inside its layers.
#[derive(Clone)]
pub struct Stack<S> {
    layers: Layers,
    inner: S,
}

impl<S> Service<Request<Body>> for Stack<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
            // A listener that does not say who calls is a mistake of ours; nobody is let in by it.
            return Box::pin(async { Ok(Status::internal("the call's connection is unknown").into_http()) });
        };
        // Whatever is called: also what the layers do not know takes room.
        let admitted = match self.layers.bounds.admit(|| connection.holder()) {
            Ok(admitted) => admitted,
            Err(status) => return Box::pin(async { Ok(status.into_http()) }),
        };
        let request = admitted.receive(request);
        let Some(method) = self.layers.methods.find(request.uri().path()) else {
            let path = request.uri().path().to_owned();
            let (answer, methods) = (self.inner.call(request), Arc::clone(&self.layers.methods));
            return Box::pin(async move {
                let answer = body::watch(named(answer.await?, &path, &methods), None);
                Ok(admitted.answer(answer).await)
            });
        };
        // The service that is ready is the one to call; its clone waits for the next call.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let layers = self.layers.clone();
        // 1. log
        let span = call::span(method, &connection, self.layers.named);
        let in_span = span.clone();
        let call = async move {
            let response = layers.call(method, connection, span, request, inner).await;
            Ok(admitted.answer(response).await)
        };
        Box::pin(call.instrument(in_span))
    }
}

/// The router refuses without a word what it does not know; the reference names it.
fn named(response: Response<Body>, path: &str, methods: &Methods) -> Response<Body> {
    let status = Status::from_header_map(response.headers());
    let is_wordless = status.is_some_and(|it| it.code() == Code::Unimplemented && it.message().is_empty());
    let Some((service, method)) = path.trim_start_matches('/').rsplit_once('/').filter(|_| is_wordless) else {
        return response;
    };
    let message = if methods.find(path).is_some() {
        // Younger than the protocol that is compiled in.
        format!("method {method} not implemented")
    } else if methods.have_service(service) {
        format!("unknown method {method} for service {service}")
    } else {
        format!("unknown service {service}")
    };
    Status::unimplemented(message).into_http()
}

impl Layers {
    async fn call<S>(
        self,
        method: &'static Method,
        connection: Arc<Connection>,
        span: Span,
        mut request: Request<Body>,
        mut inner: S,
    ) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        // 2. metrics: counted when the last byte of the answer is out
        let is_counted = self.named == Named::Request || !is_this_process(&connection);
        let tracer = self.tracer.as_ref().filter(|_| is_counted);
        let traced = traced::begin(tracer, method, &connection, request.headers());
        // A workload's stream ends when the workload wants no more of it.
        let given_up = if self.named == Named::Process { Code::Ok } else { Code::Cancelled };
        let open = method.connections.map(Open::begin);
        let started = Instant::now();
        let ending = Ending { method, started, is_counted, given_up, call: None, span: span.clone(), open, traced };
        // 3. authorization
        let authorizing = async {
            let authorizing = self.authorized(method, &connection, &mut request);
            trace::within("authorization", authorizing, |status| code_name(status.code())).await
        };
        let authorized = match trace::inside(ending.traced.as_ref(), authorizing).await {
            Ok(authorized) => authorized,
            Err(status) => {
                match self.named {
                    Named::Request => {
                        error!(target: "api", error = describe(&status), "Failed to authenticate caller");
                        self.audit.refusal(&connection, &span, &status);
                    }
                    // Any process of the host may call, and call wrongly, as often as it likes.
                    Named::Process => debug!(target: "endpoints", error = describe(&status), "Call is refused"),
                }
                return body::watch(status.into_http(), ending);
            }
        };
        authorized.record(&span);
        // 4. limits: attached here, applied by the handler, which knows what a call costs
        let limiter = self.limits.borrow().limiter(method, &connection, request.headers());
        // 5. audit: the handler fills it, the end of the answer writes it
        let host = request.uri().authority().filter(|name| name.port().is_some()).map(|name| name.host().to_owned());
        let turns = self.turns.map(|turns| (turns, Class::said_in(request.headers())));
        let call = Arc::new(Call::new(method, connection, host, authorized, limiter, turns, self.audit));
        request.extensions_mut().insert(Arc::clone(&call));

        let Ok(response) = trace::inside(ending.traced.as_ref(), inner.call(request)).await;
        let response = named(response, &method.path, &self.methods);
        body::watch(response, Ending { call: Some(call), ..ending })
    }

    async fn authorized(
        &self,
        method: &'static Method,
        connection: &Connection,
        request: &mut Request<Body>,
    ) -> Result<Authorized, Status> {
        let message = if self.authorize.reads(method) { Some(message::first(request).await?) } else { None };
        let incoming = Incoming { method, connection, headers: request.headers(), message: message.as_ref() };
        self.authorize.authorize(incoming).await
    }
}

/// What happens when a call's answer is complete, or was given up.
struct Ending {
    method: &'static Method,
    started: Instant,
    /// What a daemon asks of itself is not.
    is_counted: bool,
    /// As what it counts when the caller goes before the answer is complete.
    given_up: Code,
    call: Option<Arc<Call>>,
    span: Span,
    open: Option<Open>,
    traced: Option<trace::Open>,
}

/// Counts a call as a connection for as long as it goes on.
struct Open(Connections);

impl Open {
    fn begin(connections: Connections) -> Self {
        metrics::count(connections.made);
        metrics::move_gauge(connections.open, 1.0);
        Self(connections)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::move_gauge(self.0.open, -1.0);
    }
}

impl Ending {
    /// An answer is out, and others may come.
    fn answered(&mut self) {
        if let Some(traced) = self.traced.take_if(|_| traced::ends_with_the_first_answer(self.method)) {
            traced.end("OK");
        }
    }

    fn end(self, code: Code, message: &str) {
        let Self { method, started, is_counted, given_up: _, call, span, open, traced } = self;
        if let Some(call) = call
            && call.audit_is_on()
        {
            let _in_span = span.enter();
            call.write_records(code, message);
        }
        drop(open);
        if let Some(traced) = traced {
            traced.end(code_name(code));
        }
        if is_counted {
            metrics::called(method.metric, code_name(code), started);
        }
    }
}

fn is_this_process(connection: &Connection) -> bool {
    connection.peer().is_some_and(|peer| u32::try_from(peer.pid).is_ok_and(|pid| pid == std::process::id()))
}
