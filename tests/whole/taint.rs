//! An authority is given up by hand, as an operator does it whose key has become known: the next one is prepared and
//! activated, the old one tainted and revoked. Workloads speak to each other all the while, and their tokens are good.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use serde_json::Value;
use steeple_pki::{KeyType, Kind, LocalSigner, Name, PrivateKey, Serial, Subject, Template, self_signed};
use steeple_runtime::Clock;
use steeple_spiffe::x509::{Certificate, hex, parse_pem};
use steeple_spiffe::{BundleSource, JwtSvid, TrustDomain};
use steeple_tests::{Agent, DEADLINE, Domain, Line, Peer, case, connect, say, until, within};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::version::{TLS12, TLS13};

const FRONT: &str = "spiffe://example.org/front";
const BACK: &str = "spiffe://example.org/back";
/// Between two handshakes of one direction and version.
const BEAT: Duration = Duration::from_millis(20);
/// After each step, so that the handshakes of a step are not those of the next.
const HANDSHAKES: u64 = 40;
const AUDIENCE: &str = "billing";

#[test]
fn no_handshake_fails_while_an_x509_authority_is_given_up() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let (mut front, mut back) = (domain.agent("front").await?, domain.agent("back").await?);
        let (peers, traffic) = speaking(&domain, &front, &back).await?;

        let first = active(&domain, "x509").await?;
        let second = step(&domain, "x509", &["prepare"]).await?;
        published(&peers, 2).await?;
        traffic.goes_on().await?;
        step(&domain, "x509", &["activate", "-authorityID", &second]).await?;
        traffic.goes_on().await?;
        ensure!(issuers(&peers)? == BTreeSet::from([first.clone()]), "what is good was replaced");
        let before = serials(&domain).await?;

        step(&domain, "x509", &["taint", "-authorityID", &first]).await?;
        signed_by(&peers, &second).await?;
        renewed(&domain, &before).await?;
        traffic.goes_on().await?;

        step(&domain, "x509", &["revoke", "-authorityID", &first]).await?;
        published(&peers, 1).await?;
        traffic.goes_on().await?;
        // Nothing of the first one is left, also not between the server and its agents.
        for agent in [&mut front, &mut back] {
            agent.stop().await?;
            ensure!(stored_issuer(agent)? == second, "the SVID of {} is below the first authority", agent.name);
            agent.start().await?;
        }
        domain.server.stop().await?;
        domain.server.start().await?;
        traffic.goes_on().await?;
        ensure!(issuers(&peers)? == BTreeSet::from([second]));
        say(&format!("taint: {}", traffic.end().await?));
        domain.entry(&front.id, "/late", &[]).await?;
        front.workload().follow().until_id("spiffe://example.org/late").await?;
        Ok(())
    })
}

#[test]
fn no_handshake_fails_when_the_server_and_its_line_are_away_between_the_steps() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let line = Line::to(domain.server.port).await?;
        let mut front = domain.new_agent("front").await?;
        let port = |port| format!("server_port = {port}\n");
        front.reconfigure(|text| text.replace(&port(domain.server.port), &port(line.port)))?;
        domain.attest(&mut front).await?;
        let back = domain.agent("back").await?;
        let (peers, traffic) = speaking(&domain, &front, &back).await?;

        let first = active(&domain, "x509").await?;
        let second = step(&domain, "x509", &["prepare"]).await?;
        published(&peers, 2).await?;
        domain.server.kill();
        traffic.goes_on().await?;
        domain.server.start().await?;
        step(&domain, "x509", &["activate", "-authorityID", &second]).await?;
        domain.server.stop().await?;
        traffic.goes_on().await?;
        domain.server.start().await?;
        let before = serials(&domain).await?;

        // One agent hears of it at once, the other one does not.
        line.cut();
        front.process()?.line("Synchronize failed").await?;
        step(&domain, "x509", &["taint", "-authorityID", &first]).await?;
        signed_by(&peers[1..], &second).await?;
        domain.server.kill();
        traffic.goes_on().await?;
        ensure!(issuers(&peers[..1])? == BTreeSet::from([first.clone()]));
        line.mend();
        domain.server.start().await?;
        signed_by(&peers, &second).await?;
        renewed(&domain, &before).await?;
        traffic.goes_on().await?;

        step(&domain, "x509", &["revoke", "-authorityID", &first]).await?;
        domain.server.kill();
        traffic.goes_on().await?;
        domain.server.start().await?;
        published(&peers, 1).await?;
        traffic.goes_on().await?;
        say(&format!("taint: with the server away, {}", traffic.end().await?));
        Ok(())
    })
}

