//! Go durations. What is accepted prints as a duration of the same length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_config::duration::Duration;

fuzz_target!(|text: &str| {
    if let Ok(duration) = text.parse::<Duration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
});
