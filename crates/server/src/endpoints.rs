//! The two listeners: TCP with TLS for agents and administrators, the admin socket for this host.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use steeple_catalog::ServerNodeAttestor;
use steeple_runtime::logging::Log;
use steeple_runtime::trace::Tracer;
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::connection::Connection;
use steeple_transport::listen::{ListenError, Port, Proxies, TlsListener, Tracking, UnixListener, UnixSocket};
use steeple_transport::rpc::{Audit, Bounds, Layers, Methods, Turns};
use steeple_transport::tls::{Admission, CredentialWatch, KeyExchange, TlsError, server_config_with};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::server::Connected;
use tracing::{debug, info};

use crate::api::{self, Parts};
use crate::authpolicy::{Agents, Policy, local_services, network_services};
use crate::entries::Index;
use crate::reload::Reload;
use crate::settings::Settings;

/// After this a connection is asked to go, so that agents spread over servers that were added, unless
/// `experimental.steeple.connection_age` says something else.
pub(crate) const CONNECTION_AGE: Duration = Duration::from_secs(180);
/// Calls that are under way at a stop get this long to end.
const DRAIN: Duration = Duration::from_secs(10);
/// And after this it is closed; or after its age once more and a half, since a stream that was opened last ends by itself a tenth
/// later than an age.
const CONNECTION_GRACE: Duration = Duration::from_secs(300);
/// How long a connection lives that is asked to go at this age.
fn lifetime(connection_age: Duration) -> Duration {
    (connection_age + CONNECTION_GRACE).max(connection_age * 5 / 2)
}

/// Calls at a time, of all peers and of one: an agent, or an address without an SVID.
const CALLS: usize = 256 << 10;
const CALLS_OF_ONE: usize = 2000;
/// Bytes of messages that are on their way.
const BYTES: usize = 128 << 20;
/// Calls that are worked on at once, those that sign and those that store each: enough for databases that answer slowly.
const AT_ONCE: usize = 128;
/// Streams of one connection.
const STREAMS: u32 = 1000;
/// Bytes of a call's metadata.
const HEADERS: u32 = 64 * 1024;
/// Bytes that a connection, or one of its calls, may send ahead of being read.
const WINDOW: u32 = 128 * 1024;

/// Where to listen, and how.
pub(crate) struct Listen {
    /// `bind_address` and `bind_port`
    pub port: Port,
    /// `socket_path`
    pub socket: PathBuf,
    /// `audit_log_enabled`
    pub audit: bool,
    /// What else can change while listening.
    pub settings: Settings,
    /// What looks at the evidence of agents.
    pub node_attestors: Arc<[ServerNodeAttestor]>,
    /// `experimental.agent_spiffe_id_as_selector`
    pub agent_id_as_selector: bool,
    /// The server's own SVID.
    pub credential: CredentialWatch,
    /// `proxy_protocol_trusted_cidrs`
    pub proxies: Proxies,
    /// `experimental.steeple.connection_age`
    pub connection_age: Duration,
    /// How far the database is read.
    pub told_of_store: api::store::Told,
    /// What reads the configuration again.
    pub reload: Reload,
    /// What begins traces, where they are wanted.
    pub tracer: Option<Tracer>,
}

/// Why the server cannot listen, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsError {
    /// A socket is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// TLS cannot be configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The gRPC server broke.
    #[error("gRPC server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// The bound listeners.
pub(crate) struct Endpoints {
    network: TlsListener,
    local: UnixListener,
    parts: Parts,
    credential: CredentialWatch,
    policy: Arc<Policy>,
    agents: Arc<Agents>,
    settings: Settings,
    audit: Audit,
    node_attestors: Arc<[ServerNodeAttestor]>,
    agent_id_as_selector: bool,
    connection_age: Duration,
    told_of_store: api::store::Told,
    reload: Reload,
    tracer: Option<Tracer>,
}

