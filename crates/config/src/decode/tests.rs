use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::*;
use crate::hcl;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct File {
    server: Option<Server>,
    plugins: Option<IgnoredAny>,
    telemetry: Telemetry,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Server {
    trust_domain: String,
    bind_port: i64,
    small: u16,
    ratio: f64,
    audit_log_enabled: bool,
    admin_ids: Vec<String>,
    max_staleness: Option<String>,
    ca_subject: Option<Subject>,
    federates_with: Labelled<Federated>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Subject {
    country: Vec<String>,
    common_name: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Federated {
    bundle_endpoint_url: String,
    bundle_endpoint_profile: Labelled<BTreeMap<String, String>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Telemetry {
    statsd: Vec<Sink>,
    #[serde(rename = "M3")]
    m3: Vec<Sink>,
    in_mem: Option<Sink>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Sink {
    address: String,
    env: String,
    tls: Option<Subject>,
}

fn read(text: &str) -> Decoded<File> {
    decode(&hcl::parse(text).unwrap()).unwrap()
}

fn server(keys: &str) -> Server {
    let Decoded { value, unknown } = read(&format!("server {{\n{keys}\n}}"));
    assert_eq!(unknown, []);
    value.server.unwrap()
}

fn telemetry(text: &str) -> Telemetry {
    read(text).value.telemetry
}

fn error(keys: &str) -> String {
    let body = hcl::parse(format!("server {{\n{keys}\n}}")).unwrap();
    decode::<File>(&body).unwrap_err().to_string()
}

/// Sections with their unknown keys and lines.
fn unknown(text: &str) -> Vec<String> {
    let sections = read(text).unknown.into_iter();
    let line = |UnknownKey { name, line }| format!("{name}@{line}");
    sections
        .map(|UnknownKeys { section, keys }| {
            format!("{section}: {}", keys.into_iter().map(line).collect::<Vec<_>>().join(","))
        })
        .collect()
}

fn sink(address: &str, env: &str) -> Sink {
    Sink { address: address.into(), env: env.into(), tls: None }
}

#[test]
fn a_string_takes_strings_heredocs_and_whole_numbers() {
    assert_eq!(server("trust_domain = \"a\"").trust_domain, "a");
    assert_eq!(server("trust_domain = <<E\na\nE\n").trust_domain, "a\n");
    assert_eq!(server("trust_domain = 0x1F").trust_domain, "0x1F");
    let reason = "root.server.trust_domain: unknown type for string *ast.LiteralType";
    assert_eq!(error("trust_domain = 1.5"), format!("At 2:16: {reason}"));
    assert_eq!(error("trust_domain = true"), format!("At 2:16: {reason}"));
}

#[test]
fn an_integer_takes_whole_numbers_and_quoted_ones_in_every_base() {
    for (text, value) in [("8081", 8081), ("\"8081\"", 8081), ("0x1F91", 8081), ("\"0x1F91\"", 8081), ("017", 15)] {
        assert_eq!(server(&format!("bind_port = {text}")).bind_port, value, "{text}");
    }
    assert_eq!(error("bind_port = 1.5"), "At 2:13: root.server.bind_port: unknown type *ast.LiteralType");
    assert_eq!(error("bind_port = 1e3"), "At 2:13: root.server.bind_port: unknown type *ast.LiteralType");
    assert_eq!(error("bind_port = <<E\n1\nE\n"), "At 2:13: root.server.bind_port: unknown type *ast.LiteralType");
    let parsing = "At 2:13: root.server.bind_port: strconv.ParseInt: parsing";
    assert_eq!(error("bind_port = \"x\""), format!("{parsing} \"x\": invalid syntax"));
    assert_eq!(error("bind_port = 08"), format!("{parsing} \"08\": invalid syntax"));
    assert_eq!(
        error("bind_port = 9223372036854775808"),
        format!("{parsing} \"9223372036854775808\": value out of range")
    );
}

#[test]
fn a_small_integer_names_its_place_when_it_overflows() {
    assert_eq!(server("small = 65535").small, 65535);
    assert!(error("small = 65536").starts_with("At 2:9: root.server.small: invalid value: integer `65536`"));
}

#[test]
fn a_float_takes_any_number() {
    assert_eq!(server("ratio = 1.5").ratio, 1.5);
    assert_eq!(server("ratio = 2").ratio, 2.0);
    assert_eq!(error("ratio = \"2\""), "At 2:9: root.server.ratio: unknown type *ast.LiteralType");
}

#[test]
fn a_bool_takes_no_quotes() {
    assert!(server("audit_log_enabled = true").audit_log_enabled);
    for text in ["\"true\"", "1"] {
        let reason = "root.server.audit_log_enabled: unknown type *ast.LiteralType";
        assert_eq!(error(&format!("audit_log_enabled = {text}")), format!("At 2:21: {reason}"));
    }
}

#[test]
fn an_error_knows_in_words_what_was_expected() {
    for (text, expected) in [
        ("bind_port = true", "a whole number"),
        ("bind_port = \"x\"", "a whole number"),
        ("audit_log_enabled = 1", "true or false, without quotes"),
        ("max_staleness = true", "a text in quotes"),
        ("ca_subject = \"a\"", "a block: { ... }"),
        ("admin_ids = \"a\"", "a list: [ ... ]"),
    ] {
        let body = hcl::parse(format!("server {{ {text} }}")).unwrap();
        assert_eq!(decode::<File>(&body).unwrap_err().expected(), Some(expected), "{text}");
    }
}

#[test]
fn a_list_takes_no_single_value() {
    assert_eq!(server("admin_ids = [\"a\", 1,]").admin_ids, ["a", "1"]);
    assert_eq!(server("admin_ids = []").admin_ids, [""; 0]);
    let body = hcl::parse("server { admin_ids = \"a\" }").unwrap();
    let error = decode::<File>(&body).unwrap_err();
    assert_eq!(error.to_string(), "At 1:22: unknown slice type: *ast.LiteralType");
    let Error::NotAList { key, .. } = error else { panic!("{error}") };
    assert_eq!(key, "root.server.admin_ids");
}

#[test]
fn an_element_of_a_list_names_its_index() {
    let reason = "root.server.admin_ids[1]: unknown type for string *ast.LiteralType";
    assert_eq!(error("admin_ids = [\"a\", false]"), format!("At 2:19: {reason}"));
}

#[test]
fn a_struct_takes_no_single_value() {
    let reason = "root.server.ca_subject: not an object type for struct";
    assert_eq!(error("ca_subject = \"a\""), format!("At 2:14: {reason} (*ast.LiteralType)"));
    assert_eq!(error("ca_subject = [\"a\"]"), format!("At 2:14: {reason} (*ast.ListType)"));
}

#[test]
fn a_map_takes_no_single_value() {
    let reason = "root.server.federates_with: not an object type for map (*ast.LiteralType)";
    assert_eq!(error("federates_with = 1"), format!("At 2:18: {reason}"));
}

#[test]
fn keys_match_without_regard_to_case() {
    assert_eq!(server("TRUST_DOMAIN = \"a\"\nBind_Port = 1"), server("trust_domain = \"a\" bind_port = 1"));
    assert_eq!(telemetry("TELEMETRY { inmem {} m3 = [{}] }").m3, [Sink::default()]);
}

#[test]
fn the_last_of_repeated_values_wins_and_all_must_fit() {
    assert_eq!(server("bind_port = 1\nbind_port = 2").bind_port, 2);
    assert_eq!(
        error("audit_log_enabled = \"true\"\naudit_log_enabled = true"),
        "At 2:21: root.server.audit_log_enabled: unknown type *ast.LiteralType"
    );
}

#[test]
fn repeated_lists_append() {
    assert_eq!(server("admin_ids = [\"a\"]\nadmin_ids = [\"b\"]").admin_ids, ["a", "b"]);
}

#[test]
fn repeated_blocks_merge_field_by_field() {
    let text = "server { bind_port = 1 ca_subject { country = [\"A\"] } }
        server { bind_port = 2 trust_domain = \"t\" ca_subject { country = [\"B\"] common_name = \"c\" } }";
    let server = read(text).value.server.unwrap();
    assert_eq!((server.bind_port, server.trust_domain.as_str()), (2, "t"));
    let subject = Subject { country: vec!["A".into(), "B".into()], common_name: "c".into() };
    assert_eq!(server.ca_subject, Some(subject));
}

#[test]
fn an_empty_block_is_not_an_absent_one() {
    assert_eq!(server("").ca_subject, None);
    assert_eq!(server("ca_subject {}").ca_subject, Some(Subject::default()));
    assert_eq!(server("ca_subject = {}").ca_subject, Some(Subject::default()));
    assert_eq!(server("max_staleness = \"\"").max_staleness, Some(String::new()));
    assert_eq!(read("").value.server, None);
    assert_eq!(read("server {}").value.server, Some(Server::default()));
}

#[test]
fn every_form_of_a_labelled_block_is_the_same() {
    let expected = server(
        r#"federates_with "b.test" { bundle_endpoint_url = "b" bundle_endpoint_profile "https_web" {} }
           federates_with "a.test" { bundle_endpoint_url = "a"
               bundle_endpoint_profile "https_spiffe" { endpoint_spiffe_id = "i" } }"#,
    );
    let labels: Vec<_> = expected.federates_with.0.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["b.test", "a.test"]);
    let profile = &expected.federates_with.0[1].1.bundle_endpoint_profile.0[0];
    assert_eq!(profile, &("https_spiffe".into(), BTreeMap::from([("endpoint_spiffe_id".into(), "i".into())])));

    for text in [
        r#"federates_with {
            "b.test" { bundle_endpoint_url = "b" bundle_endpoint_profile { https_web {} } }
            "a.test" = { bundle_endpoint_url = "a" bundle_endpoint_profile { https_spiffe = { endpoint_spiffe_id = "i" } } }
        }"#,
        r#"federates_with = [
            { "b.test" = { bundle_endpoint_url = "b" bundle_endpoint_profile = [{ https_web = {} }] } },
            { "a.test" = { bundle_endpoint_url = "a" bundle_endpoint_profile "https_spiffe" { endpoint_spiffe_id = "i" } } },
        ]"#,
        r#"federates_with "b.test" "bundle_endpoint_profile" "https_web" {}
           federates_with "b.test" { bundle_endpoint_url = "b" }
           federates_with "a.test" { bundle_endpoint_url = "a" bundle_endpoint_profile "https_spiffe" { endpoint_spiffe_id = "x" } }
           federates_with "a.test" "bundle_endpoint_profile" { https_spiffe { endpoint_spiffe_id = "i" } }"#,
    ] {
        assert_eq!(server(text), expected, "{text}");
    }
    for federates_with in [
        r#"{"b.test": {"bundle_endpoint_url": "b", "bundle_endpoint_profile": {"https_web": {}}},
            "a.test": {"bundle_endpoint_url": "a", "bundle_endpoint_profile": {"https_spiffe": {"endpoint_spiffe_id": "i"}}}}"#,
        r#"[{"b.test": {"bundle_endpoint_url": "b", "bundle_endpoint_profile": [{"https_web": {}}]}},
            {"a.test": [{"bundle_endpoint_url": "a", "bundle_endpoint_profile": [{"https_spiffe": {"endpoint_spiffe_id": "i"}}]}]}]"#,
    ] {
        let text = format!(r#"{{"plugins": {{}}, "server": {{"federates_with": {federates_with}}}}}"#);
        assert_eq!(read(&text).value.server.unwrap(), expected, "{text}");
    }
}

#[test]
fn json_takes_lists_of_objects_for_objects() {
    let expected = Server {
        bind_port: 1,
        ca_subject: Some(Subject { country: vec!["A".into()], common_name: "c".into() }),
        ..Server::default()
    };
    for text in [
        r#"{"server": {"bind_port": 1, "ca_subject": {"country": ["A"], "common_name": "c"}}}"#,
        r#"{"server": [{"bind_port": 1, "ca_subject": [{"country": ["A"]}, {"common_name": "c"}]}]}"#,
        r#"{"server": [{"bind_port": 1}, {"ca_subject": {"country": ["A"], "common_name": "c"}}]}"#,
    ] {
        let Decoded { value, unknown } = read(text);
        assert_eq!((value.server.as_ref(), unknown.len()), (Some(&expected), 0), "{text}");
    }
}

#[test]
fn null_is_the_same_as_no_key() {
    let text = r#"{"server": {"trust_domain": null, "bind_port": null, "audit_log_enabled": null, "admin_ids": null,
        "max_staleness": null, "ca_subject": null, "federates_with": {"a.test": null}}, "telemetry": null}"#;
    let Decoded { value, unknown } = read(text);
    assert_eq!((value.server, unknown.len()), (Some(Server::default()), 0));
}

