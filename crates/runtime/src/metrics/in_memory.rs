//! The last hour, second by second, in memory; SIGUSR1 has it written to the log.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::info;

use super::naming::{Kind, Series};
use super::recorder::{Cell, Sink};
use crate::Clock;
use crate::clock::{from_unix_seconds, rfc3339, unix_seconds};

/// How long a second is kept.
const RETENTION: Duration = Duration::from_secs(60 * 60);
/// Figures that are kept: those of the oldest seconds go first when a busy daemon has more.
const FIGURES: usize = 65_536;

/// All that is kept. Clones are one.
#[derive(Clone)]
pub(super) struct InMemory(Arc<Inner>);

struct Inner {
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Of all series, as they are written.
    names: Vec<String>,
    seconds: VecDeque<Second>,
    figures: usize,
}

struct Second {
    at: i64,
    /// Gauges stand first, then counters, then samples: by the place of the name.
    figures: BTreeMap<(Order, usize), Figures>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Gauge,
    Counter,
    Sample,
}

/// What came of one series in one second.
struct Figures {
    count: u64,
    sum: f64,
    squares: f64,
    least: f64,
    most: f64,
    last: f64,
    at: SystemTime,
}

impl InMemory {
    pub(super) fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { clock, kept: Mutex::default() }))
    }

    /// Writes all seconds but the present one to the log, a line each figure.
    pub(super) fn dump(&self) {
        for line in self.lines() {
            info!(target: "telemetry", "{line}");
        }
    }

    fn lines(&self) -> Vec<String> {
        let now = unix_seconds(self.0.clock.now());
        let kept = self.0.kept();
        let mut lines = Vec::new();
        for Second { at, figures } in kept.seconds.iter().filter(|second| second.at != now) {
            let at = time(from_unix_seconds(*at));
            for ((order, name), figures) in figures {
                let name = kept.names.get(*name).map_or("", String::as_str);
                lines.push(match order {
                    Order::Gauge => format!("[{at}][G] '{name}': {:.3}", figures.last),
                    Order::Counter => format!("[{at}][C] '{name}': {figures}"),
                    Order::Sample => format!("[{at}][S] '{name}': {figures}"),
                });
            }
        }
        lines
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for InMemory {
    fn open(&self, series: &Series) -> Box<dyn Cell> {
        let order = match series.kind {
            Kind::Counter => Order::Counter,
            Kind::Gauge => Order::Gauge,
            Kind::Sample => Order::Sample,
        };
        let values = series.labels.iter().map(|(_, value)| value.replace([' ', ':'], "_"));
        let parts: Vec<_> = [series.name.replace(' ', "_")].into_iter().chain(values).collect();
        let mut kept = self.0.kept();
        kept.names.push(parts.join("."));
        Box::new(Named { key: (order, kept.names.len() - 1), of: self.clone() })
    }
}

struct Named {
    key: (Order, usize),
    of: InMemory,
}

impl Cell for Named {
    fn take(&self, value: f64) {
        let inner = &*self.of.0;
        let now = inner.clock.now();
        inner.kept().take(self.key, value, now);
    }
}

impl Kept {
    fn take(&mut self, key: (Order, usize), value: f64, now: SystemTime) {
        let second = unix_seconds(now);
        if self.seconds.back().is_none_or(|last| last.at != second) {
            self.seconds.push_back(Second { at: second, figures: BTreeMap::new() });
            self.forget(second);
        }
        let Some(last) = self.seconds.back_mut() else { return };
        let before = last.figures.len();
        last.figures.entry(key).or_insert_with(|| Figures::none(now)).take(value, now);
        self.figures += last.figures.len() - before;
    }

    fn forget(&mut self, now: i64) {
        let oldest = now.saturating_sub(RETENTION.as_secs() as i64);
        while self.seconds.len() > 1
            && (self.figures > FIGURES || self.seconds.front().is_some_and(|first| first.at < oldest))
        {
            let gone = self.seconds.pop_front().map_or(0, |first| first.figures.len());
            self.figures -= gone;
        }
    }
}

impl Figures {
    fn none(at: SystemTime) -> Self {
        Self { count: 0, sum: 0.0, squares: 0.0, least: f64::INFINITY, most: f64::NEG_INFINITY, last: 0.0, at }
    }

    fn take(&mut self, value: f64, at: SystemTime) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
        self.last = value;
        self.at = at;
    }

    fn deviation(&self) -> f64 {
        let count = self.count as f64;
        let divisor = count * (count - 1.0);
        if divisor == 0.0 { 0.0 } else { ((count * self.squares - self.sum * self.sum) / divisor).max(0.0).sqrt() }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, sum, squares: _, least, most, last: _, at } = self;
        write!(f, "Count: {count} ")?;
        let deviation = self.deviation();
        if deviation != 0.0 {
            let mean = sum / *count as f64;
            write!(f, "Min: {least:.3} Mean: {mean:.3} Max: {most:.3} Stddev: {deviation:.3} ")?;
        }
        write!(f, "Sum: {sum:.3} LastUpdated: {}", time(*at))
    }
}

