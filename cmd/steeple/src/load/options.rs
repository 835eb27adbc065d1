//! The operations and flags of `steeple load`.

mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use steeple_config::Error;
use steeple_config::flags::FlagSet;
use steeple_spiffe::SpiffeId;
use steeple_transport::dial::Place;

use super::pace::{self, Pace};
use values::{Id, Length, Number, Output, Pids, Places};

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To print this text.
    Help(String),
    Run(Box<Options>),
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) operation: Operation,
    /// The server's administrative socket.
    pub(super) server_socket: PathBuf,
    /// The agent's Workload API.
    pub(super) agent_socket: PathBuf,
    /// Where servers listen for agents; one at least.
    pub(super) places: Vec<Place>,
    /// The process under load. None: whoever listens on the socket.
    pub(super) pid: Option<i32>,
    /// Processes whose work is told beside it.
    pub(super) others: Vec<i32>,
    pub(super) pace: Pace,
    /// Operations before those that are measured.
    pub(super) warm_up: u64,
    /// SVIDs or entries a call, entries that an agent may have, agents that take turns.
    pub(super) size: u64,
    /// Agents that sign in turns.
    pub(super) agents: u64,
    /// Nodes among which entries are divided.
    pub(super) parents: u64,
    /// How entries are listed.
    pub(super) by: By,
    /// The agent below which entries are created.
    pub(super) parent: Option<SpiffeId>,
    /// Whether entries that were created, or agents, stay.
    pub(super) keep: bool,
    /// The longest wait between two tries.
    pub(super) pause: Duration,
    /// JSON instead of text.
    pub(super) json: bool,
}

/// What is done again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Mint,
    MintJwt,
    Batch,
    Jwt,
    Authorized,
    Entries,
    List,
    Change,
    Attest,
    Renew,
    Agents,
    Return,
    Fetch,
    FetchHeld,
    FetchJwt,
    Held,
    Arrival,
    Idle,
}

/// What a listing of entries asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// One page after the other.
    Page,
    /// All below one node.
    Parent,
    /// Those of one SPIFFE ID.
    Id,
    /// Those with one selector.
    Selector,
}

