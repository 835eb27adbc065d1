//! Traces and measurements by OpenTelemetry's protocol: from a workload's call to the signature, through two daemons.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use steeple_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use steeple_testkit::collector::{Collector, Received, ReceivedSpan};
use steeple_tests::{
    Agent, Binaries, Domain, OtlpReceiver, Scratch, case, free_port, skipped_on_the_reference, until, within,
};

const CALL: &str = "SpiffeWorkloadAPI/FetchJWTSVID";
const SIGN: &str = "spire.api.server.svid.v1.SVID/NewJWTSVID";

fn section(port: u16, keys: &str) -> String {
    format!("experimental {{\n steeple {{\n otlp {{\n endpoint = \"http://127.0.0.1:{port}\"\n {keys} }}\n }}\n }}\n")
}

/// A server that goes on with the traces of its agents and begins none, and an agent that begins one with each call. Both
/// send to this port.
async fn domain(port: u16, scratch: &Scratch) -> Result<(Domain, Agent)> {
    let keys = "traces { ratio = 0 }\n metrics { interval = \"1h\" }";
    let builder = Domain::builder().default_intervals().server_text(&section(port, keys));
    let domain = builder.start(scratch).await?;
    let mut agent = domain.new_agent("agent").await?;
    let section = section(port, "traces { ratio = 1.0 }");
    agent.reconfigure(|conf| conf.replacen("log_level", &format!("{section}log_level"), 1))?;
    domain.attest(&mut agent).await?;
    domain.entry(&agent.id, "/web", &[]).await?;
    agent.workload().follow().until_id(&domain.id("/web")).await?;
    Ok((domain, agent))
}

/// The spans of the first trace that a workload's call has begun, when it has come to its end.
fn trace(received: &Received) -> Option<Vec<ReceivedSpan>> {
    let root = received.spans.iter().find(|span| span.span.name == CALL)?;
    let of_it = |span: &&ReceivedSpan| span.span.trace_id == root.span.trace_id;
    let trace: Vec<_> = received.spans.iter().filter(of_it).cloned().collect();
    // Either daemon sends its own: the first spans of the server's to have begun are the last to end.
    trace.iter().any(|span| span.service == "steeple-server" && span.span.name == SIGN).then_some(trace)
}

#[test]
fn one_trace_leads_from_a_workloads_call_to_the_signature() -> Result<()> {
    case(async |scratch| {
        if Binaries::find()?.server.is_reference {
            skipped_on_the_reference("traces", "it has none");
            return Ok(());
        }
        let collector = Collector::start().await;
        let (mut domain, mut agent) = domain(collector.port, scratch).await?;
        agent.workload().jwt_svids("audience").await?;
        let trace = within("the trace", collector.until(trace)).await?;

        let of = |service: &str, kind: SpanKind, name: &str| {
            let is_it =
                |span: &&ReceivedSpan| span.service == service && span.span.kind() == kind && span.span.name == name;
            let found = trace.iter().find(is_it).cloned();
            found.with_context(|| format!("{service} has no {name} in {trace:#?}"))
        };
        let (agents, servers) = ("steeple-agent", "steeple-server");
        let root = of(agents, SpanKind::Server, CALL)?;
        ensure!(root.span.parent_span_id.is_empty(), "{root:?}");
        let asked = of(agents, SpanKind::Client, SIGN)?;
        let answered = of(servers, SpanKind::Server, SIGN)?;
        let token = of(servers, SpanKind::Internal, "server_ca.sign.jwt_svid")?;
        for (parent, child) in [
            (&root, of(agents, SpanKind::Internal, "authorization")?),
            (&root, of(agents, SpanKind::Internal, "workload_api.workload_attestation")?),
            (&root, asked.clone()),
            (&asked, answered.clone()),
            (&answered, of(servers, SpanKind::Internal, "authorization")?),
            (&answered, token.clone()),
            (&token, of(servers, SpanKind::Internal, "server_key_manager.sign_data")?),
        ] {
            ensure!(parent.is_parent_of(&child), "{parent:?} is no parent of {child:?}");
            ensure!(child.attribute("error.type").is_none(), "{child:?}");
        }
        // Keys, requests and signatures of the SVID that was made before somebody asked for it.
        let minted = |received: &Received| {
            let spans = &received.spans;
            let root = spans.iter().find(|span| span.service == agents && span.span.name == "mint")?;
            let is_signed = |span: &&ReceivedSpan| {
                span.span.trace_id == root.span.trace_id && span.span.name == "server_ca.sign.x509_svid"
            };
            spans.iter().find(is_signed).map(|span| span.service.clone())
        };
        ensure!(within("the minting", collector.until(minted)).await? == servers);
        let of_server = |span: &ReceivedSpan| span.service == servers && span.span.parent_span_id.is_empty();
        let begun = collector.received().spans.into_iter().find(of_server);
        ensure!(begun.is_none(), "a trace that the server began: {begun:?}");

        // An hour is not over, but the server is.
        agent.stop().await?;
        domain.server.stop().await?;
        let (_, metrics) = collector.received().metrics.into_iter().find(|(of, _)| of == servers).context("none")?;
        let name = "spire_server.rpc.svid.v1.svid.new_jwtsvid";
        ensure!(metrics.iter().any(|metric| metric.name == name), "{metrics:?}");
        Ok(())
    })
}

