//! The one task that adds to the chain and writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use steeple_runtime::clock::unix_seconds;
use steeple_runtime::metrics::count;
use steeple_runtime::{Clock, Shutdown};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::chain::{Chain, Head, Link};
use super::record::{Cause, Event, Gap};
use super::sink::{Place, Sink};
use super::state::{State, StateFile};
use super::{Counts, InventoryError, NotRecorded, Order};

/// Records that are written at a time.
const BATCH: usize = 1024;
/// Where nobody waits, records are gathered for so long: waking and writing cost more than what is written.
const GATHER: Duration = Duration::from_millis(50);
/// How often the head is told.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(60);
/// Between two attempts to write.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Attempts at the end of the program.
const LAST_ATTEMPTS: u32 = 5;
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

pub(super) struct Writer {
    sink: Sink,
    chain: Chain,
    state: StateFile,
    /// The head that was told last.
    told: Option<Head>,
    clock: Clock,
    counts: Arc<Counts>,
    fail_closed: bool,
    keep: Duration,
    prune_at: SystemTime,
    /// What this run begins with.
    beginning: Vec<Event>,
    /// Whether records of the end are lost.
    given_up: bool,
}

impl Writer {
    /// Takes the chain up where it ended, or begins one.
    pub(super) async fn begin(
        place: Place,
        state: StateFile,
        clock: Clock,
        counts: Arc<Counts>,
        fail_closed: bool,
        keep: Duration,
    ) -> Result<Self, InventoryError> {
        let before = state.read()?;
        let head = before.as_ref().map_or_else(new_chain, |before| before.head.clone());
        let (sink, found) = Sink::open(place, &head.chain, &clock).await?;
        let (head, gaps) = match before {
            None => (head, Vec::new()),
            Some(before) => taken_up(before, found, sink.remembers()),
        };
        for gap in &gaps {
            warn!(target: "inventory", chain = head.chain, seq = head.seq, cause = ?gap.cause, count = gap.count,
                "Records are missing in the inventory");
        }
        let prune_at = clock.now();
        let beginning = gaps.into_iter().map(Event::Gap).chain([Event::Start]).collect();
        let chain = Chain::behind(head);
        let (told, given_up) = (None, false);
        let mut writer =
            Self { sink, chain, state, told, clock, counts, fail_closed, keep, prune_at, beginning, given_up };
        // The chain has to be known before anything of it could be missing.
        writer.remember(false).await?;
        Ok(writer)
    }

    /// Writes until it is told to close, then what is left.
    pub(super) async fn run(mut self, mut ordered: mpsc::Receiver<Order>, closing: Shutdown) {
        let beginning = std::mem::take(&mut self.beginning);
        let mut orders: Vec<_> = beginning.into_iter().map(|event| Order { event, written: None }).collect();
        self.take(&mut orders, &closing).await;
        self.tell(&closing).await;
        let clock = self.clock.clone();
        let mut tell = Box::pin(clock.sleep(TELL_EVERY));
        loop {
            tokio::select! {
                biased;
                () = closing.stopped() => break,
                () = &mut tell => {
                    self.tell(&closing).await;
                    tell = Box::pin(clock.sleep(TELL_EVERY));
                }
                taken = ordered.recv_many(&mut orders, BATCH) => {
                    if taken == 0 {
                        // Nobody is left who signs.
                        break;
                    }
                    self.take(&mut orders, &closing).await;
                    // A whole batch was there: more may be waiting, and there is only so much room.
                    if !self.fail_closed && taken < BATCH {
                        closing.unless_stopped(clock.sleep(GATHER)).await;
                    }
                }
            }
        }
        ordered.close();
        while ordered.recv_many(&mut orders, BATCH).await > 0 {
            self.take(&mut orders, &closing).await;
        }
        orders.push(Order { event: Event::Stop, written: None });
        if self.take(&mut orders, &closing).await {
            self.tell_head(true).await;
        }
        self.sink.close().await;
    }

