//! The feed of changes: whatever this or another server writes, an index learns here.
//!
//! It is the tail of the two event tables. An event only says "look again": the rows it names are read in the same
//! snapshot, so that neither order nor repetition matters. How a feed learns that it is time to look is a hint and no
//! more: a lost one costs time, never a change.
//!
//! On SQLite there is one writer and ids are given in the order of commits, so that an id which is not there when a later
//! one is will never be (its transaction was rolled back). Databases that commit out of order need to ask for such ids
//! until they are settled; that belongs between [`Feed::look`] and [`Position`].

mod bundles;
mod read;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use steeple_proto::spire::common::Bundle;
use steeple_runtime::Clock;
use steeple_runtime::os::touches::Touches;
use tokio::sync::watch;

use self::bundles::Known;
use crate::connection::Connection;
use crate::sql::Sql;
use crate::sqlite::{File, Identity};
use crate::writer::Hint;
use crate::{Entry, Error, Node};

/// Everything that servers share, read in one transaction.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// All entries, in order of creation.
    pub entries: Vec<Arc<Entry>>,
    /// All nodes with their selectors, in order of creation.
    pub nodes: Vec<Node>,
    /// All bundles, in order of creation.
    pub bundles: Vec<Bundle>,
    /// Up to where events are in it.
    pub position: Position,
}

/// The newest event ids that have been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Of entries.
    pub entries: i64,
    /// Of nodes.
    pub nodes: i64,
}

/// What changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// These rows.
    Rows(ChangedRows),
    /// All of it may have: the database was replaced or moved back, or nothing had been read before.
    Reload(Snapshot),
}

/// Rows that may have changed, by name, as they are now; None for those that are gone. A row that changed several times
/// comes once, and one that was touched without a change comes too. Entries, nodes and bundles are of one snapshot.
#[derive(Clone, Debug, Default)]
pub struct ChangedRows {
    /// By entry id.
    pub entries: Vec<(String, Option<Arc<Entry>>)>,
    /// By SPIFFE ID.
    pub nodes: Vec<(String, Option<Node>)>,
    /// By trust domain, `spiffe://td`.
    pub bundles: Vec<(String, Option<Bundle>)>,
}

impl ChangedRows {
    fn is_empty(&self) -> bool {
        let Self { entries, nodes, bundles } = self;
        entries.is_empty() && nodes.is_empty() && bundles.is_empty()
    }
}

/// A feed of changes. See [`DataStore::feed`](crate::DataStore::feed).
pub struct Feed {
    file: File,
    clock: Clock,
    hints: watch::Receiver<Hint>,
    /// The hint that has been followed.
    followed: Hint,
    /// What has been handed out; None before the first snapshot.
    known: Option<Known>,
    /// The file that it was read from.
    identity: Option<Identity>,
    /// Kept open while all goes well; SQLite tells a connection whether others have written since it looked last.
    open: Option<Open>,
    /// Whether there may be something to see. It stays so until a look has ended well.
    due: bool,
    /// Whether somebody has written since the bundles were looked at.
    bundles_stale: bool,
    since_bundles: Duration,
    /// Tells when the files are touched; None when the kernel does not give one.
    touches: Option<Touches>,
    /// How many ticks the feed stays awake for after a touch.
    awake: u32,
    /// Kept over calls of [`Feed::next`] that are dropped, so that it goes off however often that happens.
    tick: Option<BoxFuture<'static, ()>>,
    /// What the next call waits for after a failure; kept likewise.
    pause: Option<BoxFuture<'static, ()>>,
    failures: u32,
}

/// A connection of a feed.
struct Open {
    db: Connection,
    identity: Option<Identity>,
    /// SQLite's `data_version` at the last look.
    data_version: i64,
    /// Whether no statement and no transaction is under way.
    is_idle: bool,
}

/// How often a feed asks whether another process has written, while somebody writes.
const TICK: Duration = Duration::from_millis(50);
/// A feed is awake for so many ticks after a touch: a commit is seen in the files before readers see it.
const AWAKE: u32 = 20;
/// How often it asks while nobody seems to write.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// Bundles have no events: after a foreign write they are compared, at most this often.
const BETWEEN_BUNDLES: Duration = Duration::from_secs(1);
/// The pause after a failure, which doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);
const MOST_DOUBLINGS: u32 = 6;

impl Feed {
    pub(crate) fn new(file: File, hints: watch::Receiver<Hint>, clock: Clock) -> Self {
        Self {
            file,
            clock,
            hints,
            followed: Hint::default(),
            known: None,
            identity: None,
            open: None,
            due: false,
            bundles_stale: false,
            since_bundles: Duration::ZERO,
            touches: None,
            awake: 0,
            tick: None,
            pause: None,
            failures: 0,
        }
    }

