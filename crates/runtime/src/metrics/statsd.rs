//! Each value as a line to a daemon that adds up, over UDP: in statsd's form, where labels are parts of the name, or in
//! DogStatsD's, which has tags.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::naming::{Kind, Series};
use super::receiver::{Address, Receiver};
use super::recorder::{Cell, Sink};
use crate::{Clock, Shutdown};

/// Bytes of a packet: one that fits into any frame of Ethernet.
const PACKET: usize = 1400;
/// How long lines wait for others to share a packet with.
const PAUSE: Duration = Duration::from_millis(100);
/// How long after a packet that did not go out the next one is tried.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);
/// Bytes that wait, some four thousand lines. What comes while so many wait is lost: a daemon does not wait for its figures.
const WAITING: usize = 512 << 10;
/// Bytes that do not wait for others: receivers have room for little more at once.
const ENOUGH: usize = 32 << 10;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Statsd,
    DogStatsd,
}

/// Lines for one receiver. Clones are one.
#[derive(Clone)]
pub(super) struct Lines {
    dialect: Dialect,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    lines: Mutex<Vec<u8>>,
    /// There is a line where there was none.
    some: Notify,
    /// There are more than should wait.
    enough: Notify,
}

impl Lines {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, waiting: Arc::default() }
    }

    /// Sends lines until it is told to stop, and then those that wait.
    pub(super) async fn send(self, address: Address, clock: Clock, shutdown: Shutdown) {
        let mut receiver = Receiver::at(address);
        loop {
            let stopped = shutdown.unless_stopped(self.waiting.next(&clock)).await.is_none();
            let lines = std::mem::take(&mut *self.waiting.lines());
            let sent = receiver.send(packets(&lines)).await;
            if stopped {
                return;
            }
            if !sent {
                shutdown.unless_stopped(clock.sleep(PAUSE_AFTER_ERROR)).await;
            }
        }
    }
}

impl Waiting {
    fn lines(&self) -> MutexGuard<'_, Vec<u8>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until there are lines to send.
    async fn next(&self, clock: &Clock) {
        while self.lines().is_empty() {
            self.some.notified().await;
        }
        clock.within(PAUSE, self.enough.notified()).await;
    }

    fn push(&self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        let mut lines = self.lines();
        let before = lines.len();
        if before >= WAITING {
            return;
        }
        // Nothing is written where there is no memory, and nothing else can go wrong.
        let _ = write(&mut lines);
        if before == 0 {
            self.some.notify_one();
        }
        if lines.len() >= ENOUGH && before < ENOUGH {
            self.enough.notify_one();
        }
    }
}

impl Sink for Lines {
    fn open(&self, series: &Series) -> Box<dyn Cell> {
        let unit = match series.kind {
            Kind::Counter => "c",
            Kind::Gauge => "g",
            Kind::Sample => "ms",
        };
        let (head, tail) = match self.dialect {
            Dialect::Statsd => {
                let values = series.labels.iter().map(|(_, value)| value.as_str());
                let parts: Vec<&str> = [series.name.as_str()].into_iter().chain(values).collect();
                (format!("{}:", parts.join(".").replace([':', ' '], "_")), format!("|{unit}\n"))
            }
            Dialect::DogStatsd => {
                let tags: Vec<String> = series.labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                let tags = if tags.is_empty() { String::new() } else { format!("|#{}", tags.join(",")) };
                (format!("{}:", series.name.replace([':', ' '], "_")), format!("|{unit}{tags}\n"))
            }
        };
        let has_decimals = self.dialect == Dialect::Statsd || series.kind == Kind::Sample;
        Box::new(Line { head, tail, has_decimals, waiting: Arc::clone(&self.waiting) })
    }
}

/// All of a series' lines but for the value.
struct Line {
    head: String,
    tail: String,
    /// Whether the value always has six of them.
    has_decimals: bool,
    waiting: Arc<Waiting>,
}

impl Cell for Line {
    fn take(&self, value: f64) {
        let Self { head, tail, has_decimals, waiting } = self;
        waiting.push(|lines| match has_decimals {
            true => write!(lines, "{head}{value:.6}{tail}"),
            false => write!(lines, "{head}{value}{tail}"),
        });
    }
}

