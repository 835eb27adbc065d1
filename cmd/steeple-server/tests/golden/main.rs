//! Command lines of the reference and what it answered, run with our program under the reference's name.
//!
//! `tests/data/cli.jsonl` has the records in the order in which they were made, each with the effect of those before it:
//! where a server has to be there, it is ours, and what had been done to it by other means is done by [`Place::run`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report of a test")]

mod coverage;
mod daemon;
mod place;

use steeple_testkit::commands;

use coverage::Expected;
use place::Place;

#[test]
fn answers_as_the_reference() {
    // The port of a server that is never asked.
    let records = include_str!("../data/cli.jsonl").replace("${partner_port}", "28443");
    let records = commands::records(&records);
    let expected = Expected::of(&records);
    let records: Vec<_> = records.into_iter().map(daemon::settled).collect();
    let mut place = Place::new();
    let dir = place.path().to_owned();
    commands::replay(&records, &dir, |record| expected.coverage(record), |record| place.run(record));
}
