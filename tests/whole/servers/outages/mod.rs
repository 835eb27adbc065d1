//! The database is away, in one way or another, and comes back: the table of `docs/outages.md`. Each row has a server and a
//! database of its own, an agent below it, and a workload with an open stream.

mod away;
mod degraded;
mod lost;
mod moved;
mod renewed;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{BanAgentRequest, CreateJoinTokenRequest};
use steeple_proto::spire::api::server::entry::v1::BatchCreateEntryRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::localauthority::v1::PrepareX509AuthorityRequest;
use steeple_proto::spire::api::server::localauthority::v1::local_authority_client::LocalAuthorityClient;
use steeple_proto::spire::api::types::{Entry, Selector, Status as Refusal};
use steeple_proto::workload::X509svidResponse;
use steeple_spiffe::SpiffeId;
use steeple_tests::{Agent, Database, Domain, DomainBuilder, Scratch, case, http, until, within};
use steeple_transport::dial;
use steeple_transport::id::on_wire;
use steeple_transport::status::retry_delay;
use tonic::{Code, Status, Streaming};

use super::{is_ours, mysql_url, postgres_url};

const WEB: &str = "spiffe://example.org/web";

/// A server and what hangs on it.
struct Site {
    domain: Domain,
    agent: Agent,
    /// Of a workload with one SVID that lasts ten seconds, and so is renewed every five.
    stream: Streaming<X509svidResponse>,
    /// Where the server tells its health.
    health: u16,
    /// Paths of entries that were acknowledged, and of those that may have been made.
    acknowledged: BTreeSet<String>,
    attempted: BTreeSet<String>,
    /// The authorities that there were when another one was refused.
    authorities: Option<Value>,
}

/// Tokens that are refused while the database is away.
const REFUSED: [&str; 2] = ["refused", "refused-for-node-of-nobody"];

/// A row, where the daemons under test are ours.
fn row(body: impl AsyncFnOnce(&Scratch) -> Result<()>) -> Result<()> {
    case(async |scratch| if is_ours("a server without its database")? { body(scratch).await } else { Ok(()) })
}

impl Site {
    /// On this database, which is there.
    async fn on(scratch: &Scratch, database: Database) -> Result<Self> {
        Self::of(Domain::builder().database(database), scratch).await
    }

    async fn of(builder: DomainBuilder, scratch: &Scratch) -> Result<Self> {
        Self::begun(builder.write(scratch)?).await
    }

    /// Of a trust domain whose files are written.
    async fn begun(mut domain: Domain) -> Result<Self> {
        let health = domain.server.tell_health()?;
        domain.server.start().await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &["-x509SVIDTTL", "10"]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id(WEB).await?;
        let stream = follower.into_stream()?;
        let paths = BTreeSet::from(["/web".to_owned()]);
        let site =
            Self { domain, agent, stream, health, acknowledged: paths.clone(), attempted: paths, authorities: None };
        site.is_ready(true).await?;
        Ok(site)
    }

    /// SVIDs are renewed on the open stream, and made for audiences that nobody has asked for before.
    async fn workloads_go_on(&mut self, audience: &str) -> Result<()> {
        let before = self.next().await?;
        // Entries that came meanwhile bring it along once more.
        while self.next().await? == before {}
        let tokens = within("a token", self.agent.workload().jwt_svids(audience)).await??;
        ensure!(!tokens.is_empty(), "no token");
        ensure!(self.domain.server.bundle_pem().await?.contains("BEGIN CERTIFICATE"), "no bundle");
        Ok(())
    }

    /// Tokens, a ban, an entry and an authority are put off: UNAVAILABLE, with a time after which to ask again.
    async fn writes_are_put_off(&mut self) -> Result<()> {
        let authorities = self.domain.server.authorities().await?;
        let put_off = |what: &str, answer: Result<(), Status>| {
            let status = answer.err().with_context(|| format!("{what} was made"))?;
            ensure!(status.code() == Code::Unavailable && retry_delay(&status).is_some(), "{what}: {status:?}");
            anyhow::Ok(())
        };
        let channel = dial::local(&self.domain.server.socket);
        let mut agents = AgentClient::new(channel.clone());
        let other_id = on_wire(&SpiffeId::parse(&self.domain.id("/node-of-nobody"))?);
        for (token, agent_id) in REFUSED.into_iter().zip([None, Some(other_id)]) {
            let request = CreateJoinTokenRequest { ttl: 60, token: token.into(), agent_id };
            put_off("a token", within("a token", agents.create_join_token(request)).await?.map(drop))?;
        }
        let request = BanAgentRequest { id: Some(on_wire(&SpiffeId::parse(&self.agent.id)?)) };
        put_off("a ban", within("a ban", agents.ban_agent(request)).await?.map(drop))?;
        let mut orders = LocalAuthorityClient::new(channel);
        let answer = within("an authority", orders.prepare_x509_authority(PrepareX509AuthorityRequest {})).await?;
        put_off("an authority", answer.map(drop))?;
        let refused = self.create("/refused").await?.err().context("an entry was made")?;
        ensure!(refused.code == Code::Unavailable as i32, "{refused:?}");
        // What was not stored is nowhere.
        ensure!(self.domain.server.authorities().await? == authorities, "an authority that was not published");
        self.authorities = Some(authorities);
        Ok(())
    }

