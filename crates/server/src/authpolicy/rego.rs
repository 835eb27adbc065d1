//! A policy that an operator has written in Rego: it is asked about each call, with the reference's documents.

mod functions;
mod requests;

use std::fmt::Display;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, QueryResults, Value};
use serde_json::json;
use steeple_runtime::os::reason;
use steeple_transport::connection::Connection;
use steeple_transport::rpc::{Incoming, Method};
use tokio::sync::Semaphore;
use tonic::Status;

use super::table::Classes;
use functions::Refused;
use requests::Requests;

/// What is asked.
const QUERY: &str = "data.spire.result";
/// Members of the answer, each a boolean that must be there.
const RESULT: [(&str, Classes); 5] = [
    ("allow", Classes::ANY),
    ("allow_if_admin", Classes::ADMIN),
    ("allow_if_local", Classes::LOCAL),
    ("allow_if_downstream", Classes::DOWNSTREAM),
    ("allow_if_agent", Classes::AGENT),
];
/// How long a policy may think about one call.
const THINKING: Duration = Duration::from_secs(1);
/// After so many steps it is looked how long that was.
const STEPS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// The services that are asked about.
const DESCRIPTORS: &[&[u8]] = &[steeple_proto::descriptors::PACKAGED, tonic_health::pb::FILE_DESCRIPTOR_SET];

/// Methods of our own, which no policy written for the reference knows, and the method of the reference that gives the same
/// away: whoever may call that one may call ours. The policy is told of an empty request.
const OWN: [(&str, &str); 3] = [
    ("/steeple.agent.sync.v1.Sync/Follow", "/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries"),
    ("/steeple.server.configuration.v1.Configuration/Reload", "/spire.api.server.logger.v1.Logger/SetLogLevel"),
    ("/steeple.server.store.v1.Store/GetStatus", "/spire.api.server.debug.v1.Debug/GetInfo"),
];

/// The files of a policy: `experimental.auth_opa_policy_engine.local`.
#[derive(Clone, Debug)]
pub struct Files {
    /// `rego_path`
    pub rego: PathBuf,
    /// `policy_data_path`; without it there is no data.
    pub data: Option<PathBuf>,
}

/// Why a policy cannot be used, mostly in the reference's words.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The block of the configuration names no files.
    #[error("policy engine configuration must define a provider")]
    NoProvider,
    /// A file is not to be had.
    #[error("open {}: {}", path.display(), reason(error))]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The data is no JSON object.
    #[error("error decoding JSON databindings: {0}")]
    Data(String),
    /// It is no Rego.
    #[error("{0}")]
    Rego(String),
    /// It calls a function that there is not.
    #[error(transparent)]
    Function(#[from] Refused),
    /// It has no answer to calls that every server gets.
    #[error("authpolicy engine failed to validate on sample test inputs: policy is misconfigured: {0}")]
    Sample(Unanswered),
    /// Our own descriptors are broken.
    #[error("unable to read the descriptors of requests: {0}")]
    Descriptors(#[from] prost::DecodeError),
}

/// Why a policy has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// `data.spire.result` is undefined.
    #[error("policy: no matching policies found")]
    NoResult,
    /// It is no object.
    #[error("unexpected type in evaluating policy result expression")]
    WrongType,
    /// A member is missing, or no boolean.
    #[error("policy: result did not contain {0:?} bool value")]
    Missing(&'static str),
    /// It cannot be evaluated, or not in time.
    #[error("{0}")]
    Failed(String),
}

/// What the files of a policy say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    rego: Vec<u8>,
    data: Option<Vec<u8>>,
}

/// A policy that is compiled, and can answer.
#[derive(Debug)]
pub struct Rego {
    contents: Contents,
    compiled: Arc<Compiled>,
    /// So many questions are thought about at a time.
    room: Arc<Semaphore>,
}

struct Compiled {
    /// Is cloned for each question, which is cheap.
    engine: Engine,
    requests: Requests,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Compiled").finish_non_exhaustive()
    }
}

