//! Agents that were there before and all come back at once, such as after an outage of their server.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use steeple_runtime::jitter;
use steeple_transport::status::retry_delay;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::attested::{Attested, Site};
use super::follow::Follow;
use super::pace::Work;
use super::server::AT_ONCE;
use super::sign::Batch;

/// All that an agent does which was away for long: it gets its entries, has their SVIDs signed and its own renewed, and
/// holds its stream with the new one. What is put off or lost on the way it asks for again, as agents do.
pub(super) struct Comeback<'a> {
    site: Site<'a>,
    away: RefCell<Vec<(Attested, Batch)>>,
    back: RefCell<Vec<Follow>>,
    /// When the first one began to come back.
    begin: OnceCell<Instant>,
    /// Until so long after that an agent was without its entries.
    synced: Cell<Duration>,
    again: Cell<u64>,
}

impl<'a> Comeback<'a> {
    /// Attests so many, each of which may have `entries`. Their SVIDs are in use, and they are not connected.
    ///
    /// # Errors
    /// They cannot attest, or the server does not create their entries.
    pub(super) async fn new(site: Site<'a>, count: u64, entries: u64) -> Result<Self> {
        let agents = stream::iter(site.several(count).await?).map(async |agent| {
            let entries = agent.authorize(site.server, entries, site.clock).await?;
            let agent = site.connected(agent)?;
            let svids = Batch::of(&agent, entries)?;
            anyhow::Ok((agent, svids))
        });
        let away: Vec<_> = agents.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Self {
            site,
            away: away.into(),
            back: RefCell::default(),
            begin: OnceCell::new(),
            synced: Cell::default(),
            again: Cell::default(),
        })
    }

    /// What is told of it beside the figures of all.
    pub(super) fn note(&self) -> String {
        let (synced, again) = (self.synced.get().as_secs_f64(), self.again.get());
        format!(
            "the last had its entries after {synced:.2} s; {again} calls were put off or not answered, and made again"
        )
    }

    async fn patiently<T>(&self, call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
        let mut pause = FIRST_PAUSE;
        loop {
            match call().await {
                Err(status) if is_worth_another_try(status.code()) => {
                    self.again.set(self.again.get() + 1);
                    // A quarter more than was told, so that nobody comes early, whatever jitter makes of it.
                    let told = retry_delay(&status).map(|told| told * 5 / 4);
                    self.site.clock.sleep(jitter(told.map_or(pause, |told| pause.max(told)))).await;
                    pause = (pause * 3 / 2).min(LONGEST_PAUSE);
                }
                done => return done,
            }
        }
    }
}

impl Work for Comeback<'_> {
    async fn once(&self, number: u64) -> Result<(), Status> {
        let (agent, svids) = self.away.borrow_mut().pop().ok_or_else(|| Status::out_of_range("no agent is left"))?;
        let begin = *self.begin.get_or_init(Instant::now);
        // Held until the other one is there, as agents do.
        let _first = self.patiently(async || Follow::open(agent.clone()).await).await?;
        self.synced.set(begin.elapsed());
        self.patiently(async || svids.once(number).await).await?;
        let agent = self.patiently(async || self.site.renewed(agent.clone()).await).await?;
        let stream = self.patiently(async || Follow::open(agent.clone()).await).await?;
        self.back.borrow_mut().push(stream);
        Ok(())
    }
}

/// Those of the connection rather than of the call, and of a server that is asked too much.
fn is_worth_another_try(code: Code) -> bool {
    use Code::{Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable, Unknown};
    matches!(code, Cancelled | DeadlineExceeded | ResourceExhausted | Unavailable | Unknown)
}

/// Says that so many agents are away, and waits until somebody presses Enter or the standard input ends.
pub(super) async fn entered(agents: u64) -> Result<()> {
    writeln!(io::stderr(), "{agents} agents have attested and are away; Enter has them all come back")?;
    let (sender, entered) = oneshot::channel();
    // A thread that nobody waits for: reading a terminal cannot be given up.
    thread::Builder::new().spawn(move || {
        let _ = io::stdin().read_line(&mut String::new());
        let _ = sender.send(());
    })?;
    Ok(entered.await?)
}

/// What agents begin with, and how long it may grow here, where a run is over within a minute.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
