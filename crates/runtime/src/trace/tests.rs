use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::clock::by_hand::Hand;
use crate::metrics::{Coded, measure, measure_success};

#[derive(Debug)]
struct Missing;

impl Coded for Missing {
    fn code(&self) -> &'static str {
        "NotFound"
    }
}

fn tracer(ratio: f64) -> (Tracer, Spans) {
    Tracer::new(ratio, Hand::at(1_795_538_758).clock())
}

/// Those that have ended, by name.
async fn ended(mut spans: Spans) -> BTreeMap<String, Span> {
    spans.close();
    let mut list = Vec::new();
    while spans.next(&mut list, 100).await > 0 {}
    list.into_iter().map(|span| (span.name.to_string(), span)).collect()
}

#[tokio::test]
async fn what_is_measured_inside_of_a_call_is_a_span_of_its_trace() {
    let (tracer, spans) = tracer(1.0);
    let signing = async {
        tokio::task::yield_now().await;
        measure("sign", async { Err::<(), _>(Missing) }).await
    };
    let call = async {
        // One after the other, and at once.
        measure("read", async { Ok::<_, Missing>(()) }).await?;
        tokio::join!(measure_success("token", signing), measure("write", async { Ok::<_, Missing>(()) })).0
    };
    let open = tracer.begin("a.Service/Call", Kind::Server, None).unwrap();
    let made_for = open.parent();
    inside(Some(&open), call).await.unwrap_err();
    open.end("NotFound");
    // The call is over.
    measure("later", async { Ok::<_, Missing>(()) }).await.unwrap();

    let spans = ended(spans).await;
    let of = |name: &str| &spans[name];
    assert_eq!(spans.keys().collect::<Vec<_>>(), ["a.Service/Call", "read", "sign", "token", "write"]);
    assert!(spans.values().all(|span| span.trace == made_for.trace && span.trace != [0; 16]));
    let root = of("a.Service/Call");
    assert_eq!((root.parent, root.id, root.kind, root.code), (None, made_for.span, Kind::Server, "NotFound"));
    for name in ["read", "token", "write"] {
        assert_eq!((of(name).parent, of(name).kind), (Some(root.id), Kind::Internal), "{name}");
    }
    assert_eq!((of("sign").parent, of("sign").code), (Some(of("token").id), "NotFound"));
    assert_eq!((of("read").code, of("token").code), ("OK", "Unknown"));
    assert!(spans.values().all(|span| span.began == root.began && !span.parent_is_remote));
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_as_such() {
    let (tracer, spans) = tracer(1.0);
    let open = tracer.begin("call", Kind::Client, None).unwrap().to("example.org");
    let call = async {
        let _open = open;
        std::future::pending::<()>().await;
    };
    assert!(tokio::time::timeout(Duration::ZERO, call).await.is_err());
    let spans = ended(spans).await;
    assert_eq!((spans["call"].code, spans["call"].server.as_deref()), ("Canceled", Some("example.org")));
}

#[tokio::test]
async fn ours_decide_for_us_and_others_do_not() {
    let parent = Parent { trace: [7; 16], span: [8; 8], sampled: true };
    let (never, spans) = tracer(0.0);
    assert!(never.begin("call", Kind::Server, Some(parent)).is_none());
    assert!(never.go_on("call", Kind::Server, Parent { sampled: false, ..parent }).is_none());
    never.go_on("call", Kind::Server, parent).unwrap().end("OK");
    let (always, others) = tracer(1.0);
    always.begin("call", Kind::Server, Some(Parent { sampled: false, ..parent })).unwrap().end("OK");
    for spans in [spans, others] {
        let span = ended(spans).await.remove("call").unwrap();
        assert_eq!((span.trace, span.parent, span.parent_is_remote), (parent.trace, Some(parent.span), true));
    }
}

#[tokio::test]
async fn so_many_calls_begin_a_trace_as_the_ratio_says() {
    let (tracer, _spans) = tracer(0.25);
    let begun = (0..10_000).filter(|_| tracer.begin("call", Kind::Server, None).is_some()).count();
    // Eleven times the deviation of such a throw.
    assert!((2_000..3_000).contains(&begun), "{begun}");
}

#[tokio::test]
async fn spans_that_find_no_place_are_counted() {
    let (tracer, mut spans) = tracer(1.0);
    for _ in 0..3000 {
        tracer.begin("call", Kind::Server, None).unwrap().end("OK");
    }
    assert_eq!((spans.dropped(), spans.dropped()), (3000 - 2048, 0));
    let mut list = Vec::new();
    assert_eq!(spans.next(&mut list, 5000).await, 2048);
}
