//! One call: who makes it, as what, and what it did.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steeple_proto::spire::api::types;
use steeple_runtime::logging::{Field, Value, with_fields};
use steeple_spiffe::SpiffeId;
use tonic::{Code, Status};
use tracing::{Span, info};
use uuid::Uuid;

use super::{Class, Limiter, Method, Turn, Turns};
use crate::connection::Connection;
use crate::status::code_name;

/// As what a call was let in. In the log `authorized_as` and `authorized_via`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorized {
    /// Anybody may call.
    Nobody,
    /// A process of this host.
    Local,
    /// An administrator, named in the configuration or by an entry.
    Admin {
        /// `config` or `entries`.
        via: &'static str,
    },
    /// A server below this one.
    Downstream,
    /// An attested agent, by its ID.
    Agent(SpiffeId),
}

impl Authorized {
    pub(super) fn record(&self, span: &Span) {
        let (authorized_as, via) = match self {
            Self::Nobody => ("nobody", ""),
            Self::Local => ("local", "transport"),
            Self::Admin { via } => ("admin", *via),
            Self::Downstream => ("downstream", "entries"),
            Self::Agent(_) => ("agent", "datastore"),
        };
        span.record("authorized_as", authorized_as);
        span.record("authorized_via", via);
    }
}

/// Whether calls are audited; can change while running. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Audit(Arc<AtomicBool>);

impl Audit {
    /// On or off.
    pub fn new(on: bool) -> Self {
        Self(Arc::new(AtomicBool::new(on)))
    }

    /// Switches it for every later call.
    pub fn switch(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Writes of a call that nobody was let in to make.
    pub(super) fn refusal(&self, connection: &Connection, span: &Span, status: &Status) {
        if self.is_on() {
            Authorized::Nobody.record(span);
            let (code, message) = (status.code(), status.message().to_owned());
            Record { fields: Fields::new(), code, message }.write(&caller_of(connection));
        }
    }
}

/// What a handler knows of the call that it answers; in the request's extensions.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: &'static Method,
    /// Who calls.
    pub connection: Arc<Connection>,
    /// Under which host the caller has called, as it says itself: `:authority` without its port.
    pub host: Option<String>,
    /// As what the caller was let in.
    pub authorized: Authorized,
    limiter: Limiter,
    /// Who is served first, and what this call has said of itself.
    turns: Option<(Turns, Class)>,
    audit: Audit,
    audited: Mutex<Audited>,
    /// What audit records say of a caller of this host; found while it certainly runs.
    caller: Fields,
}

/// Fields of an audit record.
pub type Fields = Vec<Field>;

/// What is to be written of a call.
#[derive(Debug, Default)]
struct Audited {
    fields: Fields,
    /// Of a batch, each item.
    items: Vec<Record>,
}

/// One audit record.
#[derive(Debug)]
struct Record {
    fields: Fields,
    /// How it ended.
    code: Code,
    /// What the caller was told.
    message: String,
}

/// Services whose successes are not audited, as the log names them.
const UNAUDITED: &[&str] = &["Health", "debug.v1.Debug"];