    /// Adds records to the chain, with a gap behind them for what was dropped meanwhile, and writes them. Returns whether
    /// they are written: they are, but at the end of the program.
    async fn take(&mut self, orders: &mut Vec<Order>, closing: &Shutdown) -> bool {
        if self.given_up {
            return false;
        }
        let at = unix_seconds(self.clock.now());
        let (mut links, mut waiting) = (Vec::with_capacity(orders.len() + 1), Vec::new());
        let dropped = self.counts.dropped.swap(0, Ordering::Relaxed);
        let gap = (dropped > 0).then_some(Event::Gap(Gap { cause: Cause::Dropped, count: Some(dropped) }));
        let gap = gap.map(|event| Order { event, written: None });
        for Order { event, written } in orders.drain(..).chain(gap) {
            match self.chain.add(at, event) {
                Ok(link) => {
                    links.push(link);
                    waiting.extend(written);
                }
                // Nothing in a record cannot be written as JSON.
                Err(error) => {
                    error!(target: "inventory", error = %error, "Failed to write a record of the inventory");
                    self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        links.is_empty() || self.write(links.into(), waiting, closing).await
    }

    /// Tries until it is done. Those who wait are told at the first failure; their records are written all the same, for they
    /// are in the chain.
    async fn write(
        &mut self,
        links: Arc<[Link]>,
        mut waiting: Vec<oneshot::Sender<Result<(), NotRecorded>>>,
        closing: &Shutdown,
    ) -> bool {
        let mut last_attempts = 0;
        // Whoever waits may have gone.
        let mut answer = |answer: fn() -> Result<(), NotRecorded>| {
            waiting.drain(..).for_each(|waits| drop(waits.send(answer())));
        };
        loop {
            let error = match self.sink.write(&links, self.fail_closed).await {
                Ok(()) => {
                    answer(|| Ok(()));
                    if self.counts.failing.swap(false, Ordering::Relaxed) {
                        info!(target: "inventory", "The inventory is written again");
                    }
                    return true;
                }
                Err(error) => error,
            };
            count("inventory.failed");
            if !self.counts.failing.swap(true, Ordering::Relaxed) {
                error!(target: "inventory", error = %error, "Failed to write the inventory");
            }
            answer(|| Err(NotRecorded));
            if closing.unless_stopped(self.clock.sleep(RETRY)).await.is_some() {
                continue;
            }
            // At once for the first time: it may have waited for long.
            if last_attempts > 0 {
                self.clock.sleep(RETRY).await;
            }
            last_attempts += 1;
            if last_attempts > LAST_ATTEMPTS {
                error!(target: "inventory", records = links.len(), "The inventory ends without its last records");
                // What comes behind a hole would not fit the record before it.
                self.given_up = true;
                return false;
            }
        }
    }

    /// Tells how far the chain has come, and deletes what is too old.
    async fn tell(&mut self, closing: &Shutdown) {
        if !self.take(&mut Vec::new(), closing).await {
            return;
        }
        if self.told.as_ref() != Some(self.chain.head()) {
            self.tell_head(false).await;
        }
        let now = self.clock.now();
        if now >= self.prune_at {
            self.prune_at = now + PRUNE_EVERY;
            let before = now.checked_sub(self.keep).unwrap_or(SystemTime::UNIX_EPOCH);
            if let Err(error) = self.sink.prune(before).await {
                error!(target: "inventory", error = %error, "Failed to delete old records of the inventory");
            }
        }
    }

    async fn tell_head(&mut self, stopped: bool) {
        if let Err(error) = self.sink.sync().await {
            error!(target: "inventory", error = %error, "Failed to write the inventory");
            return;
        }
        let Head { chain, seq, digest } = self.chain.head();
        info!(target: "inventory", r#type = "audit", chain, seq, digest, "Inventory head");
        if let Err(error) = self.remember(stopped).await {
            error!(target: "inventory", error = %error, "Failed to remember the head of the inventory");
        }
    }

    async fn remember(&mut self, stopped: bool) -> Result<(), InventoryError> {
        let (file, head) = (self.state.clone(), self.chain.head().clone());
        self.told = Some(head.clone());
        let write = move || file.write(&State { head, stopped });
        tokio::task::spawn_blocking(write).await.unwrap_or(Err(InventoryError::Stopped))
    }
}

fn new_chain() -> Head {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    Head::of_new(format!("{high:016x}"))
}

/// Where the chain goes on, and what is missing before that. `found` is behind the last record that is there.
fn taken_up(before: State, found: Option<Head>, remembers: bool) -> (Head, Vec<Gap>) {
    let State { head, stopped } = before;
    let crash = Gap { cause: Cause::Crash, count: None };
    match found {
        Some(found) if found.seq >= head.seq => {
            let ended = stopped && found.seq == head.seq;
            (found, if ended { Vec::new() } else { vec![crash] })
        }
        // It had no records yet.
        None if head.seq == 0 => (head, vec![crash]),
        found if remembers => {
            let there = found.map_or(0, |found| found.seq);
            let lost = Gap { cause: Cause::Lost, count: Some(head.seq - there) };
            (head, if stopped { vec![lost] } else { vec![lost, crash] })
        }
        _ if stopped => (head, Vec::new()),
        // Places behind the head may be taken, and nobody can tell.
        _ => (new_chain(), vec![crash]),
    }
}
