//! What a run tells, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::advice;
use super::pace::{Pace, Run};
use super::process::{Processes, Usage, Usages};
use super::samples::Quantiles;

/// Everything about one run.
pub(super) struct Report {
    pub(super) operation: &'static str,
    pub(super) processes: Processes,
    /// None: the operations did not follow a pace of the caller's.
    pub(super) pace: Option<Pace>,
    pub(super) run: Run,
    pub(super) before: Usages,
    pub(super) after: Usages,
    /// What the operations brought in all, and its name, where it is more than one each.
    pub(super) items: Option<(&'static str, u64)>,
    /// Whether what the operations opened is still open, so that the memory of each can be told.
    pub(super) held: bool,
    /// What a reader should know.
    pub(super) notes: Vec<String>,
}

impl Report {
    /// For people; ends with a newline.
    pub(super) fn text(&mut self) -> String {
        let quantiles = self.run.samples.quantiles();
        let Self { operation, processes, pace, run, before, after, items, held: _, notes } = &*self;
        let (process, before, after) = (&processes.under_load, before.under_load, after.under_load);
        let (count, seconds) = (run.samples.count(), run.elapsed.as_secs_f64());
        let mut text = format!("{operation}: {count} operations in {seconds:.2} s");
        // Writing to a string does not fail.
        if count > 0 {
            let _ = write!(text, ", {} a second", self.a_second_text(count));
        }
        if let Some((what, count)) = items {
            let _ = write!(text, "; {count} {what}, {} a second", self.a_second_text(*count));
        }
        if let Some(pace) = pace {
            let shape = match pace.rate {
                Some(rate) => format!("open loop at {rate} a second, at most {} at once", pace.concurrency),
                None => format!("closed loop, {} at once", pace.concurrency),
            };
            let _ = write!(text, "; {shape}");
        }
        let mut row = |name: &str, value: String| {
            let _ = write!(text, "\n  {name:<9} {value}");
        };
        row("process", format!("{}, pid {}", process.name, process.pid));
        row("CPU", self.cpu_text());
        for (name, Work { processes, cpu }) in self.others() {
            let share = ratio(cpu.as_secs_f64(), seconds) * 100.0;
            row("others", format!("{name}, {processes} of them: {share:.2} % of a core"));
        }
        let Usage { cpu: _, resident, peak } = after;
        row("resident", format!("{} before, {} after; at most {}", mega(before.resident), mega(resident), mega(peak)));
        if let Some(bytes) = self.bytes_a_stream() {
            row("a stream", format!("{:.1} KB", bytes / 1e3));
        }
        if let Some(Quantiles { p50, p90, p99, p999, max }) = quantiles {
            let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(millis);
            row(
                "latency",
                format!("p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms"),
            );
        }
        for (reason, count) in &run.failed {
            row("failed", format!("{count}: {reason}"));
        }
        for note in notes {
            row("note", note.replace('\n', " "));
        }
        text.push('\n');
        text
    }