impl Rego {
    /// Reads, compiles and tries a policy.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn load(files: &Files) -> Result<Self, PolicyError> {
        let data = files.data.as_deref().map(read).transpose()?;
        Self::compile(&files.rego.display().to_string(), Contents { rego: read(&files.rego)?, data })
    }

    /// `name` stands in errors.
    fn compile(name: &str, contents: Contents) -> Result<Self, PolicyError> {
        let Contents { rego, data } = &contents;
        let text = String::from_utf8(rego.clone()).map_err(|error| PolicyError::Rego(error.to_string()))?;
        let data = data.as_deref().map_or_else(|| Ok(Value::new_object()), document)?;
        let mut engine = engine(name, text, data)?;
        for (caller, method, request) in samples() {
            answer(&mut engine, question(caller, "", method, request)).map_err(PolicyError::Sample)?;
        }
        let compiled = Compiled { engine, requests: Requests::new(DESCRIPTORS)? };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { contents, compiled: Arc::new(compiled), room: Arc::new(Semaphore::new(cores)) })
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Whether it has to see what calls of this method ask.
    pub(super) fn reads(&self, method: &Method) -> bool {
        self.compiled.requests.has(&method.path) && in_the_references_words(&method.path) == method.path
    }

    /// Who may make this call.
    ///
    /// # Errors
    /// UNKNOWN with what went wrong in the policy, as the reference has it; the caller is let in by nothing then.
    pub(super) async fn classes_of(&self, call: &Incoming<'_>) -> Result<Classes, Status> {
        if call.message.is_none() && self.reads(call.method) {
            return Err(Status::unavailable("the policy has just been replaced; call again"));
        }
        let method = in_the_references_words(&call.method.path);
        let caller = call.connection.svid().map_or_else(String::new, |svid| svid.id.to_string());
        let program = program(call.connection);
        let (message, compiled) = (call.message.cloned(), Arc::clone(&self.compiled));
        let room = Arc::clone(&self.room).acquire_owned().await;
        let think = move || {
            let _room = room;
            let request = match message {
                Some(bytes) => compiled.requests.read(method, &bytes)?,
                None => compiled.requests.unread(method),
            };
            let question = question(&caller, &program, method, request);
            answer(&mut compiled.engine.clone(), question).map_err(|why| Status::unknown(why.to_string()))
        };
        let thought = tokio::task::spawn_blocking(think).await;
        thought.unwrap_or_else(|_| Err(Status::unknown("the policy engine has failed")))
    }
}

/// One that can be asked, though it may have no answers.
fn engine(name: &str, text: String, data: Value) -> Result<Engine, PolicyError> {
    let wrong = |error| PolicyError::Rego(in_a_line(error));
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    // OPA does not print either when it is a library.
    engine.set_gather_prints(true);
    engine.set_execution_timer_config(ExecutionTimerConfig { limit: THINKING, check_interval: STEPS });
    engine.add_policy(name.to_owned(), text).map_err(wrong)?;
    engine.get_modules().iter().try_for_each(|module| functions::check(module))?;
    engine.add_data(data).map_err(wrong)?;
    Ok(engine)
}

/// What a policy is told of a request of the method at `path`: a door of the fuzz target, which no other build has.
///
/// # Errors
/// The bytes are no such request.
#[cfg(fuzzing)]
pub fn told(path: &str, bytes: &[u8]) -> Result<serde_json::Value, Status> {
    static REQUESTS: std::sync::LazyLock<Option<Requests>> =
        std::sync::LazyLock::new(|| Requests::new(DESCRIPTORS).ok());
    let requests = REQUESTS.as_ref().ok_or_else(|| Status::internal("the descriptors are broken"))?;
    requests.read(path, bytes)
}

/// The document that a policy is asked with.
fn question(caller: &str, program: &str, method: &str, request: serde_json::Value) -> serde_json::Value {
    json!({"caller": caller, "caller_file_path": program, "full_method": method, "req": request})
}

