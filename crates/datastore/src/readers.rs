//! Connections for reading.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Error;
use crate::connection::Connection;
use crate::sqlite::{File, Identity};

/// A few connections, opened when they are needed and kept.
pub(crate) struct Readers {
    file: File,
    permits: Semaphore,
    idle: Mutex<Vec<(Option<Identity>, Connection)>>,
}

/// A borrowed connection. One that is not handed back with [`Reader::done`] is closed: after an error, or because the
/// caller went away in the middle of a statement, its state is not known.
pub(crate) struct Reader<'p> {
    pub(crate) db: Connection,
    identity: Option<Identity>,
    in_transaction: bool,
    pool: &'p Readers,
    _permit: SemaphorePermit<'p>,
}

impl Readers {
    pub(crate) fn new(file: File, most: usize) -> Self {
        Self { file, permits: Semaphore::new(most), idle: Mutex::default() }
    }

    /// A connection for one statement.
    pub(crate) async fn one(&self) -> Result<Reader<'_>, Error> {
        let permit = self.permits.acquire().await.map_err(|_| Error::Closed)?;
        let identity = self.file.identity();
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            // Connections to a file that is no longer the one behind the path.
            idle.retain(|(opened, _)| *opened == identity);
            idle.pop()
        };
        let db = match idle {
            Some((_, connection)) => connection,
            None => self.file.read().await?,
        };
        Ok(Reader { db, identity, in_transaction: false, pool: self, _permit: permit })
    }

    /// A connection for several statements that see one state of the database.
    pub(crate) async fn snapshot(&self) -> Result<Reader<'_>, Error> {
        let mut reader = self.one().await?;
        reader.db.begin_read().await?;
        reader.in_transaction = true;
        Ok(reader)
    }

    /// Closes what is idle and lends nothing any more.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for (_, connection) in idle {
            // It only read: there is nothing to lose.
            let _ = connection.close().await;
        }
    }
}

impl Reader<'_> {
    /// Hands the connection back.
    pub(crate) async fn done(mut self) -> Result<(), Error> {
        if self.in_transaction {
            self.db.commit().await?;
        }
        let Self { db, identity, in_transaction: _, pool, _permit } = self;
        if !pool.permits.is_closed() {
            pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push((identity, db));
        }
        Ok(())
    }
}
