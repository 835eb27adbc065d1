//! What the code under test counts and logs. Both are kept for the current thread while the value lives, so that tests
//! which run at the same time do not see each other's; a test on tokio's default (current thread) runtime has one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, LocalRecorderGuard, Metadata, Recorder,
    SharedString, Unit,
};
use steeple_runtime::logging::more_fields;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Counts counters, gauges and timers.
pub struct Counted {
    counts: &'static Counts,
    _guard: LocalRecorderGuard<'static>,
}

/// By `name{label=value}`.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<Count>>>);

#[derive(Default)]
struct Count(AtomicU64);

impl Counted {
    /// Counts from now on.
    #[allow(clippy::new_without_default, reason = "it does something")]
    pub fn new() -> Self {
        // A recorder is borrowed for as long as its guard lives, which nothing but a static can promise here.
        let counts: &'static Counts = Box::leak(Box::default());
        Self { counts, _guard: metrics::set_default_local_recorder(counts) }
    }

    /// How often a counter was raised, or a timer was read, or where a gauge is: `rpc.entry.v1.entry.get_entry{status=OK}`.
    pub fn of(&self, key: &str) -> u64 {
        self.counts.0.lock().unwrap().get(key).map_or(0, |count| count.0.load(Ordering::Relaxed))
    }

    /// All keys that were counted.
    pub fn keys(&self) -> Vec<String> {
        self.counts.0.lock().unwrap().keys().cloned().collect()
    }
}

impl Counts {
    fn count(&self, key: &Key) -> Arc<Count> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name =
            if labels.is_empty() { key.name().to_owned() } else { format!("{}{{{}}}", key.name(), labels.join(",")) };
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Tests have gauges that count.
impl GaugeFn for Count {
    fn increment(&self, value: f64) {
        self.0.fetch_add(value as i64 as u64, Ordering::Relaxed);
    }

    fn decrement(&self, value: f64) {
        self.0.fetch_sub(value as i64 as u64, Ordering::Relaxed);
    }

    fn set(&self, value: f64) {
        self.0.store(value as i64 as u64, Ordering::Relaxed);
    }
}

impl HistogramFn for Count {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.count(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.count(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.count(key))
    }
}

/// Keeps log lines.
///
/// One subscriber serves all threads, since `tracing` decides once for each place in the code whether anybody listens:
/// make this value before the code under test first logs, in every test that runs it.
pub struct Logged(());

/// One line's fields, with those that the spans around it began with; the text is the field `message`, the level `level`.
pub type Line = BTreeMap<String, String>;

thread_local! {
    /// None while nobody keeps this thread's lines.
    static LINES: RefCell<Option<Vec<Line>>> = const { RefCell::new(None) };
}

impl Logged {
    /// Keeps lines from now on, and forgets those of before.
    #[allow(clippy::new_without_default, reason = "it does something")]
    pub fn new() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let subscriber = tracing_subscriber::registry().with(Keep);
            tracing::subscriber::set_global_default(subscriber).expect("no other subscriber in this test");
        });
        LINES.set(Some(Vec::new()));
        Self(())
    }

    /// The lines with a text.
    pub fn with(&self, message: &str) -> Vec<Line> {
        let is_wanted = |line: &&Line| line.get("message").is_some_and(|text| text == message);
        LINES.with_borrow(|lines| lines.iter().flatten().filter(is_wanted).cloned().collect())
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        LINES.set(None);
    }
}

struct Keep;

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Keep {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields(Line::new());
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        LINES.with_borrow_mut(|lines| {
            let Some(lines) = lines else { return };
            let mut line = Fields(Line::new());
            for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
                if let Some(Fields(outer)) = span.extensions().get() {
                    line.0.extend(outer.clone());
                }
            }
            line.0.insert("level".to_owned(), event.metadata().level().to_string());
            line.0.extend(more_fields().into_iter().map(|(name, value)| (name.into_owned(), value.to_string())));
            event.record(&mut line);
            lines.push(line.0);
        });
    }
}

struct Fields(Line);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}
