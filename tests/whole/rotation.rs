//! Rotation has no hole: short-lived SVIDs under a short-lived authority, and mTLS all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use steeple_spiffe::x509::hex;
use steeple_tests::{Domain, Peer, begin, case, connect, echo, say};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// How long; `STEEPLE_ROTATION_SECONDS` is for more.
const SECONDS: u64 = 120;
/// Of an authority. The next one signs after five sixths, and then every 45 to 60 s one does.
const CA_TTL: u64 = 90;
/// Handshakes a second in each direction, whether the ones before them are done or not.
const RATE: u32 = 50;
/// Begun at each push, before anything else is done.
const BURST: usize = 50;
/// How soon after a push its handshakes are to have begun. Nothing is waited for between the two, so that one that begins
/// later was held up by the machine: it must be good all the same, and its number is told.
const SOON: Duration = Duration::from_millis(50);
/// For one handshake. The machine may be busy; this only tells a slow one from one that hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two messages on a connection that stays.
const BEAT: Duration = Duration::from_millis(100);

#[test]
fn no_handshake_and_no_connection_fails_while_everything_rotates() -> Result<()> {
    case(async |scratch| {
        let seconds = env::var("STEEPLE_ROTATION_SECONDS").map_or(Ok(SECONDS), |seconds| seconds.parse())?;
        ensure!(seconds >= CA_TTL, "STEEPLE_ROTATION_SECONDS: no authority changes in so short a time");
        let mut domain = Domain::builder()
            .server_key("ca_ttl", &format!("{CA_TTL}s"))
            .x509_svid_ttl("20s")
            .agent_ttl("60s")
            .start(scratch)
            .await?;
        let (front, back) = (domain.agent("front").await?, domain.agent("back").await?);
        domain.entry(&front.id, "/front", &[]).await?;
        domain.entry(&back.id, "/back", &[]).await?;

        let tally = Arc::new(Tally::default());
        let (front, back) = (Peer::new(&front).await?, Peer::new(&back).await?);
        let routes = Arc::new(routes(&front, &back, &tally).await?);
        let end = Instant::now() + Duration::from_secs(seconds);
        let (steady, after_front, after_back, kept) = tokio::join!(
            steady(&routes, &tally, end),
            after_pushes(&front, &routes, &tally, end),
            after_pushes(&back, &routes, &tally, end),
            keep(&routes, end),
        );
        let (front, back, beats) = (after_front?, after_back?, kept?);

        let log = domain.server.process()?.log()?;
        // The first one is that of the start.
        let activations = log.matches("X509 CA activated").count().saturating_sub(1);
        let begun = steady + front.begun + front.unpushed + back.begun + back.unpushed;
        let done = tally.done.load(Ordering::Relaxed);
        let issuers = tally.issuers.lock().unwrap().len();
        say(&format!(
            "rotation: {seconds} s, {activations} activations of an authority, {issuers} authorities seen below SVIDs, \
             {} and {} pushes; {done} of {begun} mTLS handshakes good, {BURST} of them begun at each push, {} in all, {} of \
             them within {} ms and the last after {} ms; {} connections kept over {beats} messages",
            front.pushes,
            back.pushes,
            front.begun + back.begun,
            front.soon + back.soon,
            SOON.as_millis(),
            front.slowest.max(back.slowest).as_millis(),
            routes.len(),
        ));
        let failures = tally.failures.lock().unwrap();
        assert!(failures.is_empty(), "{failures:#?}");
        assert_eq!(done, begun);
        for after in [&front, &back] {
            assert_eq!(after.begun, after.pushes * u64::try_from(BURST)?);
        }
        // So many at least, if each look at the authorities comes late.
        let expected = usize::try_from((seconds - CA_TTL) / 60 + 1)?;
        ensure!(activations >= expected, "{activations} activations in place of {expected}");
        ensure!(issuers > activations, "{issuers} authorities below SVIDs");
        // Half of a lifetime is ten seconds; the first update is no push.
        let expected = (seconds - 10) / 20;
        ensure!(front.pushes.min(back.pushes) >= expected, "fewer than {expected} pushes");
        Ok(())
    })
}

/// A direction and a version of TLS.
struct Route {
    name: &'static str,
    connector: TlsConnector,
    address: String,
}

#[derive(Default)]
struct Tally {
    done: AtomicU64,
    /// What failed how often.
    failures: Mutex<BTreeMap<String, u64>>,
    /// Key IDs of the authorities that have signed what was pushed.
    issuers: Mutex<BTreeSet<String>>,
}

impl Tally {
    fn failed(&self, what: &str, error: &anyhow::Error) {
        *self.failures.lock().unwrap().entry(format!("{what}: {error:#}")).or_default() += 1;
    }
}

