//! Pauses that differ from agent to agent, so that a fleet does not call at once.

use std::time::Duration;

/// `length`, give or take a tenth.
pub fn jitter(length: Duration) -> Duration {
    // 0.9 to 1.1, evenly.
    length.mul_f64(0.9 + 0.2 * fraction())
}

/// `length`, give or take up to `spread`, which must not be longer.
pub fn spread(length: Duration, spread: Duration) -> Duration {
    length.saturating_sub(spread) + (spread * 2).mul_f64(fraction())
}

/// A number from 0 to below `end`, evenly; 0 if that is 0. Not for secrets.
pub fn below(end: usize) -> usize {
    // What a fraction of 53 bits is uneven by, nobody notices.
    ((fraction() * end as f64) as usize).min(end.saturating_sub(1))
}

/// From 0 to 1, evenly. Not for secrets.
pub(crate) fn fraction() -> f64 {
    (random() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Any number, evenly. Not for secrets.
pub(crate) fn random() -> u64 {
    use std::collections::hash_map::RandomState;
    use std::hash::{BuildHasher, Hasher};
    // Each hasher of the standard library has keys of its own.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jittered_length_stays_within_a_tenth() {
        let second = Duration::from_secs(1);
        for _ in 0..1000 {
            let length = jitter(second);
            assert!(length >= second * 9 / 10 && length <= second * 11 / 10, "{length:?}");
        }
    }

    #[test]
    fn a_spread_length_stays_within_its_spread() {
        let (hour, quarter) = (Duration::from_secs(3600), Duration::from_secs(900));
        let lengths: Vec<_> = (0..1000).map(|_| spread(hour, quarter)).collect();
        assert!(lengths.iter().all(|length| (hour - quarter..=hour + quarter).contains(length)));
        assert!(lengths.iter().any(|length| *length < hour) && lengths.iter().any(|length| *length > hour));
    }
}