    /// Reads everything. [`Feed::next`] goes on from there.
    pub async fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let hint = *self.hints.borrow_and_update();
        // Anew each time: the directory may be another one, too.
        self.touches = Touches::of(self.file.path()).inspect_err(log_blindness).ok();
        let open = Open::of(&mut self.open, &self.file).await?;
        open.data_version = data_version(&mut open.db).await?;
        open.db.begin_read().await?;
        let (snapshot, known) = read::everything(&mut open.db).await?;
        open.db.commit().await?;
        // From here on nothing waits: either all of this happens or nothing.
        open.is_idle = true;
        self.identity = open.identity;
        self.known = Some(known);
        self.followed = hint;
        self.due = false;
        self.bundles_stale = false;
        self.since_bundles = Duration::ZERO;
        Ok(snapshot)
    }

    /// Waits for a change and returns it. Without a [`Feed::snapshot`] before, it returns one at once.
    ///
    /// Dropping the future loses nothing. After an error the next call goes on from the same position, after a pause that
    /// grows with each error.
    pub async fn next(&mut self) -> Result<Change, Error> {
        if let Some(pause) = &mut self.pause {
            pause.await;
            self.pause = None;
        }
        let change = self.next_change().await;
        if change.is_ok() {
            self.failures = 0;
        } else {
            self.due = true;
            self.pause = Some(sleep(&self.clock, PAUSE * 2_u32.pow(self.failures.min(MOST_DOUBLINGS))));
            self.failures = self.failures.saturating_add(1);
        }
        change
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
            if self.known.is_none() || self.identity != self.file.identity() {
                return Ok(Change::Reload(self.snapshot().await?));
            }
            if !self.due {
                self.wait().await?;
                self.due = true;
                // The file may be another one now.
                continue;
            }
            match self.look().await? {
                Look::Nothing => {}
                Look::Rows(rows) => return Ok(Change::Rows(rows)),
                Look::MovedBack => return Ok(Change::Reload(self.snapshot().await?)),
            }
        }
    }

    /// Returns when there may be something to see.
    async fn wait(&mut self) -> Result<(), Error> {
        loop {
            let length = if self.awake > 0 || self.touches.is_none() { TICK } else { IDLE_TICK };
            let tick = self.tick.get_or_insert_with(|| sleep(&self.clock, length));
            tokio::select! {
                // The tick comes first: under a constant load there is always a hint, and bundles would be forgotten.
                biased;
                () = tick => {
                    self.tick = None;
                    self.awake = self.awake.saturating_sub(1);
                    self.since_bundles = self.since_bundles.saturating_add(length);
                    if self.file_changed().await? || self.bundles_due() {
                        return Ok(());
                    }
                }
                // While it is awake anyway a touch tells nothing; of many writes only a few are taken note of.
                touched = touched(self.touches.as_ref()), if self.awake <= AWAKE / 2 => {
                    if let Err(error) = touched {
                        log_blindness(&error);
                        self.touches = None;
                    }
                    if self.awake == 0 {
                        self.tick = None;
                    }
                    self.awake = AWAKE;
                }
                changed = self.hints.changed() => return changed.map_err(|_| Error::Closed),
            }
        }
    }

    /// Whether the file was replaced, or written by another connection.
    async fn file_changed(&mut self) -> Result<bool, Error> {
        if self.identity != self.file.identity() {
            return Ok(true);
        }
        let Some(open) = self.open.as_mut().filter(|open| open.is_idle) else { return Ok(true) };
        open.is_idle = false;
        let changed = data_version(&mut open.db).await? != open.data_version;
        open.is_idle = true;
        Ok(changed)
    }

    fn bundles_due(&self) -> bool {
        self.bundles_stale && self.since_bundles >= BETWEEN_BUNDLES
    }

    /// Reads what happened since the position and moves it.
    async fn look(&mut self) -> Result<Look, Error> {
        let hint = *self.hints.borrow_and_update();
        let open = Open::of(&mut self.open, &self.file).await?;
        let Some(known) = self.known.as_mut().filter(|_| open.identity == self.identity) else {
            open.is_idle = true;
            return Ok(Look::MovedBack);
        };
        // Read before the snapshot is taken: a write in between is looked for again, not missed.
        let data_version = data_version(&mut open.db).await?;
        let stale = self.bundles_stale || data_version != open.data_version;
        let with_bundles = hint.bundles != self.followed.bundles || (stale && self.since_bundles >= BETWEEN_BUNDLES);
        open.data_version = data_version;

        open.db.begin_read().await?;
        let found = read::since(&mut open.db, known, with_bundles).await?;
        open.db.commit().await?;

        // From here on nothing waits: either all of this happens or nothing.
        open.is_idle = true;
        let Some(found) = found else { return Ok(Look::MovedBack) };
        known.follow(&found);
        self.followed = hint;
        self.due = found.more;
        self.bundles_stale = stale && !with_bundles;
        if with_bundles {
            self.since_bundles = Duration::ZERO;
        }
        Ok(if found.rows.is_empty() { Look::Nothing } else { Look::Rows(found.rows) })
    }
}

impl Open {
    /// The open connection, or a new one if there is none to the file behind the path. Whoever asks for it is in the middle
    /// of something until he calls it idle: after an error, or when his future is dropped, it is not used again.
    async fn of<'o>(open: &'o mut Option<Self>, file: &File) -> Result<&'o mut Self, Error> {
        let identity = file.identity();
        if open.as_ref().is_none_or(|open| open.identity != identity || !open.is_idle) {
            *open = None;
        }
        let open = match open {
            Some(open) => open,
            None => open.insert(Self { db: file.read().await?, identity, data_version: 0, is_idle: true }),
        };
        open.is_idle = false;
        Ok(open)
    }
}

enum Look {
    Nothing,
    Rows(ChangedRows),
    /// The position says nothing about this database.
    MovedBack,
}

async fn touched(touches: Option<&Touches>) -> std::io::Result<()> {
    match touches {
        Some(touches) => touches.touched().await,
        None => std::future::pending().await,
    }
}

fn log_blindness(error: &std::io::Error) {
    tracing::debug!(target: "feed", error = %error, "The database is not watched; it is asked all the time");
}

fn sleep(clock: &Clock, length: Duration) -> BoxFuture<'static, ()> {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep(length).await })
}

async fn data_version(db: &mut Connection) -> Result<i64, Error> {
    let sql = Sql::new(db.dialect().data_version());
    let version = db.row(sql, |row| row.integer(0)).await?;
    Ok(version.unwrap_or_default())
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}
