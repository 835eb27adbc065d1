//! Ten days of a server, an agent and a workload at the default lifetimes, all in this process and on one clock that the
//! case advances: authorities are prepared, activated and pruned, and on the fifth day one of each kind is given up by
//! hand. What is shown verifies at each step, for whoever has the bundle of now or of an hour ago.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use steeple_plugins::node_attestor::join_token::with_token;
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::debug::v1::GetInfoRequest;
use steeple_proto::spire::api::server::debug::v1::debug_client::DebugClient;
use steeple_runtime::Clock;
use steeple_runtime::logging::Log;
use steeple_runtime::signals::Signals;
use steeple_spiffe::workload_api::{Answer, JwtBundles, X509Context};
use steeple_spiffe::x509::{Certificate, hex};
use steeple_spiffe::{Bundle, BundleSet, JwtSvid, TrustDomain, jwt, verify_x509_svid_in};
use steeple_testkit::ManualClock;
use steeple_tests::{Agent, Domain, Inside, Workload, case, say, until};
use steeple_transport::dial;
use tokio::sync::watch;

use crate::taint::{step, stored_chain};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const STEP: Duration = Duration::from_secs(10 * 60);
const DAYS: u32 = 10;
const GIVEN_UP_ON_DAY: u32 = 5;
/// An SVID that lives for an hour is due with more of it left, whatever the jitter.
const NOT_DUE: Duration = Duration::from_secs(24 * 60);
const AUDIENCE: &str = "db";
const WEB: &str = "spiffe://example.org/web";

#[test]
fn ten_days_of_a_server_and_an_agent_have_no_instant_without_a_valid_svid() -> Result<()> {
    case(async |scratch| {
        let days = TenDays::begin(Domain::builder().default_intervals().write(scratch)?).await?;
        days.settled().await?;
        let start = days.clock.now();
        // What whoever has not listened for up to an hour believes, the oldest first.
        let mut bundles = VecDeque::from([days.bundles()?]);
        let (mut issuers, mut keys, mut authorities) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut given_up = None;

        while days.clock.now() < start + DAYS * 24 * HOUR {
            days.clock.advance(STEP);
            days.shown_is_good(&days.bundles()?).context("before anything was renewed")?;
            days.settled().await?;
            let token = days.token().await?;
            bundles.push_back(days.bundles()?);
            bundles.drain(..bundles.len().saturating_sub(7));
            for bundles in [&bundles[0], &days.bundles()?] {
                days.shown_is_good(bundles)?;
                jwt::validate(&token.token, bundles, AUDIENCE, days.clock.now()).context("a token")?;
            }

            let is_new = issuers.insert(issuer(&days.x509.borrow().svids[0].chain[0])?);
            keys.insert(token.key_id.clone());
            authorities.extend(days.bundle()?.x509_certificates().map(Certificate::serial_hex));
            if is_new && given_up.is_none() && days.clock.now() > start + (GIVEN_UP_ON_DAY - 1) * 24 * HOUR {
                days.give_up_the_old_ones().await?;
                given_up = Some(authorities.len());
                bundles.clear();
            }
        }
        let left = days.bundle()?.x509_certificates().count();
        days.end().await?;
        say(&format!(
            "ten days of both: {} activations of X.509 authorities and {} of JWT authorities, {} authorities, one of each \
             kind given up, {left} left at the end",
            issuers.len() - 1,
            keys.len() - 1,
            authorities.len(),
        ));
        ensure!(given_up.is_some(), "nothing was given up");
        // The first one signs for 20 hours, each other one for 12.
        assert_eq!((issuers.len() - 1, keys.len() - 1), (19, 19), "activations");
        // Of the last two days, and one that was prepared.
        ensure!(left < 7, "{left} authorities of {} are left", authorities.len());
        Ok(())
    })
}

struct TenDays {
    domain: Domain,
    agent: Agent,
    clock: ManualClock,
    daemons: [Inside; 2],
    /// The last messages of two streams that never end.
    x509: watch::Receiver<Arc<X509Context>>,
    jwt: watch::Receiver<Arc<JwtBundles>>,
}

impl TenDays {
    async fn begin(domain: Domain) -> Result<Self> {
        let clock = ManualClock::new(Clock::system().now());
        let server = Inside::server(&domain.server, &clock)?;
        let token = until("a server", async || domain.server.token(&[]).await.ok()).await?;
        let mut agent = domain.new_agent("node1").await?;
        agent.id = domain.id(&format!("/spire/agent/join_token/{token}"));
        domain.entry(&agent.id, "/web", &[]).await?;
        let config = steeple_agent::config::Config::parse(
            &fs::read_to_string(&agent.conf)?,
            "agent.conf",
            steeple_agent::config::Flags { join_token: token, ..Default::default() },
        )?;
        let (log, its_clock) = (Log::open(config.log.clone(), clock.clock())?, clock.clock());
        let running = Inside::start(move |shutdown| {
            let process = steeple_agent::Process { log, clock: its_clock, signals: Signals::none(), shutdown };
            steeple_agent::run(config, &steeple_plugins::AGENT, with_token, process)
        });
        let workload = agent.workload();
        let (x509, jwt) = (follow(&workload, &clock).await?, follow(&workload, &clock).await?);
        Ok(Self { domain, agent, clock, daemons: [server, running], x509, jwt })
    }

    async fn end(self) -> Result<()> {
        for daemon in self.daemons {
            daemon.stop().await?;
        }
        Ok(())
    }

