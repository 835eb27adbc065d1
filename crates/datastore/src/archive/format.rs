//! The archive: lines of JSON, of which `docs/backup.md` tells.
//!
//! The first line says what it is, then each table has a line with its name, columns and number of rows, and a line a row;
//! a line with keys may follow; the last line has the SHA-256 of all bytes before it. An archive that was cut short has no
//! such line, and one that was damaged has another sum.

use std::io::{BufRead, Read, Write};
use std::time::SystemTime;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use steeple_spiffe::TrustDomain;

use super::origin::PAGE;
use super::tables::{Cells, Kind, TABLES, Table};
use super::{Progress, Step, Watcher};
use crate::Error;
use crate::sql::Value;

/// The version that is written here, and the only one that is read.
const VERSION: u64 = 1;
/// The longest line: a bundle of many thousand authorities.
const LINE: usize = 64 * 1024 * 1024;
/// Bytes that are handed on at a time.
const BUFFER: usize = 64 * 1024;

/// What stands at the beginning of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// When it was made.
    pub created_at: SystemTime,
    /// The trust domain of the servers.
    pub trust_domain: TrustDomain,
    /// The kind of database that it was made of: a value of `database_type`.
    pub database: String,
    /// The program that had prepared the schema there.
    pub code_version: String,
    /// Where the servers answered, `host:port`.
    pub addresses: Vec<String>,
    /// The X.509 authorities of the trust domain, in DER.
    pub authorities: Vec<Vec<u8>>,
}

/// What there is in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// What stands at the beginning.
    pub header: Header,
    /// Rows of all tables.
    pub rows: u64,
    /// Whether there are keys.
    pub keys: bool,
}

/// Reads an archive to its end.
///
/// # Errors
/// It is damaged, cut short, or no archive ([`Error::ArchiveDamaged`]), of another version ([`Error::ArchiveVersion`]) or
/// cannot be read ([`Error::ArchiveNotRead`]).
pub fn check(input: impl BufRead, watcher: Watcher<'_>) -> Result<Contents, Error> {
    let mut reader = Reader::new(input);
    let mut contents = Contents { header: reader.header()?, rows: 0, keys: false };
    let mut progress = None;
    loop {
        match reader.next()? {
            Item::Table(table, of) => {
                progress = Some(Progress { step: Step::Check, table: table.name, rows: 0, of });
            }
            Item::Row(_) => {
                contents.rows += 1;
                if let Some(progress) = &mut progress {
                    progress.rows += 1;
                    if progress.rows.is_multiple_of(PAGE as u64) || progress.rows == progress.of {
                        watcher(*progress);
                    }
                }
            }
            Item::Keys(_) => contents.keys = true,
            Item::End => return Ok(contents),
        }
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    steeple_backup: u64,
    created_at: String,
    trust_domain: String,
    database: String,
    code_version: String,
    addresses: Vec<String>,
    authorities: Vec<String>,
}

/// A line that is no row.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Mark {
    Table { name: String, columns: Vec<String>, rows: u64 },
    Keys(String),
    Sha256(String),
}

/// Writes an archive.
pub(super) struct Writer<W> {
    out: W,
    sum: digest::Context,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, sum: digest::Context::new(&digest::SHA256), buffer: Vec::with_capacity(2 * BUFFER) }
    }

    pub(super) fn header(&mut self, header: &Header) -> Result<(), Error> {
        let Header { created_at, trust_domain, database, code_version, addresses, authorities } = header;
        self.line(&HeaderLine {
            steeple_backup: VERSION,
            created_at: moment(*created_at)?.to_string(),
            trust_domain: trust_domain.name().to_owned(),
            database: database.clone(),
            code_version: code_version.clone(),
            addresses: addresses.clone(),
            authorities: authorities.iter().map(|der| STANDARD.encode(der)).collect(),
        })
    }

    pub(super) fn table(&mut self, table: &Table, rows: u64) -> Result<(), Error> {
        self.line(&Mark::Table { name: table.name.to_owned(), columns: columns(table), rows })
    }

    pub(super) fn row(&mut self, row: &Cells) -> Result<(), Error> {
        let row = row.iter().map(to_json).collect::<Result<Vec<_>, _>>()?;
        self.line(&row)
    }

    pub(super) fn keys(&mut self, keys: &[u8]) -> Result<(), Error> {
        self.line(&Mark::Keys(STANDARD.encode(keys)))
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.hand_on()?;
        let sum = hex(self.sum.clone().finish().as_ref());
        self.line(&Mark::Sha256(sum))?;
        self.hand_on()?;
        self.out.flush().map_err(not_written)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let before = self.buffer.len();
        serde_json::to_writer(&mut self.buffer, line).map_err(not_written)?;
        self.buffer.push(b'\n');
        if self.buffer.len() - before > LINE {
            return Err(not_written("a row is longer than 64 MiB"));
        }
        if self.buffer.len() >= BUFFER { self.hand_on() } else { Ok(()) }
    }

    fn hand_on(&mut self) -> Result<(), Error> {
        self.sum.update(&self.buffer);
        self.out.write_all(&self.buffer).map_err(not_written)?;
        self.buffer.clear();
        Ok(())
    }
}

