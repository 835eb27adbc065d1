//! The calls of the Workload API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::{Map, Value};
use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest, ValidateJwtsvidResponse, WitsvidRequest};
use tokio::net::{TcpStream, UnixStream};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint as Origin, Uri};
use tonic::{Code, Request, Status, Streaming};
use tower::service_fn;

use super::answer::{self, Answer, AnswerError, FetchedJwtSvid, WitBundles, WitSvids, X509Bundles, X509Context};
use super::{Endpoint, EndpointError, JwtBundles};
use crate::SpiffeId;

/// A client of the Workload API. It connects when it is first used and again whenever the connection broke, and adds the
/// security header to each call (SPIFFE Workload Endpoint, section 3). Cheap to clone; clones share the connection.
///
/// One call at a time is asked here; to have identities that stay fresh, use the sources, such as
/// [`X509Source`](super::X509Source).
#[derive(Clone)]
pub struct WorkloadApiClient {
    stub: Stub,
    limit: Option<Duration>,
}

impl WorkloadApiClient {
    /// The longest message that is taken unless told otherwise, in bytes.
    pub const MAX_MESSAGE_LEN: usize = 4 << 20;

    /// How long one answer may take unless told otherwise. An agent may have to make an SVID first.
    pub const LIMIT: Duration = Duration::from_secs(30);

