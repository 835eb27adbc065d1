//! The start of an agent, from top to bottom.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use steeple_catalog::load::{AgentBuiltIns, AgentPlugins, LoadError};
use steeple_catalog::node_attestor::AgentPlugin;
use steeple_catalog::{Host, KeyManager};
use steeple_config::sections::REQUIRE_PQ_KEM;
use steeple_runtime::logging::{Log, with_fields};
use steeple_runtime::metrics::{Measured, Telemetry, TelemetryError};
use steeple_runtime::os::reason;
use steeple_runtime::signals::Signals;
use steeple_runtime::tasks::{Cause, PartFailed, Parts as Tasks};
use steeple_runtime::trace::Tracer;
use steeple_runtime::{Clock, Shutdown, jitter};
use steeple_spiffe::TrustDomain;
use steeple_transport::dial::{self, Proxy, Servers};
use steeple_transport::listen::refuse_used;
use steeple_transport::otlp::{Export, OtlpError, Sender};
use steeple_transport::profiling;
use steeple_transport::scrape::{self, Authorities, ScrapeError, Spiffe};
use steeple_transport::tls::KeyExchange;
use tokio::sync::{Mutex, oneshot};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::api::{self, Admin, Debugged, Endpoint, EndpointError, Parts};
use crate::attest::{AttestError, Attestation};
use crate::cache::Cache;
use crate::config::Config;
use crate::health;
use crate::jwt::{self, JwtSvids};
use crate::log_fields::length;
use crate::mint;
use crate::rebootstrap::{NotReattestable, Rebootstrap};
use crate::rejection::{self, Rejection, erase_identity};
use crate::renewal::Renewal;
use crate::rotate::Rotation;
use crate::storage::{Storage, StorageError};
use crate::sync::{Options, Sync, SyncError};
use crate::upstream::{Place, Upstream};
use crate::workload::Attestor;

