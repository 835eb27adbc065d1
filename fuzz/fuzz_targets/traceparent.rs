//! What a caller says of the trace that a call belongs to. Whatever is read is written again as it was read, in the version that
//! is ours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_runtime::trace::Parent;

fuzz_target!(|text: &str| {
    let Some(parent) = Parent::parse(text) else { return };
    assert!(parent.trace != [0; 16] && parent.span != [0; 8]);
    let written = parent.header();
    assert_eq!(Parent::parse(&written), Some(parent));
    // But for the version, and flags other than the one that is known.
    assert_eq!(written.get(2..53), text.get(2..53));
});
