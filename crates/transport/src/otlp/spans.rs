//! Spans, batch by batch.

use std::time::Duration;

use steeple_proto::opentelemetry::proto::collector::trace::v1::trace_service_client::TraceServiceClient;
use steeple_proto::opentelemetry::proto::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest};
use steeple_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use steeple_proto::opentelemetry::proto::trace::v1::status::StatusCode;
use steeple_proto::opentelemetry::proto::trace::v1::{self as wire, ResourceSpans, ScopeSpans};
use steeple_runtime::jitter;
use steeple_runtime::metrics::{count, count_many};
use steeple_runtime::trace::{Kind, Span, Spans};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{Outlet, attribute, nanoseconds, scope};
use crate::status::{describe, retry_delay};

/// Spans of one batch.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// A batch that was not taken is sent again after these pauses.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The version of the semantic conventions that attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.45.0";
/// In the flags of a span: sampled, and that it is known where its parent is, and whether that is elsewhere.
const SAMPLED: u32 = 1;
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

/// Sends spans as they end, until it is told to stop and all are out.
pub(super) async fn send(mut spans: Spans, channel: Channel, outlet: Outlet) {
    let mut client = TraceServiceClient::new(channel);
    let mut batch = Vec::new();
    loop {
        // Told to stop, or nobody is left who begins one.
        if matches!(outlet.closing.unless_stopped(spans.next(&mut batch, BATCH)).await, None | Some(0)) {
            break;
        }
        outlet.closing.unless_stopped(outlet.clock.sleep(GATHER)).await;
        let left = BATCH - batch.len();
        if left > 0 {
            // What is there at this moment, without waiting for more.
            let _ = futures::FutureExt::now_or_never(spans.next(&mut batch, left));
        }
        tell_dropped(&spans, &outlet);
        deliver(&mut client, std::mem::take(&mut batch), &outlet).await;
    }
    spans.close();
    while spans.next(&mut batch, BATCH).await > 0 {
        deliver(&mut client, std::mem::take(&mut batch), &outlet).await;
    }
    tell_dropped(&spans, &outlet);
}

fn tell_dropped(spans: &Spans, outlet: &Outlet) {
    let dropped = spans.dropped();
    if dropped > 0 {
        lost(dropped, "there were too many spans", outlet);
    }
}

fn lost(spans: u64, why: &str, outlet: &Outlet) {
    count_many("steeple.otlp.dropped_spans", spans);
    outlet.tell("spans", why);
}

/// Sends a batch until it is taken, or never will be. While that goes on, the queue fills.
async fn deliver(client: &mut TraceServiceClient<Channel>, batch: Vec<Span>, outlet: &Outlet) {
    let count_of_batch = batch.len() as u64;
    let request = request(batch, outlet);
    let mut pause = FIRST_PAUSE;
    loop {
        match outlet.call(client.export(request.clone())).await {
            Ok(answer) => {
                if let Some(ExportTracePartialSuccess { rejected_spans: rejected @ 1.., error_message }) =
                    answer.partial_success
                {
                    lost(rejected.unsigned_abs(), &error_message, outlet);
                }
                return;
            }
            Err(status) => {
                count("steeple.otlp.failures");
                // A collector that names a moment is not asked before it.
                let wait = jitter(pause).max(retry_delay(&status).unwrap_or_default());
                let last = !is_worth_another_try(&status)
                    || outlet.closing.unless_stopped(outlet.clock.sleep(wait)).await.is_none();
                if last {
                    lost(count_of_batch, &describe(&status), outlet);
                    return;
                }
                outlet.tell("spans", &describe(&status));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// By OTLP's own list: whoever is exhausted and names no moment has not enough room for this batch at any time.
fn is_worth_another_try(status: &Status) -> bool {
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => retry_delay(status).is_some(),
        _ => false,
    }
}

fn request(batch: Vec<Span>, outlet: &Outlet) -> ExportTraceServiceRequest {
    let spans = batch.into_iter().map(span).collect();
    let resource_spans = ResourceSpans {
        resource: Some(outlet.resource.clone()),
        scope_spans: vec![ScopeSpans { scope: scope(), spans }],
        schema_url: SCHEMA.to_owned(),
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

fn span(span: Span) -> wire::Span {
    let Span { trace, id, parent, parent_is_remote, name, kind, server, began, took, code } = span;
    let code = screaming(code);
    let is_error = match kind {
        Kind::Server => SERVERS_FAULTS.contains(&code),
        Kind::Client | Kind::Internal => code != "OK",
    };
    let mut attributes = Vec::new();
    if kind != Kind::Internal {
        attributes.push(attribute("rpc.system.name", "grpc"));
        attributes.push(attribute("rpc.method", &name));
        attributes.push(attribute("rpc.response.status_code", code));
    }
    attributes.extend(server.map(|server| attribute("server.address", &server)));
    if is_error {
        attributes.push(attribute("error.type", code));
    }
    let kind = match kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    let remote = if parent_is_remote { PARENT_IS_REMOTE } else { 0 };
    wire::Span {
        trace_id: trace.to_vec(),
        span_id: id.to_vec(),
        parent_span_id: parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        name: name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(began),
        end_time_unix_nano: nanoseconds(began + took),
        attributes,
        status: is_error.then(|| wire::Status { message: String::new(), code: StatusCode::Error.into() }),
        flags: SAMPLED | PARENT_IS_KNOWN | remote,
    }
}

/// Codes that say something is wrong with the server rather than with what it was asked.
const SERVERS_FAULTS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// The name of a gRPC code as the conventions have it; ours are those of the reference's log.
fn screaming(code: &str) -> &'static str {
    match code {
        "OK" => "OK",
        "Canceled" => "CANCELLED",
        "InvalidArgument" => "INVALID_ARGUMENT",
        "DeadlineExceeded" => "DEADLINE_EXCEEDED",
        "NotFound" => "NOT_FOUND",
        "AlreadyExists" => "ALREADY_EXISTS",
        "PermissionDenied" => "PERMISSION_DENIED",
        "ResourceExhausted" => "RESOURCE_EXHAUSTED",
        "FailedPrecondition" => "FAILED_PRECONDITION",
        "Aborted" => "ABORTED",
        "OutOfRange" => "OUT_OF_RANGE",
        "Unimplemented" => "UNIMPLEMENTED",
        "Internal" => "INTERNAL",
        "Unavailable" => "UNAVAILABLE",
        "DataLoss" => "DATA_LOSS",
        "Unauthenticated" => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::exhausted;

    #[test]
    fn a_batch_that_is_too_large_is_not_sent_again_and_one_that_is_too_early_is() {
        assert!(is_worth_another_try(&Status::unavailable("away")));
        assert!(is_worth_another_try(&exhausted("later", FIRST_PAUSE)));
        assert!(!is_worth_another_try(&Status::resource_exhausted("received message larger than max")));
        assert!(!is_worth_another_try(&Status::invalid_argument("no")));
    }
}
