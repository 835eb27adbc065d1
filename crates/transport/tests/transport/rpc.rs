//! The five layers: their order, what they count, and who is asked.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use http::{Request as HttpRequest, Response as HttpResponse};
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::bundle::v1::bundle_server::{Bundle, BundleServer};
use steeple_proto::spire::api::server::bundle::v1::{
    AppendBundleRequest, BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse, CountBundlesRequest,
    GetBundleRequest,
};
use steeple_proto::spire::api::server::debug::v1::GetInfoRequest;
use steeple_proto::spire::api::server::debug::v1::debug_client::DebugClient;
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use steeple_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest, WitsvidResponse,
    X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use steeple_runtime::os::peer::Peer;
use steeple_runtime::trace::{Kind, Span, Tracer};
use steeple_testkit::record::{Counted, Logged};
use steeple_transport::connection::{Connection, Local, PeerSvid, Remote};
use steeple_transport::rpc::{
    Audit, Authorize, Authorized, Bounds, Call, Incoming, Layers, Limits, Methods, ServiceName,
};
use steeple_transport::status::{denial_reason, permission_denied};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::codegen::BoxStream;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tower::{Layer, Service};

use crate::{HOUR, world};

/// GetBundle, as the log and the metrics call it.
const GET_BUNDLE: &str = "rpc.bundle.v1.bundle.get_bundle";
const FETCH: &str = "rpc.workload_api.fetch_x509svid";

const SERVICES: &[ServiceName] = &[
    ServiceName {
        full: "spire.api.server.bundle.v1.Bundle",
        log: "bundle.v1.Bundle",
        metric: "bundle.v1.bundle",
        connections: None,
        // AppendBundle is left out: a method that the layers do not know.
        methods: &["GetBundle", "CountBundles", "BatchDeleteFederatedBundle"],
    },
    ServiceName {
        full: "SpiffeWorkloadAPI",
        log: "WorkloadAPI",
        metric: "workload_api",
        connections: Some("workload_api"),
        methods: &["FetchX509SVID", "FetchX509Bundles"],
    },
];

/// What the handlers do, and how often they were reached.
#[derive(Clone, Default)]
struct Handlers(Arc<AtomicUsize>);

/// How often authorization was asked; it says no as long as a status stands here.
struct Door {
    asked: AtomicUsize,
    refusal: Option<Status>,
}

#[async_trait]
impl Authorize for Door {
    async fn authorize(&self, _: Incoming<'_>) -> Result<Authorized, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.refusal.clone().map_or(Ok(Authorized::Local), Err)
    }
}

#[tonic::async_trait]
impl Bundle for Handlers {
    /// Succeeds unless asked for taints, which nobody asks for.
    async fn get_bundle(&self, request: Request<GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let call = Call::of(&request)?;
        call.audit("trust_domain_id", "example.org");
        call.audit("method", call.method.name);
        match request.get_ref().output_mask {
            None => Ok(Response::new(types::Bundle::default())),
            Some(_) => Err(Status::not_found("bundle not found")),
        }
    }