#[test]
fn a_list_of_structs_takes_lists_and_blocks() {
    for text in [
        r#"telemetry { M3 = [{ address = "a" env = "x" }, { address = "b" env = "y" }] }"#,
        r#"telemetry { M3 { address = "a" env = "x" } M3 { address = "b" env = "y" } }"#,
        r#"telemetry { M3 = [{ address = "a" env = "x" }] M3 { address = "b" env = "y" } }"#,
        r#"{"telemetry": {"M3": [{"address": "a", "env": "x"}, {"address": "b", "env": "y"}]}}"#,
    ] {
        assert_eq!(telemetry(text).m3, [sink("a", "x"), sink("b", "y")], "{text}");
    }
    assert_eq!(telemetry("telemetry { Statsd {} }").statsd, []);
    let tls =
        |name: &str| Sink { tls: Some(Subject { common_name: name.into(), ..Subject::default() }), ..Sink::default() };
    let text = r#"{"telemetry": {"M3": [{"tls": {"common_name": "a"}}, {"tls": {"common_name": "b"}}]}}"#;
    assert_eq!(telemetry(text).m3, [tls("a"), tls("b")]);
}

#[test]
fn unknown_keys_are_reported_by_section_and_sorted() {
    let text = "server {\n zeta = 1\n alpha = 2\n zeta = 3\n ca_subject { oops {}\n }\n}\nextra = 1
telemetry { Statsd { address = \"a\" }\n Statsd { addres = \"b\" }\n InMem { x = 1 } }
server { beta = 1\n federates_with \"a.test\" { url = \"u\" } }";
    assert_eq!(
        unknown(text),
        [
            ": extra@8",
            "server: alpha@3,beta@12,zeta@2,zeta@4",
            "server.ca_subject: oops@5",
            "server.federates_with.a.test: url@13",
            "telemetry.Statsd[1]: addres@10",
            "telemetry.InMem: x@11",
        ]
    );
}

#[test]
fn unknown_keys_in_quotes_are_reported_in_json_only() {
    assert_eq!(unknown("server { \"nope\" = 1 }"), [""; 0]);
    assert_eq!(unknown("{\"server\": {\"nope\": 1}}"), ["server: nope@1"]);
}

#[test]
fn an_unknown_labelled_key_is_reported_if_it_comes_first() {
    assert_eq!(unknown("server { nope \"x\" {}\n bind_port = 1 }"), ["server: nope@1"]);
    assert_eq!(unknown("server { bind_port = 1\n nope \"x\" {} }"), [""; 0]);
}

#[test]
fn known_keys_of_json_are_never_taken_for_unknown_ones() {
    let plugins = r#""plugins": {"DataStore": {"sql": {"plugin_data": {"a": {}}}}}"#;
    assert_eq!(unknown(&format!(r#"{{{plugins}, "server": {{"ca_subject": {{"country": []}}}}}}"#)), [""; 0]);
    assert_eq!(unknown(&format!(r#"{{"server": {{"ca_subject": {{"country": []}}}}, {plugins}}}"#)), [""; 0]);
}

#[test]
fn a_missing_field_names_its_section() {
    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(rename = "inner")]
        _inner: Inner,
    }
    #[derive(Debug, Deserialize)]
    struct Inner {
        #[serde(rename = "needed")]
        _needed: String,
    }
    let error = decode::<Outer>(&hcl::parse("\ninner {}").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "At 2:7: root.inner: missing field `needed`");
    let error = decode::<Outer>(&hcl::parse("").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "At 1:1: root: missing field `inner`");
}

#[test]
fn a_type_that_no_text_can_fill_is_refused() {
    #[derive(Debug, Deserialize)]
    struct Untyped {
        #[serde(rename = "x")]
        _x: serde_json::Value,
    }
    let error = decode::<Untyped>(&hcl::parse("x = 1").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "At 1:5: root.x: no configuration value can be any valid JSON value");
}