async fn routes(front: &Peer, back: &Peer, tally: &Arc<Tally>) -> Result<Vec<Arc<Route>>> {
    const FRONT: &str = "spiffe://example.org/front";
    const BACK: &str = "spiffe://example.org/back";
    let serve = async |peer: &Peer, client: &str| {
        let tally = Arc::clone(tally);
        peer.serve(client, move |error| tally.failed("a server", &error)).await
    };
    let (to_front, to_back) = (serve(front, BACK).await?, serve(back, FRONT).await?);
    let route = |name, connector, address: &String| Arc::new(Route { name, connector, address: address.clone() });
    Ok(vec![
        route("front to back, TLS 1.3", front.connector(BACK, &TLS13)?, &to_back),
        route("back to front, TLS 1.3", back.connector(FRONT, &TLS13)?, &to_front),
        route("front to back, TLS 1.2", front.connector(BACK, &TLS12)?, &to_back),
        route("back to front, TLS 1.2", back.connector(FRONT, &TLS12)?, &to_front),
    ])
}

/// Handshakes at a steady rate; how many were begun.
async fn steady(routes: &[Arc<Route>], tally: &Arc<Tally>, end: Instant) -> u64 {
    let mut ticks = interval(Duration::from_secs(1) / (2 * RATE));
    // What was held up is made up for: the rate is the caller's, whatever the machine does.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut begun, mut running) = (0, JoinSet::new());
    for route in routes.iter().cycle() {
        ticks.tick().await;
        if Instant::now() >= end {
            break;
        }
        running.spawn(handshake(Arc::clone(route), Arc::clone(tally)));
        begun += 1;
        while running.try_join_next().is_some() {}
    }
    running.join_all().await;
    begun
}

/// What came of the pushes to a workload.
#[derive(Default)]
struct Pushed {
    pushes: u64,
    /// Handshakes that were begun at a push.
    begun: u64,
    /// Those of them that were begun [`SOON`] after it.
    soon: u64,
    /// How long it took at one push until all had begun, at most. A figure: the machine may be busy.
    slowest: Duration,
    /// Handshakes that waited for a push at the end.
    unpushed: u64,
}

/// As many handshakes at each push to this workload, over connections that are open already: nothing is waited for between
/// the push and the beginning of the last one.
async fn after_pushes(peer: &Peer, routes: &[Arc<Route>], tally: &Arc<Tally>, end: Instant) -> Result<Pushed> {
    let mut updates = peer.source.updates();
    let (mut seen, mut running) = (Pushed::default(), JoinSet::new());
    // The one that is there.
    updates.next().await?;
    let mut open = connections(routes).await?;
    while let Ok(update) = timeout(end.saturating_duration_since(Instant::now()), updates.next()).await {
        let (pushed, update) = (Instant::now(), update?);
        ensure!(open.len() == BURST);
        for (route, connection) in open.drain(..) {
            let handshake = begin(&route.connector, connection)?;
            seen.soon += u64::from(pushed.elapsed() <= SOON);
            running.spawn(finish(handshake, route, Arc::clone(tally)));
            seen.begun += 1;
        }
        let svid = update.default_svid().context("an update without an SVID")?;
        ensure!(peer.source.svid()?.chain == svid.chain, "handshakes have begun with what was there before the push");
        seen.slowest = seen.slowest.max(pushed.elapsed());
        seen.pushes += 1;
        let issuer = svid.chain[0].authority_key_id().context("an SVID without an issuer")?;
        tally.issuers.lock().unwrap().insert(hex(issuer));
        open = connections(routes).await?;
        while running.try_join_next().is_some() {}
    }
    // No push comes any more, and their servers wait.
    for (route, connection) in open {
        running.spawn(finish(begin(&route.connector, connection)?, route, Arc::clone(tally)));
        seen.unpushed += 1;
    }
    running.join_all().await;
    Ok(seen)
}

/// On which no handshake has begun.
async fn connections(routes: &[Arc<Route>]) -> Result<Vec<(Arc<Route>, TcpStream)>> {
    let mut open = Vec::with_capacity(BURST);
    for route in routes.iter().cycle().take(BURST) {
        open.push((Arc::clone(route), TcpStream::connect(&route.address).await?));
    }
    Ok(open)
}

async fn handshake(route: Arc<Route>, tally: Arc<Tally>) {
    let (connector, address) = (route.connector.clone(), route.address.clone());
    finish(async move { connect(&connector, &address).await }, route, tally).await;
}

async fn finish(handshake: impl Future<Output = Result<TlsStream<TcpStream>>>, route: Arc<Route>, tally: Arc<Tally>) {
    let work = async { handshake.await?.shutdown().await.context("closing") };
    match timeout(PATIENCE, work).await.context("it hangs").flatten() {
        Ok(()) => drop(tally.done.fetch_add(1, Ordering::Relaxed)),
        Err(error) => tally.failed(route.name, &error),
    }
}

/// A connection each way that is used all the time; how many messages went over them.
async fn keep(routes: &[Arc<Route>], end: Instant) -> Result<u64> {
    let mut running = JoinSet::new();
    for route in routes {
        let route = Arc::clone(route);
        running.spawn(async move {
            let mut tls = connect(&route.connector, &route.address).await.context(route.name)?;
            let mut beats = 0;
            while Instant::now() < end {
                timeout(PATIENCE, echo(&mut tls)).await.context("it hangs").flatten().context(route.name)?;
                beats += 1;
                sleep(BEAT).await;
            }
            tls.shutdown().await.context(route.name)?;
            anyhow::Ok(beats)
        });
    }
    running.join_all().await.into_iter().sum()
}