    /// Two items, of which the second goes wrong.
    async fn batch_delete_federated_bundle(
        &self,
        request: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        let call = Call::of(&request)?;
        for (name, code, message) in [("a", Code::Ok, "OK"), ("b", Code::NotFound, "bundle not found")] {
            let status = types::Status { code: code.into(), message: message.to_owned() };
            call.audit_item(&status, vec![("trust_domain_id".into(), name.into()), ("x.0".into(), "y".into())]);
        }
        Ok(Response::new(BatchDeleteFederatedBundleResponse::default()))
    }
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Handlers {
    /// Answers once and then stays open.
    async fn fetch_x509svid(
        &self,
        _: Request<X509svidRequest>,
    ) -> Result<Response<BoxStream<X509svidResponse>>, Status> {
        let first = stream::once(async { Ok(X509svidResponse::default()) });
        Ok(Response::new(Box::pin(first.chain(stream::pending()))))
    }

    /// Answers once and then ends with an error.
    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<BoxStream<X509BundlesResponse>>, Status> {
        let answers = [Ok(X509BundlesResponse::default()), Err(Status::aborted("enough"))];
        Ok(Response::new(Box::pin(stream::iter(answers))))
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<BoxStream<JwtBundlesResponse>>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_jwtsvid(&self, _: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_witsvid(&self, _: Request<WitsvidRequest>) -> Result<Response<BoxStream<WitsvidResponse>>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_wit_bundles(
        &self,
        _: Request<WitBundlesRequest>,
    ) -> Result<Response<BoxStream<WitBundlesResponse>>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// The services inside their layers, called without a socket.
#[derive(Clone)]
struct Wire<S> {
    inner: S,
    connection: Option<Arc<Connection>>,
}

impl<S> Service<HttpRequest<Body>> for Wire<S>
where
    S: Service<HttpRequest<Body>, Response = HttpResponse<Body>, Error = Infallible>,
{
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: HttpRequest<Body>) -> Self::Future {
        if let Some(connection) = &self.connection {
            request.extensions_mut().insert(Arc::clone(connection));
        }
        self.inner.call(request)
    }
}

struct Case {
    logged: Logged,
    door: Arc<Door>,
    handlers: Handlers,
    audit: Audit,
    connection: Option<Arc<Connection>>,
    /// Whether the layers are an agent's.
    is_agents: bool,
    tracer: Option<Tracer>,
}

impl Case {
    fn new(refusal: Option<Status>) -> Self {
        Self {
            logged: Logged::new(),
            door: Arc::new(Door { asked: AtomicUsize::new(0), refusal }),
            handlers: Handlers::default(),
            audit: Audit::new(true),
            connection: Some(Arc::new(Connection::Local(Local { peer: None }))),
            is_agents: false,
            tracer: None,
        }
    }

    fn wire(
        &self,
    ) -> impl Service<HttpRequest<Body>, Response = HttpResponse<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + use<> {
        let mut routes = Routes::builder();
        routes
            .add_service(BundleServer::new(self.handlers.clone()))
            .add_service(SpiffeWorkloadApiServer::new(self.handlers.clone()));
        let layers = Layers::new(
            Methods::new(SERVICES),
            Arc::clone(&self.door) as _,
            Limits::none(),
            self.audit.clone(),
            Bounds::none(),
        );
        let layers = if self.is_agents { layers.naming_processes() } else { layers }.traced(self.tracer.clone());
        Wire { inner: layers.layer(routes.routes()), connection: self.connection.clone() }
    }

    fn reached(&self) -> usize {
        self.handlers.0.load(Ordering::Relaxed)
    }

    fn asked(&self) -> usize {
        self.door.asked.load(Ordering::Relaxed)
    }
}

fn good() -> GetBundleRequest {
    GetBundleRequest { output_mask: None }
}

fn bad() -> GetBundleRequest {
    GetBundleRequest { output_mask: Some(types::BundleMask::default()) }
}

#[tokio::test]
async fn a_refused_call_reaches_no_handler_is_counted_and_audited_as_nobodys() {
    let counted = Counted::new();
    let case = Case::new(Some(permission_denied("no", Reason::AgentBanned)));
    let status = BundleClient::new(case.wire()).get_bundle(good()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(denial_reason(&status), Some(Reason::AgentBanned));
    assert_eq!((case.asked(), case.reached()), (1, 0));
    assert_eq!(counted.of(&format!("{GET_BUNDLE}{{status=PermissionDenied}}")), 1);
    let audited = case.logged.with("API accessed");
    assert_eq!(audited.len(), 1);
    let expected = [
        ("method", "GetBundle"),
        ("status", "error"),
        ("status_code", "PermissionDenied"),
        ("status_message", "no"),
        ("type", "audit"),
    ];
    for (field, value) in expected {
        assert_eq!(audited[0][field], value, "{field}");
    }
    let told = &case.logged.with("Failed to authenticate caller")[0];
    assert_eq!(told["error"], "rpc error: code = PermissionDenied desc = no");
    assert_eq!(told["request_id"], audited[0]["request_id"]);
    assert!(told.contains_key("request_id") && !told.contains_key("pid"), "{told:?}");
}

#[tokio::test]
async fn a_call_is_counted_and_timed_under_its_outcome() {
    let counted = Counted::new();
    let case = Case::new(None);
    let mut client = BundleClient::new(case.wire());
    client.get_bundle(good()).await.unwrap();
    client.get_bundle(good()).await.unwrap();
    client.get_bundle(bad()).await.unwrap_err();
    assert_eq!(counted.of(&format!("{GET_BUNDLE}{{status=OK}}")), 2);
    assert_eq!(counted.of(&format!("{GET_BUNDLE}.elapsed_time{{status=OK}}")), 2);
    assert_eq!(counted.of(&format!("{GET_BUNDLE}{{status=NotFound}}")), 1);
}

#[tokio::test]
async fn a_stream_is_counted_when_it_ends_and_not_before() {
    let counted = Counted::new();
    let case = Case::new(None);
    let mut client = SpiffeWorkloadApiClient::new(case.wire());
    let mut open = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
    open.message().await.unwrap().unwrap();
    assert_eq!(counted.keys(), ["workload_api.connection", "workload_api.connections"]);
    // The caller goes.
    drop(open);
    assert_eq!(counted.of(&format!("{FETCH}{{status=Canceled}}")), 1);

    let mut failing = client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap().into_inner();
    failing.message().await.unwrap().unwrap();
    assert_eq!(failing.message().await.unwrap_err().code(), Code::Aborted);
    assert_eq!(counted.of("rpc.workload_api.fetch_x509_bundles{status=Aborted}"), 1, "{:?}", counted.keys());
}

/// As the reference counts it: its handlers end well when their caller goes.
#[tokio::test]
async fn a_workloads_stream_is_a_connection_and_ends_well_when_the_workload_ends_it() {
    let counted = Counted::new();
    let case = Case { is_agents: true, ..Case::new(None) };
    let mut client = SpiffeWorkloadApiClient::new(case.wire());
    let mut open = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
    open.message().await.unwrap().unwrap();
    assert_eq!((counted.of("workload_api.connection"), counted.of("workload_api.connections")), (1, 1));
    drop(open);
    assert_eq!((counted.of("workload_api.connection"), counted.of("workload_api.connections")), (1, 0));
    assert_eq!(counted.of(&format!("{FETCH}{{status=OK}}")), 1);
}

#[tokio::test]
async fn what_an_agent_asks_of_itself_is_a_connection_and_no_call() {
    let counted = Counted::new();
    let (near, _far) = UnixStream::pair().unwrap();
    let peer = Some(Arc::new(Peer::of(&near).unwrap()));
    let connection = Some(Arc::new(Connection::Local(Local { peer })));
    let case = Case { is_agents: true, connection: connection.clone(), ..Case::new(None) };
    let mut client = SpiffeWorkloadApiClient::new(case.wire());
    client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(counted.keys(), ["workload_api.connection", "workload_api.connections"]);
    // A server does not ask who calls, and counts itself.
    let servers = Case { connection, ..Case::new(None) };
    BundleClient::new(servers.wire()).get_bundle(good()).await.unwrap();
    assert_eq!(counted.of(&format!("{GET_BUNDLE}{{status=OK}}")), 1);
}

#[tokio::test]
async fn each_admitted_call_leaves_one_audit_line_with_what_its_handler_told() {
    let case = Case::new(None);
    let mut client = BundleClient::new(case.wire());
    client.get_bundle(good()).await.unwrap();
    client.get_bundle(bad()).await.unwrap_err();
    let lines = case.logged.with("API accessed");
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["status"], "success");
    assert_eq!((&*lines[0]["trust_domain_id"], &*lines[0]["method"]), ("example.org", "GetBundle"));
    assert_eq!((&*lines[1]["status"], &*lines[1]["status_code"]), ("error", "NotFound"));
    assert_eq!(lines[1]["status_message"], "bundle not found");

    // Switched off while running.
    case.audit.switch(false);
    client.get_bundle(good()).await.unwrap();
    assert_eq!(case.logged.with("API accessed").len(), 2);
}

#[tokio::test]
async fn each_item_of_a_batch_leaves_an_audit_line_of_its_own() {
    let case = Case::new(None);
    let mut client = BundleClient::new(case.wire());
    client.batch_delete_federated_bundle(BatchDeleteFederatedBundleRequest::default()).await.unwrap();
    let lines = case.logged.with("API accessed");
    assert_eq!(lines.len(), 2);
    assert_eq!((&*lines[0]["status"], &*lines[0]["trust_domain_id"], &*lines[0]["x.0"]), ("success", "a", "y"));
    assert_eq!((&*lines[1]["status_code"], &*lines[1]["trust_domain_id"]), ("NotFound", "b"));
    assert_eq!(lines[1]["status_message"], "bundle not found");
}

#[tokio::test]
async fn a_method_that_nobody_has_is_unimplemented_and_asks_nobody() {
    let counted = Counted::new();
    let case = Case::new(Some(Status::permission_denied("no")));
    let mut client = BundleClient::new(case.wire());
    let status = client.append_bundle(AppendBundleRequest::default()).await.unwrap_err();
    // That one has its own words: it is a method of the service, though not of the table.
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "Not yet implemented"));
    // One of a service that is not there at all.
    let mut other = DebugClient::new(case.wire());
    let status = other.get_info(GetInfoRequest::default()).await.unwrap_err();
    let named = "unknown service spire.api.server.debug.v1.Debug";
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, named));
    assert_eq!((case.asked(), case.reached()), (0, 0));
    assert_eq!(counted.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_method_that_is_not_built_asks_who_calls_first() {
    let case = Case::new(Some(Status::permission_denied("no")));
    let status = BundleClient::new(case.wire()).count_bundles(CountBundlesRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let case = Case::new(None);
    let status = BundleClient::new(case.wire()).count_bundles(CountBundlesRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), case.asked()), (Code::Unimplemented, 1));
}

