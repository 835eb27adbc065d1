//! An archive of a database, whole and line by line: a line that is read is written as one that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_datastore::archive::{check, rewritten_line};

fuzz_target!(|bytes: &[u8]| {
    // Nothing that was not written as one has the right checksum.
    let _ = check(bytes, &mut |_| {});
    for line in bytes.split(|byte| *byte == b'\n') {
        for written in rewritten_line(line) {
            let line = written.strip_suffix(b"\n").unwrap();
            assert!(rewritten_line(line).contains(&written), "{}", String::from_utf8_lossy(line));
        }
    }
});
