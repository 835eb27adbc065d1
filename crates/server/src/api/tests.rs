//! The services inside their layers, over a real datastore and its feed, called without a socket. What the reference
//! answers is held by `cmd/steeple-server/tests/api`; here stands what it does not have, and what needs the time to pass.

mod agent;
mod attest;
mod audit;
mod bundle;
mod debug;
mod follow;
mod lost;
mod model;
mod requests;
mod settings;

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};

use steeple_datastore::entries::{CreateEntry, Created};
use steeple_datastore::{Entry, FeedStatus, Selector};
use steeple_pki::{KeyType, Name, PrivateKey, csr};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, CreateJoinTokenRequest, attest_agent_request, attest_agent_response,
};
use steeple_runtime::Shutdown;
use steeple_spiffe::Certificate;
use steeple_testkit::{ManualClock, MemoryKeys};
use steeple_transport::connection::{Connection, Local, PeerSvid, Remote};
use steeple_transport::rpc::{Audit, Bounds, Layers, Methods, Stack};
use steeple_transport::tls::KeyExchange;
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::service::Routes;
use tower::{Layer, Service};

use super::*;
use crate::authpolicy::{Policy, Rules, local_services};
use crate::ca::authorities::{Authorities, Plugins};
use crate::ca::sign::{Lifetimes, Signing};
use crate::ca::{CaConfig, CaSubject, Composers, Rotation};
use crate::endpoints::CONNECTION_AGE;
use crate::entries::Follower;
use crate::freshness::Freshness;
use crate::limits::RateLimits;
use crate::settings::Settings;
use crate::svid::SvidRotation;
use crate::tests::{DAY, HOUR, manual, store};

/// A server without listeners, on a database and in a time of its own.
struct Api {
    manual: ManualClock,
    served: Served,
    _dir: TempDir,
}

/// A server without listeners.
struct Served {
    store: DataStore,
    index: Arc<Index>,
    settings: Settings,
    layered: Stack<Routes>,
    shutdown: Shutdown,
}

impl Deref for Api {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

/// Calls as one caller.
#[derive(Clone)]
struct Wire {
    inner: Stack<Routes>,
    connection: Arc<Connection>,
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Stack<Routes> as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.extensions_mut().insert(Arc::clone(&self.connection));
        self.inner.call(request)
    }
}

impl Api {
    async fn new() -> Self {
        Self::with(false, true).await
    }

    /// With an audit log.
    async fn audited() -> Self {
        Self::with(true, true).await
    }

    /// With the authority of the start for ever.
    async fn without_rotation() -> Self {
        Self::with(false, false).await
    }

    async fn with(audited: bool, rotating: bool) -> Self {
        let manual = manual();
        let (store, dir) = store(&manual).await;
        Self::on(store, dir, manual, audited, rotating).await
    }

    async fn on(store: DataStore, dir: TempDir, manual: ManualClock, audited: bool, rotating: bool) -> Self {
        let mut feed = store.feed();
        let loaded = crate::entries::Loading::read(&mut feed, &trust_domain()).await.unwrap();
        let served = Served::new(store, Index::new(loaded), feed.status(), &manual.clock(), audited, rotating).await;
        let mut follower = Follower::new(Arc::clone(&served.index), served.store.clone(), manual.clock());
        tokio::spawn(async move {
            while let Ok(change) = feed.next().await {
                follower.take(change, &mut feed).await;
            }
        });
        Self { manual, served, _dir: dir }
    }
}

impl Served {
    /// Whoever makes it follows the feed, whose status this is.
    async fn new(
        store: DataStore,
        index: Index,
        feed: watch::Receiver<FeedStatus>,
        clock: &Clock,
        audited: bool,
        rotating: bool,
    ) -> Self {
        let trust_domain = trust_domain();
        let config = CaConfig {
            ttl: DAY,
            x509_key_type: KeyType::EcP256,
            jwt_key_type: KeyType::EcP256,
            wit_key_type: None,
            disable_jwt: false,
            subject: CaSubject::default(),
        };
        let signing = Signing::default();
        let keys = MemoryKeys::new().of_server();
        let authorities = Authorities::load(
            trust_domain.clone(),
            config,
            Plugins { keys, upstream: None, composers: Composers::default() },
            store.clone(),
            clock.clone(),
            signing.clone(),
        );
        let health = crate::health::unknown(clock.clone());
        let rotation = Rotation::start(authorities.await.unwrap(), clock.clone(), health).await.unwrap();
        let orders = rotation.orders();
        let shutdown = Shutdown::new();
        if rotating {
            tokio::spawn(rotation.run(shutdown.clone()));
        }
        let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR / 12, agent: HOUR, ca: DAY };
        let ca = Arc::new(Ca::new(signing, lifetimes, Some(String::new()), clock.clone()));

