//! Records and heads of an inventory, in files of their own or in a log. A record that is accepted is written and read back to
//! the same, and a head too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_server::inventory::{Head, Record, Verifier, read_text};

fuzz_target!(|text: &[u8]| {
    let (links, heads) = read_text(text);
    let mut verifier = Verifier::new(heads.clone());
    for link in &links {
        let written = serde_json::to_string(&link.record).expect("a record");
        assert_eq!(serde_json::from_str::<Record>(&written).expect("our own form"), link.record);
        verifier.take(link);
    }
    let verdict = verifier.finish();
    assert_eq!(verdict.chains.iter().map(|found| found.records).sum::<u64>(), links.len() as u64);
    for head in heads.iter().filter(|head| !head.chain.contains(':') && !head.digest.contains(':')) {
        assert_eq!(head.to_string().parse::<Head>().as_ref(), Ok(head));
    }
});
