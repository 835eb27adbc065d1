//! The feed of changes: whatever this or another server writes, an index learns here.
//!
//! It is the tail of the two event tables. An event only says "look again": the rows it names are read in the same
//! snapshot, so that neither order nor repetition matters. How a feed learns that it is time to look is a hint and no
//! more: a lost one costs time, never a change.
//!
//! Databases with several writers commit out of order. An id that was skipped is asked for in each look until it is
//! settled ([`gaps`]). A database that moved back (a restored file, a standby that lost commits) is noticed by what is
//! remembered of the newest events ([`tail`]), and told from one whose old events were pruned. In both cases all rows are
//! handed out again, slice by slice ([`comparison`]), as they are now and then though nothing seems to be amiss.
//!
//! A row that cannot be decoded keeps nothing else back ([`unreadable`]).

mod bundles;
mod change;
mod comparison;
mod events;
mod gaps;
mod glance;
mod listen;
mod open;
mod probe;
mod read;
mod status;
mod tail;
mod torn;
mod unreadable;
mod view;
mod watch;

use std::time::Duration;

use futures::future::BoxFuture;
use steeple_runtime::{Clock, jitter};
use tokio::sync::watch::{self as watch_channel, Receiver};
use tokio_util::sync::CancellationToken;

pub use self::change::{Change, ChangedRows, Names, Part, Position, Slice, Snapshot};
pub(crate) use self::listen::tell_others;
pub use self::status::{FeedStatus, OpenGap};

use self::comparison::Comparison;
use self::glance::Glance;
use self::open::Open;
use self::read::{Found, Known, Tails, Tasks};
use self::torn::Torn;
use self::unreadable::Unreadable;
use self::view::View;
use self::watch::{Watch, Woken};
use crate::Error;
use crate::database::{Database, Identity};
use crate::writer::Hint;

/// A feed of changes. See [`DataStore::feed`](crate::DataStore::feed).
pub struct Feed {
    database: Database,
    clock: Clock,
    hints: Receiver<Hint>,
    /// The store is closed.
    stop: CancellationToken,
    /// The hint that has been followed.
    followed: Hint,
    /// What has been handed out.
    known: Known,
    /// The file or server that it was read from.
    source: (Option<Identity>, String),
    /// Whether what is known says nothing about the database: nothing was handed out, or the database moved back.
    is_astray: bool,
    /// See [`Feed::has_moved_back`].
    has_moved_back: bool,
    comparison: Comparison,
    /// A slice that comes next: it was read with the rows that were handed out.
    slice: Option<Slice>,
    /// Rows to be read though no event names them.
    again: Names,
    /// Entries that may not be in the database as they were read.
    torn: Torn,
    unreadable: Unreadable,
    /// Kept open while all goes well; SQLite tells a connection whether others have written since it looked last.
    open: Option<Open>,
    /// Whether there may be something to see. It stays so until a look has ended well.
    due: bool,
    /// Whether somebody has written since the bundles were looked at. Servers do not tell.
    bundles_stale: bool,
    since_bundles: Duration,
    /// Since the last look.
    since_look: Duration,
    /// What the server showed before the last look that a tick asked for.
    glance: Option<Glance>,
    /// Since the events that are remembered were compared with those that there are.
    since_compared: Duration,
    /// Whether somebody has written to the file since then.
    uncompared: bool,
    /// Tells of other processes' writes.
    watch: Watch,
    /// Kept over calls of [`Feed::next`] that are dropped, so that it goes off however often that happens.
    tick: Option<(Duration, BoxFuture<'static, ()>)>,
    /// What the next call waits for after a failure; kept likewise.
    pause: Option<BoxFuture<'static, ()>>,
    /// What the next look waits for, however often somebody writes meanwhile; kept likewise.
    rest: Option<BoxFuture<'static, ()>>,
    failures: u32,
    status: watch_channel::Sender<FeedStatus>,
}

/// A server is looked at this often though nothing seems to happen; hints and newest ids do not tell everything.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Bundles have no events: after a foreign write they are compared, at most this often.
const BETWEEN_BUNDLES: Duration = Duration::from_secs(1);
/// The pause after a failure, which doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);
const MOST_DOUBLINGS: u32 = 6;
/// A change waits no longer than this for the looks before it.
const MOST_REST: Duration = Duration::from_millis(50);

impl Feed {
    pub(crate) fn new(database: Database, hints: Receiver<Hint>, clock: Clock, stop: CancellationToken) -> Self {
        Self {
            stop,
            watch: Watch::of(&database),
            database,
            clock,
            hints,
            followed: Hint::default(),
            known: Known::default(),
            source: (None, String::new()),
            is_astray: true,
            has_moved_back: false,
            comparison: Comparison::default(),
            slice: None,
            again: Names::default(),
            torn: Torn::default(),
            unreadable: Unreadable::default(),
            open: None,
            due: false,
            bundles_stale: false,
            since_bundles: Duration::ZERO,
            since_look: Duration::ZERO,
            glance: None,
            since_compared: Duration::ZERO,
            uncompared: false,
            tick: None,
            pause: None,
            rest: None,
            failures: 0,
            status: watch_channel::Sender::default(),
        }
    }

