use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

mod generic;

/// A snippet and what the reference's reader answered.
#[derive(serde::Deserialize)]
struct Snippet {
    kind: String,
    src: String,
    ok: bool,
    #[serde(default)]
    val: Json,
    #[serde(default)]
    err: String,
}

fn snippets() -> Vec<Snippet> {
    let lines = include_str!("../../tests/data/hcl.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn read(snippet: &Snippet) -> Result<Json, String> {
    let body = parse(&snippet.src).map_err(|error| error.to_string())?;
    generic::value(&body)
}

#[test]
fn answers_every_snippet_as_the_reference_does() {
    let snippets = snippets();
    let (mut ok, mut values, mut value_count, mut errors) = (0, 0, 0, 0);
    for snippet in &snippets {
        let answer = read(snippet);
        ok += usize::from(answer.is_ok() == snippet.ok);
        value_count += usize::from(snippet.ok);
        let equal = match &answer {
            Ok(value) if snippet.ok => {
                let equal = generic::equal(value, &snippet.val);
                values += usize::from(equal);
                equal
            }
            Err(error) if !snippet.ok => {
                errors += usize::from(*error == snippet.err);
                *error == snippet.err
            }
            _ => false,
        };
        if !equal {
            let Snippet { kind, src, val, err, ok: _ } = snippet;
            println!("{kind} {src:?}\n  expected {val} {err}\n  got      {answer:?}");
        }
    }
    let count = snippets.len();
    println!("hcl: {ok} of {count} snippets read or refused alike");
    println!("hcl: {values} of {value_count} values equal");
    println!("hcl: {errors} of {} error texts equal", count - value_count);
    assert_eq!((ok, values, errors), (count, value_count, count - value_count));
}

#[test]
fn json_is_cut_short_until_its_last_brace() {
    let text = r#"{"a": {"b": [1, "x", {"c": true}]}, "d": null, "e\"": 1.5}"#;
    let whole = text.len();
    for end in 1..whole {
        assert!(is_cut_short(&text[..end]), "{}", &text[..end]);
        assert!(is_cut_short(&format!("  {}\n", &text[..end])), "{}", &text[..end]);
    }
    for text in [text, "{}", "{} behind", "{\"a\": 1 2}", "{\"a\": \"\\q\"}", "{\"a\" 1}", "", "a {", "a = \"x"] {
        assert!(!is_cut_short(text), "{text}");
    }
}

/// The value of a text, without places.
fn value(text: &str) -> Json {
    generic::value(&parse(text).unwrap()).unwrap()
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn prints_what_reads_back_to_the_same_value() {
    let bodies = snippets().into_iter().filter_map(|snippet| parse(&snippet.src).ok());
    let mut count = 0;
    for body in bodies {
        let printed = body.to_string();
        assert_eq!(plain(parse(&printed).unwrap()), plain(body), "{printed}");
        count += 1;
    }
    println!("hcl: {count} texts printed and read back");
}

#[test]
fn survives_a_snippet_that_is_cut_anywhere() {
    for snippet in snippets() {
        for (at, _) in snippet.src.char_indices() {
            let _whatever = parse(&snippet.src[..at]);
        }
    }
}

#[test]
fn keeps_places_and_styles_of_keys() {
    let body = parse("a \"b\" {\n  ünï = 1\n}\n").unwrap();
    let [outer] = body.items.as_slice() else { panic!("{body:?}") };
    let places: Vec<_> = outer.keys.iter().map(|key| (key.pos.to_string(), key.style)).collect();
    assert_eq!(places, [("1:1".to_owned(), KeyStyle::Bare), ("1:3".to_owned(), KeyStyle::Quoted)]);
    let Value::Object(inner) = &outer.value else { panic!("{outer:?}") };
    assert_eq!(inner.pos.to_string(), "1:7");
    assert_eq!(inner.items[0].keys[0].pos.to_string(), "2:3");
    assert_eq!(inner.items[0].value.pos().to_string(), "2:9");
}

#[test]
fn keeps_places_of_json() {
    let body = parse("\n {\n  \"a\": {\"b\": 1}}").unwrap();
    assert_eq!(body.items[0].keys[0].pos.to_string(), "3:3");
    assert_eq!(body.items[0].value.pos().to_string(), "3:8");
    assert_eq!(parse("{\"a\":\n 1, 2}").unwrap_err().pos().unwrap().to_string(), "2:5");
}

#[test]
fn reads_what_a_template_leaves_behind() {
    assert_eq!(error("a = %{FOO}"), "At 1:5: illegal char");
    assert_eq!(value("a = \"%{FOO}\""), serde_json::json!({"a": "%{FOO}"}));
}

#[test]
fn leaves_an_interpolation_as_it_was_written() {
    let text = r#"a = "x\ty${ "q\n" + { } }z\t""#;
    assert_eq!(value(text), serde_json::json!({"a": "x\ty${ \"q\\n\" + { } }z\t"}));
}

#[test]
fn reads_every_escape() {
    let text = r#"a = "\a\b\f\n\r\t\v\\\"\101\x41\u00e9\U0001F600""#;
    assert_eq!(value(text), serde_json::json!({"a": "\u{7}\u{8}\u{c}\n\r\t\u{b}\\\"AA\u{e9}\u{1F600}"}));
    assert_eq!(value(r#"a = "\xc3\xa9""#), serde_json::json!({"a": "é"}));
}

#[test]
fn refuses_an_escape_that_is_no_character() {
    for text in [r#"a = "\xff""#, r#"a = "\400""#, r#"a = "\ud800""#, r#"a = "\U00110000""#] {
        assert!(error(text).starts_with("At 1:5: invalid escape in "), "{text}");
    }
    assert_eq!(error(r#"{"a": "\ud800"}"#), r#"invalid escape in "\ud800""#);
}

#[test]
fn reads_json_escapes_that_hcl_lacks() {
    assert_eq!(value(r#"{"a": "\/\ud83d\ude00${\n"}"#), serde_json::json!({"a": "/\u{1F600}${\n"}));
}

#[test]
fn reads_a_heredoc_whose_anchor_is_not_indented() {
    assert_eq!(value("a = <<-E\nx\nE\n"), serde_json::json!({"a": "x\n"}));
    assert_eq!(value("a = <<-E\n  x\n y\n  E\n"), serde_json::json!({"a": "  x\n y\n"}));
    assert_eq!(value("a = <<E\nx\n  E\n"), serde_json::json!({"a": "x\n  "}));
    assert_eq!(error("a = <<\nx\n"), "At 1:7: zero-length heredoc anchor");
}

#[test]
fn takes_windows_line_ends() {
    assert_eq!(value("a = 1\r\nb {\r\n c = \"x\"\r\n}\r\n"), serde_json::json!({"a": 1, "b": [{"c": "x"}]}));
}

#[test]
fn refuses_bytes_that_are_not_utf8_and_says_where() {
    let error = parse(b"a = 1\n\xC3\xA9 = \"\xFF\"").unwrap_err();
    assert_eq!(error.to_string(), "At 2:6: illegal UTF-8 encoding");
}

#[test]
fn refuses_deep_nesting_and_long_texts() {
    let list = format!("a = {}", "[".repeat(10_000));
    let mixed = format!("a = {}", "[{ b = ".repeat(10_000));
    for text in ["a {".repeat(10_000), list, mixed, "{\"a\":".repeat(10_000), "{\"a\":[".repeat(10_000)] {
        assert!(error(&text).contains("nested more than 100 levels deep"), "{text}");
    }
    assert!(parse("a {".repeat(100) + &"}".repeat(100)).is_ok());
    assert!(error(&" ".repeat(MAX_LENGTH + 1)).contains("longer than"));
}

#[test]
fn an_object_that_holds_null_alone_prints_as_an_empty_one() {
    let printed = parse(r#"{"a": {"b": null}, "c": {"d": null, "e": 1}}"#).unwrap().to_string();
    assert_eq!(printed, "\"a\" {}\n\"c\" {\n  \"e\" = 1\n}\n");
    assert_eq!(parse(&printed).unwrap().to_string(), printed);
}

#[test]
fn prints_readable_text() {
    let body = parse(
        r#"{"plugin_data": {"clusters": [{"c1": {"allow": ["ns:sa", 1, {"x": 1.5}]}}], "on": true, "none": null, "e": {}}}"#,
    );
    let printed = r#""plugin_data" {
  "clusters" "c1" {
    "allow" = ["ns:sa", 1, {
      "x" = 1.5
    }]
  }
  "on" = true
  "e" {}
}
"#;
    assert_eq!(body.unwrap().to_string(), printed);
    let printed = "key \"a b\" {\n  url = \"https://${host}/\\n\"\n  odd = \"\\u0024{\"\n}\n";
    let Ok(body) = parse("key \"a b\" { url = <<E\nhttps://${host}/\nE\n odd = \"\\x24{\" }") else { panic!() };
    assert_eq!(body.to_string(), printed);
}

/// The body without what printing does not keep: places, heredocs, null and the difference between quotes of HCL and
/// JSON.
fn plain(body: Body) -> Body {
    let items = body
        .items
        .into_iter()
        .filter(|item| !item.value.is_null())
        .map(|item| Item { keys: item.keys.into_iter().map(plain_key).collect(), value: plain_value(item.value) });
    Body { pos: Pos::START, items: items.collect() }
}

fn plain_key(key: Key) -> Key {
    let style = if key.style == KeyStyle::Json { KeyStyle::Quoted } else { key.style };
    Key { pos: Pos::START, style, text: key.text }
}

fn plain_value(value: Value) -> Value {
    let pos = Pos::START;
    match value {
        Value::Object(body) => Value::Object(plain(body)),
        Value::List(list) => Value::List(List { pos, values: list.values.into_iter().map(plain_value).collect() }),
        Value::Literal(Literal { scalar: Scalar::Heredoc(text), .. }) => {
            Value::Literal(Literal { pos, scalar: Scalar::String(text) })
        }
        Value::Literal(Literal { scalar, .. }) => Value::Literal(Literal { pos, scalar }),
    }
}

fn any_key() -> impl Strategy<Value = Key> {
    let quoted = any::<String>().prop_map(|text| (KeyStyle::Quoted, text));
    let bare = "[a-z_][a-zA-Z0-9_.-]{0,8}".prop_filter("a word", |text| text != "true" && text != "false");
    let bare = bare.prop_map(|text| (KeyStyle::Bare, text));
    prop_oneof![quoted, bare].prop_map(|(style, text)| Key { pos: Pos::START, style, text })
}

fn any_text() -> impl Strategy<Value = String> {
    let pieces =
        prop_oneof![Just("${"), Just("{"), Just("}"), Just("$"), Just("\""), Just("\\"), Just("\n"), Just("a")];
    let soup = proptest::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![any::<String>(), soup]
}

fn any_literal() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Scalar::Bool),
        any::<i64>().prop_map(|n| Scalar::Number(n.to_string())),
        "-?[0-9]{1,3}\\.[0-9]{0,3}(e[+-]?[0-9])?".prop_map(Scalar::Float),
        any_text().prop_map(Scalar::String),
    ];
    scalar.prop_map(|scalar| Value::Literal(Literal { pos: Pos::START, scalar }))
}

fn any_body() -> impl Strategy<Value = Body> {
    let value = any_literal().prop_recursive(4, 64, 6, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..5)
            .prop_map(|values| Value::List(List { pos: Pos::START, values }));
        prop_oneof![list, body_of(inner).prop_map(Value::Object)]
    });
    body_of(value)
}

fn body_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Body> {
    let item = (proptest::collection::vec(any_key(), 1..4), value).prop_map(|(mut keys, value)| {
        if !matches!(value, Value::Object(_)) {
            keys.truncate(1);
        }
        Item { keys, value }
    });
    proptest::collection::vec(item, 0..5).prop_map(|items| Body { pos: Pos::START, items })
}

proptest! {
    #[test]
    fn prints_any_body_so_that_it_reads_back(body in any_body()) {
        let printed = body.to_string();
        prop_assert_eq!(plain(parse(&printed).unwrap()), body, "{}", printed);
    }

    #[test]
    fn survives_any_text(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let _whatever = parse(&text);
        let _whatever = parse(format!("{{{text}"));
        let _whatever = parse(&bytes);
    }

    #[test]
    fn survives_any_soup_of_tokens(pieces in proptest::collection::vec(
        proptest::sample::select(vec![
            "a", "b1", "\"s\"", "\"${", "}\"", "\"", "\\", "{", "}", "[", "]", ",", ":", "=", " ", "\n", "\r", "1", "0x", "08",
            "1e", ".5", "-", "+", "<<E", "<<-E", "\nE\n", "#", "//", "/*", "*/", "true", "null", "\0", "é", "\\u00",
        ]),
        0..40,
    )) {
        let text = pieces.concat();
        let _whatever = parse(&text);
        let _whatever = parse(format!("{{{text}"));
    }
}
