//! The start of a server, from top to bottom.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use futures::FutureExt;
use steeple_catalog::load::{LoadError, ServerBuiltIns, ServerPlugins};
use steeple_catalog::{Host, IdentityProvider, PluginError};
use steeple_config::sections::REQUIRE_PQ_KEM;
use steeple_datastore::{DataStore, Error as StoreError, Feed};
use steeple_runtime::logging::{Log, with_fields};
use steeple_runtime::metrics::{Measured, Telemetry, TelemetryError, measure};
use steeple_runtime::os::reason;
use steeple_runtime::signals::Signals;
use steeple_runtime::tasks::{Cause, PartFailed, Parts as Tasks};
use steeple_runtime::trace::Tracer;
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::{Certificate, TrustDomain};
use steeple_transport::listen::{Port, refuse_used};
use steeple_transport::otlp::{Export, OtlpError, Sender};
use steeple_transport::profiling;
use steeple_transport::scrape::{self, ScrapeError, Spiffe};
use steeple_transport::tls::KeyExchange;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::api::Parts;
use crate::api::store::Told;
use crate::authpolicy::{PolicyError, Rules};
use crate::ca::authorities::{self, Authorities};
use crate::ca::sign::Signing;
use crate::ca::{Ca, CaError, Composers, Orders, Rotation};
use crate::config::Config;
use crate::endpoints::{Endpoints, EndpointsError, Listen};
use crate::entries::{Figures, Follower, Index, Loading};
use crate::freshness::Freshness;
use crate::health::{self, Looks};
use crate::inventory::{Inventory, InventoryError};
use crate::owner;
use crate::prune::Pruning;
use crate::publishing::Publishing;
use crate::reload::{self, Reload, Reread};
use crate::settings::Settings;
use crate::svid::{SvidError, SvidRotation};

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory is not to be had.
    #[error("mkdir {path}: {}", reason(error))]
    DataDir {
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The datastore failed.
    #[error(transparent)]
    DataStore(#[from] StoreError),
    /// The database is another trust domain's.
    #[error(
        "a registration entry with trust domain '{found}' has been detected, which does not match the configured trust \
         domain of '{configured}'. If you want to change the trust domain, please delete all existing registration entries"
    )]
    OtherTrustDomain {
        /// The entry's.
        found: String,
        /// The configuration's.
        configured: String,
    },
    /// The inventory cannot be gone on with.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
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
    /// What there was of authorities cannot be taken up.
    #[error(transparent)]
    Journal(CaError),
    /// The first authorities could not be made.
    #[error("unable to prepare the server's authorities: {0}")]
    Authorities(#[from] CaError),
    /// The server's own SVID could not be made.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// The policy cannot be used.
    #[error("unable to obtain authpolicy engine: {0}")]
    Policy(#[from] PolicyError),
    /// The server cannot listen.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
}

/// What the process gives to its server.
pub struct Process {
    /// Where the server logs.
    pub log: Log,
    /// Its time.
    pub clock: Clock,
    /// What the process is sent.
    pub signals: Signals,
    /// Reads the configuration again.
    pub reread: Reread,
    /// When it stops.
    pub shutdown: Shutdown,
}

impl Process {
    /// Of a server that was not started from a file, and is sent no signals.
    pub fn without_file(log: Log, clock: Clock, shutdown: Shutdown) -> Self {
        let reread: Reread = Arc::new(|| Err("this server was not started from a file".to_owned()));
        Self { log, clock, signals: Signals::none(), reread, shutdown }
    }
}

/// Runs a server until it is told to stop.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: Config, built_ins: &ServerBuiltIns, process: Process) -> Result<(), PartFailed<RunError>> {
    let not_started = |error| PartFailed { part: "start", cause: Cause::Error(error) };
    // Before a database is migrated: whoever runs it today must be able to go on.
    built_ins.cover(&config.plugins).map_err(|error| not_started(error.into()))?;
    let (opened, export) = open(&config, &process.log, &process.clock).await.map_err(not_started)?;
    let (store, inventory) = (opened.store.clone(), opened.inventory.clone());
    let ended = Box::pin(with_plugins(config, built_ins, opened, process)).await;
    // Nothing is signed any more.
    inventory.close().await;
    debug!(target: "catalog", "Closing DataStore");
    store.close().await;
    info!(target: "catalog", "DataStore closed");
    export.close().await;
    ended
}