#[test]
fn no_handshake_fails_while_an_upstream_authority_is_given_up() -> Result<()> {
    case(async |scratch| {
        let above = Above { dir: scratch.folder()? };
        let first = above.put()?;
        let mut domain = Domain::builder().write(scratch)?;
        domain.server.reconfigure(|conf| conf.replace("plugins {\n", &format!("plugins {{\n{}", above.block())))?;
        domain.server.start().await?;
        let (front, back) = (domain.agent("front").await?, domain.agent("back").await?);
        let (peers, traffic) = speaking(&domain, &front, &back).await?;
        let (below_first, before) = (issuers(&peers)?, serials(&domain).await?);

        let second = above.put()?;
        ensure!(first != second);
        let prepared = step(&domain, "x509", &["prepare"]).await?;
        published(&peers, 2).await?;
        step(&domain, "x509", &["activate", "-authorityID", &prepared]).await?;
        traffic.goes_on().await?;
        ensure!(issuers(&peers)? == below_first, "what is good was replaced");

        domain.server.command(&["upstreamauthority", "taint", "-subjectKeyID", &first]).await?.ok()?;
        signed_by(&peers, &prepared).await?;
        renewed(&domain, &before).await?;
        traffic.goes_on().await?;
        domain.server.command(&["upstreamauthority", "revoke", "-subjectKeyID", &first]).await?.ok()?;
        published(&peers, 1).await?;
        traffic.goes_on().await?;
        domain.server.stop().await?;
        domain.server.start().await?;
        traffic.goes_on().await?;
        say(&format!("taint: below another authority, {}", traffic.end().await?));
        Ok(())
    })
}

/// Files of an authority above a server: `above.pem` and `above.key`.
pub(crate) struct Above {
    pub(crate) dir: std::path::PathBuf,
}

impl Above {
    fn block(&self) -> String {
        let dir = self.dir.display();
        let files = format!("cert_file_path = \"{dir}/above.pem\"\n key_file_path = \"{dir}/above.key\"");
        format!("    UpstreamAuthority \"disk\" {{\n plugin_data {{\n {files}\n }}\n }}\n")
    }

    /// Makes another authority. Returns its subject key ID.
    pub(crate) fn put(&self) -> Result<String> {
        let signer = LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256)?));
        let subject = Subject { common_name: "above".to_owned(), ..Subject::default() };
        let (now, hour) = (Clock::system().now(), Duration::from_secs(3600));
        let root = Template::new(Serial::random()?, Name::try_from(&subject)?, now - hour..now + 24 * hour, Kind::Ca);
        let root = self_signed(&root, &signer).now_or_never().context("a key in memory signs at once")??;
        fs::write(self.dir.join("above.pem"), root.to_pem())?;
        fs::write(self.dir.join("above.key"), &*signer.0.to_pkcs8_pem()?)?;
        Ok(hex(root.subject_key_id().context("no key ID")?))
    }
}

#[test]
fn tokens_are_good_while_a_jwt_authority_is_given_up_and_those_of_the_old_one_are_not_given_again() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;

        let first = active(&domain, "jwt").await?;
        let old = token(&agent).await?;
        ensure!(old.0 == first);
        let second = step(&domain, "jwt", &["prepare"]).await?;
        domain.server.kill();
        domain.server.start().await?;
        step(&domain, "jwt", &["activate", "-authorityID", &second]).await?;
        ensure!(token(&agent).await? == old, "what is good was replaced");

        step(&domain, "jwt", &["taint", "-authorityID", &first]).await?;
        let new = until("a token of the second authority", async || {
            let token = token(&agent).await.ok()?;
            (token.0 == second).then_some(token)
        })
        .await?;
        // Who has the old one can use it until it is revoked.
        agent.workload().validate_jwt(AUDIENCE, &old.1).await?;
        domain.server.stop().await?;
        ensure!(token(&agent).await? == new);
        domain.server.start().await?;

        step(&domain, "jwt", &["revoke", "-authorityID", &first]).await?;
        until("the end of the old token", async || agent.workload().validate_jwt(AUDIENCE, &old.1).await.err()).await?;
        ensure!(token(&agent).await? == new);
        Ok(())
    })
}

/// Two workloads of two agents, and what goes on between them.
async fn speaking(domain: &Domain, front: &Agent, back: &Agent) -> Result<([Peer; 2], Traffic)> {
    domain.entry(&front.id, "/front", &[]).await?;
    domain.entry(&back.id, "/back", &[]).await?;
    let peers = [Peer::new(front).await?, Peer::new(back).await?];
    let traffic = Traffic::between(&peers).await?;
    traffic.goes_on().await?;
    Ok((peers, traffic))
}

/// Handshakes, one after another, in each direction and version.
struct Traffic {
    tally: Arc<Tally>,
    routes: JoinSet<()>,
}

#[derive(Default)]
struct Tally {
    over: AtomicBool,
    done: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Tally {
    fn failed(&self, what: &str, error: &anyhow::Error) {
        self.failures.lock().unwrap().push(format!("{what}: {error:#}"));
    }

    fn check(&self) -> Result<()> {
        let failures = self.failures.lock().unwrap();
        ensure!(failures.is_empty(), "{failures:#?}");
        Ok(())
    }
}

impl Traffic {
    async fn between([front, back]: &[Peer; 2]) -> Result<Self> {
        let tally = Arc::new(Tally::default());
        let mut routes = JoinSet::new();
        for (from, to, ids) in [(front, back, (FRONT, BACK)), (back, front, (BACK, FRONT))] {
            let told = Arc::clone(&tally);
            let address = to.serve(ids.0, move |error| told.failed("a server", &error)).await?;
            for version in [&TLS12, &TLS13] {
                let connector = from.connector(ids.1, version)?;
                routes.spawn(shake_hands(connector, address.clone(), Arc::clone(&tally)));
            }
        }
        Ok(Self { tally, routes })
    }

