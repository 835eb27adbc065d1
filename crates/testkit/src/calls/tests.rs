//! That a replay fails by what is planted into an answer, or into a list of exceptions.

use std::fs;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Endpoint, Server};

use super::*;

const METHOD: &str = "/spire.api.server.trustdomain.v1.TrustDomain/RefreshBundle";

fn record(members: &Value) -> Record {
    let mut record = json!({
        "name": "a", "caller": "local", "method": METHOD, "requests": [{}],
        "code": "OK", "message": "", "details": [], "responses": [],
    });
    record.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    serde_json::from_value(record).unwrap()
}

fn ok(responses: Value) -> Answer {
    let Value::Array(responses) = responses else { panic!("answers are a list") };
    Answer { responses, ..end("OK", "") }
}

fn end(code: &'static str, message: &str) -> Answer {
    let called_at = Clock::system().now();
    let message = message.to_owned();
    Answer { code, message, details: json!([]), responses: Vec::new(), refused: false, called_at }
}

fn is_equal(record: &Record, answer: &Answer) -> bool {
    is_equal_after(&Answers::default(), record, answer)
}

fn is_equal_after(answers: &Answers, record: &Record, answer: &Answer) -> bool {
    matches!(compare(record, answer, answers), Comparison::Equal)
}

#[test]
fn another_end_is_a_difference() {
    let recorded = record(&json!({"code": "NotFound", "message": "bundle not found"}));
    assert!(is_equal(&recorded, &end("NotFound", "bundle not found")));
    for (code, message) in [("Internal", "bundle not found"), ("NotFound", "no bundle"), ("NotFound", ""), ("OK", "")] {
        assert!(!is_equal(&recorded, &end(code, message)), "{code} {message}");
    }
}

#[test]
fn of_a_text_of_go_what_stands_before_counts() {
    let recorded = record(&json!({"code": "InvalidArgument", "message": "bad key: asn1: syntax error"}));
    assert!(is_equal(&recorded, &end("InvalidArgument", "bad key: no DER")));
    assert!(!is_equal(&recorded, &end("InvalidArgument", "a crash")));
    assert!(!is_equal(&recorded, &end("Internal", "bad key: asn1: syntax error")));
}

#[test]
fn another_detail_is_a_difference() {
    let details = json!([{"reason": "AGENT_BANNED"}]);
    let recorded = record(&json!({"code": "PermissionDenied", "details": details}));
    let answer = |details| Answer { details, ..end("PermissionDenied", "") };
    assert!(is_equal(&recorded, &answer(details)));
    assert!(!is_equal(&recorded, &answer(json!([{"reason": "AGENT_EXPIRED"}]))));
    assert!(!is_equal(&recorded, &answer(json!([]))));
}

#[test]
fn a_field_more_or_less_or_another_order_is_a_difference() {
    let recorded = record(&json!({"responses": [{"ids": ["a", "b"], "hint": "1"}]}));
    assert!(is_equal(&recorded, &ok(json!([{"ids": ["a", "b"], "hint": "1"}]))));
    for other in [
        json!([{"ids": ["a", "b"], "hint": "1", "more": true}]),
        json!([{"ids": ["a", "b"]}]),
        json!([{"ids": ["a", "b"], "hint": "2"}]),
        json!([{"ids": ["b", "a"], "hint": "1"}]),
        json!([{"ids": ["a"], "hint": "1"}]),
        json!([{"ids": ["a", "b"], "hint": "1"}, {}]),
        json!([]),
    ] {
        assert!(!is_equal(&recorded, &ok(other.clone())), "{other}");
    }
}

#[test]
fn lists_in_any_order_have_the_same_items_all_the_same() {
    let recorded = record(&json!({"unordered": true, "responses": [{"ids": ["a", "b"], "created_at": "1234567890"}]}));
    assert!(is_equal(&recorded, &ok(json!([{"ids": ["b", "a"], "created_at": "2234567890"}]))));
    for other in [
        json!([{"ids": ["b", "c"], "created_at": "2234567890"}]),
        json!([{"ids": ["b", "a", "a"], "created_at": "2234567890"}]),
        json!([{"ids": ["b"], "created_at": "2234567890"}]),
        json!([{"ids": ["b", "a"]}]),
        json!([{"ids": ["b", "a"], "created_at": "0"}]),
    ] {
        assert!(!is_equal(&recorded, &ok(other.clone())), "{other}");
    }
}

#[test]
fn what_changes_from_run_to_run_is_there_and_as_its_facts_say() {
    let facts = json!({"kind": "decimal"});
    let path = "responses.0.serial";
    let recorded = record(&json!({
        "responses": [{"serial": "12"}], "volatile_fields": [path], "decoded": {path: facts},
    }));
    assert!(is_equal(&recorded, &ok(json!([{"serial": "345"}]))));
    for other in [json!([{"serial": "abc"}]), json!([{"serial": ""}]), json!([{}]), json!([{"other": "345"}])] {
        assert!(!is_equal(&recorded, &ok(other.clone())), "{other}");
    }
}

