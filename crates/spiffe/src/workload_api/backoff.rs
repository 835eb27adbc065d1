//! Pauses between two tries.

use std::time::Duration;

/// How long a source waits before it asks again. The n-th failure in a row is followed by `first` times two to the power
/// of n - 1, at most by `longest`; of that, a random part between the half and the whole, so that the workloads of a host
/// do not all come back at once when its agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure. Also: a stream that has lived so long after its first answer counts as a good one, and
    /// the failures before it are forgotten.
    pub first: Duration,
    /// However many failures there are.
    pub longest: Duration,
}

/// A quarter of a second, and half a minute.
impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The pause after so many failures in a row, one at least.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(doubled).min(self.longest);
        whole / 2 + (whole / 2).mul_f64(fraction())
    }
}

/// From 0 to 1, evenly. When there is no randomness, workloads come back at once, which is not worth a failure.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(10) };
        for (failures, whole) in [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (31, 10), (32, 10), (u32::MAX, 10)] {
            let whole = Duration::from_secs(whole);
            let pauses: Vec<Duration> = (0..50).map(|_| backoff.pause(failures)).collect();
            assert!(pauses.iter().all(|pause| (whole / 2..=whole).contains(pause)), "{failures}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{failures}: {pauses:?}");
        }
    }
}