    /// The Workload API that the environment names ([`ENDPOINT_VARIABLE`](super::ENDPOINT_VARIABLE)).
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] when it names none, or as [`WorkloadApiClient::new`].
    pub fn from_env() -> Result<Self, ClientError> {
        Self::new(&Endpoint::from_env()?)
    }

    /// The Workload API at `endpoint`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::NoRuntime`] outside of a tokio runtime.
    pub fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        tokio::runtime::Handle::try_current().map_err(|_| ClientError::NoRuntime)?;
        Ok(Self::with_channel(channel(endpoint)))
    }

    /// The Workload API at the other end of a channel, for those who connect in their own way.
    pub fn with_channel(channel: Channel) -> Self {
        let stub = SpiffeWorkloadApiClient::with_interceptor(channel, SecurityHeader);
        Self { stub: stub.max_decoding_message_size(Self::MAX_MESSAGE_LEN), limit: Some(Self::LIMIT) }
    }

    /// Takes messages of at most so many bytes. A longer one ends its call with [`Code::OutOfRange`].
    pub fn with_max_message_len(self, bytes: usize) -> Self {
        Self { stub: self.stub.max_decoding_message_size(bytes), ..self }
    }

    /// Waits so long for one answer, the connection included; `None`: as long as it takes. Streams have no limit.
    pub fn with_limit(self, limit: Option<Duration>) -> Self {
        Self { limit, ..self }
    }

    /// All X.509 identities of this process, with the bundles that go with them (`FetchX509SVID`).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fetch_x509_context(&self) -> Result<X509Context, ClientError> {
        self.first(Default::default()).await
    }

    /// The X.509 bundles that this process should trust (`FetchX509Bundles`).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fetch_x509_bundles(&self) -> Result<X509Bundles, ClientError> {
        self.first(Default::default()).await
    }

    /// A JWT-SVID of each identity of this process, or of `subject` alone (`FetchJWTSVID`). The first is the default.
    /// They are for all of `audience`, which must not be empty.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fetch_jwt_svids(
        &self,
        audience: &[impl AsRef<str>],
        subject: Option<&SpiffeId>,
    ) -> Result<Vec<FetchedJwtSvid>, ClientError> {
        let audience: Vec<String> = audience.iter().map(|member| member.as_ref().to_owned()).collect();
        let spiffe_id = subject.map(SpiffeId::to_string).unwrap_or_default();
        let request = JwtsvidRequest { audience: audience.clone(), spiffe_id };
        let mut stub = self.stub.clone();
        let answer = self.limited(async { Ok(stub.fetch_jwtsvid(request).await?.into_inner()) }).await?;
        Ok(answer::jwt_svids(answer, &audience, subject)?)
    }

    /// The JWT bundles that this process should trust (`FetchJWTBundles`).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fetch_jwt_bundles(&self) -> Result<JwtBundles, ClientError> {
        self.first(Default::default()).await
    }

    /// Has the Workload API validate somebody's JWT-SVID for `audience` (`ValidateJWTSVID`). The standard prefers this to
    /// a validation of one's own (SPIFFE Workload API, section 6.3).
    ///
    /// # Errors
    /// [`ClientError`]; a token that is not valid is [`Code::InvalidArgument`].
    pub async fn validate_jwt_svid(&self, audience: &str, token: &str) -> Result<ValidatedJwtSvid, ClientError> {
        let request = ValidateJwtsvidRequest { audience: audience.into(), svid: token.into() };
        let mut stub = self.stub.clone();
        let answer = self.limited(async { Ok(stub.validate_jwtsvid(request).await?.into_inner()) }).await?;
        Ok(ValidatedJwtSvid::read(answer)?)
    }

    /// A WIT-SVID of each identity of this process, or of `subject` alone (`FetchWITSVID`).
    ///
    /// # Errors
    /// [`ClientError`]; [`Code::Unimplemented`] where the Workload API has no such profile.
    pub async fn fetch_wit_svids(&self, subject: Option<&SpiffeId>) -> Result<WitSvids, ClientError> {
        self.first(WitsvidRequest { spiffe_id: subject.map(SpiffeId::to_string).unwrap_or_default() }).await
    }

    /// The WIT bundles that this process should trust (`FetchWITBundles`).
    ///
    /// # Errors
    /// As [`WorkloadApiClient::fetch_wit_svids`].
    pub async fn fetch_wit_bundles(&self) -> Result<WitBundles, ClientError> {
        self.first(Default::default()).await
    }

    /// Opens a stream of answers: of [`X509Context`], [`X509Bundles`], [`JwtBundles`], [`WitSvids`] or [`WitBundles`].
    /// It ends with the connection at the latest; a source opens it again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stream<A: Answer>(&self) -> Result<Answers<A>, ClientError> {
        self.open(A::Request::default()).await
    }

    /// The calls as the .proto file has them, with the header and the limit on messages, but unread: for those who show
    /// what is said. A message of X.509-SVIDs can be read by [`X509Context::from_message`].
    pub fn stub(&self) -> Stub {
        self.stub.clone()
    }

    async fn open<A: Answer>(&self, request: A::Request) -> Result<Answers<A>, ClientError> {
        Ok(Answers(A::open(&mut self.stub.clone(), request).await?.into_inner()))
    }

    async fn first<A: Answer>(&self, request: A::Request) -> Result<A, ClientError> {
        self.limited(async { self.open::<A>(request).await?.next().await }).await
    }

    async fn limited<T>(&self, call: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        match self.limit {
            None => call.await,
            Some(limit) => {
                tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(ClientError::TimedOut(limit)))
            }
        }
    }
}

impl fmt::Debug for WorkloadApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadApiClient").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A stream of answers; the first comes at once, each later one after a change.
pub struct Answers<A: Answer>(Streaming<A::Message>);

impl<A: Answer> Answers<A> {
    /// The next answer.
    ///
    /// # Errors
    /// [`ClientError`]. After [`ClientError::Answer`] the stream can be read on; all others end it.
    pub async fn next(&mut self) -> Result<A, ClientError> {
        let message = self.0.message().await?.ok_or(ClientError::Ended)?;
        Ok(A::read(message)?)
    }
}

impl<A: Answer> fmt::Debug for Answers<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

/// A JWT-SVID that the Workload API has found valid.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedJwtSvid {
    /// Whose it is.
    pub id: SpiffeId,
    /// The claims of the token; the Workload API may hold back those that SPIFFE does not know.
    pub claims: Map<String, Value>,
}

