//! A server of each kind on one database, agents of each kind at each of them, and both sides write at random: whatever
//! any of them shows equals the store within an interval of the reference, and who is banned or forgotten by one side is refused
//! by both, and stays so.

mod bans;
pub(crate) mod views;
pub(crate) mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use steeple_tests::{
    Agent, AgentByHand, Binaries, Database, Domain, Port, Program, Random, Scratch, Server, Shared, case, figures, say,
    until,
};
use steeple_transport::dial;

use self::views::{Store, View};
use self::writer::Writer;
use crate::domain;

/// How long they write, in seconds; `STEEPLE_MIXED_SECONDS` is for more.
const SECONDS: u64 = 30;
/// The writes of each side before all is compared.
const WRITES: usize = 12;
/// Each so many rounds one of the servers is killed.
const KILLED_EACH: usize = 4;
/// So long after the reference has read its caches it reads them anew (`cache_reload_interval`, by default), and so long
/// what is written may take until it is seen.
const RELOAD: Duration = Duration::from_secs(5);
/// What the reference takes besides: its server for the reading, and its agent for a second until it asks.
const READING: Duration = Duration::from_secs(3);

#[test]
fn servers_of_both_kinds_share_a_postgresql_database() -> Result<()> {
    case(async |scratch| mixed(scratch, "PostgreSQL", &Shared::on_postgres(scratch).await?, Variant::FullCache).await)
}

#[test]
fn servers_of_both_kinds_share_a_mariadb_database() -> Result<()> {
    case(async |scratch| mixed(scratch, "MariaDB", &Shared::on_mariadb(scratch).await?, Variant::FullCache).await)
}

#[test]
fn servers_of_both_kinds_share_a_postgresql_database_that_ours_may_not_change() -> Result<()> {
    case(async |scratch| mixed(scratch, "PostgreSQL", &Shared::on_postgres(scratch).await?, Variant::Events).await)
}

#[test]
fn servers_of_both_kinds_share_a_mariadb_database_that_ours_may_not_change() -> Result<()> {
    case(async |scratch| mixed(scratch, "MariaDB", &Shared::on_mariadb(scratch).await?, Variant::Events).await)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// As a server is without a word of its operator.
    FullCache,
    /// The reference follows events, and our server's account may not change the schema. That cache of the reference does
    /// not learn of bundles that the reference itself deletes, so that this is left to our side.
    Events,
}

/// The servers, and who looks at them.
struct Cluster {
    /// Its first server is the reference's.
    domain: Domain,
    ours: Server,
    /// Of each kind at each server.
    agents: Vec<Agent>,
    /// One that attested at each server.
    by_hand: Vec<AgentByHand>,
}

/// The two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Theirs,
    Ours,
}

const SIDES: [Side; 2] = [Side::Theirs, Side::Ours];

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Theirs => Self::Ours,
            Self::Ours => Self::Theirs,
        }
    }
}

impl Cluster {
    async fn start(scratch: &Scratch, shared: &Shared, variant: Variant) -> Result<Self> {
        let (ours, theirs) = (Binaries::find()?.clone(), Binaries::peers()?);
        let mut builder = Domain::builder().default_intervals().database(shared.database.clone());
        if variant == Variant::Events {
            builder = builder.server_text("experimental {\n        events_based_cache = true\n    }");
        }
        let mut domain = builder.write(scratch)?;
        domain.server.program = theirs.server;
        // It makes the schema.
        domain.server.start().await?;
        let database = match variant {
            Variant::FullCache => shared.database.clone(),
            Variant::Events => shared.of_rows_alone().await?,
        };
        let our_server = start_ours(&domain, &database).await?;
        let mut cluster = Self { domain, ours: our_server, agents: Vec::new(), by_hand: Vec::new() };
        for side in SIDES {
            for (kind, program) in [("theirs", &theirs.agent), ("ours", &ours.agent)] {
                let agent = cluster.attested(&format!("{kind}-at-{side:?}"), program, side).await?;
                cluster.agents.push(agent);
            }
            let agent = AgentByHand::attest(&cluster.domain, &cluster.port(side).await?).await?;
            cluster.by_hand.push(agent);
        }
        Ok(cluster)
    }

    /// An agent of a kind at one of the servers.
    async fn attested(&self, name: &str, program: &Program, side: Side) -> Result<Agent> {
        let mut agent = self.domain.new_agent(name).await?;
        agent.program = program.clone();
        domain::asks_each_second(&agent)?;
        if side == Side::Ours {
            let port = |server: &Server| format!("server_port = {}", server.port);
            let (from, to) = (port(&self.domain.server), port(&self.ours));
            agent.reconfigure(|conf| conf.replace(&from, &to))?;
        }
        self.domain.attest(&mut agent).await?;
        Ok(agent)
    }

    fn server(&self, side: Side) -> &Server {
        match side {
            Side::Theirs => &self.domain.server,
            Side::Ours => &self.ours,
        }
    }

    fn server_mut(&mut self, side: Side) -> &mut Server {
        match side {
            Side::Theirs => &mut self.domain.server,
            Side::Ours => &mut self.ours,
        }
    }

    async fn port(&self, side: Side) -> Result<Port> {
        Port::of_server(&self.domain, self.server(side)).await
    }

