//! A collector of OpenTelemetry, which takes spans and measurements by the real protocol, and is slow, or does not want
//! them, where a test says so.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use steeple_proto::opentelemetry::proto::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use steeple_proto::opentelemetry::proto::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use steeple_proto::opentelemetry::proto::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use steeple_proto::opentelemetry::proto::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use steeple_proto::opentelemetry::proto::common::v1::KeyValue;
use steeple_proto::opentelemetry::proto::common::v1::any_value::Value;
use steeple_proto::opentelemetry::proto::metrics::v1::Metric;
use steeple_proto::opentelemetry::proto::resource::v1::Resource;
use steeple_proto::opentelemetry::proto::trace::v1::Span;
use steeple_runtime::Shutdown;
use steeple_transport::tls::provider;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::Ca;

/// How long its certificate is good.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A collector on a loopback port, until it is stopped.
pub struct Collector {
    /// Its port.
    pub port: u16,
    received: watch::Receiver<Received>,
    mood: watch::Sender<Mood>,
    stopping: Shutdown,
    serving: JoinHandle<()>,
}

/// What has come so far.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Calls, those that were not taken as well.
    pub calls: usize,
    /// Spans, in the order in which they came.
    pub spans: Vec<ReceivedSpan>,
    /// The last that came of measurements, by who sent them.
    pub metrics: Vec<(String, Vec<Metric>)>,
}

/// A span, and who sent it.
#[derive(Clone, Debug)]
pub struct ReceivedSpan {
    /// `service.name`
    pub service: String,
    /// The span.
    pub span: Span,
}

/// How a collector answers.
#[derive(Clone, Debug, Default)]
pub enum Mood {
    /// It takes what it is sent.
    #[default]
    Willing,
    /// It says nothing until it is in another mood.
    Slow,
    /// It refuses.
    Unwilling(Status),
}

impl Collector {
    /// One on a port of its own, without TLS.
    pub async fn start() -> Self {
        Self::listen(0, None).await
    }

    /// One on the port of another one that has gone.
    pub async fn on(port: u16) -> Self {
        Self::listen(port, None).await
    }

    /// One as `localhost`, whose certificate is of `ca`.
    pub async fn with_tls(ca: &Ca, now: SystemTime) -> Self {
        let (certificate, key) = ca.web("localhost", now..now + DAY);
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let (chain, key) = (vec![certificate.der().to_vec().into()], PrivatePkcs8KeyDer::from(key.to_vec()));
        let mut config = config.with_no_client_auth().with_single_cert(chain, key.into()).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::listen(0, Some(Arc::new(config).into())).await
    }

    /// It says goodbye to whoever is connected, and is gone.
    pub async fn stop(self) {
        self.be(Mood::Unwilling(Status::unavailable("gone")));
        self.stopping.stop();
        self.serving.await.unwrap();
    }

    /// What it answers from now on, also to those who wait.
    pub fn be(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// What has come so far.
    pub fn received(&self) -> Received {
        self.received.borrow().clone()
    }

    /// Waits until what has come is what a test wants of it.
    pub async fn until<T>(&self, mut wanted: impl FnMut(&Received) -> Option<T>) -> T {
        let mut received = self.received.clone();
        loop {
            if let Some(found) = wanted(&received.borrow_and_update()) {
                return found;
            }
            received.changed().await.unwrap();
        }
    }

    async fn listen(port: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, received) = watch::channel(Received::default());
        let mood = watch::Sender::new(Mood::Willing);
        let service = Service { received: sender, mood: mood.subscribe() };
        let routes = Server::builder()
            .add_service(TraceServiceServer::new(service.clone()))
            .add_service(MetricsServiceServer::new(service));
        let connections = TcpListenerStream::new(listener);
        let stopping = Shutdown::new();
        let stopped = stopping.clone();
        let serving = async move {
            let stopped = stopped.stopped();
            let served = match tls {
                Some(tls) => routes.serve_with_incoming_shutdown(handshakes(connections, tls), stopped).await,
                None => routes.serve_with_incoming_shutdown(connections, stopped).await,
            };
            served.unwrap();
        };
        Self { port, received, mood, stopping, serving: tokio::spawn(serving) }
    }
}

/// Who does not like the certificate is gone.
fn handshakes(connections: TcpListenerStream, tls: TlsAcceptor) -> impl Stream<Item = std::io::Result<DuplexStream>> {
    let accepted = connections.then(move |connection| {
        let tls = tls.clone();
        async move {
            let mut secured = tls.accept(connection?).await?;
            let (near, mut far) = duplex(64 << 10);
            tokio::spawn(async move { copy_bidirectional(&mut secured, &mut far).await });
            Ok(near)
        }
    });
    accepted.filter(|accepted| std::future::ready(accepted.is_ok()))
}

impl ReceivedSpan {
    /// An attribute that is a text.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        text(&self.span.attributes, key)
    }

    /// Whether `child` was done for it.
    pub fn is_parent_of(&self, child: &Self) -> bool {
        (&self.span.trace_id, &self.span.span_id) == (&child.span.trace_id, &child.span.parent_span_id)
    }
}

#[derive(Clone)]
struct Service {
    received: watch::Sender<Received>,
    mood: watch::Receiver<Mood>,
}

impl Service {
    async fn take(&self, take: impl FnOnce(&mut Received)) -> Result<(), Status> {
        self.received.send_modify(|received| received.calls += 1);
        let mut mood = self.mood.clone();
        let mood = mood.wait_for(|mood| !matches!(mood, Mood::Slow)).await.map(|mood| mood.clone());
        match mood {
            Ok(Mood::Willing) => {
                self.received.send_modify(take);
                Ok(())
            }
            Ok(Mood::Unwilling(status)) => Err(status),
            Ok(Mood::Slow) | Err(_) => Err(Status::unavailable("gone")),
        }
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(|received| {
            for of_one in request.into_inner().resource_spans {
                let service = service_name(of_one.resource.as_ref());
                let spans = of_one.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
                received.spans.extend(spans.map(|span| ReceivedSpan { service: service.clone(), span }));
            }
        })
        .await?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take(|received| {
            for of_one in request.into_inner().resource_metrics {
                let service = service_name(of_one.resource.as_ref());
                let metrics = of_one.scope_metrics.into_iter().flat_map(|of_scope| of_scope.metrics).collect();
                received.metrics.retain(|(of, _)| *of != service);
                received.metrics.push((service, metrics));
            }
        })
        .await?;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn service_name(resource: Option<&Resource>) -> String {
    resource.and_then(|resource| text(&resource.attributes, "service.name")).unwrap_or_default().to_owned()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = &attributes.iter().find(|attribute| attribute.key == key)?.value;
    match value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