    /// The same, comparing everything in the course of each `interval`, so that what went wrong unnoticed is put right.
    #[must_use]
    pub fn comparing_every(mut self, interval: Duration) -> Self {
        self.comparison.set_interval(interval);
        self
    }

    /// How far it is, for others to look at. It goes on showing the last state when the feed is gone.
    pub fn status(&self) -> Receiver<FeedStatus> {
        self.status.subscribe()
    }

    /// Reads everything, as [`Feed::load`] does, at once.
    pub async fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let mut snapshot = Snapshot::default();
        snapshot.position = self
            .load(&mut |part| match part {
                Part::Bundles(bundles) => snapshot.bundles.extend(bundles),
                Part::Nodes(nodes) => snapshot.nodes.extend(nodes),
                Part::Entries(entries) => snapshot.entries.extend(entries),
            })
            .await?;
        Ok(snapshot)
    }

    /// Reads everything, in one transaction, and hands it out in parts. [`Feed::next`] goes on from there.
    ///
    /// After an error, or when the future is dropped, the parts that were handed out say nothing.
    pub async fn load(&mut self, take: &mut (dyn FnMut(Part) + Send)) -> Result<Position, Error> {
        let loaded = self.load_once(take).await;
        match &loaded {
            Ok(_) => self.failures = 0,
            Err(_) => self.failed(),
        }
        loaded
    }

    async fn load_once(&mut self, take: &mut (dyn FnMut(Part) + Send)) -> Result<Position, Error> {
        self.is_astray = true;
        let hint = *self.hints.borrow_and_update();
        self.watch.renew();
        let open = Open::of(&mut self.open, &self.database).await?;
        open.data_version = open.newest_data_version().await?;
        let view = View::begin(&mut open.db).await?;
        let (mut rows, mut again) = (0, Names::default());
        let mut counting = |part: Part| {
            rows += part.rows();
            if let Part::Entries(entries) = &part {
                let torn = entries.iter().filter(|entry| entry.selectors.is_empty());
                again.entries.extend(torn.map(|entry| entry.entry_id.clone()));
            }
            take(part);
        };
        let known = read::everything(&mut open.db, &view, &self.clock, &mut counting).await?;
        let position = known.tails.position();
        open.db.commit().await?;
        // From here on nothing waits: either all of this happens or nothing.
        open.is_idle = true;
        self.source = (open.identity, view.source);
        self.known = known;
        (self.is_astray, self.has_moved_back) = (false, false);
        self.comparison.begin_after(rows);
        (self.slice, self.again, self.torn) = (None, again, Torn::default());
        self.unreadable = Unreadable::default();
        self.followed = hint;
        self.due = false;
        self.bundles_stale = self.database.dialect().is_server();
        self.since_bundles = Duration::ZERO;
        self.since_look = Duration::ZERO;
        self.tell(true, true);
        Ok(position)
    }

