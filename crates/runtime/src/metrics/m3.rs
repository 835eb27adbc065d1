//! What changed, each second, to an M3 collector: its Thrift messages (`emitMetricBatchV2`, compact protocol) over UDP. A
//! sample is a count of its bucket.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::naming::{Kind, Series};
use super::receiver::{Address, Receiver};
use super::recorder::{Cell, Sink};
use crate::{Clock, Shutdown};

/// How often is sent.
const EVERY: Duration = Duration::from_secs(1);
/// Bytes of a packet, as the reference sends them.
const PACKET: usize = 32_768;

/// Bounds of the buckets of times, in milliseconds, as they are written.
const TIMES: [(f64, &str); 20] = [
    (0.0, "0"),
    (10.0, "10ms"),
    (25.0, "25ms"),
    (50.0, "50ms"),
    (75.0, "75ms"),
    (100.0, "100ms"),
    (200.0, "200ms"),
    (300.0, "300ms"),
    (400.0, "400ms"),
    (500.0, "500ms"),
    (600.0, "600ms"),
    (800.0, "800ms"),
    (1_000.0, "1s"),
    (2_000.0, "2s"),
    (5_000.0, "5s"),
    (10_000.0, "10s"),
    (15_000.0, "15s"),
    (20_000.0, "20s"),
    (25_000.0, "25s"),
    (30_000.0, "30s"),
];
/// Bounds of the buckets of other samples.
const VALUES: [(f64, &str); 6] = [
    (0.0, "0.000000"),
    (1.0, "1.000000"),
    (10.0, "10.000000"),
    (100.0, "100.000000"),
    (1_000.0, "1000.000000"),
    (10_000.0, "10000.000000"),
];

/// All series of one collector. Clones are one.
#[derive(Clone)]
pub(super) struct M3 {
    /// `service` and `env`.
    tags: Vec<(String, String)>,
    series: Arc<Mutex<Vec<Reported>>>,
}

/// A series, as it is sent.
struct Reported {
    name: String,
    tags: Vec<(String, String)>,
    values: Values,
}

#[derive(Clone)]
enum Values {
    Counter(Arc<AtomicU64>),
    /// What it is, in bits, and whether it was set since it was sent.
    Gauge(Arc<(AtomicU64, AtomicBool)>),
    /// One number more than there are bounds.
    Buckets {
        bounds: &'static [(f64, &'static str)],
        counts: Arc<[AtomicU64]>,
    },
}

impl M3 {
    /// # Errors
    /// An environment is wanted, in the words of the reference.
    pub(super) fn new(service: &str, env: &str) -> Result<Self, String> {
        if env.is_empty() {
            return Err("env common tag is required".to_owned());
        }
        let tags = [("service", service), ("env", env)];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self { tags: tags.into(), series: Arc::default() })
    }

    /// Sends until it is told to stop, and then once more.
    pub(super) async fn send(self, address: Address, clock: Clock, shutdown: Shutdown) {
        let mut receiver = Receiver::at(address);
        loop {
            let stopped = shutdown.unless_stopped(clock.sleep(EVERY)).await.is_none();
            receiver.send(self.packets(clock.now()).into_iter()).await;
            if stopped {
                return;
            }
        }
    }

    /// What changed since the last time.
    fn packets(&self, now: SystemTime) -> Vec<Vec<u8>> {
        let nanoseconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let nanoseconds = i64::try_from(nanoseconds).unwrap_or(i64::MAX);
        let mut packets = Vec::new();
        let mut batch = Batch::default();
        for metric in self.series().iter().flat_map(|series| series.changed(nanoseconds)) {
            if batch.length() + metric.len() + self.overhead() > PACKET && batch.count > 0 {
                packets.push(std::mem::take(&mut batch).message(&self.tags));
            }
            batch.add(&metric);
        }
        if batch.count > 0 {
            packets.push(batch.message(&self.tags));
        }
        packets
    }

    fn overhead(&self) -> usize {
        Batch::default().message(&self.tags).len()
    }

    fn series(&self) -> MutexGuard<'_, Vec<Reported>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for M3 {
    fn open(&self, series: &Series) -> Box<dyn Cell> {
        let buckets = |bounds: &'static [(f64, &'static str)]| Values::Buckets {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
        };
        let values = match series.kind {
            Kind::Counter => Values::Counter(Arc::default()),
            Kind::Gauge => Values::Gauge(Arc::default()),
            Kind::Sample if series.is_timer() => buckets(&TIMES),
            Kind::Sample => buckets(&VALUES),
        };
        let (name, tags) = (series.key().replace('.', "_"), series.labels.clone());
        self.series().push(Reported { name, tags, values: values.clone() });
        Box::new(values)
    }

    /// The reference puts the kind into names here, and filters before it takes it out again.
    fn filtered_as(&self, series: &Series) -> String {
        let kind = match series.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Sample if series.is_timer() => "timer",
            Kind::Sample => "sample",
        };
        let (prefix, key) = series.name.split_at(series.prefix);
        format!("{prefix}{kind}.{key}")
    }
}