    /// Nor is it in the store: a token that was stored could not be made again, and with the next authority all come that were
    /// stored before.
    async fn refused_is_not_stored(&mut self) -> Result<()> {
        let Some(before) = self.authorities.take() else { return Ok(()) };
        let channel = dial::local(&self.domain.server.socket);
        let mut agents = AgentClient::new(channel.clone());
        for token in REFUSED {
            let request = CreateJoinTokenRequest { ttl: 60, token: token.into(), agent_id: None };
            within("a token", agents.create_join_token(request)).await?.with_context(|| format!("token {token:?}"))?;
        }
        let mut orders = LocalAuthorityClient::new(channel);
        within("an authority", orders.prepare_x509_authority(PrepareX509AuthorityRequest {})).await??;
        let of = |authorities: &Value| authorities["x509"].as_array().cloned().context("no authorities");
        let before = of(&before)?;
        let after = until("the next authority", async || {
            let after = of(&self.domain.server.authorities().await.ok()?).ok()?;
            (after.len() > before.len()).then_some(after)
        });
        let after = after.await?;
        ensure!(after.len() == before.len() + 1, "{} of {before:?} became {after:?}", before.len());
        Ok(())
    }

    /// Health is told as it is: by gRPC, and by HTTP. The server is alive all the time.
    async fn is_ready(&self, ready: bool) -> Result<()> {
        let status = if ready { 200 } else { 500 };
        until(&format!("readiness {status}"), async || {
            let told = http(self.health, "GET /ready", "").await.ok()?;
            let checked = self.domain.server.command(&["healthcheck"]).await.ok()?;
            (told.0 == status && (checked.code == 0) == ready).then_some(())
        })
        .await?;
        let (status, told) = http(self.health, "GET /live", "").await?;
        ensure!(status == 200, "{status}: {told}");
        Ok(())
    }

    /// Nobody has to help: writes are taken again, what changes arrives, and nothing else is there than was acknowledged.
    async fn goes_on_by_itself(&mut self) -> Result<()> {
        self.is_ready(true).await?;
        until("a write", async || self.create("/after").await.ok()?.ok()).await?;
        while !self.next().await?.svids.iter().any(|svid| svid.spiffe_id == "spiffe://example.org/after") {}
        let shown = self.domain.server.command(&["entry", "show", "-output", "json"]).await?.json()?;
        let entries = shown["entries"].as_array().context("no entries")?;
        let stored: BTreeSet<String> =
            entries.iter().filter_map(|entry| entry["spiffe_id"]["path"].as_str()).map(str::to_owned).collect();
        ensure!(self.acknowledged.is_subset(&stored), "{:?} are lost of {stored:?}", self.acknowledged);
        ensure!(stored.is_subset(&self.attempted), "more than {:?} in {stored:?}", self.attempted);
        self.refused_is_not_stored().await?;
        ensure!(self.agent.process()?.exited()?.is_none(), "the agent has ended");
        ensure!(self.domain.server.process()?.exited()?.is_none(), "the server has ended");
        Ok(())
    }

    /// Tries to create an entry for this user's processes. One that is refused is not made, unless whoever calls knows that it may
    /// have been.
    async fn create(&mut self, path: &str) -> Result<Result<(), Refusal>> {
        let entry = Entry {
            spiffe_id: Some(on_wire(&SpiffeId::parse(&self.domain.id(path))?)),
            parent_id: Some(on_wire(&SpiffeId::parse(&self.agent.id)?)),
            selectors: vec![Selector { r#type: "unix".into(), value: format!("uid:{}", nix::unistd::Uid::current()) }],
            ..Entry::default()
        };
        let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
        let mut client = EntryClient::new(dial::local(&self.domain.server.socket));
        let answer = within("an entry", client.batch_create_entry(request)).await??.into_inner();
        let status = answer.results.into_iter().next().and_then(|result| result.status).context("no result")?;
        match Code::from_i32(status.code) {
            Code::Ok | Code::AlreadyExists => {
                self.acknowledged.insert(path.to_owned());
                self.attempted.insert(path.to_owned());
                Ok(Ok(()))
            }
            _ => Ok(Err(status)),
        }
    }

    /// The next message of the open stream.
    async fn next(&mut self) -> Result<X509svidResponse> {
        within("an update", self.stream.message()).await??.context("the stream ended")
    }
}

/// Has a PostgreSQL do something, statement by statement, in one of its databases.
async fn postgres_does(port: u16, database: &str, statements: &[&str]) -> Result<()> {
    let mut db = PgConnection::connect(&postgres_url(port, database)).await?;
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).execute(&mut db).await?;
    }
    Ok(())
}

/// As [`postgres_does`].
async fn mariadb_does(port: u16, database: &str, statements: &[&str]) -> Result<()> {
    let mut db = MySqlConnection::connect(&mysql_url(port, database)).await?;
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).execute(&mut db).await?;
    }
    Ok(())
}

/// Ends the connections of a PostgreSQL to one of its databases.
fn end_connections(database: &str) -> String {
    format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
}
