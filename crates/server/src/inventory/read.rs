//! Records that were written, read back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use steeple_datastore::Options;
use steeple_datastore::inventory::{InventoryPlace, InventoryTable};
use steeple_runtime::Clock;
use steeple_runtime::os::reason;

use super::chain::{Head, Link};
use super::record::Record;
use super::{InventoryError, MOST_BYTES, sink};

/// A line of a log is a record and what is around it, each quoted once more.
const MOST_LINE: usize = 8 * MOST_BYTES;

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file.
    #[error("{}: {}", path.display(), reason(error))]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A line that is no record, or too long for one.
    #[error("{}:{line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A row that is no record.
    #[error("steeple_inventory, at or before {} of {}: no record: {error}", place.2, place.1)]
    Row {
        /// The last row of those that were read together.
        place: InventoryPlace,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The place itself.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

/// Which records are wanted; what is empty lets all through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// To whom.
    pub id: String,
    /// Through which agent, or whoever asked.
    pub through: String,
    /// Which authority has signed.
    pub authority: String,
    /// Those that end at this moment or later, Unix seconds.
    pub expires_after: Option<i64>,
    /// Those that end before this moment.
    pub expires_before: Option<i64>,
}

impl Filter {
    /// Whether the record is one of them: of something signed that the filter names.
    pub fn lets_through(&self, record: &Record) -> bool {
        let Self { id, through, authority, expires_after, expires_before } = self;
        let Some(issued) = record.event.issued() else { return false };
        (id.is_empty() || *id == issued.id)
            // An agent's own SVID went to that agent.
            && (through.is_empty() || issued.through.as_ref().unwrap_or(&issued.id) == through)
            && (authority.is_empty() || *authority == issued.authority)
            && expires_after.is_none_or(|after| issued.expires >= after)
            && expires_before.is_none_or(|before| issued.expires < before)
    }
}

/// The files of records in a directory, in the order of their records; of a file that file.
///
/// # Errors
/// The directory cannot be read.
pub fn files_of(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    if path.is_dir() { Ok(sink::all(path)?) } else { Ok(vec![path.to_owned()]) }
}

/// Reads the records of a file one after another, or those that a log has among its lines.
///
/// # Errors
/// The file cannot be read, or a line is no record. Those before have been taken.
pub fn read_file(path: &Path, take: impl FnMut(Link)) -> Result<(), ReadError> {
    records(path, opened(path)?, take)
}

fn records(path: &Path, from: impl Read, mut take: impl FnMut(Link)) -> Result<(), ReadError> {
    lines(path, from, |line| {
        let text = if line.starts_with("{\"seq\":") { Some(line.to_owned()) } else { record_of_log(line)? };
        let link = text.map(|text| Link::read(&text).map_err(|error| format!("no record: {error}")));
        link.transpose()?.into_iter().for_each(&mut take);
        Ok(())
    })
}

/// Reads the records of the table, each chain's in their order.
///
/// # Errors
/// The database does not answer, or a row is no record. Those before have been taken.
pub async fn read_table(options: Options, clock: &Clock, mut take: impl FnMut(Link)) -> Result<(), ReadError> {
    let mut table = InventoryTable::read_only(options, clock).await.map_err(InventoryError::from)?;
    let mut place = None;
    while let Some((records, last)) = table.page(place).await.map_err(InventoryError::from)? {
        for text in records {
            take(Link::read(&text).map_err(|error| ReadError::Row { place: last.clone(), error })?);
        }
        place = Some(last);
    }
    table.close().await;
    Ok(())
}

/// The heads that a server has told in its log.
///
/// # Errors
/// The file cannot be read.
pub fn heads_of_log(path: &Path) -> Result<Vec<Head>, ReadError> {
    heads(path, opened(path)?)
}

fn heads(path: &Path, from: impl Read) -> Result<Vec<Head>, ReadError> {
    let mut heads = Vec::new();
    lines(path, from, |line| {
        heads.extend(head_of_log(line));
        Ok(())
    })?;
    Ok(heads)
}

/// Reads the records and the heads of a text: a door of the fuzz target, which no other build has.
#[cfg(fuzzing)]
pub fn read_text(text: &[u8]) -> (Vec<Link>, Vec<Head>) {
    let mut links = Vec::new();
    // Those before an error have been taken.
    let _ = records(Path::new("text"), text, |link| links.push(link));
    (links, heads(Path::new("text"), text).unwrap_or_default())
}

fn opened(path: &Path) -> Result<File, ReadError> {
    File::open(path).map_err(|error| ReadError::File { path: path.to_owned(), error })
}

fn lines(path: &Path, from: impl Read, mut take: impl FnMut(&str) -> Result<(), String>) -> Result<(), ReadError> {
    let named = |error| ReadError::File { path: path.to_owned(), error };
    let mut file = BufReader::new(from);
    let (mut bytes, mut line) = (Vec::new(), 0);
    loop {
        bytes.clear();
        let most = u64::try_from(MOST_LINE).unwrap_or(u64::MAX);
        if file.by_ref().take(most).read_until(b'\n', &mut bytes).map_err(named)? == 0 {
            return Ok(());
        }
        line += 1;
        let at_line = |why: String| ReadError::Line { path: path.to_owned(), line, why };
        if bytes.pop_if(|last| *last == b'\n').is_none() && bytes.len() == MOST_LINE {
            return Err(at_line(format!("longer than {MOST_LINE} bytes")));
        }
        let text = str::from_utf8(&bytes).map_err(|_| at_line("not UTF-8".to_owned()))?;
        take(text).map_err(at_line)?;
    }
}

const RECORD: &str = "Inventory record";
const HEAD: &str = "Inventory head";

/// A line of the log, in JSON.
#[derive(Deserialize)]
struct Logged {
    #[serde(default)]
    msg: String,
    #[serde(default)]
    record: String,
    #[serde(flatten)]
    head: Option<Head>,
}

/// The record that a line of a log has, in JSON or as text.
fn record_of_log(line: &str) -> Result<Option<String>, String> {
    if !line.contains(RECORD) {
        return if line.is_empty() || is_log(line) { Ok(None) } else { Err("no record".to_owned()) };
    }
    if let Ok(Logged { msg, record, .. }) = serde_json::from_str(line) {
        return Ok((msg == RECORD).then_some(record));
    }
    let Some((_, quoted)) = line.split_once(" record=\"") else { return Err("no record".to_owned()) };
    let mut escaped = false;
    let end = quoted.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let quoted = end.map(|end| format!("\"{}\"", &quoted[..end])).ok_or("a record without an end")?;
    // What is quoted is JSON, which has no signs that one would quote otherwise.
    serde_json::from_str(&quoted).map(Some).map_err(|error| error.to_string())
}

fn is_log(line: &str) -> bool {
    line.starts_with("time=") || line.starts_with('{') && line.contains("\"msg\":")
}

fn head_of_log(line: &str) -> Option<Head> {
    if !line.contains(HEAD) {
        return None;
    }
    if let Ok(Logged { msg, head, .. }) = serde_json::from_str(line) {
        return head.filter(|_| msg == HEAD);
    }
    let value = |name: &str| line.split_once(name)?.1.split([' ', '"']).next();
    let (chain, digest) = (value(" chain=")?.to_owned(), value(" digest=")?.to_owned());
    Some(Head { chain, seq: value(" seq=")?.parse().ok()?, digest })
}