    /// Waits for a change and returns it. Unless everything was read before, all of it comes in slices, and at once.
    ///
    /// Dropping the future loses nothing. After an error the next call goes on from the same position, after a pause that
    /// grows with each error.
    pub async fn next(&mut self) -> Result<Change, Error> {
        if let Some(pause) = &mut self.pause {
            pause.await;
            self.pause = None;
        }
        let change = self.next_change().await;
        match &change {
            Ok(_) => self.failures = 0,
            Err(_) => self.failed(),
        }
        change
    }

    /// Whether the change that came last may be older than what came before: the database moved back, or is another one, and
    /// not all of it has been compared since, rows that were asked for ([`Feed::look_again`]) included.
    pub fn has_moved_back(&self) -> bool {
        self.has_moved_back
    }

    /// Has these rows read, and handed out as they are then.
    pub fn look_again(&mut self, names: Names) {
        let Names { entries, nodes } = names;
        self.again.entries.extend(entries);
        self.again.nodes.extend(nodes);
    }

    /// The next call of [`Feed::next`] waits before it tries again.
    fn failed(&mut self) {
        self.due = true;
        let length = PAUSE * 2_u32.pow(self.failures.min(MOST_DOUBLINGS));
        self.pause = Some(sleep(&self.clock, jitter(length)));
        self.failures = self.failures.saturating_add(1);
    }

    /// Waits until the feed has let go of the database's files. With a feed that is only dropped, they may still be open when
    /// the store is closed, and then SQLite leaves its write-ahead log behind.
    pub async fn close(self) {
        if let Some(open) = self.open {
            // It only read: there is nothing to lose.
            let _ = open.db.close().await;
        }
    }