/// What a server has of its host.
struct Opened {
    telemetry: Telemetry,
    tracer: Option<Tracer>,
    port: Port,
    store: DataStore,
    inventory: Inventory,
}

/// Prepares the host, and opens what is stored.
async fn open(config: &Config, log: &Log, clock: &Clock) -> Result<(Opened, Export), RunError> {
    // Before anything listens: how many connections there can be follows from it.
    steeple_runtime::os::raise_open_files();
    if let Some((old, new)) = steeple_runtime::os::restrict_umask(0o027) {
        warn!("Current umask 0{old:03o} is too permissive; setting umask 0{new:03o}");
    }
    let admin_ids: Vec<_> = config.admin_ids.iter().map(ToString::to_string).collect();
    with_fields(vec![("admin_ids".into(), admin_ids.into())], || {
        info!(
            data_dir = %config.data_dir.display(),
            launch_log_level = %log.launch_level(),
            version = steeple_runtime::COMPATIBLE,
            "Configured"
        );
    });
    if config.key_exchange == KeyExchange::RequirePostQuantum {
        debug!("{REQUIRE_PQ_KEM}");
    }
    let trust_domain = config.trust_domain.name();
    let is_pushed = config.otlp.as_ref().is_some_and(|otlp| otlp.interval.is_some());
    let measured = Measured { service: "spire_server", trust_domain, is_pushed };
    let telemetry = Telemetry::start(&config.telemetry, measured, clock).await?;
    let export = match &config.otlp {
        Some(otlp) => {
            let sender = Sender { program: "steeple-server", trust_domain };
            Export::start(otlp, sender, &telemetry, clock.clone())?
        }
        None => Export::none(clock.clone()),
    };
    // Before anything is written: whoever starts a second server by mistake is told about the one that runs.
    refuse_used(&config.socket_path).await.map_err(EndpointsError::Listen)?;
    let port = Port::claim(config.bind_address).map_err(EndpointsError::Listen)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&config.data_dir)
        .map_err(|error| RunError::DataDir { path: config.data_dir.clone(), error })?;
    let store = DataStore::open(config.datastore.clone(), clock.clone()).await?;
    info!(target: "catalog", reconfigurable = config.datastore_is_in_file, "Configured DataStore");
    let inventory = match config.inventory.clone() {
        Some(inventory) => Inventory::start(inventory, &config.data_dir, clock.clone()).await,
        None => Ok(Inventory::default()),
    };
    match inventory {
        Ok(inventory) => {
            let tracer = export.tracer.clone();
            Ok((Opened { telemetry, tracer, port, store, inventory }, export))
        }
        Err(error) => {
            store.close().await;
            Err(error.into())
        }
    }
}

async fn with_plugins(
    config: Config,
    built_ins: &ServerBuiltIns,
    opened: Opened,
    process: Process,
) -> Result<(), PartFailed<RunError>> {
    let not_started = |error| PartFailed { part: "start", cause: Cause::Error(error) };
    let host = Host::new(process.clock.clone());
    owner::check(&opened.store, &config.trust_domain).await.map_err(not_started)?;
    let plugins = steeple_catalog::load::server(&config.plugins, built_ins, &config.trust_domain, &host);
    let plugins = plugins.map_err(|error| not_started(error.into()))?;
    let loaded = plugins.loaded.clone();
    let start = start(config, plugins, host, opened, process);
    let ended = match Box::pin(start).await {
        Ok(tasks) => {
            debug!(target: "health", "Initializing health checkers");
            let ended = tasks.join().await;
            debug!(target: "health", "Finishing health checker");
            ended
        }
        Err(error) => Err(not_started(error)),
    };
    loaded.close();
    ended
}

