//! What is sent to a collector of OpenTelemetry, and what becomes of it when the collector is slow, away, or unwilling.

use std::time::Duration;

use steeple_config::otlp::Otlp;
use steeple_config::telemetry;
use steeple_proto::opentelemetry::proto::metrics::v1::metric::Data;
use steeple_proto::opentelemetry::proto::metrics::v1::number_data_point::Value;
use steeple_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use steeple_runtime::metrics::{Measured, Telemetry, count, gauge, sample};
use steeple_runtime::trace::{Kind, Parent, Tracer};
use steeple_testkit::collector::{Collector, Mood, ReceivedSpan};
use steeple_testkit::record::{Counted, Logged};
use steeple_testkit::{Ca, ManualClock};
use steeple_transport::otlp::{Export, Sender};
use tonic::Status;

use crate::{HOUR, world};

const SECOND: Duration = Duration::from_secs(1);
const NOT_TAKEN: &str = "The OpenTelemetry collector does not take what it is sent";

fn otlp(port: u16) -> Otlp {
    Otlp { host: "localhost".to_owned(), port, tls: false, ca_file: None, ratio: Some(1.0), interval: None }
}

fn start(otlp: &Otlp, telemetry: &Telemetry, clock: &ManualClock) -> Result<Export, String> {
    let sender = Sender { program: "steeple-server", trust_domain: "example.org" };
    Export::start(otlp, sender, telemetry, clock.clock()).map_err(|error| error.to_string())
}

/// Sends spans alone.
fn traces(port: u16, clock: &ManualClock) -> (Export, Tracer) {
    let export = start(&otlp(port), &Telemetry::default(), clock).unwrap();
    let tracer = export.tracer.clone().unwrap();
    (export, tracer)
}

fn call(tracer: &Tracer, code: &'static str) {
    tracer.begin("a.Service/Call", Kind::Server, None).unwrap().end(code);
}

async fn spans(collector: &Collector, count: usize) -> Vec<ReceivedSpan> {
    collector.until(|received| (received.spans.len() >= count).then(|| received.spans.clone())).await
}

