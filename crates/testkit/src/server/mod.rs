//! A server that speaks the real protocol over real TLS on loopback, and answers what a test has told it.

mod follow;
mod misbehave;
mod services;

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steeple_proto::spire::api::types;
use steeple_proto::steeple::agent::sync::v1::follow_response::Change;
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::id::on_wire;
use steeple_transport::listen::{Port, Proxies, TlsListener};
use steeple_transport::tls::{Admission, Credential, server_config};
use tokio::sync::{broadcast, watch};
use tonic::Status;
use tonic::transport::Server;

use crate::ca::{Ca, Svid};
pub use misbehave::Misbehaviour;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The server. It stops listening when it is dropped; connections that are open live on.
pub struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    credential: watch::Sender<Option<Credential>>,
    shutdown: Shutdown,
}

/// What a server answers; changed by [`FakeServer::change`].
#[derive(Debug)]
pub struct Script {
    /// The own bundle.
    pub bundle: types::Bundle,
    /// Bundles of other trust domains, by name.
    pub federated: HashMap<String, types::Bundle>,
    /// What every agent may have. Nothing is masked.
    pub entries: Vec<types::Entry>,
    /// Tokens that attest one agent each. Every other type of attestation succeeds.
    pub join_tokens: HashSet<String>,
    /// Tokens that were used, each with the public key (DER) that it goes on to answer.
    pub used_tokens: HashMap<String, Vec<u8>>,
    /// Sent one after the other to an agent that attests, before its result.
    pub challenges: Vec<Vec<u8>>,
    /// Whether agents are to attest again rather than renew.
    pub reattestable: bool,
    /// How long SVIDs of agents last.
    pub agent_ttl: Duration,
    /// How long X.509-SVIDs of workloads last.
    pub x509_ttl: Duration,
    /// How long JWT-SVIDs of workloads last.
    pub jwt_ttl: Duration,
    /// Whether it pushes changes (`steeple.agent.sync.v1`); without, the method is UNIMPLEMENTED.
    pub pushes: bool,
    /// Entries or revisions of one message of SyncAuthorizedEntries.
    pub page: usize,
    misbehaviour: HashMap<String, Misbehaviour>,
}

/// One call that came in.
#[derive(Clone, Debug)]
pub struct Called {
    /// `/spire.api.server.agent.v1.Agent/RenewAgent`
    pub method: String,
    /// Serial number of the caller's certificate, decimal; None when it showed none.
    pub serial: Option<String>,
    /// `steeple-urgency`, if it said so.
    pub urgency: Option<String>,
}

/// What the agents have done; see [`FakeServer::seen`].
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// All calls, in the order of their arrival.
    pub calls: Vec<Called>,
    /// Entry ids of the X.509-SVIDs that were signed, in order.
    pub minted: Vec<String>,
    /// Answers to challenges.
    pub responses: Vec<Vec<u8>>,
    /// Versions that agents reported.
    pub versions: Vec<String>,
    /// How many messages asked for entries, each with the ids that it asked for (Follow and SyncAuthorizedEntries).
    pub wanted: Vec<Vec<String>>,
}

struct Shared {
    /// Those that clients may be below; the last one signs.
    cas: Mutex<Vec<Arc<Ca>>>,
    clock: Clock,
    script: Mutex<Script>,
    seen: watch::Sender<Seen>,
    pushes: broadcast::Sender<Pushed>,
}

#[derive(Clone)]
enum Pushed {
    Change(Change),
    /// The stream's end; None is OK.
    End(Option<Status>),
}

