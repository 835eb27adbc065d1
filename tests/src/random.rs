use std::env;
use std::time::Duration;

use steeple_runtime::Clock;

use crate::report::say;

/// A small repeatable generator (SplitMix64): the moments at which a case kills a process.
pub struct Random(u64);

impl Random {
    /// Seeded from `STEEPLE_SEED`, else from the clock; says which seed it took and how to repeat the run. A number
    /// that cannot be read counts as not given.
    pub fn seeded(case: &str) -> Self {
        let given = env::var("STEEPLE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = Clock::system().now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        });
        say(&format!("{case}: seed {seed} (repeat with STEEPLE_SEED={seed})"));
        Self(seed)
    }

    /// A moment from now up to `limit`.
    pub fn moment(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.next() as f64 / u64::MAX as f64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