impl Cell for Values {
    fn take(&self, value: f64) {
        match self {
            Self::Counter(count) => {
                count.fetch_add(value as u64, Ordering::Relaxed);
            }
            Self::Gauge(gauge) => {
                gauge.0.store(value.to_bits(), Ordering::Relaxed);
                gauge.1.store(true, Ordering::Release);
            }
            Self::Buckets { bounds, counts } => {
                // The reference counts times in whole milliseconds.
                let value = if bounds.len() == TIMES.len() { value.trunc() } else { value };
                let at = bounds.partition_point(|(bound, _)| *bound < value);
                if let Some(count) = counts.get(at) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

impl Reported {
    /// What there is to send, encoded.
    fn changed(&self, at: i64) -> Vec<Vec<u8>> {
        let Self { name, tags, values } = self;
        match values {
            Values::Counter(count) => match count.swap(0, Ordering::Relaxed) {
                0 => Vec::new(),
                count => vec![metric(name, Sent::Count(count), at, tags)],
            },
            Values::Gauge(gauge) => match gauge.1.swap(false, Ordering::Acquire) {
                false => Vec::new(),
                true => vec![metric(name, Sent::Gauge(f64::from_bits(gauge.0.load(Ordering::Relaxed))), at, tags)],
            },
            Values::Buckets { bounds, counts } => {
                let counted = counts.iter().map(|count| count.swap(0, Ordering::Relaxed)).enumerate();
                let bound = |bucket: usize| bounds.get(bucket).map_or("infinity", |(_, written)| written);
                counted
                    .filter(|(_, count)| *count > 0)
                    .map(|(bucket, count)| {
                        let below = bucket.checked_sub(1).map_or("-infinity", bound);
                        let more = [
                            ("bucketid".to_owned(), format!("{bucket:04}")),
                            ("bucket".to_owned(), format!("{below}-{}", bound(bucket))),
                        ];
                        let tags: Vec<_> = tags.iter().cloned().chain(more).collect();
                        metric(name, Sent::Count(count), at, &tags)
                    })
                    .collect()
            }
        }
    }
}

enum Sent {
    Count(u64),
    Gauge(f64),
}

/// Types of fields in Thrift's compact protocol.
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;
/// The end of a struct.
const STOP: u8 = 0;

/// Each field is told by how far its number is from the last one's, which is always one here.
const fn next(kind: u8) -> u8 {
    0x10 | kind
}

fn metric(name: &str, value: Sent, at: i64, tags: &[(String, String)]) -> Vec<u8> {
    let (kind, count, gauge) = match value {
        Sent::Count(count) => (1, i64::try_from(count).unwrap_or(i64::MAX), 0.0),
        Sent::Gauge(gauge) => (2, 0, gauge),
    };
    let mut bytes = vec![next(BINARY)];
    text(&mut bytes, name);
    bytes.extend([next(STRUCT), next(I32)]);
    integer(&mut bytes, kind);
    bytes.push(next(I64));
    integer(&mut bytes, count);
    bytes.push(next(DOUBLE));
    bytes.extend(gauge.to_le_bytes());
    bytes.push(next(I64));
    integer(&mut bytes, 0);
    bytes.extend([STOP, next(I64)]);
    integer(&mut bytes, at);
    if !tags.is_empty() {
        bytes.push(next(LIST));
        list(&mut bytes, tags);
    }
    bytes.push(STOP);
    bytes
}

#[derive(Default)]
struct Batch {
    count: usize,
    metrics: Vec<u8>,
}

impl Batch {
    fn length(&self) -> usize {
        self.metrics.len()
    }

    fn add(&mut self, metric: &[u8]) {
        self.count += 1;
        self.metrics.extend_from_slice(metric);
    }

    /// A call that wants no answer.
    fn message(self, tags: &[(String, String)]) -> Vec<u8> {
        let mut bytes = vec![0x82, 0x81, 0x01];
        text(&mut bytes, "emitMetricBatchV2");
        bytes.extend([next(STRUCT), next(LIST)]);
        length_of_list(&mut bytes, self.count);
        bytes.extend(self.metrics);
        bytes.push(next(LIST));
        list(&mut bytes, tags);
        bytes.extend([STOP, STOP]);
        bytes
    }
}

fn list(bytes: &mut Vec<u8>, tags: &[(String, String)]) {
    length_of_list(bytes, tags.len());
    for (name, value) in tags {
        bytes.push(next(BINARY));
        text(bytes, name);
        bytes.push(next(BINARY));
        text(bytes, value);
        bytes.push(STOP);
    }
}

fn length_of_list(bytes: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short @ 0..15) => bytes.push(short << 4 | STRUCT),
        _ => {
            bytes.push(0xf0 | STRUCT);
            unsigned(bytes, length as u64);
        }
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    unsigned(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Small numbers of either sign are short.
fn integer(bytes: &mut Vec<u8>, value: i64) {
    unsigned(bytes, ((value << 1) ^ (value >> 63)) as u64);
}

/// Seven bits a byte, the lowest first.
fn unsigned(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(kind: Kind, key: &str, labels: &[(&str, &str)]) -> Series {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Series { kind, name: format!("spire_server.{key}"), prefix: "spire_server.".len(), labels }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Each part is as the reference sent it.
    #[test]
    fn a_packet_is_that_of_the_reference() {
        let m3 = M3::new("spire_server", "prod").unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_796_065_319_326_092_050);
        let ok = [("host", "vm"), ("status", "OK")];
        let ttl =
            series(Kind::Gauge, "manager.x509_ca.rotate.ttl", &[("host", "vm"), ("trust_domain_id", "example_org")]);
        m3.open(&ttl).take(86399.46875);
        m3.open(&series(Kind::Counter, "svid.rotate", &ok)).take(1.0);
        m3.open(&series(Kind::Sample, "datastore.registration_entry.list.elapsed_time", &ok)).take(10.9);
        m3.open(&series(Kind::Sample, "datastore.registration_entry.list.elapsed_time", &ok)).take(11.0);
        let packets = m3.packets(at);
        let list = |bucket: &str| {
            format!(
                "182e6461746173746f72655f726567697374726174696f6e5f656e7472795f6c6973745f656c61707365645f74696d651c150216\
                 0217000000000000000016000016a4aca4fd8af9f3ec31194c1804686f73741802766d00180673746174757318024f4b001808\
                 6275636b657469641804{bucket}0000"
            )
        };
        let expected = [
            "82810111656d69744d6574726963426174636856321c194c",
            "181a6d616e616765725f783530395f63615f726f746174655f74746c1c150416001700000080f717f54016000016a4aca4fd8af9f3ec\
             31192c1804686f73741802766d00180f74727573745f646f6d61696e5f6964180b6578616d706c655f6f72670000",
            "180b737669645f726f746174651c1502160217000000000000000016000016a4aca4fd8af9f3ec31192c1804686f73741802766d0018\
             0673746174757318024f4b0000",
            // Up to ten milliseconds, then up to 25.
            &list("303030310018066275636b65741806302d31306d73"),
            &list("303030320018066275636b6574180931306d732d32356d73"),
            "192c180773657276696365180c73706972655f736572766572001803656e76180470726f64000000",
        ];
        assert_eq!(packets.iter().map(|packet| hex(packet)).collect::<Vec<_>>(), [expected.concat()]);
        assert_eq!(m3.packets(at), Vec::<Vec<u8>>::new(), "nothing has changed since");
    }

    #[test]
    fn what_does_not_fit_into_a_packet_is_sent_in_several() {
        let m3 = M3::new("spire_agent", "prod").unwrap();
        for at in 0..1000 {
            m3.open(&series(Kind::Counter, &format!("a.{at}"), &[("host", "a host with a long name")])).take(1.0);
        }
        let packets = m3.packets(SystemTime::UNIX_EPOCH);
        assert!(packets.len() > 1 && packets.iter().all(|packet| packet.len() <= PACKET), "{}", packets.len());
        let long = packets.iter().map(|packet| packet.windows(6).filter(|at| *at == b"a host").count());
        assert_eq!(long.sum::<usize>(), 1000);
    }

    #[test]
    fn an_environment_is_wanted() {
        assert_eq!(M3::new("spire_server", "").err().as_deref(), Some("env common tag is required"));
    }

    #[test]
    fn filters_see_the_kind_of_a_value() {
        let m3 = M3::new("spire_server", "prod").unwrap();
        let filtered = |kind, key: &str| m3.filtered_as(&series(kind, key, &[]));
        assert_eq!(filtered(Kind::Counter, "svid.rotate"), "spire_server.counter.svid.rotate");
        assert_eq!(filtered(Kind::Sample, "svid.rotate.elapsed_time"), "spire_server.timer.svid.rotate.elapsed_time");
        assert_eq!(filtered(Kind::Sample, "a"), "spire_server.sample.a");
    }
}