/// What comes next in an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A table begins, and this many rows follow.
    Table(&'static Table, u64),
    Row(Cells),
    /// A server's file of keys.
    Keys(Vec<u8>),
    /// All was read, and is whole.
    End,
}

/// Reads an archive.
pub(super) struct Reader<R> {
    input: R,
    sum: digest::Context,
    line: Vec<u8>,
    number: u64,
    /// The table whose rows are next, and how many.
    table: Option<(&'static Table, u64)>,
    /// Tables that may still come.
    rest: &'static [Table],
    has_keys: bool,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            sum: digest::Context::new(&digest::SHA256),
            line: Vec::new(),
            number: 0,
            table: None,
            rest: &TABLES,
            has_keys: false,
        }
    }

    /// The first line.
    pub(super) fn header(&mut self) -> Result<Header, Error> {
        #[derive(Deserialize)]
        struct Version {
            steeple_backup: u64,
        }
        self.read_line()?;
        let Version { steeple_backup: version } =
            serde_json::from_slice(&self.line).map_err(|_| damaged("it does not begin like an archive"))?;
        if version != VERSION {
            return Err(Error::ArchiveVersion(version));
        }
        self.sum.update(&self.line);
        let line = serde_json::from_slice(&self.line).map_err(|error| self.unreadable(&error))?;
        let HeaderLine { steeple_backup: _, created_at, trust_domain, database, code_version, addresses, authorities } =
            line;
        let created_at = created_at.parse::<Timestamp>().map_err(|error| self.unreadable(&error))?.into();
        let trust_domain = TrustDomain::from_name(&trust_domain).map_err(|error| self.unreadable(&error))?;
        let authorities = authorities.iter().map(|text| STANDARD.decode(text));
        let authorities = authorities.collect::<Result<_, _>>().map_err(|error| self.unreadable(&error))?;
        Ok(Header { created_at, trust_domain, database, code_version, addresses, authorities })
    }

    pub(super) fn next(&mut self) -> Result<Item, Error> {
        self.read_line()?;
        if let Some((table, rows)) = self.table.filter(|(_, rows)| *rows > 0) {
            self.sum.update(&self.line);
            self.table = Some((table, rows - 1));
            let row = row_of(table, &self.line)
                .ok_or_else(|| damaged(&format!("line {} is no row of {}", self.number, table.name)))?;
            return Ok(Item::Row(row));
        }
        let mark = serde_json::from_slice(&self.line).map_err(|error| self.unreadable(&error))?;
        if !matches!(mark, Mark::Sha256(_)) {
            self.sum.update(&self.line);
        }
        match mark {
            Mark::Table { name, columns: names, rows } if !self.has_keys => {
                // Each comes once, and in their order.
                let place = self.rest.iter().position(|table| table.name == name && columns(table) == names);
                let (table, rest) = place
                    .and_then(|place| self.rest.get(place..)?.split_first())
                    .ok_or_else(|| damaged(&format!("line {} names an unknown table", self.number)))?;
                (self.table, self.rest) = (Some((table, rows)), rest);
                Ok(Item::Table(table, rows))
            }
            Mark::Keys(keys) if !self.has_keys => {
                self.has_keys = true;
                Ok(Item::Keys(STANDARD.decode(keys).map_err(|error| self.unreadable(&error))?))
            }
            Mark::Sha256(sum) => {
                if self.rest.iter().any(|table| !table.is_optional()) {
                    return Err(damaged("tables are missing"));
                }
                if sum != hex(self.sum.clone().finish().as_ref()) {
                    return Err(damaged("its checksum is another one"));
                }
                let behind = self.input.fill_buf().map_err(not_read)?;
                if behind.is_empty() { Ok(Item::End) } else { Err(damaged("there is something behind its end")) }
            }
            Mark::Table { .. } | Mark::Keys(_) => Err(damaged(&format!("line {} is out of place", self.number))),
        }
    }

    /// Reads the next line, with its end.
    fn read_line(&mut self) -> Result<(), Error> {
        self.line.clear();
        self.number += 1;
        let most = u64::try_from(LINE).unwrap_or(u64::MAX);
        self.input.by_ref().take(most).read_until(b'\n', &mut self.line).map_err(not_read)?;
        match self.line.last() {
            Some(b'\n') => Ok(()),
            _ if self.line.len() >= LINE => Err(damaged(&format!("line {} is longer than 64 MiB", self.number))),
            _ => Err(damaged(&format!("it ends in line {}", self.number))),
        }
    }

    fn unreadable(&self, error: &dyn std::fmt::Display) -> Error {
        damaged(&format!("line {}: {error}", self.number))
    }
}

