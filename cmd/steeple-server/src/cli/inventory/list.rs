//! `inventory list` and `inventory count`

use std::fmt::Write;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;
use steeple_config::flags::FlagSet;
use steeple_console::program::Program;
use steeple_server::inventory::{Filter, Link, Record};

use super::source::{Source, SourceFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, usage};

/// Prints the SVIDs that a filter lets through, as they are read.
pub(crate) async fn list(program: &Program, args: &[String]) -> anyhow::Result<()> {
    let (source, filter, format) = asked("inventory list", program, args)?;
    let shown = |Link { record, text }| {
        if filter.lets_through(&record) {
            match format {
                Format::Json => console::out(&format!("{text}\n")),
                Format::Pretty => console::out(&pretty(&record)),
            }
        }
    };
    source.read(shown).await?;
    Ok(())
}

/// Prints how many SVIDs a filter lets through.
pub(crate) async fn count(program: &Program, args: &[String]) -> anyhow::Result<()> {
    let (source, filter, format) = asked("inventory count", program, args)?;
    let mut count = 0_u64;
    source.read(|link| count += u64::from(filter.lets_through(&link.record))).await?;
    match format {
        Format::Json => print_json(&json!({ "count": count })),
        Format::Pretty => console::out(&format!("{count} {}\n", if count == 1 { "SVID" } else { "SVIDs" })),
    }
    Ok(())
}

fn asked(name: &'static str, program: &Program, args: &[String]) -> anyhow::Result<(Source, Filter, Format)> {
    let (mut source, mut filter, mut output) = (SourceFlags::default(), Filter::default(), Output::default());
    let (mut after, mut before) = (String::new(), String::new());
    let Filter { id, through, authority, expires_after: _, expires_before: _ } = &mut filter;
    let flags = source
        .add_to(FlagSet::new(name))
        .flag("spiffeID", id, "Only those with this SPIFFE ID")
        .flag(
            "agent",
            through,
            "Only those that went through the agent with this SPIFFE ID, or to it; or who else has asked",
        )
        .flag("authority", authority, "Only those that the authority with this ID has signed")
        .flag("expiresAfter", &mut after, "Only those that end at this `moment` (2006-01-02T15:04:05Z) or later")
        .flag("expiresBefore", &mut before, "Only those that end before this `moment`")
        .flag("output", &mut output, Output::HELP);
    usage::parse(flags, args)?;
    filter.expires_after = moment("expiresAfter", &after)?;
    filter.expires_before = moment("expiresBefore", &before)?;
    Ok((source.open(program)?, filter, output.format()))
}

/// Unix seconds; None for no text.
fn moment(flag: &str, text: &str) -> anyhow::Result<Option<i64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let moment = text.parse::<Timestamp>().with_context(|| format!("-{flag} {text:?} is no moment in RFC 3339"));
    moment.map(|moment| Some(moment.as_second()))
}

/// A block of lines.
fn pretty(record: &Record) -> String {
    let Some(issued) = record.event.issued() else { return String::new() };
    let at = |seconds| Timestamp::from_second(seconds).unwrap_or_default().to_string();
    let why = serde_json::to_value(issued.why).unwrap_or_default();
    let (signed, expires) = (at(record.at), at(issued.expires));
    let lines = [
        ("SPIFFE ID", Some(&*issued.id)),
        ("What", Some(record.event.what())),
        ("Ground", why.as_str()),
        ("Through", issued.through.as_deref()),
        ("Entry ID", issued.entry.as_deref()),
        ("Serial number", issued.serial.as_deref()),
        ("JWT ID", issued.jti.as_deref()),
        ("Token digest", issued.token.as_deref()),
        ("Key digest", issued.key.as_deref()),
        ("Authority ID", Some(&*issued.authority)),
        ("Recorded at", Some(&*signed)),
        ("Expires at", Some(&*expires)),
    ];
    let mut block = String::new();
    for (name, value) in lines {
        if let Some(value) = value {
            // Writing to a string does not fail.
            let _ = writeln!(block, "{name:<16}: {value}");
        }
    }
    block.push('\n');
    block
}
