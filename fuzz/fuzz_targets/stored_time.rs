//! Times in the columns of a database that either program may have written. What is read is written and read back to the
//! same, as far as the calendar goes.
#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use steeple_datastore::{read_time, write_time};

fuzz_target!(|text: &str| {
    let Some(at) = read_time(text) else { return };
    let written = write_time(at);
    let again = read_time(&written).expect("our own form");
    // 9999 is the calendar's last year.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_207_200);
    if at < end && at > SystemTime::UNIX_EPOCH - Duration::from_secs(62_135_596_800) {
        assert_eq!(again, at, "{written}");
    }
});
