//! What the daemons log against what SPIRE 1.15.3 logs: texts, levels, subsystems, names of fields and their types.
//!
//! `data/spire-1.15.3-messages.jsonl` has each distinct message of SPIRE's logs of one scenario: fields that were always
//! there and others, and the JSON types of their values. [`scenario`] is near that one, as far as the daemons go.

mod expected;
pub(crate) mod scenario;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use steeple_tests::{case, say, skipped_on_the_reference};

const MESSAGES: &str = include_str!("../data/spire-1.15.3-messages.jsonl");

#[test]
fn each_line_has_the_level_and_the_fields_of_spires() -> Result<()> {
    case(async |scratch| {
        let scenario::Told { lines, is_reference, scraped: _ } = scenario::run(scratch, async |_| Ok(())).await?;
        let messages: Vec<Message> = MESSAGES.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let (mut seen, mut failing, mut ours) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        for (program, line) in &lines {
            let named: Vec<usize> = (0..messages.len()).filter(|at| messages[*at].is_named(program, line)).collect();
            match named.iter().find(|at| messages[**at].differences(line).is_empty()) {
                Some(_) => {}
                None if named.is_empty() => *ours.entry(format!("{program}: {}", text(line, "msg"))).or_insert(0) += 1,
                None => {
                    let level = |at: &&usize| messages[**at].level == text(line, "level");
                    let at = named.iter().find(level).unwrap_or(&named[0]);
                    failing.insert(
                        messages[*at].name(),
                        format!("{}: {line:?}", messages[*at].differences(line).join(", ")),
                    );
                }
            }
            seen.extend(named.into_iter().filter(|at| messages[*at].level == text(line, "level")));
        }
        if is_reference {
            skipped_on_the_reference("which messages are there", "the list is that of what ours lacks");
        } else {
            for (program, msg) in [("server", expected::BANNED), ("agent", expected::BANNED_AGENT)] {
                let told = lines.iter().find(|(by, line)| *by == program && text(line, "msg") == msg);
                let reason = told.map(|(_, line)| text(line, "reason"));
                ensure!(reason == Some("AGENT_BANNED"), "the {program} tells {reason:?} of an agent that is banned");
            }
            for (at, message) in messages.iter().enumerate() {
                let listed = expected::lists().any(|(program, level, text, _)| message.is(program, level, text));
                match (seen.contains(&at), listed) {
                    (true, true) => drop(failing.insert(message.name(), "is there now: strike it out".to_owned())),
                    (false, false) => drop(failing.insert(message.name(), "is not there".to_owned())),
                    _ => {}
                }
            }
        }
        for (program, level, text, _) in expected::lists() {
            ensure!(messages.iter().any(|message| message.is(program, level, text)), "there is no message {text:?}");
        }
        say(&format!(
            "logs: {} lines; of {} messages {} are equal, {} differ on purpose, {} are not built yet, {} failing; {} texts that \
             SPIRE's logs did not have",
            lines.len(),
            messages.len(),
            seen.len(),
            expected::ON_PURPOSE.len(),
            expected::NOT_BUILT_YET.len(),
            failing.len(),
            ours.len(),
        ));
        let failing: Vec<_> = failing.into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
        ensure!(failing.is_empty(), "{}", failing.join("\n"));
        Ok(())
    })
}

/// A log line as an object.
type Line = Map<String, Value>;

/// A message of SPIRE's.
#[derive(Deserialize)]
struct Message {
    program: String,
    level: String,
    msg: String,
    /// Fields that were in each line.
    always: Vec<String>,
    /// Fields that were in some.
    sometimes: Vec<String>,
    /// What a field's values were, in the words of Python.
    types: BTreeMap<String, String>,
    /// `subsystem_name` of the lines; empty for none.
    subsystems: Vec<String>,
}

impl Message {
    fn is(&self, program: &str, level: &str, text: &str) -> bool {
        (self.program.as_str(), self.level.as_str(), self.msg.as_str()) == (program, level, text)
    }

    fn is_named(&self, program: &str, line: &Line) -> bool {
        self.program == program && lasting(&self.msg) == lasting(text(line, "msg"))
    }

    fn name(&self) -> String {
        format!("{} {} {:?}", self.program, self.level, self.msg)
    }

    /// What is different about a line with this text.
    fn differences(&self, line: &Line) -> Vec<String> {
        let mut differences = Vec::new();
        if self.level != text(line, "level") {
            differences.push(format!("level {}", text(line, "level")));
        }
        let subsystem = text(line, "subsystem_name");
        if !self.subsystems.iter().any(|known| known == subsystem) {
            differences.push(format!("subsystem {subsystem}"));
        }
        differences
            .extend(self.always.iter().filter(|name| !line.contains_key(*name)).map(|name| format!("no {name}")));
        for (name, value) in line.iter().filter(|(name, _)| !["time", "level", "msg"].contains(&name.as_str())) {
            let known = self.always.contains(name) || self.sometimes.contains(name);
            let of_ours = expected::FIELDS.iter().any(|(msg, field, _)| *msg == self.msg && field == name);
            match self.types.get(name) {
                _ if of_ours => {}
                Some(types) if known && !types.split('/').any(|kind| is_a(value, kind)) => {
                    differences.push(format!("{name} is {value} and no {types}"));
                }
                Some(_) if known => {}
                _ => differences.push(format!("{name} is too much")),
            }
        }
        differences
    }
}

/// A text without what is another one in each run.
fn lasting(text: &str) -> &str {
    ["Success after ", "Current umask "].into_iter().find(|start| text.starts_with(start)).unwrap_or(text)
}

fn text<'a>(line: &'a Line, name: &str) -> &'a str {
    line.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        // Of a list that was empty.
        "NoneType" => value.is_null() || value.is_array(),
        "bool" => value.is_boolean(),
        "int" => value.is_i64() || value.is_u64(),
        // A whole number of seconds is written without a point.
        "float" => value.is_number(),
        "str" => value.is_string(),
        "list" => value.is_array(),
        "dict" => value.is_object(),
        _ => false,
    }
}
