//! What a daemon sends by OpenTelemetry's protocol, OTLP over gRPC: spans of traces, and all that it measures.
//!
//! A collector that is away or slow costs nothing but what it would have been sent: spans wait in a queue of bounded
//! length, one batch is on its way at a time, and the log tells of it once a minute.

mod channel;
mod measurements;
mod spans;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use steeple_config::otlp::Otlp;
use steeple_proto::opentelemetry::proto::common::v1::any_value::Value;
use steeple_proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use steeple_proto::opentelemetry::proto::resource::v1::Resource;
use steeple_runtime::metrics::Telemetry;
use steeple_runtime::trace::Tracer;
use steeple_runtime::{Clock, Shutdown};
use tokio::task::JoinHandle;
use tonic::Status;
use tracing::warn;
use uuid::Uuid;

pub use channel::OtlpError;

/// One batch is taken within this, or not at all.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// What waits when a daemon stops is sent within this, or not at all.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// How often the log tells that nothing is taken.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The program: `steeple-server`.
    pub program: &'static str,
    /// Its trust domain.
    pub trust_domain: &'a str,
}

/// What is being sent, until it is closed.
pub struct Export {
    /// Begins traces; None where they are not wanted.
    pub tracer: Option<Tracer>,
    closing: Shutdown,
    running: Vec<JoinHandle<()>>,
    clock: Clock,
}

impl Export {
    /// One that sends nothing.
    pub fn none(clock: Clock) -> Self {
        Self { tracer: None, closing: Shutdown::new(), running: Vec::new(), clock }
    }

    /// Sends from now on. The collector need not be there yet.
    ///
    /// # Errors
    /// See [`OtlpError`].
    pub fn start(otlp: &Otlp, sender: Sender<'_>, telemetry: &Telemetry, clock: Clock) -> Result<Self, OtlpError> {
        let channel = channel::to(otlp, &clock)?;
        let mut started = Self::none(clock.clone());
        let outlet = Outlet {
            resource: resource(sender),
            told: Arc::default(),
            clock: clock.clone(),
            closing: started.closing.clone(),
        };
        if let Some(ratio) = otlp.ratio {
            let (tracer, spans) = Tracer::new(ratio, clock);
            started.tracer = Some(tracer);
            started.running.push(tokio::spawn(spans::send(spans, channel.clone(), outlet.clone())));
        }
        if let Some((interval, pushed)) = otlp.interval.zip(telemetry.pushed()) {
            started.running.push(tokio::spawn(measurements::send(pushed, interval, channel, outlet)));
        }
        Ok(started)
    }

    /// Sends what there is, when nothing more will come.
    pub async fn close(self) {
        let Self { tracer: _, closing, running, clock } = self;
        closing.stop();
        let aborts: Vec<_> = running.iter().map(JoinHandle::abort_handle).collect();
        // A task that panicked has nothing more to send.
        let ended = clock.within(CLOSE_LIMIT, futures::future::join_all(running)).await;
        if ended.is_none() {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

/// What all that is sent has in common.
#[derive(Clone)]
struct Outlet {
    resource: Resource,
    told: Arc<Mutex<Option<SystemTime>>>,
    clock: Clock,
    closing: Shutdown,
}

impl Outlet {
    /// What the collector answers, in time.
    async fn call<T>(&self, call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
        let answer = self.clock.within(CALL_LIMIT, call).await;
        answer
            .unwrap_or_else(|| Err(Status::deadline_exceeded("the collector did not answer in time")))
            .map(|it| it.into_inner())
    }

    /// Tells the log what was not taken, and why, every now and then.
    fn tell(&self, what: &'static str, why: &str) {
        let now = self.clock.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes nothing new.
        if told.is_none_or(|told| now.duration_since(told).is_ok_and(|since| since >= TOLD_EVERY)) {
            *told = Some(now);
            drop(told);
            warn!(target: "telemetry", what, error = why, "The OpenTelemetry collector does not take what it is sent");
        }
    }
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "steeple".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// By the semantic conventions for resources.
fn resource(Sender { program, trust_domain }: Sender<'_>) -> Resource {
    let instance = Uuid::new_v4().to_string();
    let attributes = [
        ("service.name", program),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &instance),
        ("host.name", &steeple_runtime::os::host_name()),
        ("spiffe.trust_domain", trust_domain),
    ];
    Resource { attributes: attributes.map(|(key, value)| attribute(key, value)).into() }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }) }
}

/// Since 1970; what lies before it, or after the year 2554, is not.
fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}
