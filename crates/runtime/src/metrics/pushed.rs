//! What is sent to a collector of OpenTelemetry every now and then: all series as they are, added up since the start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::naming::{Kind, Series};
use super::recorder::{Cell, Sink};

/// Up to which value, inclusive, a sample falls into each bucket but the last: OpenTelemetry's own choice, which suits
/// milliseconds.
pub const BOUNDS: [f64; 15] =
    [0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10_000.0];

/// All series. Clones are one.
#[derive(Clone, Default)]
pub struct Pushed(Arc<Mutex<Vec<Held>>>);

/// A series that goes on.
struct Held {
    named: Named,
    figure: Arc<Mutex<Figure>>,
}

/// One series, as it is at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Which.
    pub named: Named,
    /// What it is.
    pub figure: Figure,
}

/// A series' name and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Dotted: `spire_server.datastore.bundle.fetch`.
    pub name: String,
    /// Names and values.
    pub labels: Vec<(String, String)>,
    /// Whether its values are milliseconds.
    pub is_timer: bool,
}

/// What there is of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// Of a counter, the sum.
    Sum(f64),
    /// Of a gauge, the last value.
    Last(f64),
    /// Of samples, how they are spread.
    Spread(Spread),
}

/// Samples, added up.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub sum: f64,
    /// The smallest one; above the largest one as long as there is none.
    pub least: f64,
    /// The largest one.
    pub most: f64,
    /// How many fell into each bucket of [`BOUNDS`], and above all of them.
    pub buckets: [u64; BOUNDS.len() + 1],
}

impl Pushed {
    /// All series, in the order in which they came up.
    pub fn points(&self) -> Vec<Point> {
        let point = |Held { named, figure }: &Held| Point { named: named.clone(), figure: locked(figure).clone() };
        locked(&self.0).iter().map(point).collect()
    }
}

impl Sink for Pushed {
    fn open(&self, series: &Series) -> Box<dyn Cell> {
        let figure = match series.kind {
            Kind::Counter => Figure::Sum(0.0),
            Kind::Gauge => Figure::Last(0.0),
            Kind::Sample => Figure::Spread(Spread::none()),
        };
        let named = Named { name: series.name.clone(), labels: series.labels.clone(), is_timer: series.is_timer() };
        let figure = Arc::new(Mutex::new(figure));
        locked(&self.0).push(Held { named, figure: Arc::clone(&figure) });
        Box::new(figure)
    }
}

impl Cell for Arc<Mutex<Figure>> {
    fn take(&self, value: f64) {
        match &mut *locked(self) {
            Figure::Sum(sum) => *sum += value,
            Figure::Last(last) => *last = value,
            Figure::Spread(spread) => spread.take(value),
        }
    }
}

impl Spread {
    fn none() -> Self {
        let buckets = [0; BOUNDS.len() + 1];
        Self { count: 0, sum: 0.0, least: f64::INFINITY, most: f64::NEG_INFINITY, buckets }
    }

    fn take(&mut self, value: f64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += value;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_added_up_gauges_are_where_they_are_and_samples_are_spread() {
        let pushed = Pushed::default();
        let labels = vec![("status".to_owned(), "OK".to_owned())];
        let series = |kind, name: &str| Series { kind, name: name.to_owned(), prefix: 2, labels: labels.clone() };
        for (kind, name, values) in [
            (Kind::Counter, "s.a", &[1.0, 2.0][..]),
            (Kind::Gauge, "s.b", &[7.0, 3.0]),
            (Kind::Sample, "s.c.elapsed_time", &[0.0, 5.0, 5.1, 20_000.0]),
        ] {
            let cell = pushed.open(&series(kind, name));
            values.iter().for_each(|value| cell.take(*value));
        }
        let [sum, last, spread] = pushed.points().try_into().unwrap();
        assert_eq!((sum.named.labels, sum.figure), (labels.clone(), Figure::Sum(3.0)));
        assert_eq!((last.named.name.as_str(), last.named.is_timer, last.figure), ("s.b", false, Figure::Last(3.0)));
        let Figure::Spread(Spread { count, sum, least, most, buckets }) = spread.figure else { panic!("no samples") };
        assert_eq!((spread.named.is_timer, count, least, most), (true, 4, 0.0, 20_000.0));
        assert_eq!(sum, 20_010.1);
        assert_eq!(buckets, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
