//! `inventory verify`

use std::fmt::Write;
use std::path::Path;

use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use steeple_config::flags::FlagSet;
use steeple_console::program::Program;
use steeple_server::inventory::{Cause, Found, Gap, Head, ReadError, Verdict, Verifier, heads_of_log};

use super::source::SourceFlags;
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, usage};

/// Tells whether records were changed or taken away.
pub(crate) async fn verify(program: &Program, args: &[String]) -> anyhow::Result<()> {
    let (mut source, mut output) = (SourceFlags::default(), Output::default());
    let (mut heads, mut logs) = (Vec::<String>::new(), Vec::<String>::new());
    let flags = source
        .add_to(FlagSet::new("inventory verify"))
        .flag("head", &mut heads, "A `head` that the records must fit, as chain:seq:digest; can be given several times")
        .flag(
            "log",
            &mut logs,
            "A log `file` of the server, whose heads the records must fit; can be given several times",
        )
        .flag("output", &mut output, Output::HELP);
    usage::parse(flags, args)?;
    let mut kept =
        heads.iter().map(|head| head.parse::<Head>().map_err(|why| anyhow!(why))).collect::<Result<Vec<_>, _>>()?;
    for log in &logs {
        kept.extend(heads_of_log(Path::new(log))?);
    }

    let mut verifier = Verifier::new(kept);
    match source.open(program)?.read(|link| verifier.take(&link)).await {
        Err(error @ (ReadError::Line { .. } | ReadError::Row { .. })) => verifier.unreadable(error.to_string()),
        read => read?,
    }
    let verdict = verifier.finish();
    match output.format() {
        Format::Json => print_json(&as_json(&verdict)),
        Format::Pretty => console::out(&pretty(&verdict)),
    }
    if !verdict.is_sound() {
        bail!("these are not the records that were written");
    }
    Ok(())
}

fn pretty(verdict: &Verdict) -> String {
    let Verdict { chains, strange, unreadable } = verdict;
    let mut text = String::new();
    // Writing to a string does not fail.
    for found in chains {
        let Found { first, last, records, gaps, vouched, heads, earlier_heads, complaints } = found;
        let _ = writeln!(text, "Chain {}", last.chain);
        let _ = writeln!(text, "  Records:   {records}, from {first} to {}", last.seq);
        let _ = match vouched {
            0 => writeln!(text, "  Vouched:   by no head"),
            vouched => writeln!(text, "  Vouched:   up to {vouched}, by {heads} heads"),
        };
        if *earlier_heads > 0 {
            let _ = writeln!(text, "  Deleted:   {earlier_heads} heads are older than the first record");
        }
        for (seq, gap) in gaps {
            let _ = writeln!(text, "  Gap:       at {seq}: {}", told(gap));
        }
        for complaint in complaints {
            let _ = writeln!(text, "  Wrong:     {complaint}");
        }
        let _ = writeln!(text, "  Head:      {last}");
    }
    for head in strange {
        let _ = writeln!(text, "Wrong: there are no records of the chain of head {head}");
    }
    for complaint in unreadable {
        let _ = writeln!(text, "Wrong: {complaint}");
    }
    text
}

fn told(Gap { cause, count }: &Gap) -> String {
    let cause = match cause {
        Cause::Dropped => "dropped",
        Cause::Crash => "the server was killed",
        Cause::Lost => "lost",
    };
    count.map_or_else(|| cause.to_owned(), |count| format!("{cause}, {count} records"))
}

fn as_json(verdict: &Verdict) -> Value {
    let Verdict { chains, strange, unreadable } = verdict;
    let chain = |found: &Found| {
        let Found { first, last, records, gaps, vouched, heads, earlier_heads, complaints } = found;
        let gap = |(seq, Gap { cause, count }): &(u64, Gap)| json!({ "seq": seq, "cause": cause, "count": count });
        json!({
            "chain": last.chain,
            "first": first,
            "last": last.seq,
            "head": last.to_string(),
            "records": records,
            "gaps": gaps.iter().map(gap).collect::<Vec<_>>(),
            "vouched": vouched,
            "heads": heads,
            "earlier_heads": earlier_heads,
            "wrong": complaints,
        })
    };
    json!({
        "sound": verdict.is_sound(),
        "chains": chains.iter().map(chain).collect::<Vec<_>>(),
        "strange_heads": strange.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unreadable": unreadable,
    })
}
