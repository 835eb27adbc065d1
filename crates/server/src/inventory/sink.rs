//! Where records go.

mod file;
mod table;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use steeple_datastore::Options;
use steeple_datastore::inventory::InventoryTable;
use steeple_runtime::Clock;
use steeple_runtime::clock::unix_seconds;
use steeple_runtime::logging::with_fields;
use tracing::info;

pub use file::Files;
pub(crate) use file::{FileSink, all};

use table::{newest, rows};

use super::InventoryError;
use super::chain::{Head, Link};

/// Where records go.
#[derive(Clone, Debug)]
pub enum Place {
    /// The server's log.
    Log,
    /// Files.
    Files(Files),
    /// The table `steeple_inventory` of a database.
    Table(Options),
}

/// A place that is open.
pub(super) enum Sink {
    Log,
    /// Written where blocking is no harm. One task uses it.
    File(Arc<Mutex<FileSink>>),
    Table(Box<InventoryTable>),
}

impl Sink {
    /// Opens the place, and returns the head behind the last record of the chain that is there.
    pub(super) async fn open(place: Place, chain: &str, clock: &Clock) -> Result<(Self, Option<Head>), InventoryError> {
        match place {
            Place::Log => Ok((Self::Log, None)),
            Place::Files(files) => {
                let (sink, head) = FileSink::open(files, chain)?;
                Ok((Self::File(Arc::new(Mutex::new(sink))), head))
            }
            Place::Table(options) => {
                let mut table = Box::new(InventoryTable::create(options, clock).await?);
                let head = newest(&mut table, chain).await?;
                Ok((Self::Table(table), head))
            }
        }
    }

    /// Whether what was written can be read back, so that what is missing shows.
    pub(super) fn remembers(&self) -> bool {
        !matches!(self, Self::Log)
    }

    /// Writes records, all or none of them; `synced` so that they outlive a power cut.
    pub(super) async fn write(&mut self, links: &Arc<[Link]>, synced: bool) -> Result<(), InventoryError> {
        match self {
            Self::Log => {
                links.iter().for_each(log);
                Ok(())
            }
            Self::File(file) => {
                let links = Arc::clone(links);
                blocking(file, move |file| file.write(&links, synced)).await
            }
            Self::Table(table) => Ok(table.append(&rows(links)).await?),
        }
    }

    /// Has what was written outlive a power cut.
    pub(super) async fn sync(&mut self) -> Result<(), InventoryError> {
        match self {
            // What a database has committed is there.
            Self::Log | Self::Table(_) => Ok(()),
            Self::File(file) => blocking(file, FileSink::sync).await,
        }
    }

    /// Deletes what is older.
    pub(super) async fn prune(&mut self, before: SystemTime) -> Result<(), InventoryError> {
        match self {
            Self::Log => Ok(()),
            Self::File(file) => blocking(file, move |file| file.prune(before)).await,
            Self::Table(table) => Ok(table.prune(unix_seconds(before)).await?),
        }
    }

    pub(super) async fn close(self) {
        match self {
            Self::Log | Self::File(_) => {}
            Self::Table(table) => table.close().await,
        }
    }
}

async fn blocking(
    file: &Arc<Mutex<FileSink>>,
    work: impl FnOnce(&mut FileSink) -> Result<(), InventoryError> + Send + 'static,
) -> Result<(), InventoryError> {
    let file = Arc::clone(file);
    let work = move || work(&mut file.lock().unwrap_or_else(PoisonError::into_inner));
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(InventoryError::Stopped))
}

/// With what one searches for as fields of their own.
fn log(Link { record, text }: &Link) {
    let issued = record.event.issued();
    let spiffe_id = issued.map(|issued| &*issued.id);
    let fields = vec![("record".into(), text.into())];
    with_fields(fields, || {
        info!(target: "inventory", what = record.event.what(), spiffe_id, "Inventory record");
    });
}