    /// Waits for some that began after this.
    async fn goes_on(&self) -> Result<()> {
        let done = || self.tally.done.load(Ordering::Relaxed);
        let before = done();
        until("handshakes", async || (done() >= before + HANDSHAKES || self.tally.check().is_err()).then_some(()))
            .await?;
        self.tally.check()
    }

    /// How many there were, if none has failed.
    async fn end(self) -> Result<String> {
        self.tally.over.store(true, Ordering::Relaxed);
        self.routes.join_all().await;
        self.tally.check()?;
        Ok(format!("{} mTLS handshakes, none failed", self.tally.done.load(Ordering::Relaxed)))
    }
}

async fn shake_hands(connector: TlsConnector, address: String, tally: Arc<Tally>) {
    let mut beats = interval(BEAT);
    while !tally.over.load(Ordering::Relaxed) {
        beats.tick().await;
        let work = async { connect(&connector, &address).await?.shutdown().await.context("closing") };
        match timeout(DEADLINE, work).await.context("it hangs").flatten() {
            Ok(()) => drop(tally.done.fetch_add(1, Ordering::Relaxed)),
            Err(error) => tally.failed("a client", &error),
        }
    }
}

async fn active(domain: &Domain, kind: &str) -> Result<String> {
    let shown = domain.server.command(&["localauthority", kind, "show", "-output", "json"]).await?.json()?;
    id_of(&shown["active"])
}

/// One of the commands; returns the ID of the authority that it was about.
pub(crate) async fn step(domain: &Domain, kind: &str, command: &[&str]) -> Result<String> {
    let args = [&["localauthority", kind], command, &["-output", "json"]].concat();
    let told = domain.server.command(&args).await?.json()?;
    id_of(told.as_object().and_then(|told| told.values().next()).context("no authority")?)
}

fn id_of(authority: &Value) -> Result<String> {
    Ok(authority["authority_id"].as_str().with_context(|| format!("no authority in {authority}"))?.to_owned())
}

/// Waits until both know so many authorities.
async fn published(peers: &[Peer], authorities: usize) -> Result<()> {
    let own = TrustDomain::parse("example.org")?;
    until("the bundle", async || {
        let known = |peer: &Peer| peer.source.bundle(&own).map(|bundle| bundle.x509_authorities.len());
        peers.iter().all(|peer| known(peer) == Some(authorities)).then_some(())
    })
    .await
}

/// Waits until all have SVIDs of this authority.
async fn signed_by(peers: &[Peer], authority: &str) -> Result<()> {
    until("SVIDs of the other authority", async || {
        issuers(peers).ok().filter(|issuers| issuers.iter().eq([authority])).map(drop)
    })
    .await
}

fn issuers(peers: &[Peer]) -> Result<BTreeSet<String>> {
    peers.iter().map(|peer| issuer(&peer.source.svid()?.chain[0])).collect()
}

fn issuer(leaf: &Certificate) -> Result<String> {
    Ok(hex(leaf.authority_key_id().context("an SVID without an issuer")?))
}

/// Waits until each agent has shown the server another SVID than before.
async fn renewed(domain: &Domain, before: &BTreeSet<String>) -> Result<()> {
    within("agents' own SVIDs", async {
        loop {
            if serials(domain).await?.is_disjoint(before) {
                return Ok(());
            }
        }
    })
    .await?
}

async fn serials(domain: &Domain) -> Result<BTreeSet<String>> {
    let serial = |agent: &Value| agent["x509svid_serial_number"].as_str().unwrap_or_default().to_owned();
    Ok(domain.server.agents().await?.iter().map(serial).collect())
}

/// Which authority has signed the SVID that an agent keeps.
fn stored_issuer(agent: &Agent) -> Result<String> {
    issuer(&stored_chain(agent)?[0])
}

/// The SVID that an agent keeps.
pub(crate) fn stored_chain(agent: &Agent) -> Result<Vec<Certificate>> {
    let data: Value = serde_json::from_slice(&fs::read(agent.data_dir.join("agent-data.json"))?)?;
    let pem = data["svid"][0].as_str().context("no SVID")?;
    Ok(parse_pem(&String::from_utf8(STANDARD.decode(pem)?)?)?)
}

/// A token, after its key's ID.
async fn token(agent: &Agent) -> Result<(String, String)> {
    let svids = agent.workload().jwt_svids(AUDIENCE).await?;
    let token = svids.first().context("no token")?.svid.clone();
    Ok((JwtSvid::parse_unverified(&token)?.key_id, token))
}
