//! From what the code counts to where it goes. A series is made at its first value; after that a value costs a look into
//! one table, and what the sinks do with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use tracing::warn;

use super::naming::{Kind, Naming, Series};

/// How many series there can be: far more than there are names and codes, and little enough for any machine.
const SERIES: usize = 10_000;

/// A place that measurements go to.
pub(super) trait Sink: Send + Sync + 'static {
    /// Where the values of a series go here.
    fn open(&self, series: &Series) -> Box<dyn Cell>;

    /// As what the filter of names sees a series.
    fn filtered_as(&self, series: &Series) -> String {
        series.name.clone()
    }
}

/// The values of one series in one place.
pub(super) trait Cell: Send + Sync {
    /// What a counter grew by, what a gauge is now, or a sample.
    fn take(&self, value: f64);
}

/// Gives each value to all sinks.
pub(super) struct Recorder {
    naming: Naming,
    sinks: Vec<Box<dyn Sink>>,
    /// Of counters, gauges and samples.
    known: [RwLock<HashMap<Key, Arc<Cells>>>; 3],
    is_full: AtomicBool,
}

impl Recorder {
    pub(super) fn new(naming: Naming, sinks: Vec<Box<dyn Sink>>) -> Self {
        Self { naming, sinks, known: Default::default(), is_full: AtomicBool::new(false) }
    }

    fn cells(&self, kind: Kind, key: &Key) -> Option<Arc<Cells>> {
        let known = &self.known[kind as usize];
        if let Some(cells) = known.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Some(Arc::clone(cells));
        }
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SERIES {
            if !self.is_full.swap(true, Ordering::Relaxed) {
                warn!(target: "telemetry", limit = SERIES, "There are too many series: further ones are not measured");
            }
            return None;
        }
        Some(Arc::clone(known.entry(key.clone()).or_insert_with(|| Arc::new(self.open(kind, key)))))
    }

    fn open(&self, kind: Kind, key: &Key) -> Cells {
        let series = self.naming.series(kind, key);
        let sinks = self.sinks.iter().filter(|sink| self.naming.allows(&sink.filtered_as(&series)));
        Cells { cells: sinks.map(|sink| sink.open(&series)).collect(), gauge: Mutex::new(0.0) }
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.cells(Kind::Counter, key).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.cells(Kind::Gauge, key).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.cells(Kind::Sample, key).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

/// One series, wherever it goes.
struct Cells {
    cells: Box<[Box<dyn Cell>]>,
    /// What a gauge is: some are moved up and down, and sinks want to know where they are. Held until all of them have it, so
    /// that the last one told is the last one.
    gauge: Mutex<f64>,
}

impl Cells {
    fn take(&self, value: f64) {
        for cell in &self.cells {
            cell.take(value);
        }
    }

    fn change_gauge(&self, change: impl FnOnce(f64) -> f64) {
        let mut gauge = self.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        *gauge = change(*gauge);
        self.take(*gauge);
    }
}

impl CounterFn for Cells {
    fn increment(&self, value: u64) {
        self.take(value as f64);
    }

    /// Nothing here counts elsewhere.
    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Cells {
    fn increment(&self, value: f64) {
        self.change_gauge(|gauge| gauge + value);
    }

    fn decrement(&self, value: f64) {
        self.change_gauge(|gauge| gauge - value);
    }

    fn set(&self, value: f64) {
        self.change_gauge(|_| value);
    }
}

impl HistogramFn for Cells {
    fn record(&self, value: f64) {
        self.take(value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use steeple_config::telemetry::Telemetry;

    use super::*;

    /// Writes down what it is given.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<String>>>);

    struct Page(Written, String);

    impl Sink for Written {
        fn open(&self, series: &Series) -> Box<dyn Cell> {
            Box::new(Page(self.clone(), series.name.clone()))
        }
    }

    impl Cell for Page {
        fn take(&self, value: f64) {
            self.0.0.lock().unwrap().push(format!("{} {value}", self.1));
        }
    }

    fn measured(config: &Telemetry, measure: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let naming = Naming::new(config, "spire_server", "example.org", "");
        let recorder = Recorder::new(naming, vec![Box::new(written.clone())]);
        metrics::with_local_recorder(&recorder, measure);
        let lines = written.0.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn each_value_reaches_a_sink_once_and_a_gauge_says_where_it_is() {
        let lines = measured(&Telemetry::default(), || {
            super::super::count("a");
            super::super::gauge("b", 4.0);
            metrics::gauge!("b").increment(1.0);
            metrics::gauge!("b").decrement(3.0);
            super::super::sample("c", 0.5);
        });
        assert_eq!(
            lines,
            ["spire_server.a 1", "spire_server.b 4", "spire_server.b 5", "spire_server.b 2", "spire_server.c 0.5"]
        );
    }

    #[test]
    fn blocked_names_are_not_measured() {
        let config = Telemetry { blocked_prefixes: vec!["spire_server.a".to_owned()], ..Telemetry::default() };
        let lines = measured(&config, || {
            super::super::count("a.b");
            super::super::count("b.a");
        });
        assert_eq!(lines, ["spire_server.b.a 1"]);
    }

    #[test]
    fn series_are_bounded() {
        let lines = measured(&Telemetry::default(), || {
            for at in 0..SERIES + 10 {
                metrics::counter!("a", "at" => at.to_string()).increment(1);
            }
            metrics::counter!("a", "at" => "0").increment(1);
        });
        assert_eq!(lines.len(), SERIES + 1);
    }
}
