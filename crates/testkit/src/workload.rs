//! A Workload API that answers call by call what a test tells it, also what no agent may answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use steeple_proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use steeple_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest, WitsvidResponse,
    X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The endpoint. A call waits until the test takes it and says what happens to it. When this is dropped, nobody listens
/// any more, and all connections are cut.
pub struct FakeEndpoint {
    uri: String,
    /// Calls of `FetchX509SVID`.
    pub x509_svids: Calls<X509svidRequest, X509svidResponse>,
    /// Calls of `FetchX509Bundles`.
    pub x509_bundles: Calls<X509BundlesRequest, X509BundlesResponse>,
    /// Calls of `FetchJWTSVID`.
    pub jwt_svids: Calls<JwtsvidRequest, JwtsvidResponse>,
    /// Calls of `FetchJWTBundles`.
    pub jwt_bundles: Calls<JwtBundlesRequest, JwtBundlesResponse>,
    /// Calls of `ValidateJWTSVID`.
    pub validations: Calls<ValidateJwtsvidRequest, ValidateJwtsvidResponse>,
    /// Calls of `FetchWITSVID`.
    pub wit_svids: Calls<WitsvidRequest, WitsvidResponse>,
    /// Calls of `FetchWITBundles`.
    pub wit_bundles: Calls<WitBundlesRequest, WitBundlesResponse>,
    cut: watch::Sender<()>,
    tasks: [AbortHandle; 2],
    /// Removed at the end.
    directory: Option<tempfile::TempDir>,
}

impl FakeEndpoint {
    /// Listens on a Unix socket in a directory of its own.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let mut endpoint = Self::start_at(path);
        endpoint.directory = Some(directory);
        endpoint
    }

    /// Listens on a Unix socket with this path.
    pub fn start_at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let listener = UnixListener::bind(&path).unwrap();
        let accepted = stream::unfold(listener, |listener| async {
            let (stream, _) = listener.accept().await.unwrap();
            Some((stream, listener))
        });
        Self::serve(format!("unix://{}", path.display()), accepted)
    }

    /// Listens on a free port of 127.0.0.1.
    pub async fn start_on_tcp() -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let uri = format!("tcp://{}", listener.local_addr().unwrap());
        let accepted = stream::unfold(listener, |listener| async {
            let (stream, _) = listener.accept().await.unwrap();
            Some((stream, listener))
        });
        Self::serve(uri, accepted)
    }

    /// As it stands in `SPIFFE_ENDPOINT_SOCKET`.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The path of the Unix socket.
    pub fn path(&self) -> &Path {
        Path::new(self.uri.strip_prefix("unix://").expect("it listens on TCP"))
    }

    /// Cuts all connections, in the middle of whatever is said on them.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }

    fn serve<C>(uri: String, connections: impl Stream<Item = C> + Send + 'static) -> Self
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let cut = watch::Sender::new(());
        let (pass_on, incoming) = mpsc::unbounded_channel();
        let cuts = cut.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = std::pin::pin!(connections);
            while let Some(near) = connections.next().await {
                let _ = pass_on.send(Ok::<_, std::io::Error>(cuttable(near, cuts.subscribe())));
            }
        });
        let (x509_svids, taken_x509_svids) = Calls::new();
        let (x509_bundles, taken_x509_bundles) = Calls::new();
        let (jwt_svids, taken_jwt_svids) = Calls::new();
        let (jwt_bundles, taken_jwt_bundles) = Calls::new();
        let (validations, taken_validations) = Calls::new();
        let (wit_svids, taken_wit_svids) = Calls::new();
        let (wit_bundles, taken_wit_bundles) = Calls::new();
        let service = Service(Arc::new(Taken {
            x509_svids: taken_x509_svids,
            x509_bundles: taken_x509_bundles,
            jwt_svids: taken_jwt_svids,
            jwt_bundles: taken_jwt_bundles,
            validations: taken_validations,
            wit_svids: taken_wit_svids,
            wit_bundles: taken_wit_bundles,
        }));
        let incoming = tokio_stream::wrappers::UnboundedReceiverStream::new(incoming);
        let serving = tokio::spawn(
            Server::builder()
                .add_service(SpiffeWorkloadApiServer::new(service).max_encoding_message_size(usize::MAX))
                .serve_with_incoming(incoming),
        );
        Self {
            uri,
            x509_svids,
            x509_bundles,
            jwt_svids,
            jwt_bundles,
            validations,
            wit_svids,
            wit_bundles,
            cut,
            tasks: [accepting.abort_handle(), serving.abort_handle()],
            directory: None,
        }
    }
}

impl Drop for FakeEndpoint {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.cut();
    }
}

/// The far end of a connection that can be cut.
fn cuttable<C>(mut near: C, mut cuts: watch::Receiver<()>) -> DuplexStream
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut inner, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut inner) => {}
            _ = cuts.changed() => {}
        }
    });
    far
}