async fn start(
    config: Config,
    plugins: ServerPlugins,
    host: Host,
    opened: Opened,
    process: Process,
) -> Result<Tasks<RunError>, RunError> {
    let Process { log, clock, signals, reread, shutdown } = process;
    let ServerPlugins {
        key_manager,
        node_attestors,
        upstream_authority,
        credential_composers,
        bundle_publishers,
        loaded,
    } = plugins;
    let Opened { telemetry, tracer, port, store, inventory } = opened;
    let trust_domain = config.trust_domain;
    let health = health::unknown(clock.clone());

    // What signs.
    let signing = Signing::default();
    let x509_key_type = config.ca.x509_key_type;
    let composers = Composers::new(credential_composers);
    let signs = authorities::Plugins { keys: key_manager, upstream: upstream_authority, composers: composers.clone() };
    let authorities =
        Authorities::load(trust_domain.clone(), config.ca, signs, store.clone(), clock.clone(), signing.clone());
    let authorities = authorities.await.map_err(RunError::Journal)?;
    let rotation = Rotation::start(authorities, clock.clone(), health.clone()).await?;
    let ca = Ca::new(signing, config.lifetimes, config.jwt_issuer, clock.clone());
    let ca = Arc::new(ca.with_wit_issuer(config.wit_issuer).with_composers(composers).with_inventory(inventory));
    let (svid_rotation, credential) =
        SvidRotation::start(&trust_domain, x509_key_type, Arc::clone(&ca), clock.clone()).await?;

    // What is authorized.
    let policy = Rules::load(&config.policy)?;
    info!(target: "endpoints", "Building in-memory entry cache");
    let mut feed = store.feed().comparing_every(config.compare_every);
    let (differences, found) = watch::channel(0);
    let told_of_store = Told { feed: feed.status(), differences: found };
    let freshness = Freshness::new(feed.status(), clock.clone(), config.max_staleness);
    let loading = measure("entry.cache.reload", Loading::read(&mut feed, &trust_domain)).await?;
    let index = Arc::new(Index::new(loading));
    info!(target: "endpoints", "Completed building in-memory entry cache");

    host.provide_identity(Arc::new(Own { trust_domain: trust_domain.clone(), index: Arc::clone(&index) }));

    // How it is.
    let looks = Looks {
        trust_domain: trust_domain.clone(),
        store: store.clone(),
        ca: Arc::clone(&ca),
        freshness: freshness.clone(),
        socket: config.socket_path.clone(),
        clock: clock.clone(),
        health: health.clone(),
    };

    let spiffe = Spiffe {
        credential: credential.clone(),
        authorities: {
            let index = Arc::clone(&index);
            Arc::new(move |trust_domain| index.bundle(trust_domain.name()).map(|it| Arc::clone(&it.authorities)))
        },
        key_exchange: config.key_exchange,
    };
    let scraped = scrape::Listener::of(&config.telemetry, &telemetry, spiffe, clock.clone())?;

    // Where it can be reached.
    let orders = rotation.orders();
    let parts = Parts {
        trust_domain: trust_domain.clone(),
        store: store.clone(),
        index: Arc::clone(&index),
        ca,
        orders: orders.clone(),
        freshness: freshness.clone(),
        clock: clock.clone(),
    };
    let settings = Settings::new(config.admin_ids, policy, config.rate_limits, config.key_exchange, &clock);
    let reload = Reload::new(reload::Parts {
        reread,
        stated: config.stated,
        settings: settings.clone(),
        log: log.clone(),
        loaded,
        trust_domain: trust_domain.clone(),
        host,
        health: health.clone(),
    });
    let listen = Listen {
        port,
        socket: config.socket_path,
        audit: config.audit_log_enabled,
        settings,
        node_attestors: node_attestors.into(),
        agent_id_as_selector: config.agent_id_as_selector,
        credential,
        proxies: config.proxies,
        connection_age: config.connection_age,
        told_of_store,
        reload: reload.clone(),
        tracer,
    };
    info!(launch_log_level = %log.launch_level(), "Logger service configured");
    let endpoints = Endpoints::bind(listen, parts).await?;

    // From here on all parts run together.
    let pruning = Pruning::new(
        store.clone(),
        trust_domain.clone(),
        clock.clone(),
        config.prune_events_older_than,
        config.prune_nodes,
    );
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.start("freshness", part(freshness.watch(shutdown.clone())));
    if telemetry.measures() {
        let figures = Figures { index: Arc::clone(&index), feed: feed.status(), clock: clock.clone() };
        tasks.start("figures", figures.run(shutdown.clone()).map(Ok));
    }
    if !bundle_publishers.is_empty() {
        let (publishers, index, clock) = (bundle_publishers, Arc::clone(&index), clock.clone());
        let publishing = Publishing { publishers, trust_domain, index, clock };
        tasks.start("bundle publishing", publishing.run(shutdown.clone()).map(Ok));
    }
    let follower = Follower::new(index, store, clock.clone());
    tasks.start("feed", follow(feed, follower, orders, differences, shutdown.clone()));
    tasks.start("CA rotation", part(rotation.run(shutdown.clone())));
    tasks.start("SVID rotation", part(svid_rotation.run(shutdown.clone())));
    tasks.start("reconfiguration", reload.run(signals.clone(), shutdown.clone()).map(Ok));
    tasks.start("pruning", part(pruning.run(shutdown.clone())));
    tasks.start("health checks", looks.run(shutdown.clone()).map(Ok));
    tasks.start("telemetry", telemetry.run(clock.clone(), signals, shutdown.clone()).map(Ok));
    if let Some(listener) = scraped {
        tasks.start("Prometheus listener", listener.serve(clock.clone(), shutdown.clone()).map(Ok));
    }
    if let Some(wanted) = config.profiling {
        tasks.start("profiling", profiling::run(wanted, "server", clock.clone(), shutdown.clone()).map(Ok));
    }
    if let Some(place) = config.health {
        tasks
            .start("health listener", steeple_transport::health::serve(place, health, clock, shutdown.clone()).map(Ok));
    }
    tasks.start("endpoints", part(endpoints.run(shutdown, log)));
    Ok(tasks)
}