/// As Go prints a time that is in UTC.
fn time(at: SystemTime) -> String {
    rfc3339(at).replace('T', " ").replace('Z', " +0000 UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::by_hand::Hand;

    fn series(kind: Kind, name: &str) -> Series {
        Series { kind, name: name.to_owned(), prefix: 0, labels: vec![("host".to_owned(), "a:b".to_owned())] }
    }

    #[test]
    fn each_second_is_written_as_by_the_reference_once_it_is_over() {
        let hand = Hand::at(1_795_538_758);
        let kept = InMemory::new(hand.clock());
        kept.open(&series(Kind::Sample, "s.t")).take(2.0);
        let cells = [Kind::Sample, Kind::Counter, Kind::Gauge].map(|kind| kept.open(&series(kind, "s.x")));
        for cell in &cells {
            cell.take(1.0);
            cell.take(3.0);
        }
        assert_eq!(kept.lines(), Vec::<String>::new());
        hand.pass(Duration::from_secs(1));
        let at = "2026-11-24 16:45:58 +0000 UTC";
        assert_eq!(
            kept.lines(),
            [
                format!("[{at}][G] 's.x.a_b': 3.000"),
                format!(
                    "[{at}][C] 's.x.a_b': Count: 2 Min: 1.000 Mean: 2.000 Max: 3.000 Stddev: 1.414 Sum: 4.000 \
                     LastUpdated: {at}"
                ),
                format!("[{at}][S] 's.t.a_b': Count: 1 Sum: 2.000 LastUpdated: {at}"),
                format!(
                    "[{at}][S] 's.x.a_b': Count: 2 Min: 1.000 Mean: 2.000 Max: 3.000 Stddev: 1.414 Sum: 4.000 \
                     LastUpdated: {at}"
                ),
            ]
        );
    }

    #[test]
    fn what_is_kept_is_bounded_by_time_and_by_number() {
        let hand = Hand::at(1_795_538_758);
        let kept = InMemory::new(hand.clock());
        let cell = kept.open(&series(Kind::Counter, "s.a"));
        for _ in 0..RETENTION.as_secs() + 10 {
            cell.take(1.0);
            hand.pass(Duration::from_secs(1));
        }
        assert_eq!(kept.lines().len() as u64, RETENTION.as_secs() + 1);
        let many: Vec<_> = (0..FIGURES).map(|at| kept.open(&series(Kind::Counter, &at.to_string()))).collect();
        for _ in 0..3 {
            many.iter().for_each(|cell| cell.take(1.0));
            hand.pass(Duration::from_secs(1));
        }
        assert!(kept.lines().len() <= FIGURES * 2, "{}", kept.lines().len());
    }
}