    /// The authorities as the workload has them.
    fn bundle(&self) -> Result<Bundle> {
        let own = TrustDomain::parse("example.org")?;
        let x509 = self.x509.borrow().bundles.get(&own).cloned().context("no X.509 bundle")?;
        let jwt = self.jwt.borrow().bundles.get(&own).cloned().context("no JWT bundle")?;
        Ok(Bundle { jwt_authorities: jwt.jwt_authorities.clone(), ..(*x509).clone() })
    }

    fn bundles(&self) -> Result<BundleSet> {
        Ok([self.bundle()?].into_iter().collect())
    }

    /// Both SVIDs that are in use verify by these authorities.
    fn shown_is_good(&self, bundles: &BundleSet) -> Result<()> {
        let id = verify_x509_svid_in(&self.x509.borrow().svids[0].chain, bundles, self.clock.now())?;
        ensure!(id.as_str() == WEB, "{id}");
        verify_x509_svid_in(&stored_chain(&self.agent)?, bundles, self.clock.now()).context("of the agent")?;
        Ok(())
    }

    async fn token(&self) -> Result<JwtSvid> {
        let svids = self.agent.workload().jwt_svids(AUDIENCE).await?;
        Ok(JwtSvid::parse_unverified(&svids.first().context("no token")?.svid)?)
    }

    /// Waits until the workload has heard of all authorities and nothing is due. A second passes at each look: a pause may
    /// have to end first.
    async fn settled(&self) -> Result<()> {
        self.until("what is due", async || {
            let shown = self.x509.borrow().svids.first()?.chain.clone();
            let own = stored_chain(&self.agent).ok()?;
            let ends = [shown[0].not_after(), own[0].not_after(), self.end_of_servers_own().await.ok()?];
            let none_is_due = ends.iter().all(|end| *end > self.clock.now() + NOT_DUE);
            (none_is_due && self.has_heard_of_all().await.ok()?).then_some(())
        })
        .await
    }

    /// When the SVID ends that the server shows to agents.
    async fn end_of_servers_own(&self) -> Result<SystemTime> {
        let mut debug = DebugClient::new(dial::local(&self.domain.server.socket));
        let info = debug.get_info(GetInfoRequest {}).await?.into_inner();
        let ends = info.svid_chain.first().context("no SVID")?.expires_at;
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(ends.try_into()?))
    }

    async fn has_heard_of_all(&self) -> Result<bool> {
        let mut bundles = BundleClient::new(dial::local(&self.domain.server.socket));
        let of_server = bundles.get_bundle(GetBundleRequest { output_mask: None }).await?.into_inner();
        let of_workload = self.bundle()?;
        let roots: BTreeSet<_> = of_workload.x509_certificates().map(|root| root.der().to_vec()).collect();
        let keys: BTreeSet<_> = of_workload.jwt_authorities.iter().map(|key| key.key_id.clone()).collect();
        Ok(of_server.x509_authorities.into_iter().map(|root| root.asn1.to_vec()).collect::<BTreeSet<_>>() == roots
            && of_server.jwt_authorities.into_iter().map(|key| key.key_id).collect::<BTreeSet<_>>() == keys)
    }

    /// As an operator does it: taints them, waits until nobody shows anything of theirs, and revokes them.
    async fn give_up_the_old_ones(&self) -> Result<()> {
        for kind in ["x509", "jwt"] {
            let shown =
                self.domain.server.command(&["localauthority", kind, "show", "-output", "json"]).await?.json()?;
            let old = shown["old"]["authority_id"].as_str().context("no old authority")?;
            step(&self.domain, kind, &["taint", "-authorityID", old]).await?;
            self.until("others in place of what is tainted", async || {
                let leaves =
                    [self.x509.borrow().svids.first()?.chain[0].clone(), stored_chain(&self.agent).ok()?.remove(0)];
                let is_other = |id: Result<String>| id.is_ok_and(|id| id != old);
                let others = leaves.iter().all(|leaf| is_other(issuer(leaf)));
                (others && is_other(self.token().await.map(|token| token.key_id))).then_some(())
            })
            .await?;
            step(&self.domain, kind, &["revoke", "-authorityID", old]).await?;
            self.settled().await?;
        }
        Ok(())
    }

    async fn until(&self, what: &str, look: impl AsyncFn() -> Option<()>) -> Result<()> {
        until(what, async || {
            if self.daemons.iter().any(Inside::has_ended) {
                return Some(Err(anyhow::anyhow!("a daemon has ended")));
            }
            let seen = look().await;
            if seen.is_none() {
                self.clock.advance(SECOND);
            }
            seen.map(Ok)
        })
        .await?
    }
}

/// A stream of the Workload API from its first message on. When it ends, so does whoever looks.
async fn follow<A: Answer>(workload: &Workload, clock: &ManualClock) -> Result<watch::Receiver<Arc<A>>> {
    let (mut answers, first) = until("a first answer", async || {
        clock.advance(SECOND);
        let mut answers = workload.client().stream::<A>().await.ok()?;
        let first = answers.next().await.ok()?;
        Some((answers, first))
    })
    .await?;
    let (last, received) = watch::channel(Arc::new(first));
    tokio::spawn(async move {
        while let Ok(answer) = answers.next().await {
            last.send_replace(Arc::new(answer));
        }
    });
    Ok(received)
}

fn issuer(leaf: &Certificate) -> Result<String> {
    Ok(hex(leaf.authority_key_id().context("an SVID without an issuer")?))
}
