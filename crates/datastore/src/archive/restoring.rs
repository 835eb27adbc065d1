use std::io::BufRead;

use steeple_runtime::Clock;

use super::destination::Destination;
use super::format::{Header, Item, Reader};
use super::origin::PAGE;
use super::tables::{JOURNALS, Table};
use super::{Progress, Step, Watcher};
use crate::{Error, Options};

/// What came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What stands at its beginning.
    pub header: Header,
    /// Rows that were written.
    pub rows: u64,
}

/// Fills an empty database from an archive, as a whole or not at all. Without `journals` no server finds its authorities
/// again, so that each makes new ones; the old ones stay in the bundle.
///
/// `admit` is asked once, with the beginning of the archive, before the database is touched. `place` gets the keys, if
/// there are any, when everything else is written and the archive has turned out to be whole, before the commit: if it
/// fails, nothing remains of the rest.
///
/// Blocks while `input` does.
///
/// # Errors
/// The archive is damaged, cut short or not one ([`Error::ArchiveDamaged`]); the database cannot be opened, is not empty
/// ([`Error::NotEmpty`]) or does not take a row ([`Error::InTable`]); what `admit` and `place` say.
pub async fn restore<E: From<Error>>(
    options: Options,
    clock: &Clock,
    input: impl BufRead + Send,
    journals: bool,
    admit: impl AsyncFnOnce(&Header) -> Result<(), E>,
    place: impl FnOnce(&[u8]) -> Result<(), E>,
    watcher: Watcher<'_>,
) -> Result<Restored, E> {
    let mut input = Reader::new(input);
    let header = input.header()?;
    admit(&header).await?;
    let mut target = Destination::open(options, clock).await?;
    match fill(&mut target, &mut input, journals, watcher).await {
        Ok((rows, keys)) => {
            if let Some(keys) = keys
                && let Err(error) = place(&keys)
            {
                target.take_back().await;
                return Err(error);
            }
            target.commit(&header.code_version).await?;
            Ok(Restored { header, rows })
        }
        Err(error) => Err(target.give_up(error).await.into()),
    }
}

/// Returns the number of rows and the keys, if there are any.
async fn fill(
    target: &mut Destination,
    input: &mut Reader<impl BufRead + Send>,
    journals: bool,
    watcher: Watcher<'_>,
) -> Result<(u64, Option<Vec<u8>>), Error> {
    let (mut all, mut keys) = (0, None);
    let mut table: Option<(&'static Table, u64)> = None;
    let (mut page, mut rows) = (Vec::new(), 0);
    loop {
        let item = input.next()?;
        let ends = !matches!(item, Item::Row(_));
        if let Some((table, of)) = table.filter(|_| ends || page.len() == PAGE) {
            rows += page.len() as u64;
            let page = std::mem::take(&mut page);
            if target.keeps(table) && (journals || table.name != JOURNALS) {
                all += page.len() as u64;
                target.insert(table, page).await?;
            }
            watcher(Progress { step: Step::Write, table: table.name, rows, of });
            if ends {
                target.finish(table).await?;
            }
        }
        match item {
            Item::Table(begins, of) => {
                table = Some((begins, of));
                rows = 0;
            }
            Item::Row(row) => page.push(row),
            Item::Keys(content) => {
                table = None;
                keys = Some(content);
            }
            Item::End => return Ok((all, keys)),
        }
    }
}
