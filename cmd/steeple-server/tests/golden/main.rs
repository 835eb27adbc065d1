//! Command lines of the reference and what it answered, run with our program under the reference's name.
//!
//! `tests/data/cli.jsonl` has the records in the order in which they were made, each with the effect of those before it:
//! where a server has to be there, it is ours, and what had been done to it by other means is done by [`Place::run`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report of a test")]

mod coverage;
mod mask;
mod place;
mod record;

use std::collections::BTreeMap;

use coverage::Coverage;
use place::Place;

#[test]
fn answers_as_the_reference() {
    let records = record::all();
    coverage::check_names(&records);
    let mut place = Place::new();
    let (mut equal, mut failing) = (0, Vec::new());
    let (mut differing, mut later) = (BTreeMap::new(), BTreeMap::new());
    for record in &records {
        match coverage::of(record) {
            Coverage::Equal => match record.difference(&place.run(record)) {
                None => equal += 1,
                Some(difference) => failing.push(difference),
            },
            Coverage::Different(reason) => match record.difference(&place.run(record)) {
                Some(_) => *differing.entry(reason).or_insert(0) += 1,
                None => failing.push(format!("{}: is equal now, so strike it out", record.name)),
            },
            Coverage::Later(work) => *later.entry(work).or_insert(0) += 1,
        }
    }
    println!(
        "cli: {equal} equal, {} differing on purpose, {} not covered yet, {} failing",
        differing.values().sum::<i32>(),
        later.values().sum::<i32>(),
        failing.len()
    );
    differing.iter().for_each(|(reason, count)| println!("cli:   {count} differing: {reason}"));
    later.iter().for_each(|(work, count)| println!("cli:   {count} not covered until there is: {work}"));
    assert!(failing.is_empty(), "{}", failing.join("\n"));
}