#[tokio::test]
async fn a_call_from_nowhere_is_let_in_nowhere() {
    let case = Case { connection: None, ..Case::new(None) };
    let status = BundleClient::new(case.wire()).get_bundle(good()).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(case.reached(), 0);
}

#[tokio::test]
async fn a_handler_outside_of_the_layers_is_told_so() {
    let mut client = BundleClient::new(BundleServer::new(Handlers::default()));
    let status = client.get_bundle(good()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "call passed no layers"));
}

/// The header of a trace that is written down, and its trace.
const TRACEPARENT: (&str, [u8; 16]) = ("00-07070707070707070707070707070707-0808080808080808-01", [7; 16]);

/// The spans of one call of this method of the Bundle service by this caller, when so many calls begin a trace.
async fn traced(ratio: f64, connection: Connection, request: GetBundleRequest) -> Vec<Span> {
    let (clock, _) = world();
    let (tracer, mut spans) = Tracer::new(ratio, clock.clock());
    let case = Case { tracer: Some(tracer), connection: Some(Arc::new(connection)), ..Case::new(None) };
    let mut request = tonic::Request::new(request);
    request.metadata_mut().insert("traceparent", TRACEPARENT.0.parse().unwrap());
    let _ = BundleClient::new(case.wire()).get_bundle(request).await;
    spans.close();
    let mut list = Vec::new();
    while spans.next(&mut list, 100).await > 0 {}
    list
}