#[test]
fn what_is_the_same_as_in_another_answer_is_no_third_thing() {
    let path = "responses.0.id";
    let told = json!({
        "responses": [{"id": "x"}], "volatile_fields": [path], "same_as": {path: "other.responses.0.id"},
    });
    let recorded = record(&told);
    let mut answers = Answers::default();
    answers.keep("other", &[json!({"id": "y"})]);
    assert!(is_equal_after(&answers, &recorded, &ok(json!([{"id": "y"}]))));
    assert!(!is_equal_after(&answers, &recorded, &ok(json!([{"id": "x"}]))));

    let own = record(&json!({
        "responses": [{"id": "x", "again": "x"}],
        "volatile_fields": [path, "responses.0.again"],
        "same_as": {path: "a.responses.0.again"},
    }));
    assert!(is_equal(&own, &ok(json!([{"id": "y", "again": "y"}]))));
    assert!(!is_equal(&own, &ok(json!([{"id": "y", "again": "z"}]))));
}

#[test]
fn a_handshake_that_succeeds_is_a_difference_where_it_should_fail() {
    let recorded = record(&json!({"handshake_fails": true, "code": "Unavailable"}));
    assert!(is_equal(&recorded, &Answer { refused: true, ..end("Unavailable", "anything") }));
    assert!(!is_equal(&recorded, &end("Unavailable", "")));
}

/// A server without any method: it answers UNIMPLEMENTED without a text.
struct Empty(Channel);

impl Empty {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_routes(Routes::default());
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
    }
}

impl Place for Empty {
    async fn act(&mut self, _: &Action, _: &Record) {}

    fn channel(&self, _: &Record, _: Option<Credential>) -> Channel {
        self.0.clone()
    }
}

/// Replays one record, and tells what a failure says.
async fn replay(members: &Value, exceptions: &Value) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut line = json!({
        "name": "a", "caller": "local", "method": METHOD, "requests": [{}], "message": "", "details": [], "responses": [],
    });
    line.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    fs::write(dir.path().join("planted.jsonl"), line.to_string()).unwrap();
    fs::write(dir.path().join("exceptions.json"), json!({"planted": exceptions}).to_string()).unwrap();
    let records = Records {
        dir: dir.path().to_owned(),
        descriptors: &[steeple_proto::descriptors::PACKAGED],
        unbuilt: &[],
        is_reference: false,
    };
    let mut place = Empty::start().await;
    let replay = tokio::spawn(async move {
        let _dir = dir;
        records.replay("planted", &mut place).await
    });
    replay.await.map_err(|error| error.into_panic().downcast_ref::<String>().cloned().unwrap_or_default())
}

fn differs(documented: &str, ours: &Value) -> Value {
    json!({"a": {"differs": {"why": "a reason", "documented": documented, "ours": ours}}})
}

const PHRASE: &str = "verifies the signature of each certificate request";

#[tokio::test]
async fn an_answer_as_recorded_is_counted_and_another_one_fails() {
    let told = replay(&json!({"code": "Unimplemented"}), &json!({})).await.unwrap();
    assert!(told.contains("1 equal, 0 differ"), "{told}");
    let failure = replay(&json!({"code": "OK"}), &json!({})).await.unwrap_err();
    assert!(failure.contains("a: end"), "{failure}");
}

#[tokio::test]
async fn an_exception_is_held_to_what_it_says_of_ours() {
    let recorded = json!({"code": "OK"});
    let ours = json!({"code": "Unimplemented"});
    let told = replay(&recorded, &differs(PHRASE, &ours)).await.unwrap();
    assert!(told.contains("0 equal, 1 differ") && told.contains("a: a reason"), "{told}");
    for other in [
        json!({"code": "Internal"}),
        json!({"code": "Unimplemented", "message": "another text"}),
        json!({"code": "Unimplemented", "responses": [{}]}),
    ] {
        let failure = replay(&recorded, &differs(PHRASE, &other)).await.unwrap_err();
        assert!(failure.contains("1 failing"), "{failure}");
    }
}

#[tokio::test]
async fn an_exception_without_its_line_in_the_page_fails() {
    let failure =
        replay(&json!({"code": "OK"}), &differs("a phrase of nobody", &json!({"code": "Unimplemented"}))).await;
    assert!(failure.unwrap_err().contains("does not stand in docs/differences.md"));
}

#[tokio::test]
async fn an_exception_that_is_none_any_more_fails() {
    let recorded = json!({"code": "Unimplemented"});
    let failure = replay(&recorded, &differs(PHRASE, &recorded)).await.unwrap_err();
    assert!(failure.contains("is an exception, but equal"), "{failure}");
    let none = json!({"b": {"differs": {"why": "", "documented": PHRASE, "ours": recorded}}});
    let failure = replay(&recorded, &none).await.unwrap_err();
    assert!(failure.contains("there is no such record"), "{failure}");
}