/// Asks.
fn answer(engine: &mut Engine, question: serde_json::Value) -> Result<Classes, Unanswered> {
    let failed = |error| Unanswered::Failed(in_a_line(error));
    engine.set_input(Value::from(question));
    let QueryResults { result } = engine.eval_query(QUERY.to_owned(), false).map_err(failed)?;
    let found = result.first().and_then(|first| first.expressions.first()).ok_or(Unanswered::NoResult)?;
    let members = match &found.value {
        Value::Object(members) => members,
        Value::Undefined => return Err(Unanswered::NoResult),
        _ => return Err(Unanswered::WrongType),
    };
    RESULT.iter().try_fold(Classes::NONE, |classes, (name, class)| match members.get(&Value::from(*name)) {
        Some(Value::Bool(true)) => Ok(classes.and(*class)),
        Some(Value::Bool(false)) => Ok(classes),
        _ => Err(Unanswered::Missing(name)),
    })
}

/// Calls that a policy must have an answer to before it is used; which ones, says the reference. Members that policies look
/// at are there in some and missing in others.
fn samples() -> [(&'static str, &'static str, serde_json::Value); 9] {
    const ADMIN: &str = "spiffe://example.org/admin";
    const CREATE: &str = "/spire.api.server.entry.v1.Entry/BatchCreateEntry";
    const LIST: &str = "/spire.api.server.entry.v1.Entry/ListEntries";
    let id = |path| json!({"trust_domain": "example.org", "path": path});
    let entry = json!({
        "spiffe_id": id("/workload"),
        "parent_id": id("/host"),
        "selectors": [{"type": "unix", "value": "uid:1"}],
    });
    let mut with_id = entry.clone();
    with_id["id"] = "an-id".into();
    let (create, filter) = (json!({"entries": [entry]}), json!({"filter": {}}));
    [
        ("", "/spire.api.server.bundle.v1.Bundle/GetBundle", json!({})),
        ("", "/grpc.health.v1.Health/Check", json!({})),
        ("", "/spire.api.server.agent.v1.Agent/CreateJoinToken", json!({"ttl": 60, "agent_id": id("/host")})),
        ("", "/spire.api.server.agent.v1.Agent/AttestAgent", serde_json::Value::Null),
        ("", CREATE, create.clone()),
        ("", CREATE, json!({"entries": [with_id]})),
        ("", LIST, filter.clone()),
        (ADMIN, CREATE, create),
        (ADMIN, LIST, filter),
    ]
}

/// What policies call a method.
fn in_the_references_words(path: &str) -> &str {
    OWN.iter().find(|(own, _)| *own == path).map_or(path, |(_, references)| references)
}

/// The program of a caller on this host, where it is known: as in the reference, while calls are audited.
fn program(connection: &Connection) -> String {
    let path = connection.peer().and_then(|peer| peer.executable().ok());
    path.map_or_else(String::new, |path| path.display().to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, PolicyError> {
    fs::read(path).map_err(|error| PolicyError::File { path: path.to_owned(), error })
}

/// The first JSON value of a file; what stands behind it the reference does not read either.
fn document(bytes: &[u8]) -> Result<Value, PolicyError> {
    match serde_json::Deserializer::from_slice(bytes).into_iter().next() {
        Some(Ok(Value::Null)) => Ok(Value::new_object()),
        Some(Ok(data @ Value::Object(_))) => Ok(data),
        Some(Ok(_)) => Err(PolicyError::Data("it is no object".to_owned())),
        Some(Err(error)) => Err(PolicyError::Data(error.to_string())),
        None => Err(PolicyError::Data("EOF".to_owned())),
    }
}

/// Errors of the engine show the line of the policy below each other; here as `policy.rego:3:5: what is wrong`.
fn in_a_line(error: impl Display) -> String {
    let text = error.to_string();
    let part = |begins: &str| text.lines().find_map(|line| line.trim().strip_prefix(begins));
    match (part("--> "), part("error: ")) {
        (Some(place), Some(what)) => format!("{place}: {what}"),
        _ => text.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests;
