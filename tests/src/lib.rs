//! What a case needs to run whole daemons: real processes with their own directory, ports, sockets and database, and
//! real clients. It speaks to them only as an operator or a workload could: files, flags, sockets, signals, logs.
//!
//! ```ignore
//! #[test]
//! fn serves_an_x509_svid() -> Result<()> {
//!     case(async |scratch| {
//!         let domain = Domain::builder().start(scratch).await?;
//!         let agent = domain.agent("node1").await?;
//!         domain.entry(&agent.id, "/web", &[]).await?;
//!         agent.workload().follow().until("its SVID", |update| !update.svids.is_empty()).await?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! | Variable | Meaning |
//! |---|---|
//! | `STEEPLE_BIN` | directory of the daemons; without it the one that cargo built the test into |
//! | `STEEPLE_PEER_BIN` | directory of the daemons that those meet; for `make peer` alone |
//! | `STEEPLE_KEEP` | keeps the directory of a failed case |
//! | `STEEPLE_SEED` | repeats the random moments of an earlier run |
//! | `STEEPLE_TRIES` | how often a bench measures |
//! | `STEEPLE_ROTATION_SECONDS` | how long the case of rotation goes on |
//! | `STEEPLE_EVERY_WRITE` | kills in the middle of each write to a database |
//! | `STEEPLE_WHOLE_STORM` | 2,000 agents come back at once, in place of 300 |
//! | `STEEPLE_MIXED_SECONDS` | how long servers of both kinds write to one database; for `make peer` alone |
//! | `CI` | `true`: what cannot run on this machine fails |
//!
//! The daemons are Steeple's (`steeple-server`, `steeple-agent`) or, for what is not there under these names, those of
//! SPIRE (`spire-server`, `spire-agent`), whose answers are the yardstick. A directory with one of each mixes them.

mod administrator;
mod agent;
mod agent_by_hand;
mod binaries;
mod case;
mod clock;
mod disk;
mod domain;
mod foreign;
mod go_program;
pub mod hosts;
mod http;
mod inside;
mod installation;
mod line;
mod memory;
mod opa;
mod otlp_receiver;
mod peer;
mod port;
mod process;
mod prometheus;
mod random;
mod report;
mod server;
mod shared;
mod shim;
mod storm;
mod toxiproxy;
mod wait;
mod warden;
mod wire;
mod workload;
pub mod x509pop;

pub use administrator::administer;
pub use agent::Agent;
pub use agent_by_hand::{AgentByHand, Port};
pub use binaries::{Binaries, Program, steeple};
pub use case::{Scratch, case};
pub use clock::WallClock;
pub use disk::{SmallDisk, heed_modes, read_only};
pub use domain::{Bootstrap, Database, Domain, DomainBuilder, own_selector};
pub use foreign::{ForeignWorkload, ForeignWorkloads, Language};
pub use hosts::{find_by_name, move_beside};
pub use http::{http, http_bytes};
pub use inside::Inside;
pub use installation::Installation;
pub use line::Line;
pub use memory::Memory;
pub use opa::opa;
pub use otlp_receiver::OtlpReceiver;
pub use peer::{Peer, begin, connect, echo, serial};
pub use port::free_port;
pub use process::{Daemon, Output};
pub use prometheus::{Prometheus, StatsdExporter};
pub use random::Random;
pub use report::{cannot_run_here, figures};
pub use server::Server;
pub use shared::{Shared, at_mariadb, at_postgres, mysql_url, postgres_url};
pub use shim::{Kill, Shim, Trap};
pub use steeple_testkit::report::{say, skipped_on_the_reference};
pub use storm::{Force, Storm};
pub use toxiproxy::Toxiproxy;
pub use wait::{DEADLINE, POLL, passed, until, within};
pub use wire::Wire;
pub use workload::{Follower, Workload, until_count, verified};