    /// For programs. Times are seconds unless their name says otherwise; what is not known is missing.
    pub(super) fn json(&mut self) -> Value {
        let quantiles = self.run.samples.quantiles();
        let Self { operation, processes, pace, run, before, after, items, held: _, notes } = &*self;
        let (process, before, after) = (&processes.under_load, before.under_load, after.under_load);
        let count = run.samples.count();
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| {
            json.insert(key.to_owned(), value);
        };
        put("operation", json!(operation));
        put("process", json!({ "pid": process.pid, "name": process.name }));
        if let Some(Pace { concurrency, count: _, duration: _, rate }) = pace {
            put(
                "loop",
                json!({ "kind": if rate.is_some() { "open" } else { "closed" }, "concurrency": concurrency, "rate": rate }),
            );
        }
        put("seconds", json!(run.elapsed.as_secs_f64()));
        put("operations", json!(count));
        put("operations_per_second", json!(self.a_second(count)));
        put("failed", json!(run.failed));
        put("interrupted", json!(run.interrupted));
        let cpu = self.cpu();
        let mut figures = json!({ "seconds": cpu.as_secs_f64(), "share_of_a_core": self.share() });
        if count > 0 {
            figures["us_per_operation"] = json!(each(cpu, count));
        }
        if let Some((what, count)) = items.filter(|(_, count)| *count > 0) {
            figures["us_per_item"] = json!(each(cpu, count));
            put("items", json!({ "name": what, "count": count, "per_second": self.a_second(count) }));
        }
        put("cpu", figures);
        let others = self.others().into_iter().map(|(name, Work { processes, cpu })| {
            let share = ratio(cpu.as_secs_f64(), run.elapsed.as_secs_f64());
            json!({ "name": name, "processes": processes, "seconds": cpu.as_secs_f64(), "share_of_a_core": share })
        });
        put("others", others.collect());
        put("resident_bytes", json!({ "before": before.resident, "after": after.resident, "peak": after.peak }));
        if let Some(bytes) = self.bytes_a_stream() {
            put("bytes_per_stream", json!(bytes));
        }
        if let Some(Quantiles { p50, p90, p99, p999, max }) = quantiles {
            let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(millis);
            put("latency_ms", json!({ "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "max": max }));
        }
        put("notes", json!(notes));
        Value::Object(json)
    }

    /// Says so when a server's limit of 500 SVIDs a second and address is what was measured: such a server delays calls,
    /// and refuses none.
    pub(super) fn note_limits(&mut self, svids_a_call: u64, addresses: u64) {
        let limit = LIMIT * addresses as f64;
        let svids = (self.run.samples.count() * svids_a_call) as f64;
        let seconds = self.run.elapsed.as_secs_f64();
        // The first 500 come at once, if nobody has asked before.
        let slowest = limit * seconds;
        let as_limited = svids >= slowest * 0.95 && svids <= (slowest + limit) * 1.05;
        let closed = self.pace.is_some_and(|pace| pace.rate.is_none());
        if closed && seconds >= 1.0 && as_limited {
            let rate = svids / seconds;
            self.notes.push(format!(
                "{rate:.0} SVIDs a second is what a server allows to {}: {}",
                if addresses == 1 { "one address".to_owned() } else { format!("{addresses} addresses") },
                advice::RATE_LIMITS
            ));
        }
    }

    fn cpu_text(&self) -> String {
        let (cpu, count) = (self.cpu(), self.run.samples.count());
        let mut parts = Vec::new();
        if count > 0 {
            parts.push(format!("{:.1} us an operation", each(cpu, count)));
        }
        if let Some((what, count)) = self.items.filter(|(_, count)| *count > 0) {
            parts.push(format!("{:.1} us for each of the {what}", each(cpu, count)));
        }
        parts.push(format!("{:.2} % of a core", self.share() * 100.0));
        parts.join("; ")
    }

    fn cpu(&self) -> Duration {
        self.after.under_load.cpu.saturating_sub(self.before.under_load.cpu)
    }

    /// What the others have worked meanwhile, by the names of their programs.
    fn others(&self) -> BTreeMap<&str, Work> {
        let mut works = BTreeMap::<_, Work>::new();
        let used =
            self.after.others.iter().zip(&self.before.others).map(|(after, before)| after.saturating_sub(*before));
        for (process, cpu) in self.processes.others.iter().zip(used) {
            let work = works.entry(process.name.as_str()).or_default();
            work.processes += 1;
            work.cpu += cpu;
        }
        works
    }

    fn share(&self) -> f64 {
        ratio(self.cpu().as_secs_f64(), self.run.elapsed.as_secs_f64())
    }

    fn a_second(&self, count: u64) -> f64 {
        ratio(count as f64, self.run.elapsed.as_secs_f64())
    }

    fn a_second_text(&self, count: u64) -> String {
        let rate = self.a_second(count);
        if rate < 100.0 { format!("{rate:.2}") } else { format!("{rate:.0}") }
    }

    fn bytes_a_stream(&self) -> Option<f64> {
        let streams = self.run.samples.count();
        let grown = self.after.under_load.resident as f64 - self.before.under_load.resident as f64;
        (self.held && streams > 0).then(|| grown / streams as f64)
    }
}

/// Of processes of one name.
#[derive(Default)]
struct Work {
    processes: u32,
    cpu: Duration,
}

/// Microseconds.
fn each(cpu: Duration, count: u64) -> f64 {
    ratio(cpu.as_secs_f64() * 1e6, count as f64)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mega(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// `ratelimit.signing`, SVIDs a second.
const LIMIT: f64 = 500.0;

#[cfg(test)]
mod tests;
