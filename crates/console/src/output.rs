//! `-output`: how a command prints what the server answered.

use std::fmt::Display;

use serde_json::{Map, Value};
use steeple_config::flags::{FlagSet, FlagValue};

use crate::print;
use crate::program::Program;

/// The flag, which may be repeated with the same value.
#[derive(Default)]
pub struct Output(Option<Format>);

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Pretty,
    /// For programs: one line of JSON.
    Json,
}

impl Output {
    /// What the usage says of it.
    pub const HELP: &str = "How to print: pretty or json";

    /// For a command that does not know it in the reference, under whose name it is a mistake.
    pub fn add_to<'a>(&'a mut self, program: &Program, flags: FlagSet<'a>) -> FlagSet<'a> {
        if program.is_the_reference() { flags } else { flags.flag("output", self, Self::HELP) }
    }

    /// What was asked for.
    pub fn format(&self) -> Format {
        self.0.unwrap_or(Format::Pretty)
    }
}

impl FlagValue for Output {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let format = match text.to_lowercase().as_str() {
            "pretty" | "prettyprint" => Format::Pretty,
            "json" => Format::Json,
            _ => return Err(format!("bad formatter flag: unknown format option: {text:?}")),
        };
        match self.0.replace(format) {
            Some(before) if before != format => {
                Err(format!("the output format has already been set to {:?}", before.name()))
            }
            _ => Ok(()),
        }
    }

    fn type_name(&self) -> &'static str {
        "format"
    }

    fn default_text(&self) -> Option<String> {
        Some(self.format().name().into())
    }
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        }
    }
}

/// Prints as JSON whether something is so, or why it is not: `{"error":"...","valid":false}`.
pub fn print_verdict(name: &str, error: Option<&impl Display>) {
    let mut answer = Map::new();
    answer.insert(name.to_owned(), error.is_none().into());
    // An error that was wrapped is told with its causes.
    answer.extend(error.map(|error| ("error".to_owned(), format!("{error:#}").into())));
    print_json(&answer.into());
}

/// Prints an answer as JSON.
pub fn print_json(answer: &Value) {
    print::out(&line(answer));
}

/// Keys sorted, as those of a [`serde_json::Map`] are, and what HTML could misread escaped, as Go's encoder does.
fn line(value: &Value) -> String {
    let mut line = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_one_line_with_sorted_keys_that_html_cannot_misread() {
        let value = serde_json::json!({"b": "<a&b>\u{2028}é", "a": [{"d": 1, "c": "\"\n"}]});
        assert_eq!(line(&value), "{\"a\":[{\"c\":\"\\\"\\n\",\"d\":1}],\"b\":\"\\u003ca\\u0026b\\u003e\\u2028é\"}\n");
    }

    #[test]
    fn a_format_may_be_repeated_but_not_changed() {
        let mut output = Output::default();
        assert_eq!(output.set("JSON"), Ok(()));
        assert_eq!(output.set("json"), Ok(()));
        assert_eq!(output.set("prettyprint"), Err("the output format has already been set to \"json\"".into()));
    }
}