impl Endpoints {
    /// Binds the socket and listens on both, so that one in use is known before any part runs.
    ///
    /// # Errors
    /// See [`EndpointsError`].
    pub(crate) async fn bind(listen: Listen, parts: Parts) -> Result<Self, EndpointsError> {
        let Listen {
            port,
            socket,
            audit,
            settings,
            node_attestors,
            agent_id_as_selector,
            credential,
            proxies,
            connection_age,
            told_of_store,
            reload,
            tracer,
        } = listen;
        let clock = parts.clock.clone();
        let (store, index, freshness) = (parts.store.clone(), Arc::clone(&parts.index), parts.freshness.clone());
        let (policy, agents) = Policy::new(store, index, &settings, freshness, clock.clone());
        let peers = Peers {
            trust_domain: parts.trust_domain.clone(),
            index: Arc::clone(&parts.index),
            admin_ids: settings.admin_ids.subscribe(),
        };
        let peers = Arc::new(peers);
        let tls = |key_exchange| {
            let (credential, peers) = (credential.clone(), Arc::clone(&peers));
            server_config_with(key_exchange, credential, peers, clock.clone()).map(Arc::new)
        };
        let (usual, post_quantum) = (tls(KeyExchange::PreferPostQuantum)?, tls(KeyExchange::RequirePostQuantum)?);
        let key_exchange = settings.key_exchange.subscribe();
        let tls = move || match *key_exchange.borrow() {
            KeyExchange::PreferPostQuantum => Arc::clone(&usual),
            KeyExchange::RequirePostQuantum => Arc::clone(&post_quantum),
        };
        // The socket first: whoever starts a second server by mistake is told about the one that runs.
        let tracking = if audit { Tracking::On } else { Tracking::Off };
        let local =
            UnixListener::bind(UnixSocket { path: socket, directory_mode: 0o750, mode: 0o770, tracking }).await?;
        let network = TlsListener::on(port, tls, proxies, Some(lifetime(connection_age)), clock)?;
        Ok(Self {
            network,
            local,
            parts,
            credential,
            policy: Arc::new(policy),
            agents,
            settings,
            audit: Audit::new(audit),
            node_attestors,
            agent_id_as_selector,
            connection_age,
            told_of_store,
            reload,
            tracer,
        })
    }

    /// Serves both until it is told to stop.
    ///
    /// # Errors
    /// [`EndpointsError::Serve`].
    pub(crate) async fn run(self, shutdown: Shutdown, log: Log) -> Result<(), EndpointsError> {
        let Self {
            network,
            local,
            parts,
            credential,
            policy,
            agents,
            settings,
            audit,
            node_attestors,
            agent_id_as_selector,
            connection_age,
            told_of_store,
            reload,
            tracer,
        } = self;
        debug!(target: "endpoints", "Initializing API endpoints");
        info!(target: "endpoints", address = %network.address(), network = "tcp", "Starting Server APIs");
        info!(target: "endpoints", address = %local.path().display(), network = "unix", "Starting Server APIs");
        let clock = parts.clock.clone();
        let layers = |services: &[_], bounds| {
            let (policy, limits) = (Arc::clone(&policy) as _, settings.limits.subscribe());
            Layers::new(Methods::new(services), policy, limits, audit.clone(), bounds).traced(tracer.clone())
        };
        // Whoever may open the admin socket may do everything.
        let (bounded, unbounded) = (Bounds::new(CALLS, CALLS_OF_ONE, BYTES), Bounds::none());
        let shared = || {
            let mut routes = Routes::builder();
            routes
                .add_service(api::agent::service(
                    parts.clone(),
                    Arc::clone(&node_attestors),
                    agent_id_as_selector,
                    Arc::clone(&agents),
                ))
                .add_service(api::bundle::service(parts.clone()))
                .add_service(api::entry::service(parts.clone()))
                .add_service(api::svid::service(parts.clone()))
                .add_service(api::trust_domain::service(parts.clone()))
                .add_service(api::local_authority::service(parts.clone()))
                .add_service(api::sync::service(parts.clone(), Arc::clone(&agents), connection_age, shutdown.clone()));
            routes
        };
        let told = [network.address().to_string(), local.path().display().to_string()];
        let [tcp, unix] = &told;
        let network_routes = shared().routes();
        let mut local_routes = shared();
        local_routes
            .add_service(api::health::service(parts.trust_domain.clone(), parts.store.clone(), clock.clone()))
            .add_service(api::logger::service(log))
            .add_service(api::store::service(told_of_store, parts.store.clone(), clock.clone()))
            .add_service(api::configuration::service(reload))
            .add_service(api::debug::service(parts.clone(), credential));
        let over_network = serve(
            ("tcp", tcp),
            network,
            network_routes,
            layers(&network_services(), bounded).in_turns(Turns::new(AT_ONCE)),
            Some(connection_age),
            &shutdown,
            &clock,
        );
        let over_socket = serve(
            ("unix", unix),
            local,
            local_routes.routes(),
            layers(&local_services(), unbounded),
            None,
            &shutdown,
            &clock,
        );
        tokio::try_join!(over_network, over_socket)?;
        Ok(())
    }
}

