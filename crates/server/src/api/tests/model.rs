//! Several servers on one database, at random: what they and agents show is always something that was committed, and in the
//! end what the database holds.
//!
//! Three servers write all at once, and so does a program that holds transactions open, commits them out of order or takes
//! them back. Meanwhile a server stops or is killed and another one starts, connections are cut, and the database moves back
//! to an earlier moment, after which its ids are used again. A fourth server stands on a copy that follows late. Each row
//! that is shown anywhere carries a number from which all of it follows ([`history`]), so that a torn one is found.
//!
//! A run tells its seed; `STEEPLE_SEED` makes the same choices again, though not the same order of what happens at once.
//! `STEEPLE_MODEL_ROUNDS` says how long it is.

mod agents;
mod foreign;
mod history;
mod servers;
mod writes;

use std::env;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use steeple_datastore::{MySqlServer, Options, PostgresServer, Source, TlsFiles};
use steeple_testkit::database::{Copied, Place, USER, mariadb};

use self::agents::Agents;
use self::foreign::Foreign;
use self::history::History;
use self::servers::{Server, State};
use super::*;

/// Servers that write.
const SERVERS: usize = 3;
/// Rounds of a run, unless it is told otherwise.
const ROUNDS: u64 = 30;
/// Rounds after which everything is compared.
const BETWEEN_COMPARISONS: u64 = 10;
/// What should have arrived by then has not.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn on_sqlite_servers_and_agents_end_with_what_the_database_holds() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        Place::exchangeable_file(&dir)
    };
    Model::new("SQLite", place("first"), place("late")).await.run().await;
}

#[tokio::test]
#[ignore = "starts PostgreSQL; `make whole` does"]
async fn on_postgresql_servers_and_agents_end_with_what_the_database_holds() {
    let (first, late) = (Place::new_postgres().await, Place::new_postgres().await);
    Model::new("PostgreSQL", first, late).await.run().await;
}

#[tokio::test]
#[ignore = "starts MariaDB; `make whole` does"]
async fn on_mariadb_servers_and_agents_end_with_what_the_database_holds() {
    let (first, late) = (Place::new_mariadb().await, Place::new_mariadb().await);
    Model::new("MariaDB", first, late).await.run().await;
}

struct Model {
    kind: &'static str,
    place: Place,
    servers: Vec<Server>,
    agents: Agents,
    history: Arc<History>,
    /// Earlier moments, to which the database can move back.
    copies: Vec<Copied>,
    foreign: Foreign,
    late_place: Place,
    late: Server,
    random: Random,
}

/// Choices that can be made again.
struct Random(TestRng);

impl Random {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// A number below this one.
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// For something that runs beside others.
    fn another(&mut self) -> Self {
        Self::new(self.0.next_u64())
    }
}