#[tokio::test]
async fn spans_are_sent_with_what_the_conventions_want() {
    let (collector, (clock, _)) = (Collector::start().await, world());
    let (export, tracer) = traces(collector.port, &clock);
    let parent = Parent { trace: [7; 16], span: [8; 8], sampled: true };
    let open = tracer.go_on("a.Service/Call", Kind::Server, parent).unwrap();
    let made = open.enter(|| steeple_runtime::trace::current(|| "b.Service/Call", Kind::Client)).unwrap();
    made.to("server.test").end("NotFound");
    let inner = open.enter(|| steeple_runtime::trace::current(|| "sign", Kind::Internal)).unwrap();
    inner.end("OK");
    open.end("NotFound");
    // They wait for others for a moment.
    clock.wake(SECOND..=SECOND).await;
    let [client, inner, server] = spans(&collector, 3).await.try_into().unwrap();

    let began = u64::try_from((HOUR * 24 * 365 * 50).as_nanos()).unwrap();
    for span in [&client, &inner, &server] {
        assert_eq!((span.service.as_str(), &span.span.trace_id[..]), ("steeple-server", &[7; 16][..]));
        assert!(span.span.start_time_unix_nano == began && span.span.end_time_unix_nano >= began);
    }
    assert!(server.is_parent_of(&client) && server.is_parent_of(&inner));
    assert_eq!((&server.span.parent_span_id[..], server.span.kind()), (&[8; 8][..], SpanKind::Server));
    assert_eq!((server.span.flags, client.span.flags), (0x301, 0x101));
    let rpc = |span: &ReceivedSpan| {
        ["rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type", "server.address"]
            .map(|key| span.attribute(key).map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    // What is not there is no fault of who looked for it.
    assert_eq!(rpc(&server), [some("grpc"), some("a.Service/Call"), some("NOT_FOUND"), None, None]);
    assert!(server.span.status.is_none() && client.span.status.is_some());
    let of_client = [some("grpc"), some("b.Service/Call"), some("NOT_FOUND"), some("NOT_FOUND"), some("server.test")];
    assert_eq!(rpc(&client), of_client);
    assert_eq!((inner.span.kind(), inner.span.attributes.len()), (SpanKind::Internal, 0));
    export.close().await;
}

#[tokio::test]
async fn what_waits_is_sent_when_the_daemon_stops() {
    let (collector, (clock, _)) = (Collector::start().await, world());
    let (export, tracer) = traces(collector.port, &clock);
    (0..1000).for_each(|_| call(&tracer, "OK"));
    export.close().await;
    assert_eq!(collector.received().spans.len(), 1000);
    // Nobody waits for what comes later.
    call(&tracer, "OK");
}

#[tokio::test]
async fn a_collector_that_comes_back_is_sent_what_found_a_place_and_the_rest_is_counted() {
    let (counted, logged, (clock, _)) = (Counted::new(), Logged::new(), world());
    let gone = Collector::start().await;
    let port = gone.port;
    gone.stop().await;
    let (export, tracer) = traces(port, &clock);
    call(&tracer, "OK");
    // Two tries that fail.
    clock.wake(SECOND..=SECOND).await;
    clock.until_somebody_sleeps(SECOND * 8 / 10..=SECOND * 12 / 10).await;
    (0..3000).for_each(|_| call(&tracer, "OK"));
    clock.wake(SECOND * 8 / 10..=SECOND * 12 / 10).await;
    clock.until_somebody_sleeps(SECOND * 16 / 10..=SECOND * 24 / 10).await;
    assert_eq!(logged.with(NOT_TAKEN).len(), 1, "once a minute");
    let back = Collector::on(port).await;
    clock.wake(SECOND * 16 / 10..=SECOND * 24 / 10).await;
    spans(&back, 1).await;
    export.close().await;
    assert_eq!(back.received().spans.len(), 1 + 2048);
    assert_eq!((counted.of("steeple.otlp.dropped_spans"), counted.of("steeple.otlp.failures")), (3000 - 2048, 2));
}

#[tokio::test]
async fn a_slow_collector_holds_up_neither_calls_nor_the_end_of_the_daemon() {
    let (collector, (clock, _)) = (Collector::start().await, world());
    collector.be(Mood::Slow);
    let (export, tracer) = traces(collector.port, &clock);
    call(&tracer, "OK");
    clock.wake(SECOND..=SECOND).await;
    collector.until(|received| (received.calls == 1).then_some(())).await;
    (0..5000).for_each(|_| call(&tracer, "OK"));
    let closing = tokio::spawn(export.close());
    clock.wake(SECOND * 5..=SECOND * 5).await;
    closing.await.unwrap();
    assert!(collector.received().spans.is_empty());
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_sent_again() {
    let (counted, (clock, _), collector) = (Counted::new(), world(), Collector::start().await);
    collector.be(Mood::Unwilling(Status::invalid_argument("no")));
    let (export, tracer) = traces(collector.port, &clock);
    call(&tracer, "OK");
    export.close().await;
    assert_eq!((collector.received().calls, counted.of("steeple.otlp.dropped_spans")), (1, 1));
}

#[tokio::test]
async fn a_collector_with_tls_is_believed_below_the_authorities_of_the_file_alone() {
    let (clock, ca) = world();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, ca: &Ca| {
        let path = dir.path().join(name);
        std::fs::write(&path, ca.root().to_pem()).unwrap();
        Some(path)
    };
    let now = clock.clock().now();
    let other = Ca::new("example.org", now);
    let collector = Collector::with_tls(&ca, now).await;
    for (ca_file, taken) in [(file("other.pem", &other), 0), (file("ca.pem", &ca), 1)] {
        let otlp = Otlp { tls: true, ca_file, ..otlp(collector.port) };
        let export = start(&otlp, &Telemetry::default(), &clock).unwrap();
        call(export.tracer.as_ref().unwrap(), "OK");
        export.close().await;
        assert_eq!(collector.received().spans.len(), taken);
    }
    let refused = |ca_file: &str| {
        let otlp = Otlp { tls: true, ca_file: Some(dir.path().join(ca_file)), ..otlp(1) };
        start(&otlp, &Telemetry::default(), &clock).err().unwrap().replace(&dir.path().display().to_string(), "")
    };
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    assert_eq!(refused("empty.pem"), "experimental.steeple.otlp.ca_file: /empty.pem: no certificate in it");
    let none = refused("none.pem");
    assert!(none.starts_with("experimental.steeple.otlp.ca_file: ") && none.contains("no such file"), "{none}");
}

#[tokio::test]
async fn measurements_are_sent_each_interval_and_at_the_end() {
    let (collector, (clock, _)) = (Collector::start().await, world());
    let measured = Measured { service: "spire_server", trust_domain: "example.org", is_pushed: true };
    let telemetry = Telemetry::start(&telemetry::Telemetry::default(), measured, &clock.clock()).await.unwrap();
    let otlp = Otlp { ratio: None, interval: Some(SECOND * 30), ..otlp(collector.port) };
    let export = start(&otlp, &telemetry, &clock).unwrap();
    assert!(export.tracer.is_none());
    count("a.call");
    gauge("a.gauge", 7.0);
    sample("a.call.elapsed_time", 30.0);
    let data = |collector: &Collector, name: &str| {
        let received = collector.received();
        let (service, metrics) = &received.metrics[0];
        assert_eq!(service, "steeple-server");
        let metric = metrics.iter().find(|metric| metric.name == format!("spire_server.{name}")).unwrap();
        (metric.unit.clone(), metric.data.clone().unwrap())
    };
    let calls = |collector: &Collector| {
        let Data::Sum(sum) = data(collector, "a.call").1 else { panic!("no sum") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        sum.data_points[0].value.unwrap()
    };
    clock.wake(SECOND * 30..=SECOND * 30).await;
    collector.until(|received| (received.calls == 1 && !received.metrics.is_empty()).then_some(())).await;
    assert_eq!(calls(&collector), Value::AsDouble(1.0));
    let (_, Data::Gauge(gauge)) = data(&collector, "a.gauge") else { panic!("no gauge") };
    assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(7.0)));
    let (unit, Data::Histogram(histogram)) = data(&collector, "a.call.elapsed_time") else { panic!("no histogram") };
    let point = &histogram.data_points[0];
    assert_eq!(
        (unit.as_str(), point.count, point.sum, point.min, point.max),
        ("ms", 1, Some(30.0), Some(30.0), Some(30.0))
    );
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);

    count("a.call");
    export.close().await;
    assert_eq!(calls(&collector), Value::AsDouble(2.0));
}