/// Which flags an operation has, and their defaults.
struct Traits {
    operation: Operation,
    name: &'static str,
    what: &'static str,
    sockets: Sockets,
    /// Whether it also connects as an agent.
    as_agent: bool,
    /// Whether it is a call that is made at some pace; the default of `-warmUp`.
    paced: Option<u64>,
    /// The default of `-concurrency`; None: one after the other.
    concurrency: Option<u64>,
    /// What `-count` counts, and its default; 0: without an end.
    count: Option<(&'static str, u64)>,
    /// The default of `-duration`; zero: without an end.
    duration: Duration,
    /// What `-size` is, its default and the most; the least is 1, and 0 where that is the default.
    size: Option<(&'static str, u64, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sockets {
    Server,
    Agent,
    Both,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        TABLE.iter().find(|traits| traits.operation == self).map_or("", |traits| traits.name)
    }
}

/// Reads the arguments.
///
/// # Errors
/// A text for the person who typed them.
pub(super) fn parse(args: &[OsString]) -> Result<Wish, String> {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let Some((name, rest)) = args.split_first() else { return Err(format!("which operation?\n{}", overview())) };
    if ["-h", "-help", "--help", "help"].contains(&name.as_str()) {
        return Ok(Wish::Help(overview()));
    }
    match TABLE.iter().find(|traits| traits.name == name) {
        Some(traits) => traits.parse(rest),
        None => Err(format!("there is no operation {name}\n{}", overview())),
    }
}

fn overview() -> String {
    let row = |traits: &Traits| format!("    {:<11} {}\n", traits.name, traits.what);
    let rows: String = TABLE.iter().map(row).collect();
    format!("{INTRODUCTION}\nOperations:\n{rows}\n`steeple load <operation> -h` lists the flags of one.\n")
}

impl Traits {
    fn parse(&self, args: &[String]) -> Result<Wish, String> {
        let name = format!("steeple load {}", self.name);
        let (mut server_socket, mut agent_socket) = (SERVER_SOCKET.to_owned(), AGENT_SOCKET.to_owned());
        let mut places = Places::by_default(Place { host: "127.0.0.1".into(), port: 8081 });
        let mut pid = Number { value: 0, range: 0..=u64::from(u32::MAX >> 1) };
        let mut count = Number { value: self.count.map_or(0, |(_, default)| default), range: 0..=pace::MOST };
        let mut duration = Length(self.duration);
        let mut concurrency = Number { value: self.concurrency.unwrap_or(1), range: 1..=10_000 };
        let mut rate = Number { value: 0, range: 0..=1_000_000 };
        let mut warm_up = Number { value: self.paced.unwrap_or(0), range: 0..=100_000 };
        let (_, default, most) = self.size.unwrap_or(("", 0, 0));
        let mut size = Number { value: default, range: default.min(1)..=most };
        let (mut parent, mut keep, mut pause, mut output) =
            (Id(None), false, Length(Duration::from_millis(100)), Output::Text);
        let mut agents = Number { value: 1, range: 1..=1000 };
        let (mut parents, mut by, mut others) = (Number { value: 1, range: 1..=1_000_000 }, By::Page, Pids(Vec::new()));

        let count_help =
            self.count.map(|(what, _)| format!("{what}, at most {}; 0 for no end but -duration", pace::MOST));
        let mut flags = FlagSet::new(&name)
            .flag(
                "pid",
                &mut pid,
                "The process under load by its `number`; otherwise the one that listens on the socket",
            )
            .flag(
                "other",
                &mut others,
                "The `number` of another process whose CPU time is told too, with that of its children; may be repeated",
            )
            .flag("duration", &mut duration, "For how long, a `duration`; 0 for no end but -count")
            .flag("output", &mut output, "The `format` of the result: text or json");
        if self.sockets != Sockets::Agent {
            flags =
                flags.flag("serverSocketPath", &mut server_socket, "The `path` of the server's administrative socket");
        }
        if self.sockets != Sockets::Server {
            flags = flags.flag("agentSocketPath", &mut agent_socket, "The `path` of the agent's Workload API");
        }
        if self.as_agent {
            flags = flags.flag(
                "serverAddress",
                &mut places,
                "`host:port` at which the server listens for agents; may be repeated, agents take turns",
            );
        }
        if let Some(help) = &count_help {
            flags = flags.flag("count", &mut count, help);
        }
        if self.paced.is_some() {
            flags = flags.flag("warmUp", &mut warm_up, "`Operations` before those that are measured").flag(
                "rate",
                &mut rate,
                "An open loop: `operations` a second that begin whether or not others have ended",
            );
        }
        if self.concurrency.is_some() {
            flags = flags.flag("concurrency", &mut concurrency, "`Operations` under way at once, at most");
        }
        if let Some((what, ..)) = self.size {
            flags = flags.flag("size", &mut size, what);
        }
        match self.operation {
            Operation::Entries => {
                flags = flags.flag("keep", &mut keep, "Leave the entries there").flag(
                    "parents",
                    &mut parents,
                    "`Nodes` below which the entries stand, in turns",
                );
            }
            Operation::Batch | Operation::Jwt => {
                flags = flags.flag("agents", &mut agents, "`Agents` that take turns, each from an address of its own");
            }
            Operation::Agents | Operation::Return => flags = flags.flag("keep", &mut keep, "Leave the agents there"),
            Operation::List => {
                flags =
                    flags.flag("by", &mut by, "`What` is asked for: page (one after the other), parent, id, selector");
            }
            Operation::Arrival => {
                flags = flags
                    .flag("parentID", &mut parent, "The agent's SPIFFE `ID`; may be left out when there is one agent")
                    .flag(
                        "pause",
                        &mut pause,
                        "The longest wait between two tries, a `duration`; each has a random part of it",
                    );
            }
            _ => {}
        }
        let usage = flags.usage();
        match flags.parse(args) {
            Ok([]) => {}
            Ok([first, ..]) => return Err(format!("there is no argument {first}\n{usage}")),
            Err(Error::HelpRequested) => return Ok(Wish::Help(format!("{}\n\n{usage}", self.what))),
            Err(error) => return Err(format!("{error}\n{usage}")),
        }
        let endless = duration.0.is_zero() && (count.value == 0 || self.count.is_none());
        if endless {
            return Err(format!("neither -duration nor -count says when to end\n{usage}"));
        }
        Ok(Wish::Run(Box::new(Options {
            operation: self.operation,
            server_socket: server_socket.into(),
            agent_socket: agent_socket.into(),
            places: places.places,
            pid: i32::try_from(pid.value).ok().filter(|pid| *pid > 0),
            others: others.0,
            pace: Pace {
                concurrency: usize::try_from(concurrency.value).unwrap_or(usize::MAX),
                count: if count.value == 0 { pace::MOST } else { count.value },
                duration: (!duration.0.is_zero()).then_some(duration.0),
                rate: (rate.value > 0).then_some(rate.value),
            },
            warm_up: warm_up.value,
            size: size.value,
            agents: agents.value,
            parents: parents.value,
            by,
            parent: parent.0,
            keep,
            pause: pause.0,
            json: output == Output::Json,
        })))
    }
}

/// A call to the server's administrative socket, made at some pace.
const CALL: Traits = Traits {
    operation: Operation::Mint,
    name: "",
    what: "",
    sockets: Sockets::Server,
    as_agent: false,
    paced: Some(100),
    concurrency: Some(4),
    count: Some(("`Operations`", 0)),
    duration: Duration::from_secs(10),
    size: None,
};

const TABLE: [Traits; 18] = [
    Traits { operation: Operation::Mint, name: "mint", what: "MintX509SVID over the server's socket", ..CALL },
    Traits { operation: Operation::MintJwt, name: "mint-jwt", what: "MintJWTSVID over the server's socket", ..CALL },
    Traits {
        operation: Operation::Batch,
        name: "batch",
        what: "BatchNewX509SVID over mTLS, as agents that this attests with join tokens",
        as_agent: true,
        size: Some(("`SVIDs` a call", 10, 500)),
        ..CALL
    },
    Traits {
        operation: Operation::Jwt,
        name: "jwt",
        what: "NewJWTSVID over mTLS, as agents that this attests with join tokens",
        as_agent: true,
        ..CALL
    },
    Traits {
        operation: Operation::Authorized,
        name: "authorized",
        what: "GetAuthorizedEntries over mTLS, as an agent that may have so many",
        as_agent: true,
        paced: Some(10),
        size: Some(("`Entries` that the agent may have", 1000, 100_000)),
        ..CALL
    },
    Traits {
        operation: Operation::Entries,
        name: "entries",
        what: "BatchCreateEntry over the server's socket",
        paced: None,
        count: Some(("`Entries`", 10_000)),
        duration: Duration::ZERO,
        size: Some(("`Entries` a call", 500, 500)),
        ..CALL
    },
    Traits {
        operation: Operation::List,
        name: "list",
        what: "ListEntries over the server's socket: page after page, or by a filter",
        paced: Some(10),
        concurrency: Some(1),
        size: Some(("`Entries` of a page, or below the parent that is asked for", 500, 10_000)),
        ..CALL
    },
    Traits {
        operation: Operation::Change,
        name: "change",
        what: "BatchUpdateEntry until the stream of its agent, which this attests, has it (Steeple's servers alone)",
        as_agent: true,
        paced: Some(10),
        concurrency: None,
        size: Some(("`Entries` that the agent may have", 100, 100_000)),
        ..CALL
    },
    Traits {
        operation: Operation::Attest,
        name: "attest",
        what: "AttestAgent with join tokens that were made before, each agent from an address of its own",
        as_agent: true,
        concurrency: Some(16),
        count: Some(("`Agents`", 1000)),
        duration: Duration::ZERO,
        ..CALL
    },
    Traits {
        operation: Operation::Renew,
        name: "renew",
        what: "RenewAgent, then a new connection with the new SVID and a call: all that a renewal takes",
        as_agent: true,
        concurrency: Some(16),
        size: Some(("`Agents` that take turns", 100, 100_000)),
        ..CALL
    },
    Traits {
        operation: Operation::Agents,
        name: "agents",
        what: "Attests agents and holds the stream of each: memory a stream, time until all know their entries (Steeple's \
               servers alone)",
        as_agent: true,
        paced: None,
        concurrency: Some(8),
        count: Some(("`Agents`", 200)),
        duration: Duration::from_secs(5),
        size: Some(("`Entries` that each may have", 0, 500)),
        ..CALL
    },
    Traits {
        operation: Operation::Return,
        name: "return",
        what: "Attests agents and, at Enter, has all of them come back at once, as after an outage: entries, SVIDs, renewal \
               (Steeple's servers alone)",
        as_agent: true,
        paced: None,
        concurrency: None,
        count: Some(("`Agents`", 200)),
        duration: Duration::from_secs(5),
        size: Some(("`Entries` that each may have", 3, 500)),
        ..CALL
    },
    Traits {
        operation: Operation::Fetch,
        name: "fetch",
        what: "FetchX509SVID over the Workload API, a new connection each",
        sockets: Sockets::Agent,
        ..CALL
    },
    Traits {
        operation: Operation::FetchHeld,
        name: "fetch-held",
        what: "FetchX509SVID over the Workload API, on one held connection",
        sockets: Sockets::Agent,
        ..CALL
    },
    Traits {
        operation: Operation::FetchJwt,
        name: "fetch-jwt",
        what: "FetchJWTSVID over the Workload API with a new audience each, on one held connection",
        sockets: Sockets::Agent,
        ..CALL
    },
    Traits {
        operation: Operation::Held,
        name: "held",
        what: "Holds so many Workload API streams, each on a connection of its own: memory a stream",
        sockets: Sockets::Agent,
        paced: None,
        concurrency: Some(8),
        count: Some(("`Streams`", 500)),
        duration: Duration::from_secs(5),
        ..CALL
    },
    Traits {
        operation: Operation::Arrival,
        name: "arrival",
        what: "How long an entry takes from its creation to the open stream of its workload",
        sockets: Sockets::Both,
        paced: None,
        concurrency: None,
        count: Some(("`Tries`", 200)),
        duration: Duration::ZERO,
        ..CALL
    },
    Traits {
        operation: Operation::Idle,
        name: "idle",
        what: "Nothing: what the process needs by itself, the server's or that of -pid",
        paced: None,
        concurrency: None,
        count: None,
        ..CALL
    },
];

const SERVER_SOCKET: &str = "/tmp/spire-server/private/api.sock";
const AGENT_SOCKET: &str = "/tmp/spire-agent/public/api.sock";

const INTRODUCTION: &str = "\
Usage: steeple load <operation> [<flags>]

Puts a server or an agent under load, Steeple's or SPIRE's, and tells what an operation costs it: CPU time, latency,
memory. Ctrl-C ends it with what was measured so far. It removes the entries and agents that it made.
";

#[cfg(test)]
mod tests;