impl Model {
    async fn new(kind: &'static str, place: Place, late_place: Place) -> Self {
        let seed =
            env::var("STEEPLE_SEED").map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().unwrap());
        println!("{kind}: seed {seed} (repeat with STEEPLE_SEED={seed})");
        let (history, mut random) = (Arc::new(History::default()), Random::new(seed));
        let mut servers = Vec::new();
        for _ in 0..SERVERS {
            servers.push(Server::start(options(&place), &history).await);
        }
        let agents = Agents::start(&servers, &history, &mut random).await;
        writes::base(&servers[0].served.store).await;
        let base = place.copied().await;
        late_place.replace_by(&base).await;
        let late = Server::start(options(&late_place), &history).await;
        let foreign = Foreign::default();
        Self { kind, place, servers, agents, history, copies: vec![base], foreign, late_place, late, random }
    }

    async fn run(mut self) {
        let rounds = env::var("STEEPLE_MODEL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
        for round in 1..=rounds {
            let happened = self.round().await;
            if round % BETWEEN_COMPARISONS == 0 || round == rounds {
                self.compare(round, happened).await;
            }
            self.history.assert_right();
        }
        println!("{}: {rounds} rounds, {}", self.kind, self.history.counts());
        let Self { servers, late, agents, .. } = self;
        agents.stop().await;
        for server in servers.into_iter().chain([late]) {
            server.stop().await;
        }
    }

    /// All servers write, and something happens meanwhile.
    async fn round(&mut self) -> &'static str {
        let bursts: Vec<_> = self
            .servers
            .iter()
            .map(|server| {
                let (store, history) = (server.served.store.clone(), Arc::clone(&self.history));
                let (length, random) = (1 + self.random.below(8), self.random.another());
                tokio::spawn(async move { writes::burst(&store, &history, length, random).await })
            })
            .collect();
        if !matches!(self.place, Place::File(_)) {
            self.foreign.go_on(&self.place, &self.history, &mut self.random).await;
        }
        let happened = self.happening().await;
        for burst in bursts {
            burst.await.unwrap();
        }
        happened
    }

    async fn happening(&mut self) -> &'static str {
        match self.random.below(12) {
            0 => {
                // It is away for a while: what is written meanwhile it has to find.
                let number = self.random.below(SERVERS as u64) as usize;
                let gone = self.servers.remove(number);
                self.agents.leave(&gone);
                if self.random.below(2) == 0 {
                    gone.stop().await;
                } else {
                    gone.kill();
                }
                let server = Server::start(options(&self.place), &self.history).await;
                self.agents.know(&server);
                self.servers.push(server);
                "a server was another one"
            }
            1 => {
                self.place.cut_connections().await;
                "connections were cut"
            }
            2 => {
                self.copies.push(self.place.copied().await);
                "a copy was made"
            }
            3 => {
                let copy = self.random.below(self.copies.len() as u64) as usize;
                self.place.replace_by(&self.copies[copy]).await;
                "the database moved back"
            }
            4 => {
                // A failover to a standby that lacked what was written last.
                let copy = self.copies.last().unwrap();
                self.place.replace_by(copy).await;
                "the newest commits were lost"
            }
            5 => {
                let copy = self.place.copied().await;
                self.late_place.replace_by(&copy).await;
                "the late copy came nearer"
            }
            6 => {
                self.agents.move_on(&mut self.random);
                "agents opened other streams"
            }
            _ => "nothing",
        }
    }

    /// Nobody writes: all have to come to the same.
    async fn compare(&mut self, round: u64, happened: &str) {
        if !matches!(self.place, Place::File(_)) {
            self.foreign.end(&self.history, &mut self.random).await;
        }
        let copy = self.place.copied().await;
        self.late_place.replace_by(&copy).await;
        let mut changes = self.history.changes();
        let mut differs = String::new();
        let all_equal = async {
            loop {
                changes.mark_unchanged();
                differs = self.difference().await;
                if differs.is_empty() {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, all_equal).await.is_err() {
            self.history.assert_right();
            panic!("{}: after round {round} ({happened}): {differs}", self.kind);
        }
    }

    /// The first thing in which somebody differs from the database; empty for nothing.
    async fn difference(&self) -> String {
        let expected = State::of_database(&self.servers[0].served.store).await;
        let late = State::of_database(&self.late.served.store).await;
        let servers = self.servers.iter().map(|server| (server, &expected)).chain([(&self.late, &late)]);
        for (number, (server, expected)) in servers.enumerate() {
            if let Some(difference) = expected.difference(&State::of_index(&server.served.index)) {
                return format!("server {number}: {difference}");
            }
        }
        self.agents.difference(&self.servers[0].served.store).await
    }
}

fn options(place: &Place) -> Options {
    match place {
        Place::File(path) => Options::sqlite(path),
        Place::Postgres(url) => Options::of(Source::Postgres(PostgresServer::parse(url).unwrap())),
        Place::MySql(_) => {
            let dsn = format!("{USER}@tcp(127.0.0.1:{})/{}?parseTime=true", mariadb().port, place.database());
            Options::of(Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap()))
        }
    }
}
