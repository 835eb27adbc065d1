//! Workloads with the libraries of others, each as a process of its own: go-spiffe, java-spiffe, py-spiffe and the crate
//! `spiffe`; and mTLS between them, and with ours.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_spiffe::JwtSvid;
use steeple_tests::{
    Agent, Domain, ForeignWorkload, ForeignWorkloads, Language, Peer, Scratch, case, connect, passed, say, serial,
    within,
};
use tokio_rustls::rustls::version::TLS13;

const WEB: &str = "spiffe://example.org/web";
const FRONT: &str = "spiffe://example.org/front";
const BACK: &str = "spiffe://example.org/back";

#[test]
fn a_source_of_each_library_sees_three_rotations() -> Result<()> {
    let languages = available("three rotations on one X.509 source")?;
    case(async |scratch| {
        let domain = Domain::builder().x509_svid_ttl("12s").start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        // Not every library asks again while there is no identity.
        agent.workload().follow().until_id(WEB).await?;
        let start = |(language, workloads): &(Language, ForeignWorkloads)| {
            Ok((*language, workloads.start(&agent, &["watch", "-rotations", "3"], scratch)?))
        };
        let watchers: Vec<(Language, ForeignWorkload)> = languages.iter().map(start).collect::<Result<_>>()?;
        for (language, watcher) in watchers {
            let events = watcher.finish().await?;
            assert!(events.iter().all(|event| event["event"] == "svid" && event["id"] == WEB), "{events:?}");
            let serials: BTreeSet<&str> = events.iter().filter_map(|event| event["serial"].as_str()).collect();
            assert_eq!(serials.len(), 4, "{events:?}");
            say(&format!("clients: {}: 3 of 3 rotations seen on one X.509 source", language.name()));
        }
        Ok(())
    })
}

#[test]
fn each_library_validates_its_jwt_svid_and_refuses_what_it_must() -> Result<()> {
    let languages = available("a JWT-SVID fetched and validated")?;
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        let brief = domain.entry(&agent.id, "/brief", &["-jwtSVIDTTL", "1"]).await?;
        agent.workload().follow().until_id("spiffe://example.org/brief").await?;
        let expired = token(&agent).await?;
        domain.server.command(&["entry", "delete", "-entryID", &brief]).await?.ok()?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let only_web = |ids: &[&str]| ids == [WEB];
        let mut follower = agent.workload().follow();
        let what = "the one identity";
        follower.until(what, |u| only_web(&u.svids.iter().map(|s| &*s.spiffe_id).collect::<Vec<_>>())).await?;

        let other = Domain::builder().name("other.test").start(scratch).await?;
        let stranger = other.agent("stranger").await?;
        other.entry(&stranger.id, "/web", &[]).await?;
        stranger.workload().follow().until_id("spiffe://other.test/web").await?;
        let foreign = token(&stranger).await?;

        // Libraries and agent allow for clocks that differ by up to a minute.
        let end =
            JwtSvid::parse_unverified(&expired)?.expires_at + steeple_spiffe::jwt::LEEWAY + Duration::from_secs(1);
        passed("the end of a token", end).await?;
        for (language, workloads) in languages {
            let args = ["jwt", "-audience", "billing", "-foreign", &foreign, "-expired", &expired];
            let events = workloads.start(&agent, &args, scratch)?.finish().await?;
            let [valid, refused @ ..] = &*events else { anyhow::bail!("no events") };
            assert_eq!((&valid["id"], &valid["validated"]), (&WEB.into(), &WEB.into()), "{valid}");
            assert_eq!(valid["audience"], serde_json::json!(["billing"]), "{valid}");
            let why: Vec<&str> = refused.iter().filter_map(|event| event["why"].as_str()).collect();
            assert_eq!(why, ["audience", "trust_domain", "expired"]);
            for event in refused {
                // Each for its own reason, in whatever words.
                let words: &[&str] = match event["why"].as_str() {
                    Some("audience") => &["audience"],
                    Some("trust_domain") => &["trust domain", "bundle"],
                    _ => &["expired"],
                };
                for judge in ["library", "agent"] {
                    let said = event[judge].as_str().unwrap_or_default().to_lowercase();
                    ensure!(words.iter().any(|word| said.contains(word)), "{language:?}: {judge} says {event}");
                }
            }
            say(&format!("clients: {}: 1 JWT-SVID valid, 3 of 3 refused by library and agent", language.name()));
        }
        Ok(())
    })
}