/// The authorities as the server verifies agents with them, for plugins.
struct Own {
    trust_domain: TrustDomain,
    index: Arc<Index>,
}

impl IdentityProvider for Own {
    fn x509_authorities(&self) -> Result<Arc<[Certificate]>, PluginError> {
        let bundle = self.index.bundle(self.trust_domain.name());
        bundle.map(|bundle| Arc::clone(&bundle.authorities)).ok_or_else(|| PluginError::unavailable("no bundle yet"))
    }
}

async fn part<E: Into<RunError>>(run: impl Future<Output = Result<(), E>>) -> Result<(), RunError> {
    run.await.map_err(Into::into)
}

/// Feeds the index, and nobody else does.
async fn follow(
    mut feed: Feed,
    mut follower: Follower,
    orders: Orders,
    differences: watch::Sender<usize>,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    while let Some(change) = shutdown.unless_stopped(feed.next()).await {
        match change {
            Ok(change) => {
                if let Some(found) = follower.take(change, &mut feed).await {
                    info!(target: "feed", differences = found, "All of the database was read and compared");
                    differences.send_replace(found);
                    orders.look();
                }
            }
            // The feed waits by itself before it tries again.
            Err(error) => error!(target: "feed", error = %error, "Failed to read changes"),
        }
    }
    debug!(target: "endpoints", "Stopping in-memory entry cache hydrator");
    feed.close().await;
    Ok(())
}
