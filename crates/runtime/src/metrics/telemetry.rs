//! The measurements of a daemon, from the section `telemetry` of its file to those who want them.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use steeple_config::telemetry;

use super::in_memory::InMemory;
use super::m3::M3;
use super::naming::Naming;
use super::prometheus::Prometheus;
use super::pushed::Pushed;
use super::receiver::Address;
use super::recorder::{Recorder, Sink};
use super::statsd::{Dialect, Lines};
use super::{gauge, gauge_of, process};
use crate::os::host_name;
use crate::signals::{Sent, Signals};
use crate::{Clock, Shutdown};

const UPTIME_EVERY: Duration = Duration::from_secs(10);
const RUNTIME_EVERY: Duration = Duration::from_secs(1);

/// Why measurements cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// There is no such address, in Go's words.
    #[error("{0}")]
    Address(String),
    /// A key is missing.
    #[error("{0}")]
    Incomplete(String),
    /// Another daemon of this process takes them.
    #[error("measurements of this process are taken by another part of it")]
    Taken,
}

/// Who is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// What its names begin with, if the file says nothing else: `spire_server`.
    pub service: &'a str,
    /// Its trust domain.
    pub trust_domain: &'a str,
    /// Whether its measurements are sent to a collector of OpenTelemetry, which the section does not say.
    pub is_pushed: bool,
}

/// Measurements on their way. Without a sink none are taken, and this is empty.
#[derive(Default)]
pub struct Telemetry {
    prometheus: Option<Prometheus>,
    pushed: Option<Pushed>,
    in_memory: Option<InMemory>,
    lines: Vec<(Lines, Address)>,
    m3: Vec<(M3, Address)>,
}

/// All that has been measured, for whoever scrapes it. Cheap to clone.
#[derive(Clone)]
pub struct Scraped(Prometheus);

impl Telemetry {
    /// Takes measurements from now on, for the whole process, where the file asks for a sink.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub async fn start(
        config: &telemetry::Telemetry,
        measured: Measured<'_>,
        clock: &Clock,
    ) -> Result<Self, TelemetryError> {
        let mut started = Self::default();
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        for telemetry::Address { address } in &config.dog_statsd {
            let lines = Lines::new(Dialect::DogStatsd);
            sinks.push(Box::new(lines.clone()));
            started.lines.push((lines, found(address).await?));
        }
        if config.in_mem.is_some() {
            let kept = InMemory::new(clock.clone());
            sinks.push(Box::new(kept.clone()));
            started.in_memory = Some(kept);
        }
        if config.prometheus.is_some() {
            let all = Prometheus::new(clock.clone());
            sinks.push(Box::new(all.clone()));
            started.prometheus = Some(all);
        }
        for telemetry::Address { address } in &config.statsd {
            let lines = Lines::new(Dialect::Statsd);
            sinks.push(Box::new(lines.clone()));
            started.lines.push((lines, Address::Name(address.clone())));
        }
        for telemetry::M3 { address, env } in &config.m3 {
            let address = found(address).await?;
            let m3 = M3::new(measured.service, env).map_err(TelemetryError::Incomplete)?;
            sinks.push(Box::new(m3.clone()));
            started.m3.push((m3, address));
        }
        if measured.is_pushed {
            let all = Pushed::default();
            sinks.push(Box::new(all.clone()));
            started.pushed = Some(all);
        }
        if !sinks.is_empty() {
            let naming = Naming::new(config, measured.service, measured.trust_domain, &host_name());
            let installed = metrics::set_global_recorder(Recorder::new(naming, sinks));
            installed.map_err(|_| TelemetryError::Taken)?;
            let labels = [("version", crate::COMPATIBLE), ("trust_domain_id", measured.trust_domain)];
            gauge_of("started", &labels, 1.0);
        }
        Ok(started)
    }

    /// What is to be scraped, if the file asks for that.
    pub fn scraped(&self) -> Option<Scraped> {
        self.prometheus.clone().map(Scraped)
    }

    /// What is to be sent to a collector of OpenTelemetry, if it is.
    pub fn pushed(&self) -> Option<Pushed> {
        self.pushed.clone()
    }

    /// Whether anybody wants measurements.
    pub fn measures(&self) -> bool {
        let Self { prometheus, pushed, in_memory, lines, m3 } = self;
        prometheus.is_some() || pushed.is_some() || in_memory.is_some() || !lines.is_empty() || !m3.is_empty()
    }

    /// Measures the process itself, and sends, until it is told to stop; then it sends what there is. At SIGUSR1 what is kept
    /// in memory goes to the log.
    pub async fn run(self, clock: Clock, signals: Signals, shutdown: Shutdown) {
        if !self.measures() {
            return;
        }
        let Self { prometheus: _, pushed: _, in_memory, lines, m3 } = self;
        let mut parts: Vec<BoxFuture<'static, ()>> = Vec::new();
        parts.extend(lines.into_iter().map(|(lines, to)| lines.send(to, clock.clone(), shutdown.clone()).boxed()));
        parts.extend(m3.into_iter().map(|(m3, to)| m3.send(to, clock.clone(), shutdown.clone()).boxed()));
        parts.extend(in_memory.map(|kept| dump_when_asked(kept, signals, shutdown.clone()).boxed()));
        parts.push(measure(clock, shutdown).boxed());
        join_all(parts).await;
    }
}

impl Scraped {
    /// The text that is scraped.
    pub fn text(&self) -> String {
        let mut text = String::new();
        process::write(&mut text);
        self.0.write(&mut text);
        text
    }
}

/// The uptime at once and every now and then, and what the runtime knows of itself.
async fn measure(clock: Clock, shutdown: Shutdown) {
    let started = Instant::now();
    let uptime = async {
        loop {
            gauge("uptime_in_ms", started.elapsed().as_millis() as f64);
            clock.sleep(UPTIME_EVERY).await;
        }
    };
    let runtime = async {
        let metrics = tokio::runtime::Handle::current().metrics();
        loop {
            clock.sleep(RUNTIME_EVERY).await;
            process::measure(metrics.num_alive_tasks());
        }
    };
    shutdown.unless_stopped(async { tokio::join!(uptime, runtime) }).await;
}

async fn dump_when_asked(kept: InMemory, mut signals: Signals, shutdown: Shutdown) {
    while let Some(sent) = shutdown.unless_stopped(signals.next()).await {
        if sent == Sent::Reconfigure {
            kept.dump();
        }
    }
}

async fn found(address: &str) -> Result<Address, TelemetryError> {
    Address::find(address).await.map_err(TelemetryError::Address)
}