#[test]
fn daemons_go_on_without_their_collector_and_send_what_they_have_when_it_comes() -> Result<()> {
    case(async |scratch| {
        if Binaries::find()?.server.is_reference {
            skipped_on_the_reference("traces", "it has none");
            return Ok(());
        }
        let port = free_port()?;
        let (_domain, agent) = domain(port, scratch).await?;
        for audience in ["first", "second"] {
            agent.workload().jwt_svids(audience).await?;
            let collector = Collector::on(port).await;
            within("the trace", collector.until(trace)).await?;
            collector.stop().await;
        }
        Ok(())
    })
}

/// All elements of the lists of this name below a value.
fn all<'a>(value: &'a Value, list: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(fields) => {
            let of_field = |(name, value): (&String, &'a Value)| match value {
                Value::Array(elements) if name == list => elements.iter().collect(),
                value => all(value, list),
            };
            fields.iter().flat_map(of_field).collect()
        }
        Value::Array(elements) => elements.iter().flat_map(|element| all(element, list)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_receiver_of_the_real_collector_reads_what_is_sent() -> Result<()> {
    case(async |scratch| {
        if Binaries::find()?.server.is_reference {
            skipped_on_the_reference("traces", "it has none");
            return Ok(());
        }
        let name = "the receiver of the real collector";
        let Some(receiver) = OtlpReceiver::start(name, scratch).await? else { return Ok(()) };
        let (mut domain, agent) = domain(receiver.port, scratch).await?;
        agent.workload().jwt_svids("audience").await?;
        let signed = until("the signature", async || {
            let received = Value::Array(receiver.received("resourceSpans").ok()?);
            let spans = all(&received, "spans");
            let root = spans.iter().find(|span| span["name"] == CALL)?;
            let is_signed = |span: &&&Value| span["name"] == SIGN && span["kind"] == SpanKind::Server as i32;
            let signed = spans.iter().find(is_signed).filter(|span| span["traceId"] == root["traceId"])?;
            Some((*signed).clone())
        });
        let signed = signed.await?;
        let attributes = all(&signed, "attributes");
        for (key, value) in [("rpc.system.name", "grpc"), ("rpc.method", SIGN), ("rpc.response.status_code", "OK")] {
            let is_it = |attribute: &&Value| attribute["key"] == key && attribute["value"]["stringValue"] == value;
            ensure!(attributes.iter().copied().any(|attribute| is_it(&attribute)), "no {key}: {signed}");
        }
        domain.server.stop().await?;
        let metrics = Value::Array(receiver.received("resourceMetrics")?);
        let of = |name: &str| all(&metrics, "metrics").into_iter().find(|metric| metric["name"] == name).cloned();
        let calls = of("spire_server.rpc.svid.v1.svid.new_jwtsvid").context("no counter")?;
        ensure!(calls["sum"]["isMonotonic"] == true && calls["sum"]["aggregationTemporality"] == 2, "{calls}");
        let times = of("spire_server.rpc.svid.v1.svid.new_jwtsvid.elapsed_time").context("no times")?;
        ensure!(times["unit"] == "ms" && times["histogram"]["dataPoints"][0]["count"] == "1", "{times}");
        ensure!(of("spire_server.started").is_some_and(|started| started["gauge"].is_object()), "no gauge");
        Ok(())
    })
}
