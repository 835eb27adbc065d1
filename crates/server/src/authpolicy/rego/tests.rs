//! `testdata/inputs.jsonl` holds requests that SPIRE 1.15.3 got and the documents that it asked its policy with, and
//! `testdata/policies/` policies with what `tests/opa` said to those documents, line by line; `functions` was asked about
//! each eighth alone. A whole-daemon case asks it again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use steeple_testkit::wire::Schema;
use steeple_transport::connection::Remote;
use steeple_transport::rpc::Methods;
use tonic::Code;
use tonic::codegen::http::HeaderMap;

use super::super::Table;
use super::*;
use crate::authpolicy::local_services;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/authpolicy/rego/testdata");
const CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/server");

fn lines(path: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(format!("{DIR}/{path}")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn files(rego: String) -> Files {
    Files { rego: rego.into(), data: Some(format!("{CONF}/policy_data.json").into()) }
}

fn compile(text: &str) -> Result<Rego, PolicyError> {
    Rego::compile("policy.rego", Contents { rego: text.into(), data: None })
}

/// A policy that lets in nobody, but for what `rules` add.
fn policy(rules: &str) -> String {
    let members = RESULT.map(|(name, _)| format!("\"{name}\": {name}"));
    let defaults = RESULT.map(|(name, _)| format!("default {name} := false\n"));
    format!("package spire\n\nresult := {{{}}}\n\n{}\n{rules}\n", members.join(", "), defaults.concat())
}

/// What a policy says to a call from the network, without an identity.
async fn ask(policy: &Rego, path: &str, message: Option<Bytes>) -> Result<Classes, Status> {
    let methods = Methods::new(&local_services());
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    let connection = Connection::Remote(Remote { address, svid: None });
    let headers = HeaderMap::new();
    let method = methods.find(path).unwrap();
    policy.classes_of(&Incoming { method, connection: &connection, headers: &headers, message: message.as_ref() }).await
}

#[test]
fn requests_are_told_as_the_reference_tells_them() {
    let (requests, schema) = (Requests::new(DESCRIPTORS).unwrap(), Schema::new(DESCRIPTORS));
    let (mut told, mut unread) = (0, 0);
    for line in lines("inputs.jsonl") {
        let (request, input) = (&line["request"], &line["input"]);
        let path = input["full_method"].as_str().unwrap();
        if !requests.has(path) {
            assert_eq!(requests.unread(path), input["req"], "{path}");
            unread += 1;
            continue;
        }
        let bytes = schema.encode_request(path, request);
        assert_eq!(requests.read(path, &bytes).unwrap(), input["req"], "{path}");
        told += 1;
    }
    assert!(told > 200 && unread > 0, "{told} {unread}");
}

#[test]
fn policies_answer_what_opa_answered() {
    let inputs = lines("inputs.jsonl");
    for (name, each) in [("namespaces", 1), ("language", 1), ("functions", 8), ("gaps", 1)] {
        let Files { rego, data } = files(format!("{DIR}/policies/{name}.rego"));
        let text = fs::read_to_string(rego).unwrap();
        let data = document(&fs::read(data.unwrap()).unwrap()).unwrap();
        let mut engine = engine(name, text, data).unwrap();
        let answers = lines(&format!("policies/{name}.jsonl"));
        assert_eq!(answers.len(), inputs.len().div_ceil(each));
        for (line, answer) in inputs.iter().step_by(each).zip(&answers) {
            engine.set_input(Value::from(line["input"].clone()));
            let ours = match engine.eval_query(QUERY.to_owned(), false) {
                Ok(QueryResults { result }) => match result.first() {
                    Some(found) => json!({"result": found.expressions[0].value}),
                    None => json!({}),
                },
                Err(error) => json!({"error": error.to_string()}),
            };
            match answer["error"].as_str() {
                Some(error) => assert!(ours["error"].is_string(), "{name}: {error}: {ours}"),
                None => assert_eq!(ours, *answer, "{name}: {line}"),
            }
        }
    }
}

#[tokio::test]
async fn the_default_policy_as_a_file_is_the_default_policy() {
    let (policy, table) = (Rego::load(&files(format!("{CONF}/policy.rego"))).unwrap(), Table::standard());
    for method in Methods::new(&local_services()).iter() {
        let message = policy.reads(method).then(Bytes::new);
        assert_eq!(
            ask(&policy, &method.path, message).await.unwrap(),
            table.classes_of(&method.path),
            "{}",
            method.path
        );
    }
}

#[test]
fn every_call_of_our_own_is_asked_about_as_one_of_the_references() {
    let (methods, table) = (Methods::new(&local_services()), Table::standard());
    for method in methods.iter().filter(|method| method.path.starts_with("/steeple.")) {
        let asked = methods.find(in_the_references_words(&method.path)).unwrap();
        assert!(asked.path.starts_with("/spire."), "{}", method.path);
        assert_eq!(table.classes_of(&asked.path), table.classes_of(&method.path), "{}", method.path);
    }
}

#[test]
fn a_policy_without_an_answer_stops_the_start_and_says_what_is_missing() {
    let told = |text: &str| compile(text).unwrap_err().to_string();
    let misconfigured = "authpolicy engine failed to validate on sample test inputs: policy is misconfigured: ";
    for (text, why) in [
        ("package other\n\nresult := {}", "policy: no matching policies found"),
        ("package spire\n\nresult := 1", "unexpected type in evaluating policy result expression"),
        ("package spire\n\nresult := {\"allow\": 1}", "policy: result did not contain \"allow\" bool value"),
        (
            "package spire\n\nresult := {\"allow\": true}",
            "policy: result did not contain \"allow_if_admin\" bool value",
        ),
    ] {
        assert_eq!(told(text), format!("{misconfigured}{why}"));
    }
    let conflict = told(&policy("allow if true\n\nallow := false if input.caller == \"\""));
    assert!(conflict.starts_with(&format!("{misconfigured}policy.rego:")), "{conflict}");
    assert!(!conflict.contains('\n'), "{conflict}");
}

#[test]
fn functions_that_there_are_not_stop_the_start_by_name() {
    for (rules, why) in [
        ("allow if frobnicate(input.caller)", "rego_type_error: undefined function frobnicate"),
        ("allow if data.other.check(1)", "rego_type_error: undefined function data.other.check"),
        ("f(x) if x == 1\n\nallow if g(1)", "rego_type_error: undefined function g"),
        ("allow if any([true])", "rego_type_error: deprecated built-in function calls in expression: any"),
        ("allow if http.send({}).status_code == 200", "built-in function http.send is not supported"),
        ("allow if not io.jwt.decode(input.caller)", "built-in function io.jwt.decode is not supported"),
        // Wherever it stands.
        ("f(x) := y if {\n\ty := [z | z := crypto.sha256(x)]\n}", "built-in function crypto.sha256 is not supported"),
        ("allow if {\n\tevery x in [1] { yaml.is_valid(x) }\n}", "built-in function yaml.is_valid is not supported"),
        ("s contains uri.parse(input.caller)", "built-in function uri.parse is not supported"),
        ("m[x] := opa.runtime() if some x in [1]", "built-in function opa.runtime is not supported"),
        ("allow if input with input.x as opa.runtime()", "built-in function opa.runtime is not supported"),
        (
            "allow := false if {\n\tfalse\n} else := {opa.runtime(): 1}",
            "built-in function opa.runtime is not supported",
        ),
    ] {
        let told = compile(&policy(rules)).unwrap_err().to_string();
        assert!(told.starts_with("policy.rego:") && told.ends_with(&format!(": {why}")), "{told}");
    }
    compile(&policy("f(x) if x == 1\n\nallow if f(1)\n\nallow if data.spire.f(2)\n\nallow if print(\"x\")")).unwrap();
}

#[test]
fn every_built_in_function_of_the_reference_is_there_or_named_as_missing() {
    let names = fs::read_to_string(format!("{DIR}/functions.txt")).unwrap();
    let page = fs::read_to_string(format!("{CONF}/../../docs/policy.md")).unwrap();
    let (mut there, mut missing) = (0, 0);
    for name in names.lines() {
        match functions::find(name) {
            Ok(()) => there += 1,
            Err(why) => {
                assert!(!matches!(why, functions::Why::Undefined), "{name}");
                assert!(page.contains(&format!("`{name}`")), "docs/policy.md does not name {name}");
                missing += 1;
            }
        }
    }
    assert_eq!(there + missing, names.lines().count());
    assert!(there > 100, "{there}");
}

#[test]
fn a_policy_that_is_no_rego_is_refused_with_the_place() {
    for text in ["package spire\n\nallow {", "package spire\n\nallow { true }", "hello", ""] {
        let told = compile(text).unwrap_err().to_string();
        assert!(told.starts_with("policy.rego:") && !told.contains('\n'), "{text}: {told}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let told = |rego: &str, data: Option<&str>| {
        Rego::load(&Files { rego: rego.into(), data: data.map(PathBuf::from) }).unwrap_err().to_string()
    };
    let rego = format!("{CONF}/policy.rego");
    assert_eq!(told("/nowhere/p.rego", None), "open /nowhere/p.rego: no such file or directory");
    assert_eq!(told("", None), "open : no such file or directory");
    assert_eq!(told(&rego, Some("/nowhere/d.json")), "open /nowhere/d.json: no such file or directory");
    let no_json = told(&rego, Some(&rego));
    assert!(no_json.starts_with("error decoding JSON databindings: "), "{no_json}");
    for (data, why) in [("", "EOF"), ("[]", "it is no object")] {
        assert_eq!(
            document(data.as_bytes()).unwrap_err().to_string(),
            format!("error decoding JSON databindings: {why}")
        );
    }
}

#[tokio::test]
async fn a_policy_sees_what_is_asked_and_a_mistake_in_it_lets_nobody_in() {
    const LIST: &str = "/spire.api.server.entry.v1.Entry/ListEntries";
    let rules = "allow if input.req.page_size == 7\n\nallow := false if input.req.page_token == \"x\"\n\n\
                 allow if input.req.page_token == \"x\"";
    let policy = compile(&policy(rules)).unwrap();
    // Fields 3 and 4.
    let seven = ask(&policy, LIST, Some(Bytes::from_static(&[0x18, 7]))).await.unwrap();
    assert_eq!(seven, Classes::ANY);
    assert_eq!(ask(&policy, LIST, Some(Bytes::new())).await.unwrap(), Classes::NONE);
    let mistake = ask(&policy, LIST, Some(Bytes::from_static(&[0x22, 1, b'x']))).await.unwrap_err();
    assert_eq!(mistake.code(), Code::Unknown, "{mistake}");
    // The caller came in by the policy before, which did not read.
    assert_eq!(ask(&policy, LIST, None).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_policy_that_thinks_for_too_long_lets_nobody_in() {
    let rules = "r := numbers.range(1, 2000)\n\nallow if {\n\tendswith(input.full_method, \"GetInfo\")\n\t\
                 count([1 | some a in r; some b in r; some c in r; a + b + c < 0]) > 0\n}";
    let policy = compile(&policy(rules)).unwrap();
    let late = ask(&policy, "/spire.api.server.debug.v1.Debug/GetInfo", Some(Bytes::new())).await.unwrap_err();
    assert_eq!(late.code(), Code::Unknown);
    assert!(late.message().contains("time"), "{late}");
}