/// The first attestation is tried again after these pauses.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Why an agent did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A directory is not to be had.
    #[error("mkdir {path}: {}", reason(error))]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The agent's data are not to be had.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Measurements cannot go where the file wants them.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Measurements cannot be scraped as the file says.
    #[error(transparent)]
    Scrape(#[from] ScrapeError),
    /// Traces and measurements cannot be sent as the file says.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// A plugin was not loaded.
    #[error(transparent)]
    Plugins(#[from] LoadError),
    /// The agent has no identity.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// The agent has no identity, and what went wrong at last is not what went wrong at first: a join token that has
    /// expired, say, is told as such only once, because it is used up by then.
    #[error("{last}; at first: {first}")]
    GaveUp {
        /// The first attempt's.
        first: Box<AttestError>,
        /// The last one's.
        last: Box<AttestError>,
    },
    /// The server does not want the agent, or is another's.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// Workloads cannot reach the agent.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// `rebootstrap_mode` asks for what is not possible.
    #[error(transparent)]
    NotReattestable(#[from] NotReattestable),
    /// The first sync did not come to its end.
    #[error("the agent stopped before its first sync was complete")]
    NotSynced,
}

/// How a join token becomes a node attestor: the built-in plugin of that name.
pub type JoinToken = fn(Zeroizing<String>) -> Arc<dyn AgentPlugin>;

/// What the process gives to its agent.
pub struct Process {
    /// Where the agent logs.
    pub log: Log,
    /// Its time.
    pub clock: Clock,
    /// What the process is sent.
    pub signals: Signals,
    /// When it stops.
    pub shutdown: Shutdown,
}

/// Runs an agent until it is told to stop.
///
/// # Errors
/// See [`RunError`].
pub async fn run(
    mut config: Config,
    built_ins: &AgentBuiltIns,
    join_token: JoinToken,
    process: Process,
) -> Result<(), PartFailed<RunError>> {
    let not_started = |error| PartFailed { part: "start", cause: Cause::Error(error) };
    built_ins.cover(&config.plugins, config.join_token.is_some()).map_err(|error| not_started(error.into()))?;
    let (signals, shutdown) = (process.signals.clone(), process.shutdown.clone());
    let (opened, export) = open(&config, &process.clock).await.map_err(not_started)?;
    let token = config.join_token.take().map(join_token);
    let host = Host::new(process.clock.clone());
    let plugins = steeple_catalog::load::agent(&config.plugins, built_ins, token, &config.trust_domain, &host);
    let plugins = plugins.map_err(|error| not_started(error.into()))?;
    let loaded = plugins.loaded.clone();
    let reconfiguring = loaded.clone().run(signals, config.trust_domain.clone(), host, shutdown.clone());
    let start = start(config, plugins, opened, process);
    let ended = match shutdown.unless_stopped(Box::pin(start)).await {
        // Told to stop while starting: nothing has gone wrong.
        None => Ok(()),
        Some(Err(error)) => Err(not_started(error)),
        Some(Ok(mut started)) => {
            started.tasks.start("plugin reconfiguration", reconfiguring.map(Ok));
            started.join().await
        }
    };
    loaded.close();
    export.close().await;
    ended
}

/// What an agent has of its host.
struct Opened {
    storage: Storage,
    telemetry: Telemetry,
    tracer: Option<Tracer>,
}

struct Started {
    tasks: Tasks<RunError>,
    storage: Arc<Mutex<Storage>>,
    keys: KeyManager,
}

impl Started {
    async fn join(self) -> Result<(), PartFailed<RunError>> {
        let Self { tasks, storage, keys } = self;
        let ended = tasks.join().await;
        debug!(target: "health", "Finishing health checker");
        if let Err(PartFailed { cause: Cause::Error(error), .. }) = &ended
            && let Some(rejection) = rejection_of(error)
        {
            erase_identity(rejection, error, &mut *storage.lock().await, &keys).await;
        }
        ended
    }
}

/// Prepares the host, and reads what was kept.
async fn open(config: &Config, clock: &Clock) -> Result<(Opened, Export), RunError> {
    if config.key_exchange == KeyExchange::RequirePostQuantum {
        debug!("{REQUIRE_PQ_KEM}");
    }
    // The public directory is for everybody, so it is made before the umask is restricted.
    if let Some(directory) = config.socket_path.parent() {
        if !directory.exists() {
            info!(dir = %directory.display(), "Creating spire agent UDS directory");
        }
        create(directory.to_owned())?;
    }
    if let Some(directory) = config.admin_socket_path.as_deref().and_then(Path::parent)
        && !directory.exists()
    {
        info!(dir = %directory.display(), "Creating admin UDS directory");
    }
    // Before anything listens: how many connections there can be follows from it.
    steeple_runtime::os::raise_open_files();
    if let Some((old, new)) = steeple_runtime::os::restrict_umask(0o027) {
        warn!("Current umask 0{old:03o} is too permissive; setting umask 0{new:03o}");
    }
    info!(data_dir = %config.data_dir.display(), version = steeple_runtime::COMPATIBLE, "Starting agent");
    let trust_domain = config.trust_domain.name();
    let is_pushed = config.otlp.as_ref().is_some_and(|otlp| otlp.interval.is_some());
    let measured = Measured { service: "spire_agent", trust_domain, is_pushed };
    let telemetry = Telemetry::start(&config.telemetry, measured, clock).await?;
    let export = match &config.otlp {
        Some(otlp) => {
            Export::start(otlp, Sender { program: "steeple-agent", trust_domain }, &telemetry, clock.clone())?
        }
        None => Export::none(clock.clone()),
    };
    // Before anything is written: a second agent would renew with the keys of the one that runs.
    refuse_used(&config.socket_path).await.map_err(EndpointError::Listen)?;
    create(config.data_dir.clone())?;
    let storage = Storage::open(&config.data_dir)?;
    storage.measure();
    Ok((Opened { storage, telemetry, tracer: export.tracer.clone() }, export))
}

async fn start(
    config: Config,
    plugins: AgentPlugins,
    Opened { mut storage, telemetry, tracer }: Opened,
    process: Process,
) -> Result<Started, RunError> {
    let Process { log, clock, signals, shutdown } = process;
    let trust_domain = config.trust_domain.clone();

    // How it is. Told from the beginning, since whoever supervises it wants to know that it is starting.
    let mut tasks = Tasks::new(shutdown.clone());
    let health = health::unknown(clock.clone());
    if let Some(place) = config.health {
        let telling = steeple_transport::health::serve(place, health.clone(), clock.clone(), shutdown.clone());
        tasks.start("health listener", telling.map(Ok));
    }
    if let Some(wanted) = config.profiling {
        tasks.start("profiling", profiling::run(wanted, "agent", clock.clone(), shutdown.clone()).map(Ok));
    }
    let looks = health::watch(config.socket_path.clone(), health, clock.clone(), shutdown.clone());
    tasks.start("health checks", looks.map(Ok));

    // Who the agent is.
    let first = dial::Place { host: config.server_address, port: config.server_port };
    let place = Place {
        servers: Servers::new(first, config.server_addresses),
        proxy: Proxy::of_environment(),
        key_exchange: config.key_exchange,
    };
    let upstream = Upstream::new(trust_domain.clone(), place, clock.clone());
    let (cache, store) = Cache::new(trust_domain, config.x509_cache_size);

    // What it measures, beginning with its own attestation.
    let spiffe = Spiffe {
        credential: upstream.credential(),
        authorities: authorities(upstream.clone(), cache.clone()),
        key_exchange: config.key_exchange,
    };
    if let Some(listener) = scrape::Listener::of(&config.telemetry, &telemetry, spiffe, clock.clone())? {
        tasks.start("Prometheus listener", listener.serve(clock.clone(), shutdown.clone()).map(Ok));
    }
    tasks.start("telemetry", telemetry.run(clock.clone(), signals, shutdown.clone()).map(Ok));
    let attestation = || Attestation {
        upstream: upstream.clone(),
        keys: plugins.key_manager.clone(),
        attestor: plugins.node_attestor.clone(),
        bootstrap: config.bootstrap.clone(),
        clock: clock.clone(),
    };
    let rebootstrap = Rebootstrap { mode: config.rebootstrap_mode, delay: config.rebootstrap_delay };
    let rebootstrap = rebootstrap.check(&storage)?;
    let attested = attest(&attestation(), &mut storage, rebootstrap, &clock).await;
    if let Err(error) = &attested
        && let Some(rejection) = rejection_of(error)
    {
        erase_identity(rejection, error, &mut storage, &plugins.key_manager).await;
    }
    attested?;
    if plugins.key_manager.name() == "memory" && upstream.identity().is_some_and(|identity| !identity.reattestable) {
        warn!(
            "Node attestation is not reattestable and the 'memory' key manager is in use; if the agent process is \
             restarted, it will be unable to obtain a new SVID and will need to be manually evicted to be able to \
             re-attest."
        );
    }
    let rebootstrap = rebootstrap.check(&storage)?;
    let storage = Arc::new(Mutex::new(storage));

    // What it knows. Workloads are let in when that is complete.
    let renewal = Renewal { availability_target: config.availability_target };
    let (ready, is_ready) = oneshot::channel();
    let jwt_svids = Arc::new(JwtSvids::new(
        upstream.clone(),
        cache.clone(),
        clock.clone(),
        jwt::Options { size: config.jwt_cache_size, hit_timeout: config.jwt_hit_timeout },
    ));
    let options = Options {
        mint: mint::Options { key_type: config.workload_key_type, renewal },
        interval: config.sync_interval,
        by_stream: config.sync_by_stream,
        rebootstrap,
        jwt_svids: Arc::clone(&jwt_svids),
        tracer: tracer.clone(),
    };
    let sync = Sync::new(upstream.clone(), store, Arc::clone(&storage), clock.clone(), options, attestation(), ready);
    let keys = plugins.key_manager.clone();
    let rotation = Rotation {
        upstream: upstream.clone(),
        keys: keys.clone(),
        attestation: attestation(),
        storage: Arc::clone(&storage),
        clock: clock.clone(),
        renewal,
    };
    let debugged = Debugged {
        upstream: upstream.clone(),
        cache: cache.clone(),
        jwt_svids: Arc::clone(&jwt_svids),
        clock: clock.clone(),
    };
    let parts = Parts {
        attestor: Arc::new(Attestor::new(plugins.workload_attestors)),
        jwt_svids,
        cache,
        clock,
        tracer,
        options: api::Options {
            disabled: config.disable_workload_api,
            allow_unauthenticated_verifiers: config.allow_unauthenticated_verifiers,
            allowed_foreign_claims: config.allowed_foreign_jwt_claims,
            log_selectors: config.log_selectors,
            limits: config.rate_limits,
            own_pid: i32::try_from(std::process::id()).ok(),
        },
    };

    // From here on all parts run together.
    debug!(target: "health", "Initializing health checkers");
    let syncing = sync.run(shutdown.clone());
    tasks.start("sync", async {
        syncing.await?;
        info!(target: "manager", "Cache manager stopped");
        Ok(())
    });
    tasks.start("SVID rotation", part(rotation.run(shutdown.clone())));
    let admin = config.admin_socket_path.map(|socket| (socket, debugged, log));
    tasks.start("APIs", serve((config.socket_path, parts), admin, is_ready, shutdown));
    Ok(Started { tasks, storage, keys })
}

/// Those of the own trust domain as the agent itself verifies with them, those of others once it has them.
fn authorities(upstream: Upstream, cache: Cache) -> Authorities {
    Arc::new(move |trust_domain: &TrustDomain| {
        if trust_domain == upstream.trust_domain() {
            return Some(upstream.authorities());
        }
        cache.snapshot().bundle(trust_domain).map(|it| it.bundle.x509_certificates().cloned().collect())
    })
}

async fn part<E: Into<RunError>>(run: impl Future<Output = Result<(), E>>) -> Result<(), RunError> {
    run.await.map_err(Into::into)
}

/// Opens the sockets after the first sync: before, workloads would be told that they have no identity.
async fn serve(
    (socket, parts): (PathBuf, Parts),
    admin: Option<(PathBuf, Debugged, Log)>,
    is_ready: oneshot::Receiver<()>,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    let Some(Ok(())) = shutdown.unless_stopped(is_ready).await else {
        // Told to stop; or the sync task has ended, whose own error tells why.
        return Ok(());
    };
    let public = Endpoint::bind(socket, parts).await?;
    let admin = async {
        match admin {
            Some((socket, agent, log)) => Admin::bind(socket, agent, log).await?.run(shutdown.clone()).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(public.run(shutdown.clone()), admin)?;
    Ok(())
}

/// Tries until it succeeds, is refused for good, or patience is over.
async fn attest(
    attestation: &Attestation,
    storage: &mut Storage,
    rebootstrap: Rebootstrap,
    clock: &Clock,
) -> Result<(), RunError> {
    let give_up_at = clock.now() + rebootstrap.patience();
    let mut pause = FIRST_PAUSE;
    let mut first: Option<AttestError> = None;
    loop {
        let failed = match attestation.identity(storage).await {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        if failed.is_unknown_authority() {
            rebootstrap.while_attesting(storage, clock.now())?;
        }
        let other_first = first.take_if(|first| first.to_string() != failed.to_string());
        let told = failed.status().map_or(pause, |status| attestation.upstream.pause_after(status, pause));
        let wait = jitter(told);
        if failed.is_final() || clock.now() + wait > give_up_at {
            return Err(match other_first {
                Some(first) => RunError::GaveUp { first: Box::new(first), last: Box::new(failed) },
                None => failed.into(),
            });
        }
        with_fields(vec![length("retry_interval", wait)], || {
            let first_error = other_first.as_ref().map(tracing::field::display);
            warn!(error = %failed, first_error, "Failed to retrieve attestation result");
        });
        first = first.or(other_first).or(Some(failed));
        clock.sleep(wait).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

fn rejection_of(error: &RunError) -> Option<Rejection> {
    match error {
        RunError::Sync(SyncError::Rejected { rejection, .. }) => Some(*rejection),
        RunError::Attest(AttestError::Server { status, .. }) => rejection::of(status),
        RunError::GaveUp { last, .. } => match &**last {
            AttestError::Server { status, .. } => rejection::of(status),
            _ => None,
        },
        _ => None,
    }
}

fn create(path: PathBuf) -> Result<(), RunError> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
    made.map_err(|error| RunError::Directory { path, error })
}

#[cfg(test)]
mod tests;