#[test]
fn mtls_holds_between_languages_across_rotations() -> Result<()> {
    use Language::{Go, Java, Python, Rust};
    let languages = available("mTLS between languages across rotations")?;
    case(async |scratch| {
        let domain = Domain::builder().x509_svid_ttl("12s").start(scratch).await?;
        let (front, back) = (domain.agent("front").await?, domain.agent("back").await?);
        domain.entry(&front.id, "/front", &[]).await?;
        domain.entry(&back.id, "/back", &[]).await?;
        front.workload().follow().until_id(FRONT).await?;
        back.workload().follow().until_id(BACK).await?;
        let of = |wanted| languages.iter().find(|(language, _)| *language == wanted).map(|(_, workloads)| workloads);

        let mut pairs = Vec::new();
        for (server, client) in [(Go, Java), (Java, Go), (Python, Rust), (Rust, Python), (Go, Go)] {
            if let (Some(server_of), Some(client_of)) = (of(server), of(client)) {
                let serving = Serving::start(server_of, &back, scratch).await?;
                let args = ["call", "-peer", BACK, "-address", &serving.address];
                let mut calling = client_of.start(&front, &args, scratch)?;
                let name = format!("{} to {}", client.name(), server.name());
                let done = async move { calling.event("done").await.map(|done| done["handshakes"].to_string()) };
                pairs.push((name, serving, Box::pin(done)));
            }
        }
        let ours = with_ours(of(Go), &front, &back, scratch).await?;
        for (name, serving, done) in pairs {
            let handshakes = done.await.context(name.clone())?;
            serving.without_failure()?;
            say(&format!("clients: {name}: {handshakes} of {handshakes} mTLS handshakes good across a rotation"));
        }
        for (name, handshakes) in ours {
            say(&format!("clients: {name}: {handshakes} of {handshakes} mTLS handshakes good across a rotation"));
        }
        Ok(())
    })
}

#[test]
fn each_library_turns_away_a_server_that_it_does_not_expect() -> Result<()> {
    let languages = available("an unexpected server is turned away")?;
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let peer = Peer::new(&agent).await?;
        let address = peer.serve(WEB, |_| {}).await?;
        for (language, workloads) in &languages {
            // First that it comes through, so that what follows has one reason alone.
            let args = ["call", "-peer", WEB, "-address", &address, "-rotations", "0"];
            workloads.start(&agent, &args, scratch)?.finish().await?;
            let args = ["call", "-peer", BACK, "-address", &address, "-rotations", "0"];
            let mut refusing = workloads.start(&agent, &args, scratch)?;
            let error = refusing.event("error").await.with_context(|| format!("{language:?}"))?;
            say(&format!("clients: {}: turned away: {}", language.name(), error["error"]));
        }
        Ok(())
    })
}

/// The languages that this machine has.
fn available(case: &str) -> Result<Vec<(Language, ForeignWorkloads)>> {
    let mut found = Vec::new();
    for language in Language::ALL {
        found.extend(language.workloads(case)?.map(|workloads| (language, workloads)));
    }
    Ok(found)
}

/// A server of the back that lets in the front.
struct Serving {
    workload: ForeignWorkload,
    address: String,
}

impl Serving {
    async fn start(workloads: &ForeignWorkloads, agent: &Agent, scratch: &Scratch) -> Result<Self> {
        let mut workload = workloads.start(agent, &["serve", "-peer", FRONT], scratch)?;
        let listening = workload.event("listening").await?;
        let address = listening["address"].as_str().context("no address")?.to_owned();
        Ok(Self { workload, address })
    }

    fn without_failure(&self) -> Result<()> {
        let events = self.workload.events()?;
        ensure!(events.len() == 1, "a handshake failed: {events:?}");
        Ok(())
    }
}

/// Go and ours, in both directions; how many handshakes each made.
async fn with_ours(
    go: Option<&ForeignWorkloads>,
    front: &Agent,
    back: &Agent,
    scratch: &Scratch,
) -> Result<Vec<(&'static str, String)>> {
    let Some(go) = go else { return Ok(Vec::new()) };
    let failures = Arc::new(Mutex::new(Vec::new()));
    let failed = Arc::clone(&failures);
    let server = Peer::new(back).await?;
    let note = move |error: anyhow::Error| failed.lock().unwrap().push(format!("{error:#}"));
    let address = server.serve(FRONT, note).await?;
    let mut calling = go.start(front, &["call", "-peer", BACK, "-address", &address], scratch)?;

    let serving = Serving::start(go, back, scratch).await?;
    let client = Peer::new(front).await?;
    let connector = client.connector(BACK, &TLS13)?;
    let (mut handshakes, mut own, mut theirs) = (0, BTreeSet::new(), BTreeSet::new());
    let across = async {
        while own.len() < 2 || theirs.len() < 2 {
            let shown = client.source.svid()?.chain[0].serial_hex();
            let mut tls = connect(&connector, &serving.address).await?;
            theirs.insert(serial(&tls)?);
            own.insert(shown);
            handshakes += 1;
            tokio::io::AsyncWriteExt::shutdown(&mut tls).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    within("a rotation of both sides", across).await??;
    serving.without_failure()?;
    let done = calling.event("done").await?;
    let failures = failures.lock().unwrap();
    ensure!(failures.is_empty(), "{failures:?}");
    Ok(vec![("ours to go", handshakes.to_string()), ("go to ours", done["handshakes"].to_string())])
}

/// A token of the only identity on a node.
async fn token(agent: &Agent) -> Result<String> {
    let svids = agent.workload().jwt_svids("billing").await?;
    ensure!(svids.len() == 1, "{} tokens", svids.len());
    Ok(svids[0].svid.clone())
}
