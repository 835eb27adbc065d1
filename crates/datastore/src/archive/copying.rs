use steeple_runtime::Clock;

use super::destination::Destination;
use super::origin::{Origin, PAGE, counted};
use super::tables::Table;
use super::{Progress, Step, Watcher};
use crate::{Error, Options};

/// Copies all of a database into an empty one of any kind, compares them row by row, and returns how many rows there are.
/// Nothing remains of a copy that differs in the end, because something wrote meanwhile.
///
/// # Errors
/// One of the two cannot be opened, read or written to; the target is not empty ([`Error::NotEmpty`]) or does not take a
/// row as it is ([`Error::InTable`], [`Error::Differs`]); something writes to the origin ([`Error::OriginChanged`]).
pub async fn migrate(from: Options, to: Options, clock: &Clock, watcher: Watcher<'_>) -> Result<u64, Error> {
    let mut origin = Origin::open(from, clock).await?;
    let mut target = Destination::open(to, clock).await?;
    let copied = async {
        let begin = origin.newest_events().await?;
        let tables: Vec<_> = origin.tables().await?.into_iter().filter(|table| target.keeps(table)).collect();
        for table in &tables {
            copy(&mut origin, &mut target, table, watcher).await?;
            quiet(&origin, begin).await?;
        }
        // Not the state that was copied: whatever was changed since, also in tables without events, is a difference.
        origin.look_again().await?;
        let mut all = 0;
        for table in &tables {
            all += compare(&mut origin, &mut target, table, watcher).await?;
        }
        quiet(&origin, begin).await?;
        Ok(all)
    };
    match copied.await {
        Ok(all) => {
            target.commit(origin.code_version()).await?;
            origin.close().await?;
            Ok(all)
        }
        Err(error) => Err(target.give_up(error).await),
    }
}

async fn quiet(origin: &Origin, newest: [i64; 2]) -> Result<(), Error> {
    if origin.newest_events().await? == newest { Ok(()) } else { Err(Error::OriginChanged) }
}

async fn copy(
    origin: &mut Origin,
    target: &mut Destination,
    table: &'static Table,
    watcher: Watcher<'_>,
) -> Result<(), Error> {
    let (of, mut last, mut rows) = (origin.count(table).await?, None, 0);
    loop {
        let page = origin.page(table, last.as_ref()).await?;
        let is_last = page.len() < PAGE;
        rows += page.len() as u64;
        last = page.last().cloned();
        target.insert(table, page).await?;
        watcher(Progress { step: Step::Write, table: table.name, rows, of });
        if is_last {
            counted(table, of, rows)?;
            return target.finish(table).await;
        }
    }
}

async fn compare(
    origin: &mut Origin,
    target: &mut Destination,
    table: &'static Table,
    watcher: Watcher<'_>,
) -> Result<u64, Error> {
    let (of, mut last, mut rows) = (origin.count(table).await?, None, 0);
    loop {
        let page = origin.page(table, last.as_ref()).await?;
        let found = target.page(table, last.as_ref()).await?;
        let is_last = page.len() < PAGE;
        rows += page.len() as u64;
        last = page.last().cloned();
        let (ours, theirs) = (page.len(), found.len());
        let pairs = page.into_iter().map(|row| target.kept(row)).zip(&found);
        let different = pairs.filter(|(row, found)| row != *found).map(|(row, _)| table.key_of(&row)).next();
        if let Some(key) = different {
            return Err(Error::Differs { table: table.name, key });
        }
        if ours != theirs {
            return Err(Error::Differs { table: table.name, key: format!("{ours} and {theirs} rows") });
        }
        watcher(Progress { step: Step::Compare, table: table.name, rows, of });
        if is_last {
            return Ok(rows);
        }
    }
}
