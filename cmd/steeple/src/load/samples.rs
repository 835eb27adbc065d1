//! How long each operation took.

use std::time::Duration;

/// Latencies of the operations of one run. Sixteen bytes each; a run has at most [`super::pace::MOST`].
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Duration>);

/// What is told of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantiles {
    pub(super) p50: Duration,
    pub(super) p90: Duration,
    pub(super) p99: Duration,
    pub(super) p999: Duration,
    pub(super) max: Duration,
}

impl Samples {
    pub(super) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// How many operations succeeded.
    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// None without a sample.
    pub(super) fn quantiles(&mut self) -> Option<Quantiles> {
        self.0.sort_unstable();
        // The smallest time that so many thousandths of the samples do not exceed.
        let at = |thousandths: usize| {
            let place = (self.0.len() * thousandths).div_ceil(1000).checked_sub(1)?;
            self.0.get(place).copied()
        };
        Some(Quantiles { p50: at(500)?, p90: at(900)?, p99: at(990)?, p999: at(999)?, max: at(1000)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_time_that_was_measured_and_that_so_many_do_not_exceed() {
        let mut samples = Samples::default();
        for millis in (1..=200).rev() {
            samples.add(Duration::from_millis(millis));
        }
        let quantiles = samples.quantiles().unwrap();
        let Quantiles { p50, p90, p99, p999, max } = quantiles;
        assert_eq!([p50, p90, p99, p999, max].map(|time| time.as_millis()), [100, 180, 198, 200, 200]);
        assert_eq!(samples.count(), 200);
    }

    #[test]
    fn one_sample_is_every_quantile_and_none_has_none() {
        let mut samples = Samples::default();
        assert_eq!(samples.quantiles(), None);
        samples.add(Duration::from_millis(7));
        let Quantiles { p50, p999, max, .. } = samples.quantiles().unwrap();
        assert_eq!([p50, p999, max], [Duration::from_millis(7); 3]);
    }
}