/// Serves one listener; calls that run at the stop may end within [`DRAIN`]. The log tells its kind and where it is.
async fn serve<C>(
    (network, address): (&str, &str),
    connections: impl Stream<Item = std::io::Result<C>> + Send,
    routes: Routes,
    layers: Layers,
    age: Option<Duration>,
    shutdown: &Shutdown,
    clock: &Clock,
) -> Result<(), EndpointsError>
where
    C: AsyncRead + AsyncWrite + Connected<ConnectInfo = Arc<Connection>> + Unpin + Send + 'static,
{
    let mut server = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADERS)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .layer(layers);
    // The time that it then gets is counted by the listener: with tonic's own, connections are cut without being asked.
    if let Some(age) = age {
        server = server.max_connection_age(age);
    }
    // What ends at once must not end unannounced.
    let announced = Shutdown::new();
    let serving = server.add_routes(routes).serve_with_incoming_shutdown(connections, announced.stopped());
    let drained = async {
        shutdown.stopped().await;
        info!(target: "endpoints", network, address, "Stopping Server APIs");
        info!(target: "endpoints", network, address, "Attempting graceful stop");
        announced.stop();
        clock.sleep(DRAIN).await;
    };
    tokio::select! {
        () = drained => {}
        served = serving => {
            served?;
            info!(target: "endpoints", network, address, "Graceful stop successful");
        }
    }
    info!(target: "endpoints", network, address, "Server APIs have stopped");
    Ok(())
}

/// Whom the TCP listener lets in: members of the trust domain, and foreign administrators that are named.
struct Peers {
    trust_domain: TrustDomain,
    index: Arc<Index>,
    admin_ids: watch::Receiver<Arc<[SpiffeId]>>,
}

impl Admission for Peers {
    fn authorities(&self, trust_domain: &TrustDomain) -> Option<Arc<[Certificate]>> {
        self.index.bundle(trust_domain.name()).map(|bundle| Arc::clone(&bundle.authorities))
    }

    fn admits(&self, id: &SpiffeId) -> bool {
        id.is_member_of(&self.trust_domain) || self.admin_ids.borrow().contains(id)
    }
}

#[cfg(test)]
mod tests {
    use steeple_transport::listen::{Tracking, UnixListener, UnixSocket};
    use steeple_transport::rpc::{Authorize, Authorized, Incoming};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tonic::Status;

    use super::*;
    use crate::authpolicy::Rules;
    use crate::limits::RateLimits;

    /// The frames of HTTP/2 (RFC 9113) that matter here.
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;

    /// Nobody may do anything.
    struct Closed;

    #[tonic::async_trait]
    impl Authorize for Closed {
        async fn authorize(&self, _: Incoming<'_>) -> Result<Authorized, Status> {
            Err(Status::permission_denied("closed"))
        }
    }

    #[tokio::test]
    async fn a_connection_is_asked_to_go_when_it_has_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let socket = UnixSocket { path: path.clone(), directory_mode: 0o750, mode: 0o770, tracking: Tracking::Off };
        let listener = UnixListener::bind(socket).await.unwrap();
        let (shutdown, clock) = (Shutdown::new(), Clock::system());
        let settings = Settings::new(
            Vec::new(),
            Rules::standard(),
            RateLimits { attestation: false, signing: false },
            KeyExchange::PreferPostQuantum,
            &clock,
        );
        let (methods, limits) = (Methods::new(&[]), settings.limits.subscribe());
        let layers = Layers::new(methods, Arc::new(Closed), limits, Audit::new(false), Bounds::none());
        let age = Some(Duration::from_millis(50));
        let serving = serve(("unix", ""), listener, Routes::builder().routes(), layers, age, &shutdown, &clock);
        let asked = async {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await.unwrap();
                let mut rest = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
                stream.read_exact(&mut rest).await.unwrap();
                if head[3] == GOAWAY {
                    return;
                }
            }
        };
        tokio::select! {
            () = asked => {}
            ended = serving => panic!("{ended:?}"),
        }
    }
}