/// Calls of one method, in the order of their arrival.
pub struct Calls<Q, R>(tokio::sync::Mutex<mpsc::UnboundedReceiver<Call<Q, R>>>);

impl<Q, R> Calls<Q, R> {
    fn new() -> (Self, mpsc::UnboundedSender<Call<Q, R>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(receiver.into()), sender)
    }

    /// Waits for the next call.
    pub async fn next(&self) -> Call<Q, R> {
        self.0.lock().await.recv().await.expect("the endpoint serves")
    }

    /// Whether a call has arrived that nobody took.
    pub async fn is_waiting(&self) -> bool {
        !self.0.lock().await.is_empty()
    }
}

/// One call, which waits for its answer.
pub struct Call<Q, R> {
    /// What the caller sent beside the message.
    pub metadata: MetadataMap,
    /// The message.
    pub request: Q,
    answers: oneshot::Sender<Result<mpsc::UnboundedReceiver<Result<R, Status>>, Status>>,
}

impl<Q, R> Call<Q, R> {
    /// Refuses the call at once.
    pub fn refuse(self, status: Status) {
        let _ = self.answers.send(Err(status));
    }

    /// Accepts it, to answer later.
    pub fn accept(self) -> Held<R> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = self.answers.send(Ok(receiver));
        Held(sender)
    }

    /// Accepts it and sends one answer.
    pub fn answer(self, answer: R) -> Held<R> {
        let held = self.accept();
        held.send(answer);
        held
    }
}

/// A call that is being answered; it ends well when this is dropped.
pub struct Held<R>(mpsc::UnboundedSender<Result<R, Status>>);

impl<R> Held<R> {
    /// Sends an answer.
    pub fn send(&self, answer: R) {
        let _ = self.0.send(Ok(answer));
    }

    /// Ends the call with a status.
    pub fn fail(self, status: Status) {
        let _ = self.0.send(Err(status));
    }

    /// Waits until the caller has gone.
    pub async fn gone(&self) {
        self.0.closed().await;
    }
}

struct Taken {
    x509_svids: mpsc::UnboundedSender<Call<X509svidRequest, X509svidResponse>>,
    x509_bundles: mpsc::UnboundedSender<Call<X509BundlesRequest, X509BundlesResponse>>,
    jwt_svids: mpsc::UnboundedSender<Call<JwtsvidRequest, JwtsvidResponse>>,
    jwt_bundles: mpsc::UnboundedSender<Call<JwtBundlesRequest, JwtBundlesResponse>>,
    validations: mpsc::UnboundedSender<Call<ValidateJwtsvidRequest, ValidateJwtsvidResponse>>,
    wit_svids: mpsc::UnboundedSender<Call<WitsvidRequest, WitsvidResponse>>,
    wit_bundles: mpsc::UnboundedSender<Call<WitBundlesRequest, WitBundlesResponse>>,
}

struct Service(Arc<Taken>);

type Answers<R> = Response<BoxStream<R>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    async fn fetch_x509svid(&self, request: Request<X509svidRequest>) -> Result<Answers<X509svidResponse>, Status> {
        streamed(&self.0.x509_svids, request).await
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Answers<X509BundlesResponse>, Status> {
        streamed(&self.0.x509_bundles, request).await
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        once(&self.0.jwt_svids, request).await
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Answers<JwtBundlesResponse>, Status> {
        streamed(&self.0.jwt_bundles, request).await
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        once(&self.0.validations, request).await
    }

    async fn fetch_witsvid(&self, request: Request<WitsvidRequest>) -> Result<Answers<WitsvidResponse>, Status> {
        streamed(&self.0.wit_svids, request).await
    }

    async fn fetch_wit_bundles(
        &self,
        request: Request<WitBundlesRequest>,
    ) -> Result<Answers<WitBundlesResponse>, Status> {
        streamed(&self.0.wit_bundles, request).await
    }
}

async fn streamed<Q, R: Send + 'static>(
    calls: &mpsc::UnboundedSender<Call<Q, R>>,
    request: Request<Q>,
) -> Result<Answers<R>, Status> {
    let answers = taken(calls, request).await?;
    Ok(Response::new(Box::pin(tokio_stream::wrappers::UnboundedReceiverStream::new(answers))))
}

async fn once<Q, R>(calls: &mpsc::UnboundedSender<Call<Q, R>>, request: Request<Q>) -> Result<Response<R>, Status> {
    let mut answers = taken(calls, request).await?;
    answers.recv().await.unwrap_or_else(|| Err(Status::internal("no answer"))).map(Response::new)
}

async fn taken<Q, R>(
    calls: &mpsc::UnboundedSender<Call<Q, R>>,
    request: Request<Q>,
) -> Result<mpsc::UnboundedReceiver<Result<R, Status>>, Status> {
    let (metadata, _, request) = request.into_parts();
    let (answers, answered) = oneshot::channel();
    let _ = calls.send(Call { metadata, request, answers });
    answered.await.unwrap_or_else(|_| Err(Status::internal("the test dropped the call")))
}
