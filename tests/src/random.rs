use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use steeple_runtime::Clock;

use crate::say;

/// A small repeatable generator (SplitMix64): the moments at which a case kills a process, and what it does next.
pub struct Random(u64);

impl Random {
    /// Seeded from `STEEPLE_SEED`, else from the clock; says which seed it took and how to repeat the run.
    ///
    /// # Errors
    /// `STEEPLE_SEED` is no number: another seed in its place would repeat another run.
    pub fn seeded(case: &str) -> Result<Self> {
        let seed = match env::var_os("STEEPLE_SEED") {
            Some(given) => seed(&given.to_string_lossy())?,
            None => {
                let now = Clock::system().now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                u64::from(now.subsec_nanos()) ^ now.as_secs()
            }
        };
        say(&format!("{case}: seed {seed} (repeat with STEEPLE_SEED={seed})"));
        Ok(Self(seed))
    }

    /// A moment from now up to `limit`.
    pub fn moment(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.next() as f64 / u64::MAX as f64)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// One of these, which must not be none.
    pub fn one_of<'t, T>(&mut self, these: &'t [T]) -> &'t T {
        &these[self.below(these.len())]
    }

    /// A generator of its own, for what happens at the same time.
    pub fn another(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn seed(given: &str) -> Result<u64> {
    given
        .parse()
        .with_context(|| format!("STEEPLE_SEED={given:?} is no seed: it is a whole number from 0 to {}", u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_cannot_be_read_fails() {
        for wrong in ["", "x", "-1", " 7", "7 ", "1.5", "0x7", "18446744073709551616"] {
            let told = seed(wrong).unwrap_err().to_string();
            assert!(told.starts_with(&format!("STEEPLE_SEED={wrong:?} is no seed")), "{told}");
        }
        assert_eq!(seed("18446744073709551615").unwrap(), u64::MAX);
    }

    #[test]
    fn a_seed_repeats_its_moments() {
        let moments = |seed| {
            let mut random = Random(seed);
            [(); 5].map(|()| random.moment(Duration::from_secs(1)))
        };
        assert_eq!(moments(7), moments(7));
        assert_ne!(moments(7), moments(8));
    }
}