fn columns(table: &Table) -> Vec<String> {
    table.columns.iter().map(|column| column.name.to_owned()).collect()
}

fn row_of(table: &Table, line: &[u8]) -> Option<Cells> {
    let row: Vec<Json> = serde_json::from_slice(line).ok()?;
    if row.len() != table.columns.len() {
        return None;
    }
    row.into_iter().zip(table.columns).map(|(value, column)| of_json(value, column.kind)).collect()
}

fn to_json(value: &Value) -> Result<Json, Error> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Flag(flag) => (*flag).into(),
        Value::Integer(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Time(at) => moment(*at)?.to_string().into(),
    })
}

fn of_json(value: Json, kind: Kind) -> Option<Value> {
    Some(match (kind, value) {
        (_, Json::Null) => Value::Null,
        (Kind::Flag, Json::Bool(flag)) => Value::Flag(flag),
        (Kind::Integer, Json::Number(number)) => Value::Integer(number.as_i64()?),
        (Kind::Text, Json::String(text)) => Value::Text(text),
        (Kind::Bytes, Json::String(text)) => Value::Bytes(STANDARD.decode(text).ok()?),
        (Kind::Time, Json::String(text)) => Value::Time(text.parse::<Timestamp>().ok()?.into()),
        _ => return None,
    })
}