/// Whole lines, as many together as fit into a packet.
fn packets(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut end = 0;
        while let Some(at) = lines[end..].iter().position(|byte| *byte == b'\n') {
            let next = end + at + 1;
            // A line that is longer than a packet goes alone.
            if next > PACKET && end > 0 {
                break;
            }
            end = next;
        }
        let (packet, rest) = lines.split_at(end);
        lines = rest;
        (!packet.is_empty()).then_some(packet)
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    fn series(kind: Kind, name: &str, labels: &[(&str, &str)]) -> Series {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Series { kind, name: name.to_owned(), prefix: 0, labels }
    }

    fn written(dialect: Dialect, series: &Series, value: f64) -> String {
        let lines = Lines::new(dialect);
        lines.open(series).take(value);
        let written = lines.waiting.lines().clone();
        String::from_utf8(written).unwrap()
    }

    /// As recorded from the reference.
    #[test]
    fn lines_are_written_as_by_the_reference() {
        let attested = series(
            Kind::Counter,
            "spire_agent.workload_api.workload_attestor",
            &[("attestor", "unix"), ("status", "OK"), ("host", "vm")],
        );
        let expires = series(
            Kind::Gauge,
            "spire_server.manager.x509_ca.rotate.expiration",
            &[("trust_domain_id", "example_org")],
        );
        let timed = series(Kind::Sample, "spire_server.svid.rotate.elapsed_time", &[("status", "OK"), ("host", "vm")]);
        let plain = series(Kind::Gauge, "spire_agent.bootstrap_seconds", &[]);
        for (series, value, statsd, dogstatsd) in [
            (
                &attested,
                1.0,
                "spire_agent.workload_api.workload_attestor.unix.OK.vm:1.000000|c\n",
                "spire_agent.workload_api.workload_attestor:1|c|#attestor:unix,status:OK,host:vm\n",
            ),
            (
                &expires,
                1_795_625_158.0,
                "spire_server.manager.x509_ca.rotate.expiration.example_org:1795625158.000000|g\n",
                "spire_server.manager.x509_ca.rotate.expiration:1795625158|g|#trust_domain_id:example_org\n",
            ),
            (
                &timed,
                0.949_411,
                "spire_server.svid.rotate.elapsed_time.OK.vm:0.949411|ms\n",
                "spire_server.svid.rotate.elapsed_time:0.949411|ms|#status:OK,host:vm\n",
            ),
            (
                &plain,
                -62_135_595_008.0,
                "spire_agent.bootstrap_seconds:-62135595008.000000|g\n",
                "spire_agent.bootstrap_seconds:-62135595008|g\n",
            ),
        ] {
            assert_eq!(written(Dialect::Statsd, series, value), statsd);
            assert_eq!(written(Dialect::DogStatsd, series, value), dogstatsd);
        }
    }

    /// A line of the file is what the reference sent of one series: as dogstatsd, where its labels can be told apart, and as
    /// statsd.
    #[test]
    fn every_recorded_series_is_written_as_it_was_sent() {
        let recorded = include_str!("../../tests/data/statsd.txt");
        for line in recorded.lines() {
            let (dogstatsd, statsd) = line.split_once(' ').unwrap();
            let (name, rest) = dogstatsd.split_once(':').unwrap();
            let (value, rest) = rest.split_once('|').unwrap();
            let (kind, labels) = rest.split_once("|#").unwrap_or((rest, ""));
            let kind = match kind {
                "c" => Kind::Counter,
                "g" => Kind::Gauge,
                "ms" => Kind::Sample,
                other => panic!("{other} is no kind"),
            };
            let labels: Vec<_> = labels.split(',').filter_map(|label| label.split_once(':')).collect();
            let series = series(kind, name, &labels);
            assert_eq!(written(Dialect::DogStatsd, &series, value.parse().unwrap()), format!("{dogstatsd}\n"));
            // That was another run.
            let value = statsd.rsplit_once(':').unwrap().1.split('|').next().unwrap();
            assert_eq!(written(Dialect::Statsd, &series, value.parse().unwrap()), format!("{statsd}\n"));
        }
        assert_eq!(recorded.lines().count(), 368);
    }

    #[test]
    fn packets_hold_whole_lines_and_a_long_line_goes_alone() {
        let line = |length: usize| format!("{}\n", "a".repeat(length - 1));
        let lines = [line(900), line(500), line(1), line(2000), line(1400), line(10)].concat();
        let lengths: Vec<usize> = packets(lines.as_bytes()).map(<[u8]>::len).collect();
        assert_eq!(lengths, [1400, 1, 2000, 1400, 10]);
    }

    #[test]
    fn lines_that_nobody_takes_are_bounded() {
        let lines = Lines::new(Dialect::Statsd);
        let cell = lines.open(&series(Kind::Counter, "a", &[]));
        (0..WAITING).for_each(|_| cell.take(1.0));
        assert!((WAITING..WAITING + PACKET).contains(&lines.waiting.lines().len()));
    }

    #[tokio::test]
    async fn lines_arrive_and_those_that_wait_at_the_end_too() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = Address::find(&receiver.local_addr().unwrap().to_string()).await.unwrap();
        let (lines, shutdown) = (Lines::new(Dialect::Statsd), Shutdown::new());
        let sending = tokio::spawn(lines.clone().send(address, Clock::system(), shutdown.clone()));
        let cell = lines.open(&series(Kind::Counter, "a", &[]));
        let mut packet = [0; 100];
        for last in [false, true] {
            cell.take(1.0);
            cell.take(2.0);
            if last {
                shutdown.stop();
            }
            let mut received = Vec::new();
            while received.len() < 26 {
                let length = receiver.recv(&mut packet).await.unwrap();
                received.extend_from_slice(&packet[..length]);
            }
            assert_eq!(received, b"a:1.000000|c\na:2.000000|c\n");
        }
        sending.await.unwrap();
    }
}
