//! What a Prometheus server scrapes, in its text format 0.0.4, in the order and with the numbers of the reference.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::naming::{Kind, Series};
use super::recorder::{Cell, Sink};
use crate::Clock;

/// Which parts of the samples a summary tells, written as in the text.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];
/// Of the samples that are no older than this.
const AGE: Duration = Duration::from_secs(10);
/// And of so many at most, the last ones.
const SAMPLES: usize = 512;

/// All series, as they are now. Clones are one.
#[derive(Clone)]
pub(super) struct Prometheus {
    families: Arc<Mutex<BTreeMap<String, Family>>>,
    clock: Clock,
}

/// Series of one name.
struct Family {
    kind: Kind,
    /// By the values of labels, whose order is that of the labels' names.
    series: BTreeMap<Labels, Value>,
}

/// First what tells series of one name apart.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    values: Vec<String>,
    /// As they are written: `host="vm",status="OK"`.
    text: String,
}

enum Value {
    Number(Arc<Number>),
    Summary(Arc<Summary>),
}

impl Prometheus {
    pub(super) fn new(clock: Clock) -> Self {
        Self { families: Arc::default(), clock }
    }

    /// Appends all series to a text.
    pub(super) fn write(&self, text: &mut String) {
        let now = self.clock.now();
        for (name, Family { kind, series }) in &*self.families() {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Sample => "summary",
            };
            head(text, name, name, kind);
            for (Labels { text: labels, .. }, value) in series {
                match value {
                    Value::Number(number) => line(text, name, labels, number.load()),
                    Value::Summary(summary) => summary.write(text, name, labels, now),
                }
            }
        }
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Prometheus {
    fn open(&self, series: &Series) -> Box<dyn Cell> {
        let kind = series.kind;
        let mut families = self.families();
        let family = families.entry(written(&series.name)).or_insert_with(|| Family { kind, series: BTreeMap::new() });
        // One name is one kind here: two would make the whole scrape useless.
        let made = || match family.kind {
            Kind::Counter | Kind::Gauge => Value::Number(Arc::default()),
            Kind::Sample => Value::Summary(Arc::new(Summary { clock: self.clock.clone(), window: Mutex::default() })),
        };
        let value = family.series.entry(Labels::of(&series.labels)).or_insert_with(made);
        match value {
            Value::Number(number) if kind == Kind::Counter => Box::new(Counter(Arc::clone(number))),
            Value::Number(number) => Box::new(Gauge(Arc::clone(number))),
            Value::Summary(summary) => Box::new(Arc::clone(summary)),
        }
    }
}

impl Labels {
    fn of(labels: &[(String, String)]) -> Self {
        let mut sorted: Vec<_> = labels.iter().collect();
        sorted.sort();
        let mut text = String::new();
        for (name, value) in &sorted {
            let comma = if text.is_empty() { "" } else { "," };
            let value = value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
            let _ = write!(text, "{comma}{name}=\"{value}\"");
        }
        Self { values: sorted.into_iter().map(|(_, value)| value.clone()).collect(), text }
    }
}

/// A number that many write.
#[derive(Default)]
struct Number(AtomicU64);

impl Number {
    fn load(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

struct Counter(Arc<Number>);

impl Cell for Counter {
    fn take(&self, value: f64) {
        let more = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It never gives up.
        let _ = self.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

struct Gauge(Arc<Number>);

impl Cell for Gauge {
    fn take(&self, value: f64) {
        self.0.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// Samples: all of them as sum and count, the last ones as quantiles.
struct Summary {
    clock: Clock,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    count: u64,
    sum: f64,
    last: VecDeque<(SystemTime, f64)>,
}

impl Summary {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, text: &mut String, name: &str, labels: &str, now: SystemTime) {
        let (count, sum, mut samples) = {
            let mut window = self.window();
            window.forget(now);
            (window.count, window.sum, window.last.iter().map(|(_, value)| *value).collect::<Vec<_>>())
        };
        samples.sort_by(f64::total_cmp);
        for (written, quantile) in QUANTILES {
            let comma = if labels.is_empty() { "" } else { "," };
            line(text, name, &format!("{labels}{comma}quantile=\"{written}\""), ranked(&samples, quantile));
        }
        line(text, &format!("{name}_sum"), labels, sum);
        line(text, &format!("{name}_count"), labels, count as f64);
    }
}

impl Window {
    fn forget(&mut self, now: SystemTime) {
        // A clock that was set back makes nothing old.
        let is_old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > AGE);
        while self.last.front().is_some_and(|(at, _)| is_old(*at)) {
            self.last.pop_front();
        }
        if self.last.is_empty() {
            self.last = VecDeque::new();
        }
    }
}

impl Cell for Arc<Summary> {
    fn take(&self, value: f64) {
        let now = self.clock.now();
        let mut window = self.window();
        window.count += 1;
        window.sum += value;
        if window.last.len() >= SAMPLES {
            window.last.pop_front();
        }
        window.last.push_back((now, value));
    }
}

/// The smallest sample that this part of all samples does not exceed; none of none.
fn ranked(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The two lines before the series of a name.
pub(super) fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One series' value.
pub(super) fn line(text: &mut String, name: &str, labels: &str, value: f64) {
    let value = number(value);
    let _ = match labels {
        "" => writeln!(text, "{name} {value}"),
        labels => writeln!(text, "{name}{{{labels}}} {value}"),
    };
}

/// Names hold no other characters in this format.
fn written(name: &str) -> String {
    name.replace([' ', '.', '=', '-', '/'], "_")
}

/// As Go writes it: the shortest text that reads back, with an exponent of two digits from a million and below a
/// ten-thousandth.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if value != 0.0 && !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::by_hand::Hand;

    fn series(kind: Kind, name: &str, labels: &[(&str, &str)]) -> Series {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Series { kind, name: name.to_owned(), prefix: 0, labels }
    }

    fn scraped(sink: &Prometheus) -> String {
        let mut text = String::new();
        sink.write(&mut text);
        text
    }

    #[test]
    fn families_and_series_stand_in_the_references_order() {
        let sink = Prometheus::new(Clock::system());
        let status = |status| series(Kind::Counter, "s.datastore.bundle.delete", &[("status", status), ("host", "vm")]);
        for (status, times) in [(status("OK"), 2), (status("NotFound"), 1)] {
            let cell = sink.open(&status);
            (0..times).for_each(|_| cell.take(1.0));
        }
        sink.open(&series(Kind::Gauge, "s.a-b", &[])).take(86398.953125);
        let odd = series(Kind::Gauge, "s.c", &[("host", "a\"b\\c\nd")]);
        sink.open(&odd).take(-0.25);
        assert_eq!(
            scraped(&sink),
            "# HELP s_a_b s_a_b\n# TYPE s_a_b gauge\ns_a_b 86398.953125\n\
             # HELP s_c s_c\n# TYPE s_c gauge\ns_c{host=\"a\\\"b\\\\c\\nd\"} -0.25\n\
             # HELP s_datastore_bundle_delete s_datastore_bundle_delete\n# TYPE s_datastore_bundle_delete counter\n\
             s_datastore_bundle_delete{host=\"vm\",status=\"NotFound\"} 1\n\
             s_datastore_bundle_delete{host=\"vm\",status=\"OK\"} 2\n"
        );
    }

    #[test]
    fn quantiles_are_those_of_the_last_ten_seconds_and_sums_of_all() {
        let hand = Hand::at(1_000_000);
        let sink = Prometheus::new(hand.clock());
        let cell = sink.open(&series(Kind::Sample, "s.t", &[("status", "OK")]));
        (1..=100).for_each(|sample| cell.take(f64::from(sample)));
        let of = |half: &str, nine: &str, most: &str| {
            format!(
                "# HELP s_t s_t\n# TYPE s_t summary\ns_t{{status=\"OK\",quantile=\"0.5\"}} {half}\n\
                 s_t{{status=\"OK\",quantile=\"0.9\"}} {nine}\ns_t{{status=\"OK\",quantile=\"0.99\"}} {most}\n\
                 s_t_sum{{status=\"OK\"}} 5050\ns_t_count{{status=\"OK\"}} 100\n"
            )
        };
        assert_eq!(scraped(&sink), of("50", "90", "99"));
        hand.pass(AGE + Duration::from_millis(1));
        assert_eq!(scraped(&sink), of("NaN", "NaN", "NaN"));
    }

    #[test]
    fn samples_of_one_moment_are_bounded() {
        let sink = Prometheus::new(Clock::system());
        let cell = sink.open(&series(Kind::Sample, "s.t", &[]));
        (0..SAMPLES * 2).for_each(|_| cell.take(1.0));
        (0..SAMPLES).for_each(|_| cell.take(2.0));
        assert!(scraped(&sink).contains("s_t{quantile=\"0.5\"} 2\n"));
        assert!(scraped(&sink).contains(&format!("s_t_count {}\n", SAMPLES * 3)));
    }

    #[test]
    fn numbers_are_written_as_by_go() {
        for (value, text) in [
            (0.0, "0"),
            (353_767.0, "353767"),
            (1_000_000.0, "1e+06"),
            (18_253_088.0, "1.8253088e+07"),
            (1.795625172e9, "1.795625172e+09"),
            (-62_135_595_008.0, "-6.2135595008e+10"),
            (0.0001, "0.0001"),
            (0.000_05, "5e-05"),
            (13.152_982_711_791_992, "13.152982711791992"),
            (1.844_674_407_370_955_2e19, "1.8446744073709552e+19"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