impl Record {
    fn write(self, caller: &[Field]) {
        let Self { mut fields, code, message } = self;
        fields.extend_from_slice(caller);
        let status = if code == Code::Ok { "success" } else { "error" };
        if code != Code::Ok {
            fields.push(("status_code".into(), Value::Named(code.into(), code_name(code))));
            fields.push(("status_message".into(), message.into()));
        }
        with_fields(fields, || info!(target: "api", r#type = "audit", status, "API accessed"));
    }
}

impl Call {
    pub(super) fn new(
        method: &'static Method,
        connection: Arc<Connection>,
        host: Option<String>,
        authorized: Authorized,
        limiter: Limiter,
        turns: Option<(Turns, Class)>,
        audit: Audit,
    ) -> Self {
        let caller = if audit.is_on() { caller_of(&connection) } else { Fields::new() };
        Self { method, connection, host, authorized, limiter, turns, audit, audited: Mutex::default(), caller }
    }

    /// The call that a request belongs to.
    ///
    /// # Errors
    /// INTERNAL when the service was mounted outside of the layers.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Arc<Self>, Status> {
        request.extensions().get::<Arc<Self>>().cloned().ok_or_else(|| Status::internal("call passed no layers"))
    }

    /// The agent that calls.
    ///
    /// # Errors
    /// INTERNAL when the method is open to others than agents, which is a mistake of ours.
    pub fn agent(&self) -> Result<&SpiffeId, Status> {
        match &self.authorized {
            Authorized::Agent(id) => Ok(id),
            _ => Err(Status::internal("caller ID missing from request context")),
        }
    }

    /// Waits until the caller may spend `count` of the method's rate.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, with a text that begins with `rejecting request due to`.
    pub async fn admit(&self, count: u32) -> Result<(), Status> {
        self.limiter.admit(count).await
    }

    /// Waits until it is this call's turn to be worked on, which takes the processor alone. To be asked for when all is there
    /// that is worked on, since a peer that keeps the server waiting must not keep others waiting.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, with the time after which to come again.
    pub async fn turn(&self) -> Result<Turn, Status> {
        match &self.turns {
            Some((turns, class)) => turns.computing.turn(*class).await,
            None => Ok(Turn::always()),
        }
    }

    /// The same for work that waits for the store.
    ///
    /// # Errors
    /// As [`Call::turn`].
    pub async fn turn_to_store(&self) -> Result<Turn, Status> {
        match &self.turns {
            Some((turns, class)) => turns.storing.turn(*class).await,
            None => Ok(Turn::always()),
        }
    }

    /// The same for an attestation, whatever the call says of itself.
    ///
    /// # Errors
    /// As [`Call::turn`].
    pub async fn turn_to_attest(&self) -> Result<Turn, Status> {
        match &self.turns {
            Some((turns, _)) => turns.storing.turn(Class::Attestation).await,
            None => Ok(Turn::always()),
        }
    }

    /// Adds a field to the call's audit value.
    pub fn audit(&self, field: &'static str, value: impl Into<Value>) {
        if self.audit_is_on() {
            self.audited().fields.push((field.into(), value.into()));
        }
    }

    /// Adds fields to the call's audit value, if anybody will read them.
    pub fn audit_fields(&self, fields: impl FnOnce() -> Fields) {
        if self.audit_is_on() {
            self.audited().fields.extend(fields());
        }
    }

    /// Has one item of a batch audited by a record of its own, which takes the place of the call's.
    pub fn audit_item(&self, status: &types::Status, fields: Fields) {
        if self.audit_is_on() {
            let record = Record { fields, code: Code::from_i32(status.code), message: status.message.clone() };
            self.audited().items.push(record);
        }
    }

    /// Whether anybody will read what is audited; else its fields need not be made.
    pub fn audit_is_on(&self) -> bool {
        self.audit.is_on()
    }

    /// Writes the records of a call that ends: those of its items, if it was a batch and came so far. Nothing is written of
    /// what is asked all the time and changes nothing.
    pub(super) fn write_records(&self, code: Code, message: &str) {
        let Audited { fields, items } = std::mem::take(&mut *self.audited());
        if code == Code::Ok && UNAUDITED.contains(&self.method.service) {
            return;
        }
        if code == Code::Ok && !items.is_empty() {
            items.into_iter().for_each(|item| item.write(&self.caller));
        } else {
            Record { fields, code, message: message.to_owned() }.write(&self.caller);
        }
    }

    fn audited(&self) -> MutexGuard<'_, Audited> {
        self.audited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn caller_of(connection: &Connection) -> Fields {
    let Some(peer) = connection.peer() else { return Fields::new() };
    let mut fields: Fields = vec![("caller_uid".into(), peer.uid.into()), ("caller_gid".into(), peer.gid.into())];
    if let Ok(path) = peer.executable() {
        fields.push(("caller_path".into(), path.display().to_string().into()));
    }
    fields
}

/// Whom the log lines of a call name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The request, by an ID of its own, and what the caller was let in as.
    Request,
    /// The process that calls.
    Process,
}

/// The span of a call, whose fields stand in each of its log lines.
pub(super) fn span(method: &'static Method, connection: &Connection, named: Named) -> Span {
    match named {
        Named::Request => span_of_request(method, connection),
        Named::Process => {
            let Method { service, name, .. } = method;
            let pid = connection.peer().map(|peer| peer.pid);
            tracing::error_span!(target: "api", "call", service, method = name, pid)
        }
    }
}

fn span_of_request(method: &'static Method, connection: &Connection) -> Span {
    use tracing::field::Empty;
    let span = tracing::error_span!(
        target: "api",
        "call",
        service = method.service,
        method = method.name,
        request_id = %Uuid::new_v4(),
        caller_addr = Empty,
        caller_id = Empty,
        authorized_as = Empty,
        authorized_via = Empty,
    );
    if let Connection::Remote(remote) = connection {
        span.record("caller_addr", tracing::field::display(remote.address));
        if let Some(svid) = &remote.svid {
            span.record("caller_id", tracing::field::display(&svid.id));
        }
    }
    span
}