fn moment(at: SystemTime) -> Result<Timestamp, Error> {
    Timestamp::try_from(at).map_err(|error| Error::Corrupt(error.to_string()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn damaged(why: &str) -> Error {
    Error::ArchiveDamaged(why.to_owned())
}

fn not_read(error: std::io::Error) -> Error {
    Error::ArchiveNotRead(error.to_string())
}

fn not_written(error: impl std::fmt::Display) -> Error {
    Error::ArchiveNotWritten(error.to_string())
}

/// Reads a line of an archive, whatever it is, and writes it again: a door of the fuzz target.
#[cfg(any(fuzzing, test))]
pub fn rewritten_line(line: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut header = line.to_vec();
    header.push(b'\n');
    if let Ok(header) = Reader::new(header.as_slice()).header() {
        let mut out = Writer::new(Vec::new());
        if out.header(&header).is_ok() {
            lines.push(out.buffer);
        }
    }
    for row in TABLES.iter().filter_map(|table| row_of(table, line)) {
        let mut out = Writer::new(Vec::new());
        if out.row(&row).is_ok() {
            lines.push(out.buffer);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn header() -> Header {
        Header {
            created_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_537_690),
            trust_domain: TrustDomain::from_name("example.org").unwrap(),
            database: "sqlite3".to_owned(),
            code_version: "1.15.3".to_owned(),
            addresses: vec!["127.0.0.1:8081".to_owned()],
            authorities: vec![vec![1, 2, 3]],
        }
    }

    fn token(id: i64) -> Cells {
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_795_537_690_697_076_340);
        vec![id.into(), at.into(), Value::Null, "a\n\"ü\"".into(), (-1_i64).into()]
    }

    /// An archive with two join tokens and keys.
    fn archive() -> Vec<u8> {
        let mut archive = Vec::new();
        let mut writer = Writer::new(&mut archive);
        writer.header(&header()).unwrap();
        for table in &TABLES {
            if !table.is_optional() {
                let tokens = if table.name == "join_tokens" { 2 } else { 0 };
                writer.table(table, tokens).unwrap();
                for id in 0..tokens {
                    writer.row(&token(id.cast_signed())).unwrap();
                }
            }
        }
        writer.keys(b"keys").unwrap();
        writer.finish().unwrap();
        archive
    }

    #[test]
    fn reads_what_it_wrote() {
        let archive = archive();
        let mut reader = Reader::new(archive.as_slice());
        assert_eq!(reader.header().unwrap(), header());
        let (mut rows, mut keys) = (Vec::new(), None);
        loop {
            match reader.next().unwrap() {
                Item::Table(..) => {}
                Item::Row(row) => rows.push(row),
                Item::Keys(content) => keys = Some(content),
                Item::End => break,
            }
        }
        assert_eq!(rows, [token(0), token(1)]);
        assert_eq!(keys.as_deref(), Some(&b"keys"[..]));
        let contents = check(archive.as_slice(), &mut |_| {}).unwrap();
        assert_eq!((contents.rows, contents.keys), (2, true));
    }

    #[test]
    fn whatever_is_cut_off_or_changed_is_noticed() {
        let archive = archive();
        for length in 0..archive.len() {
            assert!(check(&archive[..length], &mut |_| {}).is_err(), "cut off after {length} bytes");
        }
        for place in 0..archive.len() {
            let mut changed = archive.clone();
            changed[place] ^= 1;
            assert!(check(changed.as_slice(), &mut |_| {}).is_err(), "byte {place}");
        }
        let mut longer = archive.clone();
        longer.push(b'\n');
        assert!(
            check(longer.as_slice(), &mut |_| {})
                .unwrap_err()
                .to_string()
                .ends_with("there is something behind its end")
        );
        println!("archive: {0} of {0} cuts and {0} of {0} changed bytes noticed", archive.len());
    }

    /// What the fuzz target holds for any line.
    #[test]
    fn a_line_that_was_read_is_written_as_one_that_reads_the_same() {
        let mut read = 0;
        for line in archive().split(|byte| *byte == b'\n') {
            for written in rewritten_line(line) {
                let again = written.strip_suffix(b"\n").unwrap();
                assert_eq!(String::from_utf8_lossy(again), String::from_utf8_lossy(line));
                assert!(rewritten_line(again).contains(&written));
                read += 1;
            }
        }
        let forms = br#"[ 1.0e0, "2026-11-24 21:58:10.5+05:30", null, "\u0061", -1 ]"#;
        assert_eq!(rewritten_line(forms).len(), 0, "1.0e0 is no id");
        let forms = br#"[ 1, "2026-11-24 21:58:10.50+05:30", null, "\u0061", -1 ]"#;
        assert_eq!(rewritten_line(forms), [b"[1,\"2026-11-24T16:28:10.5Z\",null,\"a\",-1]\n"]);
        // The header, and two tokens.
        assert_eq!(read, 3);
    }

    #[test]
    fn says_what_is_wrong() {
        let said = |bytes: &[u8]| check(bytes, &mut |_| {}).unwrap_err().to_string();
        assert_eq!(said(b"SQLite format 3"), "the archive is damaged: it ends in line 1");
        assert_eq!(said(b"nothing\n"), "the archive is damaged: it does not begin like an archive");
        assert_eq!(
            said(b"{\"steeple_backup\": 2, \"new\": 1}\n"),
            "the archive has version 2, which a newer program has written"
        );
        let text = String::from_utf8(archive()).unwrap();
        let without = text.replacen("{\"table\":{\"name\":\"selectors\"", "{\"table\":{\"name\":\"gone\"", 1);
        assert!(said(without.as_bytes()).ends_with("names an unknown table"), "{}", said(without.as_bytes()));
    }
}
