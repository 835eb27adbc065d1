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
            println!("{} {:?}\n  expected {} {}\n  got      {answer:?}", snippet.kind, snippet.src, snippet.val, snippet.err);
        }
    }
    let count = snippets.len();
    println!("hcl: {ok} of {count} snippets read or refused alike");
    println!("hcl: {values} of {value_count} values equal");
    println!("hcl: {errors} of {} error texts equal", count - value_count);
    assert_eq!((ok, values, errors), (count, value_count, count - value_count));
}