impl FakeServer {
    /// Listens on a free port of 127.0.0.1, with an SVID of `ca`. It believes clients of the CA's trust domain.
    pub async fn start(ca: Arc<Ca>, clock: Clock) -> Self {
        let script = Script {
            bundle: ca.api_bundle(),
            federated: HashMap::new(),
            entries: Vec::new(),
            join_tokens: HashSet::new(),
            used_tokens: HashMap::new(),
            challenges: Vec::new(),
            reattestable: false,
            agent_ttl: HOUR,
            x509_ttl: HOUR,
            jwt_ttl: HOUR / 12,
            pushes: true,
            page: 500,
            misbehaviour: HashMap::new(),
        };
        let now = clock.now();
        let svid = ca.svid("/spire/server", now - HOUR..now + HOUR * 24 * 365);
        let (credential, shown) = watch::channel(Some(svid.credential()));
        let shared = Arc::new(Shared {
            cas: Mutex::new(vec![ca]),
            clock: clock.clone(),
            script: Mutex::new(script),
            seen: watch::Sender::new(Seen::default()),
            pushes: broadcast::Sender::new(64),
        });
        let tls = server_config(shown, Arc::new(Everybody(Arc::clone(&shared))), clock.clone()).unwrap();
        let (port, tls) = (Port::claim((Ipv4Addr::LOCALHOST, 0).into()).unwrap(), Arc::new(tls));
        let listener = TlsListener::on(port, move || Arc::clone(&tls), Proxies::default(), None, clock).unwrap();
        let address = listener.address();
        let shutdown = Shutdown::new();
        let routes = services::routes(&shared);
        let serving = Server::builder()
            .layer(misbehave::Layer(Arc::clone(&shared)))
            .add_routes(routes)
            .serve_with_incoming(listener);
        let until = shutdown.clone();
        tokio::spawn(async move { until.unless_stopped(serving).await });
        Self { address, shared, credential, shutdown }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it answers from the next call on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.script());
    }

    /// Lets a join token attest one agent.
    pub fn admit(&self, token: &str) {
        self.shared.script().join_tokens.insert(token.to_owned());
    }

    /// Answers calls of a method (`RenewAgent`) otherwise than it should, until it is told None.
    pub fn misbehave(&self, method: &str, how: Option<Misbehaviour>) {
        let mut script = self.shared.script();
        match how {
            Some(how) => drop(script.misbehaviour.insert(method.to_owned(), how)),
            None => drop(script.misbehaviour.remove(method)),
        }
    }

    /// Shows another SVID from the next handshake on.
    pub fn show(&self, svid: &Svid) {
        self.credential.send_replace(Some(svid.credential()));
    }

    /// Signs with another CA of the trust domain from now on, and believes clients below it and below those before it.
    /// What agents know of it is the script's bundle.
    pub fn sign_with(&self, ca: Arc<Ca>) {
        self.shared.cas().push(ca);
    }

    /// Believes clients below a CA no more, nor below those before it. The one that signs stays.
    pub fn revoke_through(&self, ca: &Ca) {
        let mut cas = self.shared.cas();
        if let Some(at) = cas.iter().position(|known| known.root() == ca.root()).filter(|at| at + 1 < cas.len()) {
            cas.drain(..=at);
        }
    }

    /// Sends a change on every open Follow stream.
    pub fn push(&self, change: Change) {
        // Nobody may follow.
        let _ = self.shared.pushes.send(Pushed::Change(change));
    }

    /// Ends every open Follow stream: with a status, or well.
    pub fn end_streams(&self, status: Option<Status>) {
        let _ = self.shared.pushes.send(Pushed::End(status));
    }

    /// How many Follow streams are open.
    pub fn streams(&self) -> usize {
        self.shared.pushes.receiver_count()
    }

    /// What it has been asked so far.
    pub fn seen(&self) -> Seen {
        self.shared.seen.borrow().clone()
    }

    /// Waits until what it has been asked is as `holds` wants it.
    pub async fn until_seen(&self, holds: impl FnMut(&Seen) -> bool) -> Seen {
        self.shared.seen.subscribe().wait_for(holds).await.unwrap().clone()
    }

    /// Waits until a method (`RenewAgent`) was called so many times.
    pub async fn until_called(&self, method: &str, times: usize) {
        self.until_seen(|seen| seen.count(method) >= times).await;
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

impl Seen {
    /// How often a method (`RenewAgent`) was called.
    pub fn count(&self, method: &str) -> usize {
        self.of(method).count()
    }

    /// The calls of a method (`RenewAgent`).
    pub fn of(&self, method: &str) -> impl Iterator<Item = &Called> {
        self.calls.iter().filter(move |call| call.method.rsplit('/').next() == Some(method))
    }
}

/// An entry for processes with the given selectors (`unix:uid:1000`).
pub fn entry(id: &str, spiffe_id: &SpiffeId, selectors: &[&str]) -> types::Entry {
    let selector = |text: &&str| {
        let (kind, value) = text.split_once(':').expect("a selector is type:value");
        types::Selector { r#type: kind.to_owned(), value: value.to_owned() }
    };
    types::Entry {
        id: id.to_owned(),
        spiffe_id: Some(on_wire(spiffe_id)),
        selectors: selectors.iter().map(selector).collect(),
        created_at: 1,
        ..types::Entry::default()
    }
}

impl Shared {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().expect("no panic under this lock")
    }

    fn cas(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Ca>>> {
        self.cas.lock().expect("no panic under this lock")
    }

    /// The one that signs.
    fn ca(&self) -> Arc<Ca> {
        Arc::clone(self.cas().last().expect("there is one from the start"))
    }

    fn see(&self, see: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(see);
    }
}

/// Every member of the trust domain may connect.
struct Everybody(Arc<Shared>);

impl Admission for Everybody {
    fn authorities(&self, trust_domain: &TrustDomain) -> Option<Arc<[Certificate]>> {
        let cas = self.0.cas();
        let known = cas.iter().filter(|ca| ca.trust_domain() == trust_domain).map(|ca| ca.root().clone());
        Some(known.collect::<Vec<_>>().into()).filter(|known: &Arc<[_]>| !known.is_empty())
    }

    fn admits(&self, id: &SpiffeId) -> bool {
        id.is_member_of(self.0.ca().trust_domain())
    }
}