    /// Below whom entries are made: agents, and what stands in other entries.
    fn parents(&self) -> Vec<String> {
        let agents = self.agents.iter().map(|agent| agent.id.clone());
        let by_hand = self.by_hand.iter().map(|agent| agent.id.to_string());
        agents.chain(by_hand).chain((0..8).map(|number| self.domain.id(&format!("/n{number}")))).collect()
    }
}

/// Our server, whose authorities the reference's knows.
async fn start_ours(domain: &Domain, database: &Database) -> Result<Server> {
    let mut server = domain.another_server("ours", Some(database))?;
    server.start().await?;
    until("the authorities of both", async || {
        let known = domain.server.authorities().await.ok()?;
        (known["x509"].as_array()?.len() == 2 && known["jwt"].as_array()?.len() == 2).then_some(())
    })
    .await?;
    Ok(server)
}

/// How long each kind of view took after the last write.
type Lags = BTreeMap<&'static str, Vec<Duration>>;

async fn mixed(scratch: &Scratch, name: &str, shared: &Shared, variant: Variant) -> Result<()> {
    let seconds = env::var("STEEPLE_MIXED_SECONDS").map_or(Ok(SECONDS), |given| given.parse());
    let length = Duration::from_secs(seconds.context("STEEPLE_MIXED_SECONDS")?);
    let what = format!("mixed, {name}, {variant:?}");
    let mut random = Random::seeded(&what)?;
    let mut cluster = Cluster::start(scratch, shared, variant).await?;
    let mut writers = Vec::new();
    for side in SIDES {
        let (channel, parents) = (dial::local(&cluster.server(side).socket), cluster.parents());
        let writer = Writer::new(side, channel, &cluster.domain.name, parents, random.another());
        let leaves_bundles = side == Side::Theirs && variant == Variant::Events;
        writers.push(if leaves_bundles { writer.without_deleting_bundles() } else { writer });
    }
    let (start, mut rounds, mut kills, mut refused) = (Instant::now(), 0, 0, Vec::new());
    let (mut lags, mut after_kills) = (Lags::new(), Lags::new());
    while start.elapsed() < length || rounds < 2 {
        let [theirs, ours] = &mut *writers else { anyhow::bail!("two sides") };
        tokio::try_join!(theirs.write(WRITES), ours.write(WRITES))?;
        let written = Instant::now();
        rounds += 1;
        let killed = rounds % KILLED_EACH == 0;
        if killed {
            let side = *random.one_of(&SIDES);
            cluster.server_mut(side).kill();
            cluster.server_mut(side).start().await?;
            kills += 1;
        }
        // Who has lost its server takes what it takes.
        let (limited, lags) = if killed { (false, &mut after_kills) } else { (true, &mut lags) };
        all_views_equal_the_store(&cluster, shared, written, limited, lags).await?;
        refused.extend(bans::take_hold(&cluster, &mut random, lags).await?);
    }
    bans::hold(&cluster, &refused).await?;
    let store = Store::at(dial::local(&cluster.domain.server.socket)).await?;
    let counts: Vec<_> = writers.iter().map(Writer::told).collect();
    say(&format!(
        "{what}: {rounds} rounds in {} s; {}; {kills} kills; {} agents refused to the end; {} entries and {} bundles are left",
        start.elapsed().as_secs(),
        counts.join("; "),
        refused.len(),
        store.entries.len(),
        store.bundles.len()
    ));
    for (view, times) in lags {
        say(&figures(&format!("{what}: {view}"), times));
    }
    for (view, times) in after_kills {
        say(&figures(&format!("{what}: {view}, a server having been killed"), times));
    }
    bans::end_real_agents(&mut cluster).await
}

/// Waits until all views equal the store at the same time; where it is limited, each in the time that it may take.
async fn all_views_equal_the_store(
    cluster: &Cluster,
    shared: &Shared,
    written: Instant,
    limited: bool,
    lags: &mut Lags,
) -> Result<()> {
    let store = Store::at(dial::local(&cluster.domain.server.socket)).await?;
    // What the reference lists is what there is.
    let rows = shared.column("SELECT entry_id FROM registered_entries").await?;
    ensure!(
        rows.iter().collect::<BTreeSet<_>>() == store.entries.keys().collect(),
        "the reference does not list {rows:?}"
    );
    let views = View::all(cluster).await?;
    // A view may show by chance what it should, and go on to what was written before.
    let (mut equal_since, mut difference) = (vec![None; views.len()], String::new());
    let looked = async || {
        let begun = written.elapsed();
        let looks = views.iter().map(async |view| (view.equals(&store).await, written.elapsed()));
        for ((view, since), (outcome, seen)) in views.iter().zip(&mut equal_since).zip(join_all(looks).await) {
            match outcome {
                Ok(()) => _ = since.get_or_insert(seen),
                Err(error) if limited && begun > view.may_take() => {
                    return Some(Err(error.context(format!("{} s after the last write", begun.as_secs_f32()))));
                }
                Err(error) => {
                    *since = None;
                    difference = format!("{error:#}");
                }
            }
        }
        equal_since.iter().all(Option::is_some).then_some(Ok(()))
    };
    until("all views to equal the store", looked).await.with_context(|| difference.clone())??;
    for (view, lag) in views.iter().zip(equal_since) {
        lags.entry(view.kind).or_default().extend(lag);
    }
    Ok(())
}
