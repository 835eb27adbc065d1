//! The inventory: one record of each SVID that this server signs, in a chain that shows what was changed or taken away.
//!
//! What signs hands a record over ([`Inventory`]) and goes on; one task ([`writer`]) puts it into the chain ([`chain`]) and
//! writes it to the place that the operator chose ([`sink`]). What the records prove, and what they do not, is in
//! `docs/inventory.md`; [`verify`] finds it out.

mod chain;
mod read;
mod record;
mod sink;
mod state;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steeple_runtime::metrics::count;
use steeple_runtime::os::reason;
use steeple_runtime::{Clock, Shutdown};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use chain::{Head, Link};
#[cfg(fuzzing)]
pub use read::read_text;
pub use read::{Filter, ReadError, files_of, heads_of_log, read_file, read_table};
pub use record::{Cause, Event, Gap, Ground, Issued, Record, Why};
pub use sink::{Files, Place};
pub use verify::{Found, Verdict, Verifier};

pub(crate) use record::{Token, certificate, token};

use state::StateFile;
use writer::Writer;

/// What the operator decides about the inventory.
#[derive(Clone, Debug)]
pub struct InventoryConfig {
    /// `sink`, and the keys that belong to it.
    pub place: Place,
    /// `fail_closed`: nothing is handed out whose record is not written.
    pub fail_closed: bool,
    /// `keep`: how old records become; the log is left alone.
    pub keep: Duration,
}

/// No record is longer: its longest parts are two SPIFFE IDs.
pub(crate) const MOST_BYTES: usize = 16 * 1024;
/// Records that wait to be written; what comes then is dropped, or waits itself.
const QUEUE: usize = 8192;
/// How long an SVID waits for its record, where it has to.
const WAIT: Duration = Duration::from_secs(5);

/// Why the inventory cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// A file.
    #[error("inventory: {}: {}", path.display(), reason(error))]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The database.
    #[error("inventory: {0}")]
    DataStore(#[from] steeple_datastore::Error),
    /// A row of the table that is no record.
    #[error("inventory: a row of steeple_inventory is no record: {0}")]
    Row(serde_json::Error),
    /// A write was given up because the program ends.
    #[error("inventory: the program ends")]
    Stopped,
}

/// An SVID was signed and must not be handed out, because its record is not written.
#[derive(Debug, thiserror::Error)]
#[error("the inventory cannot be written")]
pub struct NotRecorded;

/// Takes records. Cheap to clone; the default one is of a server without an inventory.
#[derive(Clone, Default)]
pub struct Inventory(Option<Arc<Shared>>);

struct Shared {
    orders: mpsc::Sender<Order>,
    counts: Arc<Counts>,
    fail_closed: bool,
    clock: Clock,
    closing: Shutdown,
    writing: Mutex<Option<JoinHandle<()>>>,
}

/// What those who sign and the one who writes tell each other.
#[derive(Debug, Default)]
struct Counts {
    /// Records that found no place in the queue, and of which no gap tells yet.
    dropped: AtomicU64,
    /// Whether the last write has failed.
    failing: AtomicBool,
}

/// A record that is to be written.
struct Order {
    event: Event,
    /// Who waits for it.
    written: Option<oneshot::Sender<Result<(), NotRecorded>>>,
}

impl Inventory {
    /// Opens the place, declares what is missing there, and begins to write.
    ///
    /// # Errors
    /// The place, or what `data_dir` remembers of the chain, cannot be read or written.
    pub async fn start(config: InventoryConfig, data_dir: &Path, clock: Clock) -> Result<Self, InventoryError> {
        let InventoryConfig { place, fail_closed, keep } = config;
        let (orders, ordered) = mpsc::channel(QUEUE);
        let (counts, closing) = (Arc::<Counts>::default(), Shutdown::new());
        let writer =
            Writer::begin(place, StateFile::of(data_dir), clock.clone(), Arc::clone(&counts), fail_closed, keep);
        let writing = tokio::spawn(writer.await?.run(ordered, closing.clone()));
        let writing = Mutex::new(Some(writing));
        Ok(Self(Some(Arc::new(Shared { orders, counts, fail_closed, clock, closing, writing }))))
    }

    /// Writes down what was signed, if it is to be written down. Does not wait, unless the operator wants nothing to go out
    /// without its record.
    ///
    /// # Errors
    /// The operator wants that, and the record is not written.
    pub(crate) async fn record(&self, event: impl FnOnce() -> Option<Event>) -> Result<(), NotRecorded> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let Some(event) = event() else { return Ok(()) };
        if shared.fail_closed {
            return Box::pin(shared.write(event)).await;
        }
        if shared.orders.try_send(Order { event, written: None }).is_err() {
            shared.counts.dropped.fetch_add(1, Ordering::Relaxed);
            count("inventory.dropped");
        }
        Ok(())
    }

    /// Writes what was handed over, and the end of this run. What comes later is dropped.
    pub async fn close(&self) {
        let Some(shared) = &self.0 else { return };
        shared.closing.stop();
        let writing = shared.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writing) = writing {
            // A panic in the writer has been reported by the runtime; nothing is left to write then.
            let _ = writing.await;
        }
    }
}

impl Shared {
    async fn write(&self, event: Event) -> Result<(), NotRecorded> {
        // A place that is away is found by the records that are there already.
        if self.counts.failing.load(Ordering::Relaxed) {
            count("inventory.refused");
            return Err(NotRecorded);
        }
        let (sender, written) = oneshot::channel();
        let writing = async {
            self.orders.send(Order { event, written: Some(sender) }).await.map_err(|_| NotRecorded)?;
            written.await.unwrap_or(Err(NotRecorded))
        };
        let written = self.clock.within(WAIT, writing).await.unwrap_or(Err(NotRecorded));
        written.inspect_err(|_| count("inventory.refused"))
    }
}

#[cfg(test)]
mod tests;