impl ValidatedJwtSvid {
    fn read(message: ValidateJwtsvidResponse) -> Result<Self, AnswerError> {
        let ValidateJwtsvidResponse { spiffe_id, claims } = message;
        if spiffe_id.is_empty() {
            return Err(AnswerError::Unvalidated("spiffe_id"));
        }
        let claims = claims.filter(|claims| !claims.fields.is_empty()).ok_or(AnswerError::Unvalidated("claims"))?;
        let id = SpiffeId::parse(&spiffe_id).map_err(|reason| AnswerError::Id { index: 0, reason })?;
        Ok(Self { id, claims: members(claims) })
    }
}

/// Reads the answer to a validation: a door of the fuzz target, which no other build has.
///
/// # Errors
/// [`AnswerError`]
#[cfg(fuzzing)]
pub fn read_validated(message: ValidateJwtsvidResponse) -> Result<ValidatedJwtSvid, AnswerError> {
    ValidatedJwtSvid::read(message)
}

/// Decoding has bounded the depth.
fn members(claims: Struct) -> Map<String, Value> {
    claims.fields.into_iter().map(|(name, value)| (name, json(value))).collect()
}

fn json(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        // Protobuf knows floating-point numbers alone, and most numbers of a token are moments.
        Some(Kind::NumberValue(value)) if value.fract() == 0.0 && value.abs() <= EXACT => (value as i64).into(),
        Some(Kind::NumberValue(value)) => value.into(),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::ListValue(ListValue { values })) => values.into_iter().map(json).collect(),
        Some(Kind::StructValue(value)) => Value::Object(members(value)),
    }
}

/// Each whole number up to this has a floating-point number of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Why a call of the Workload API failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody says where the Workload API is.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// There is no tokio runtime to connect on.
    #[error("a client of the Workload API needs a tokio runtime")]
    NoRuntime,
    /// The Workload API refused the call, or could not be reached ([`Code::Unavailable`]).
    #[error("the Workload API answers {:?}: {}", .0.code(), .0.message())]
    Status(#[source] Box<Status>),
    /// The Workload API ended a stream without saying why.
    #[error("the Workload API ended the stream")]
    Ended,
    /// The answer breaks the standard; nothing of it was taken.
    #[error("the Workload API sent what it must not send: {0}")]
    Answer(#[from] AnswerError),
    /// The answer took too long.
    #[error("no answer of the Workload API within {} s", .0.as_secs())]
    TimedOut(Duration),
}

impl ClientError {
    /// The status of a refused call.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The code of a refused call.
    pub fn code(&self) -> Option<Code> {
        self.status().map(Status::code)
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// What is generated of the .proto file, with the header on each call.
pub type Stub = SpiffeWorkloadApiClient<InterceptedService<Channel, SecurityHeader>>;

/// Adds the header without which the Workload API answers nobody.
#[derive(Debug, Clone, Copy)]
pub struct SecurityHeader;

impl Interceptor for SecurityHeader {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(SECURITY_HEADER, MetadataValue::from_static(SECURITY_HEADER_VALUE));
        Ok(request)
    }
}

/// The metadata key that each call must carry (SPIFFE Workload Endpoint, section 3): whoever tricks a program into
/// requesting a URL cannot make it send this as well.
const SECURITY_HEADER: &str = "workload.spiffe.io";
const SECURITY_HEADER_VALUE: &str = "true";

/// Must be called on a tokio runtime.
fn channel(endpoint: &Endpoint) -> Channel {
    // The origin only fills `:authority`.
    let origin = Origin::from_static("http://localhost").connect_timeout(CONNECT_LIMIT);
    match endpoint.clone() {
        Endpoint::Unix(path) => {
            let path = Arc::new(path);
            origin.connect_with_connector_lazy(service_fn(move |_: Uri| {
                let path = Arc::clone(&path);
                async move { UnixStream::connect(&*path).await.map(TokioIo::new) }
            }))
        }
        Endpoint::Tcp(address) => origin
            // A peer that vanished without a word is noticed.
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_LIMIT)
            .connect_with_connector_lazy(service_fn(move |_: Uri| async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                std::io::Result::Ok(TokioIo::new(stream))
            })),
    }
}

const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Go's servers, which most agents are, end connections that are asked more often than every five minutes.
const KEEPALIVE: Duration = Duration::from_secs(300);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(20);