    async fn next_change(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(slice) = self.slice.take() {
                return Ok(Change::Slice(slice));
            }
            if let Some(rest) = &mut self.rest {
                rest.await;
                self.rest = None;
            }
            if !self.is_due() {
                self.wait().await?;
                self.due = true;
            }
            let begin = self.clock.now();
            let rows = self.look().await?;
            if !self.is_due() {
                let took = self.clock.now().duration_since(begin).unwrap_or_default();
                self.rest = rest_after(took).map(|length| sleep(&self.clock, length));
            }
            if let Some(rows) = rows {
                return Ok(Change::Rows(rows));
            }
        }
    }

    /// Whether there is something to do without waiting for it.
    fn is_due(&self) -> bool {
        self.due || self.begins_anew() || self.comparison.is_due() || !self.again.is_empty()
    }

    /// Whether what is known says nothing about this database.
    fn begins_anew(&self) -> bool {
        self.is_astray || self.source.0 != self.database.identity()
    }

    /// Returns when there may be something to see.
    async fn wait(&mut self) -> Result<(), Error> {
        loop {
            let length = self.watch.tick();
            let clock = &self.clock;
            let (length, tick) = self.tick.get_or_insert_with(|| (length, sleep(clock, length)));
            let length = *length;
            tokio::select! {
                // The tick comes first: under a constant load there is always a hint, and bundles would be forgotten.
                biased;
                () = tick => {
                    self.tick = None;
                    self.watch.ticked();
                    self.since_bundles = self.since_bundles.saturating_add(length);
                    self.since_look = self.since_look.saturating_add(length);
                    self.since_compared = self.since_compared.saturating_add(length);
                    self.comparison.pass(length);
                    if self.is_changed().await? || self.bundles_due() || self.comparison.is_due() {
                        return Ok(());
                    }
                }
                woken = self.watch.woken() => match woken {
                    Woken::Look => return Ok(()),
                    Woken::TickAnew => self.tick = None,
                    Woken::Stay => {}
                },
                // What was written before the store was closed still comes.
                changed = self.hints.changed() => return changed.map_err(|_| Error::Closed),
                () = self.stop.cancelled() => return Err(Error::Closed),
            }
        }
    }

    /// Whether the database was replaced, or written by another connection.
    async fn is_changed(&mut self) -> Result<bool, Error> {
        if self.source.0 != self.database.identity() {
            return Ok(true);
        }
        let Some(open) = self.open.as_mut().filter(|open| open.is_idle) else { return Ok(true) };
        let is_server = self.database.dialect().is_server();
        let is_due = is_server && self.since_look >= BETWEEN_LOOKS;
        if is_due && !Glance::suffices(&self.known.tails) {
            self.glance = None;
            return Ok(true);
        }
        open.is_idle = false;
        let changed = if is_due {
            let before = std::mem::replace(&mut self.glance, Glance::of(&mut open.db).await?);
            self.glance != before
        } else if is_server {
            let (newest, known) = (events::newest(&mut open.db).await?, self.known.tails.position());
            newest.entries > known.entries || newest.nodes > known.nodes
        } else {
            let compare = self.uncompared && self.since_compared >= BETWEEN_LOOKS;
            compare || open.newest_data_version().await? != open.data_version
        };
        open.is_idle = true;
        if is_due && !changed {
            // As good as a look that finds nothing.
            (self.since_look, self.since_compared, self.since_bundles) = Default::default();
        }
        if !changed {
            let (now, is_heard) = (self.clock.now(), self.watch.is_heard());
            self.status.send_modify(|status| (status.confirmed_at, status.is_heard) = (Some(now), is_heard));
        }
        Ok(changed)
    }

    /// Shows how far it is, after it has read something: `whole` says that by now this was everything, `complete` that
    /// nothing is left to be read.
    fn tell(&self, whole: bool, complete: bool) {
        let now = self.clock.now();
        let is_heard = self.watch.is_heard();
        self.status.send_modify(|status| {
            if complete {
                status.confirmed_at = Some(now);
            }
            status.is_heard = is_heard;
            status.newest = self.known.tails.position();
            status.open_gaps = self.known.tails.open_gaps();
            if whole {
                status.compared_at = Some(now);
            }
        });
    }

    fn bundles_due(&self) -> bool {
        self.bundles_stale && self.since_bundles >= BETWEEN_BUNDLES
    }

    /// Reads what happened since the position and moves it, and with that a slice if one is due.
    async fn look(&mut self) -> Result<Option<ChangedRows>, Error> {
        let hint = *self.hints.borrow_and_update();
        if self.begins_anew() {
            self.watch.renew();
        }
        let open = Open::of(&mut self.open, &self.database).await?;
        // Read before the snapshot is taken: a write in between is looked for again, not missed.
        let data_version = open.newest_data_version().await?;
        let is_written = data_version != open.data_version;
        let stale = self.bundles_stale || is_written;
        open.data_version = data_version;
        self.known.tails.probe(&mut open.db, &self.clock).await?;

        let view = View::begin(&mut open.db).await?;
        let has_read = !self.source.1.is_empty();
        let is_another = view.source != self.source.1;
        if has_read && is_another && !view.is_writable {
            // The next look connects anew.
            return Err(Error::Unavailable("the database is a read-only copy, which may be behind".to_owned()));
        }
        let behind = || Error::Unavailable("the database is read-only, and behind what was read before".to_owned());
        let is_astray = self.is_astray || open.identity != self.source.0;
        // What a server has that was started again, or that took over, is most likely what there was before.
        let is_kept = has_read && !is_astray && is_another && self.known.tails.are_kept(&mut open.db, &view).await?;
        let begun = if is_astray || is_another {
            if has_read && !view.is_writable {
                return Err(behind());
            }
            Some(Tails::begin(&mut open.db, &view, &self.clock).await?)
        } else {
            None
        };
        let bundles_due = stale && self.since_bundles >= BETWEEN_BUNDLES;
        let tasks = Tasks {
            bundles: begun.is_some() || hint.bundles != self.followed.bundles || bundles_due,
            compare: hint.unknown != self.followed.unknown || self.since_compared >= BETWEEN_LOOKS,
            again: &self.again,
        };
        let (bundles, compare) = (tasks.bundles, tasks.compare);
        let tails = begun.as_ref().unwrap_or(&self.known.tails);
        let found = read::since(&mut open.db, tails, &self.known.bundles, tasks, &view).await?;
        let pruned = begun.is_none() && found.as_ref().is_some_and(Found::pruned);
        let has_all = begun.is_none() && !pruned && found.as_ref().is_some_and(|found| !found.more());
        let mut read =
            if has_all && self.comparison.is_due() { Some(self.comparison.read(&mut open.db).await?) } else { None };
        open.db.commit().await?;

        // From here on nothing waits: either all of this happens or nothing.
        open.is_idle = true;
        if self.since_look < BETWEEN_LOOKS {
            // A hint asked for it, and it may have read what the glance has not seen: the same one again would say nothing.
            self.glance = None;
        }
        self.since_look = Duration::ZERO;
        self.uncompared |= is_written;
        if compare {
            (self.since_compared, self.uncompared) = (Duration::ZERO, false);
        }
        let Some(mut found) = found else {
            if !view.is_writable {
                return Err(behind());
            }
            self.is_astray = true;
            return Ok(None);
        };
        self.source = (open.identity, view.source);
        self.has_moved_back &= self.comparison.is_hurried() || !self.again.is_empty();
        if let Some(tails) = begun {
            self.has_moved_back = self.status.borrow().compared_at.is_some();
            if self.has_moved_back && is_kept {
                tracing::info!(target: "feed", "Database was started again, or is another one; all of it is compared");
            } else if self.has_moved_back {
                tracing::warn!(target: "feed", "Database was replaced or moved back; all of it is read again");
            }
            self.known.tails = tails;
            self.is_astray = false;
            self.comparison.hurry();
        }
        if pruned {
            tracing::debug!(target: "feed", "Events that were read last are pruned; all of the database is read again");
            self.comparison.hurry();
        }
        let (more, events) = (found.more(), found.events());
        if let Some(bundles) = found.unreadable_bundles() {
            self.unreadable.are_bundles(bundles);
        }
        let unreadable = std::mem::take(&mut found.unreadable);
        let mut rows = self.known.follow(found, &mut self.again, &self.clock);
        // Looked at after the rows were read: a commit of this process that they can show has begun by then.
        let is_quiet = self.hints.borrow().is_quiet_since(&self.followed);
        if events > 0 && is_quiet {
            let now = self.clock.now();
            self.status.send_modify(|status| {
                status.foreign_events += events as u64;
                status.foreign_at = Some(now);
            });
        }
        self.followed = hint;
        self.bundles_stale = self.database.dialect().is_server() || (stale && !bundles);
        if bundles {
            self.since_bundles = Duration::ZERO;
        }
        let was_hurried = self.comparison.is_hurried();
        let in_slice = read.as_mut().map(|read| std::mem::take(&mut read.unreadable)).unwrap_or_default();
        self.slice = self.sliced(read);
        self.unreadable.are_entries(unreadable, &rows.entries, (in_slice, self.slice.as_ref()));
        self.again.entries.extend(self.torn.take_out(&mut rows.entries, self.slice.as_mut()));
        let is_last = self.slice.as_ref().is_some_and(|slice| slice.is_last);
        // After the last slice there are rows to look at again, mostly.
        self.due = more || is_last;
        self.tell(is_last, !more && !was_hurried && self.again.is_empty());
        Ok(Some(rows).filter(|rows| !rows.is_empty()))
    }

    /// Takes over a slice, if one was read.
    fn sliced(&mut self, read: Option<comparison::Read>) -> Option<Slice> {
        let Some(read) = read else {
            self.comparison.passed_over();
            return None;
        };
        let slice = self.comparison.advance(read);
        for entry in &slice.entries {
            self.known.bundles.remember_entry(&entry.entry_id, Some(entry));
        }
        Some(slice)
    }
}

/// For how long no look follows one that took so long. Who looks at a database for each write of each server keeps it and the
/// servers busy with looks; so what comes meanwhile is read together, and looks take a quarter of the time at most.
fn rest_after(look: Duration) -> Option<Duration> {
    // A clock that was set, or a database that hardly answers: nothing is saved.
    (!look.is_zero() && look < MOST_REST * 10).then(|| (look * 3).min(MOST_REST))
}

fn sleep(clock: &Clock, length: Duration) -> BoxFuture<'static, ()> {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep(length).await })
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}

#[cfg(test)]
mod tests;