fn of_network(svid: Option<&str>) -> Connection {
    let (clock, ca) = world();
    let svid = svid.map(|path| ca.svid(path, clock.now()..clock.now() + HOUR));
    let svid = svid.map(|svid| PeerSvid::of(svid.leaf().clone()).unwrap());
    Connection::Remote(Remote { address: ([127, 0, 0, 1], 1).into(), svid })
}

#[tokio::test]
async fn an_agents_trace_is_gone_on_with_and_others_begin_none_unless_it_is_their_turn() {
    let spans = traced(0.0, of_network(Some("/spire/agent/a")), good()).await;
    let told: Vec<_> = spans.iter().map(|span| (&*span.name, span.parent_is_remote, span.code)).collect();
    let call = "spire.api.server.bundle.v1.Bundle/GetBundle";
    assert_eq!(told, [("authorization", false, "OK"), (call, true, "OK")]);
    let [authorization, call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((call.trace, call.parent, authorization.parent), (TRACEPARENT.1, Some([8; 8]), Some(call.id)));
    assert_eq!((call.kind, authorization.kind), (Kind::Server, Kind::Internal));

    for path in [None, Some("/workload"), Some("/spire/server")] {
        assert_eq!(traced(0.0, of_network(path), good()).await, [], "{path:?}");
    }
    assert_eq!(traced(0.0, Connection::Local(Local { peer: None }), good()).await, []);
    let spans = traced(1.0, of_network(None), bad()).await;
    assert_eq!((spans[1].trace, spans[1].code), (TRACEPARENT.1, "NotFound"));
}

#[tokio::test]
async fn the_span_of_a_workloads_stream_ends_with_the_first_answer() {
    let (clock, _) = world();
    let (tracer, mut spans) = Tracer::new(1.0, clock.clock());
    let case = Case { tracer: Some(tracer), is_agents: true, ..Case::new(None) };
    let mut open =
        SpiffeWorkloadApiClient::new(case.wire()).fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
    open.message().await.unwrap().unwrap();
    let mut list = Vec::new();
    while list.len() < 2 {
        spans.next(&mut list, 100).await;
    }
    assert_eq!((&*list[1].name, list[1].code), ("SpiffeWorkloadAPI/FetchX509SVID", "OK"));
}