        // Tests let hours pass at once.
        let freshness = Freshness::new(feed, clock.clone(), DAY * 10_000);
        let index = Arc::new(index);
        let settings = Settings::new(
            Vec::new(),
            Rules::standard(),
            RateLimits { attestation: false, signing: false },
            KeyExchange::PreferPostQuantum,
            clock,
        );
        let (policy, agents) =
            Policy::new(store.clone(), Arc::clone(&index), &settings, freshness.clone(), clock.clone());
        let (_, credential) =
            SvidRotation::start(&trust_domain, KeyType::EcP256, Arc::clone(&ca), clock.clone()).await.unwrap();
        let parts = Parts {
            trust_domain,
            store: store.clone(),
            index: Arc::clone(&index),
            ca,
            orders,
            freshness,
            clock: clock.clone(),
        };
        let mut routes = Routes::builder();
        routes
            .add_service(super::agent::service(parts.clone(), attest::attestors(), false, Arc::clone(&agents)))
            .add_service(super::bundle::service(parts.clone()))
            .add_service(super::debug::service(parts.clone(), credential))
            .add_service(super::entry::service(parts.clone()))
            .add_service(super::local_authority::service(parts.clone()))
            .add_service(super::svid::service(parts.clone()))
            .add_service(super::sync::service(parts, agents, CONNECTION_AGE, shutdown.clone()));
        let methods = Methods::new(&local_services());
        let layers =
            Layers::new(methods, Arc::new(policy), settings.limits.subscribe(), Audit::new(audited), Bounds::none());
        let layered = layers.layer(routes.routes());
        Self { store, index, settings, layered, shutdown }
    }

    /// A process of this host.
    fn local(&self) -> Wire {
        self.by(Connection::Local(Local { peer: None }))
    }

    /// A network peer that shows nothing.
    fn anonymous(&self) -> Wire {
        self.by(Connection::Remote(Remote { address: ([127, 0, 0, 1], 1).into(), svid: None }))
    }

    /// A network peer that shows a certificate.
    fn showing(&self, certificate: &Certificate) -> Wire {
        let svid = Some(PeerSvid::of(certificate.clone()).unwrap());
        self.by(Connection::Remote(Remote { address: ([127, 0, 0, 1], 1).into(), svid }))
    }

    fn by(&self, connection: Connection) -> Wire {
        Wire { inner: self.layered.clone(), connection: Arc::new(connection) }
    }

    async fn token(&self, token: &str, ttl: i32) {
        let request = CreateJoinTokenRequest { token: token.to_owned(), ttl, agent_id: None };
        AgentClient::new(self.local()).create_join_token(request).await.unwrap();
    }

    /// Attests by a token; returns the SVID's certificate.
    async fn attest(&self, token: &str) -> Result<Certificate, Status> {
        self.attest_with(token, csr_of(&PrivateKey::generate(KeyType::EcP256).unwrap())).await
    }

    async fn attest_with(&self, token: &str, csr: Vec<u8>) -> Result<Certificate, Status> {
        let params = attest_agent_request::Params {
            data: Some(steeple_proto::spire::api::types::AttestationData {
                r#type: "join_token".to_owned(),
                payload: token.as_bytes().to_vec(),
            }),
            params: Some(AgentX509svidParams { csr }),
        };
        let request = AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) };
        let answers = AgentClient::new(self.anonymous()).attest_agent(tokio_stream::once(request)).await?;
        let answer = answers.into_inner().message().await?.unwrap();
        let Some(attest_agent_response::Step::Result(result)) = answer.step else { panic!("no result") };
        Ok(Certificate::from_der(&result.svid.unwrap().cert_chain[0]).unwrap())
    }

    /// A new agent.
    async fn agent(&self, token: &str) -> Certificate {
        self.token(token, 60).await;
        self.attest(token).await.unwrap()
    }

    /// An entry `id` for `/id` of an agent.
    async fn entry(&self, id: &str, agent: &Certificate) -> Entry {
        self.create(entry(id, agent)).await
    }

    /// Waits until the index has so many entries for an agent.
    async fn indexed(&self, agent: &Certificate, entries: usize) {
        let id = agent.spiffe_id().unwrap();
        let mut changes = self.index.changes_of(id.as_str());
        while self.index.authorized(id.as_str()).len() != entries {
            changes.changed().await.unwrap();
        }
    }

    async fn create(&self, entry: Entry) -> Entry {
        match self.store.write(CreateEntry { entry }).await.unwrap() {
            Created::New(entry) => entry,
            Created::Similar(_) => panic!("there is one"),
        }
    }
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn entry(id: &str, agent: &Certificate) -> Entry {
    Entry {
        entry_id: id.to_owned(),
        spiffe_id: format!("spiffe://example.org/{id}"),
        parent_id: agent.spiffe_id().unwrap().to_string(),
        selectors: vec![Selector::new("unix", "uid:0")],
        ..Entry::default()
    }
}

fn csr_of(key: &PrivateKey) -> Vec<u8> {
    let subject = Name::try_from(&steeple_pki::certificate::svid_subject()).unwrap();
    csr::build(&subject, None, &[], key).unwrap()
}
