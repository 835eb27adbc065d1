//! The reference's line formats: logrus text, with and without a terminal, and JSON.

use std::fmt::Write;
use std::str::FromStr;
use std::time::SystemTime;

use jiff::fmt::temporal::DateTimePrinter;
use jiff::{Timestamp, Unit, Zoned, tz::TimeZone};

use super::fields::Field;
use super::{Level, Sink};

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `log_format` unset: text with whole seconds.
    #[default]
    Default,
    /// `text`: with nanoseconds.
    Text,
    /// `json`: an object a line.
    Json,
}

/// No log format has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown logger format: {0:?}")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Any case; the empty name is [`Format::Default`].
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name.to_ascii_lowercase().as_str() {
            "" => Ok(Self::Default),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat(name.to_owned())),
        }
    }
}

pub(super) struct Line<'a> {
    pub(super) at: SystemTime,
    pub(super) level: Level,
    pub(super) message: &'a str,
    /// Sorted by name.
    pub(super) fields: &'a [Field],
}

impl Line<'_> {
    pub(super) fn render(&self, sink: &Sink) -> String {
        match sink.format {
            Format::Json => self.json(),
            _ if sink.terminal => self.terminal(sink.started.elapsed().as_secs()),
            Format::Default => self.text(Unit::Second),
            Format::Text => self.text(Unit::Nanosecond),
        }
    }

    fn text(&self, precision: Unit) -> String {
        let Self { at, level, message, fields } = self;
        let mut line = String::with_capacity(160);
        let _ = write!(line, "time=\"{}\" level={level} msg=", local_time(*at, precision));
        push_value(&mut line, message);
        for (name, value) in *fields {
            let _ = write!(line, " {}=", unclashed(name));
            push_value(&mut line, &value.to_string());
        }
        line.push('\n');
        line
    }

    fn terminal(&self, seconds: u64) -> String {
        let Self { at: _, level, message, fields } = self;
        let colour = match level {
            Level::Panic | Level::Fatal | Level::Error => 31,
            Level::Warn => 33,
            Level::Info => 36,
            Level::Debug | Level::Trace => 37,
        };
        let name = level.to_string().to_uppercase();
        // A peer may have had a word in it, which is not to move the cursor of whoever reads.
        let message = escaped(message);
        let mut line = format!("\x1b[{colour}m{:.4}\x1b[0m[{seconds:04}] {message:<44} ", name);
        for (name, value) in *fields {
            let _ = write!(line, " \x1b[{colour}m{}\x1b[0m=", unclashed(name));
            push_value(&mut line, &value.to_string());
        }
        line.push('\n');
        line
    }

    fn json(&self) -> String {
        let Self { at, level, message, fields } = self;
        let mut object = serde_json::Map::new();
        for (name, value) in *fields {
            object.insert(unclashed(name), value.to_json());
        }
        object.insert("time".into(), local_time(*at, Unit::Nanosecond).into());
        object.insert("level".into(), level.to_string().into());
        object.insert("msg".into(), (*message).into());
        // Keys of a serde_json map are sorted. As Go's encoder does, HTML's special characters are escaped.
        let mut line = serde_json::Value::Object(object).to_string();
        line = line.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
        line.push('\n');
        line
    }
}

/// A field that is named like one of the line's own gets a prefix.
fn unclashed(name: &str) -> String {
    if matches!(name, "time" | "level" | "msg") { format!("fields.{name}") } else { name.to_owned() }
}

/// Plain when every character is one of a few, quoted as Go quotes otherwise.
fn push_value(line: &mut String, value: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if value.chars().all(plain) {
        line.push_str(value);
    } else {
        push_quoted(line, value);
    }
}

fn push_quoted(line: &mut String, value: &str) {
    line.push('"');
    for c in value.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            c => push_escaped(line, c),
        }
    }
    line.push('"');
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    text.chars().for_each(|c| push_escaped(&mut escaped, c));
    escaped
}

/// A control character as Go writes it in a string.
fn push_escaped(line: &mut String, c: char) {
    match c {
        '\n' => line.push_str("\\n"),
        '\t' => line.push_str("\\t"),
        '\r' => line.push_str("\\r"),
        '\u{7}' => line.push_str("\\a"),
        '\u{8}' => line.push_str("\\b"),
        '\u{b}' => line.push_str("\\v"),
        '\u{c}' => line.push_str("\\f"),
        c if c.is_control() => {
            let _ = if (c as u32) < 0x80 {
                write!(line, "\\x{:02x}", c as u32)
            } else {
                write!(line, "\\u{:04x}", c as u32)
            };
        }
        c => line.push(c),
    }
}

/// RFC 3339 in the local zone; `Z` at no offset, trailing zeros of the fraction left out.
fn local_time(at: SystemTime, precision: Unit) -> String {
    let zoned = Timestamp::try_from(at).unwrap_or_default().to_zoned(TimeZone::system());
    let zoned = if precision == Unit::Second { whole_seconds(&zoned) } else { zoned };
    let mut text = String::with_capacity(35);
    let _ = DateTimePrinter::new().print_timestamp_with_offset(&zoned.timestamp(), zoned.offset(), &mut text);
    match text.strip_suffix("+00:00") {
        Some(utc) => format!("{utc}Z"),
        None => text,
    }
}

fn whole_seconds(zoned: &Zoned) -> Zoned {
    zoned.with().subsec_nanosecond(0).build().unwrap_or_else(|_| zoned.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Value;
    use super::*;

    fn line<'a>(message: &'a str, fields: &'a [Field]) -> Line<'a> {
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_795_538_896, 429_000_000);
        Line { at, level: Level::Warn, message, fields }
    }

    #[test]
    fn text_quotes_what_is_not_plain() {
        let fields = [
            ("authorized_via".into(), Value::Text(String::new())),
            ("error".into(), Value::Text("a \"b\"\n".into())),
            ("id".into(), Value::Text("spiffe://a".into())),
            ("level".into(), Value::Integer(3)),
        ];
        let text = line("Ready now", &fields).text(Unit::Second);
        let (_, rest) = text.split_once("\" level").unwrap();
        assert_eq!(
            rest,
            "=warning msg=\"Ready now\" authorized_via= error=\"a \\\"b\\\"\\n\" id=\"spiffe://a\" fields.level=3\n"
        );
        assert!(!text.contains(".429"));
    }

    #[test]
    fn nothing_of_a_message_controls_the_terminal() {
        let fields = [("uri".into(), Value::Text("\u{1b}[2J".into()))];
        let text = line("cannot read \u{1b}[2Jx\nINFO[0000] fine\u{9b}1m", &fields).terminal(7);
        let end = "cannot read \\x1b[2Jx\\nINFO[0000] fine\\u009b1m  \u{1b}[33muri\u{1b}[0m=\"\\x1b[2J\"\n";
        assert_eq!(text, format!("\u{1b}[33mWARN\u{1b}[0m[0007] {end}"));
    }

    #[test]
    fn json_sorts_its_keys_and_escapes_html() {
        let fields = [("selector".into(), Value::Text("<&>".into())), ("count".into(), Value::Integer(2))];
        let json = line("x", &fields).json();
        assert!(
            json.starts_with(r#"{"count":2,"level":"warning","msg":"x","selector":"\u003c\u0026\u003e","time":"20"#)
        );
        assert!(json.contains(".429"));
    }
}
