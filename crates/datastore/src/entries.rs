//! Registration entries: who gets which identity.

mod create;
mod delete;
mod lists;
mod update;

use prost::Message;
use steeple_proto::spire::common::registration_entry::AdditionalAttributes;
use steeple_runtime::metrics::measure;

pub use create::{CreateEntries, CreateEntry, Created};
pub use delete::{DeleteEntry, PruneEntries};
pub use update::{EntryMask, UpdateEntries, UpdateEntry};

pub(crate) use delete::delete_rows;

use self::lists::{Which, with_lists};
use crate::connection::{Connection, Row};
use crate::dialect::Dialect;
use crate::listing::{Cursor, Listing, MatchSet, Page, Sets};
use crate::sql::{Conditions, Sql};
use crate::store::DataStore;
use crate::{Error, Selector, selector, time};

/// A registration entry. SPIFFE IDs are held as they are stored, `spiffe://td/path`; this room does not parse them, so
/// that rows that others wrote can always be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The entry's own id. Empty when creating: a random UUID is chosen.
    pub entry_id: String,
    /// The identity that is given.
    pub spiffe_id: String,
    /// Who may give it: an agent, another entry's identity, or the server for a node alias.
    pub parent_id: String,
    /// All of these must hold. Lists and single reads have the order of creation; the answers of create and update are
    /// sorted, as the reference's are on SQLite.
    pub selectors: Vec<Selector>,
    /// Foreign trust domains whose bundles come with the identity, as `spiffe://td`.
    pub federates_with: Vec<String>,
    /// Lifetime of X509-SVIDs in seconds; 0 is the server's default.
    pub x509_svid_ttl: i32,
    /// Lifetime of JWT-SVIDs in seconds; 0 is the server's default.
    pub jwt_svid_ttl: i32,
    /// Whether the identity may call the server's administrative API.
    pub admin: bool,
    /// Whether the identity is a downstream server.
    pub downstream: bool,
    /// Seconds since 1970 after which the entry may be pruned; 0 is never.
    pub expires_at: i64,
    /// DNS names of X509-SVIDs, the first also being the common name. Ordered like `selectors`.
    pub dns_names: Vec<String>,
    /// Raised by each update, 0 at first. Not read from what is written.
    pub revision_number: i64,
    /// Whether agents hand the SVID to an SVID store instead of a workload.
    pub store_svid: bool,
    /// What workloads with several identities choose by.
    pub hint: String,
    /// Seldom used attributes. With all of them off it is stored, and read back, as None.
    pub additional_attributes: Option<AdditionalAttributes>,
    /// Seconds since 1970, rounded to the nearest. Not read from what is written.
    pub created_at: i64,
}

/// Which entries to list. All conditions must hold; the default lists all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Those below this parent.
    pub by_parent_id: Option<String>,
    /// Those with this identity.
    pub by_spiffe_id: Option<String>,
    /// Those whose selectors match.
    pub by_selectors: Option<MatchSet<Selector>>,
    /// Those whose foreign trust domains (`spiffe://td`) match. An entry without any never matches.
    pub by_federates_with: Option<MatchSet<String>>,
    /// Those with exactly this hint; empty is no condition.
    pub by_hint: Option<String>,
    /// With true, those of downstream servers; false is no condition, as in the reference.
    pub by_downstream: Option<bool>,
}

impl DataStore {
    /// The entry with this id.
    pub async fn fetch_entry(&self, entry_id: &str) -> Result<Option<Entry>, Error> {
        Ok(self.fetch_entries(&[entry_id.to_owned()]).await?.pop())
    }

    /// The entries with these ids. An id that is not there is left out.
    pub async fn fetch_entries(&self, entry_ids: &[String]) -> Result<Vec<Entry>, Error> {
        measure("datastore.registration_entry.fetch", async {
            let mut reader = self.pool().snapshot().await?;
            let entries = by_entry_ids(&mut reader.db, entry_ids).await?;
            reader.done().await?;
            Ok(entries)
        })
        .await
    }

    /// The entries that `filter` lets through, in order of creation. The filter is applied before the page is cut.
    pub async fn list_entries(&self, filter: &EntryFilter, page: &Page) -> Result<Listing<Entry>, Error> {
        measure("datastore.registration_entry.list", async {
            let cursor = page.cursor(Error::EntryPageToken)?;
            let mut reader = self.pool().snapshot().await?;
            let conditions = filter.conditions(reader.db.dialect(), Some(cursor))?;
            let rows = load(&mut reader.db, conditions, Some(cursor)).await?;
            reader.done().await?;
            Ok(cursor.listing(rows))
        })
        .await
    }

    /// How many entries `filter` lets through.
    pub async fn count_entries(&self, filter: &EntryFilter) -> Result<u64, Error> {
        measure("datastore.registration_entry.count", async {
            let mut reader = self.pool().one().await?;
            let conditions = filter.conditions(reader.db.dialect(), None)?;
            let sql = conditions.append_to(Sql::new("SELECT COUNT(*) FROM registered_entries e"));
            let count = reader.db.row(sql, |row| row.integer(0)).await?.unwrap_or_default();
            reader.done().await?;
            Ok(count.unsigned_abs())
        })
        .await
    }
}

impl Entry {
    /// The entry as create and update answer it.
    fn sorted(mut self) -> Self {
        self.selectors.sort();
        self.dns_names.sort();
        self
    }
}

impl EntryFilter {
    fn conditions(&self, dialect: Dialect, cursor: Option<Cursor>) -> Result<Conditions, Error> {
        let Self { by_parent_id, by_spiffe_id, by_selectors, by_federates_with, by_hint, by_downstream } = self;
        let mut conditions = Conditions::default();
        if let Some(after) = cursor.and_then(|cursor| cursor.condition("e.id")) {
            conditions.add(after);
        }
        if let Some(parent_id) = by_parent_id {
            conditions.add(Sql::new("e.parent_id = ?").bind(parent_id));
        }
        if let Some(spiffe_id) = by_spiffe_id {
            conditions.add(Sql::new("e.spiffe_id = ?").bind(spiffe_id));
        }
        if let Some(MatchSet { items, behavior }) = by_selectors {
            if items.is_empty() {
                return Err(Error::EmptySelectors);
            }
            conditions.add(SELECTORS.condition(dialect, "e.id", selector::pairs(items), *behavior));
        }
        if let Some(MatchSet { items, behavior }) = by_federates_with {
            let mut trust_domains = items.clone();
            trust_domains.sort();
            trust_domains.dedup();
            if trust_domains.is_empty() {
                return Err(Error::Validation("empty trust domain set".to_owned()));
            }
            let wanted = trust_domains.into_iter().map(|td| [td.into()]).collect();
            conditions.add(TRUST_DOMAINS.condition(dialect, "e.id", wanted, *behavior));
        }
        if let Some(hint) = by_hint.as_deref().filter(|hint| !hint.is_empty()) {
            conditions.add(Sql::new("e.hint = ?").bind(hint));
        }
        if *by_downstream == Some(true) {
            conditions.add(Sql::new("e.downstream = ?").bind(true));
        }
        Ok(conditions)
    }
}

const SELECTORS: Sets<2> = Sets {
    table: "selectors s",
    columns: ["s.type", "s.value"],
    join: "",
    owner: "s.registered_entry_id",
    size: "(SELECT COUNT(*) FROM selectors t WHERE t.registered_entry_id = s.registered_entry_id)",
};

const TRUST_DOMAINS: Sets<1> = Sets {
    table: "bundles b",
    columns: ["b.trust_domain"],
    join: " JOIN federated_registration_entries f ON f.bundle_id = b.id",
    owner: "f.registered_entry_id",
    // Rows of a bundle that is gone do not count.
    size: "(SELECT COUNT(*) FROM federated_registration_entries g JOIN bundles c ON c.id = g.bundle_id \
           WHERE g.registered_entry_id = f.registered_entry_id)",
};

/// The entries with these ids.
pub(crate) async fn by_entry_ids(db: &mut Connection, entry_ids: &[String]) -> Result<Vec<Entry>, Error> {
    let entries = readable_by_entry_ids(db, entry_ids).await?.whole()?;
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// The rows and their lists, with their ids, in order of creation. Run inside a transaction: an entry is read in two
/// statements from a server, in four from a file. Rows that belong to no entry, which the reference leaves behind when it deletes a bundle, are not seen.
pub(crate) async fn load(
    db: &mut Connection,
    conditions: Conditions,
    cursor: Option<Cursor>,
) -> Result<Vec<(i64, Entry)>, Error> {
    let everything = conditions.is_empty() && cursor.is_none_or(|cursor| !cursor.is_paged());
    let sql = conditions.append_to(Sql::new(SELECT));
    let sql = match cursor {
        Some(cursor) => cursor.order(sql, "e.id"),
        None => sql.push(" ORDER BY e.id"),
    };
    let rows = db.rows(sql, read).await?;
    with_lists(db, rows, if everything { Which::All } else { Which::Named }).await
}

/// The next rows after the one with the id `after`, at most so many: pages of everything, in order of creation.
pub(crate) async fn load_page(db: &mut Connection, after: i64, most: u32) -> Result<Vec<(i64, Entry)>, Error> {
    readable_page(db, after, most).await?.whole()
}

/// Entries for whoever must go on though some rows cannot be decoded.
pub(crate) struct Readable {
    /// In order of creation, with their row ids.
    pub(crate) entries: Vec<(i64, Entry)>,
    /// The others, by entry id.
    pub(crate) unreadable: Vec<(String, Error)>,
    /// The last row, of either kind.
    pub(crate) last: Option<i64>,
}

impl Readable {
    /// How many rows there were.
    pub(crate) fn rows(&self) -> usize {
        self.entries.len() + self.unreadable.len()
    }

    /// All of them.
    ///
    /// # Errors
    /// One of them cannot be decoded.
    fn whole(self) -> Result<Vec<(i64, Entry)>, Error> {
        let Self { entries, unreadable, last: _ } = self;
        unreadable.into_iter().next().map_or(Ok(entries), |(_, error)| Err(error))
    }

    async fn of(db: &mut Connection, sql: Sql, which: Which) -> Result<Self, Error> {
        let (mut unreadable, mut last) = (Vec::new(), None);
        let read = |row: &Row| {
            last = Some(row.integer(0)?);
            match read(row) {
                Ok(entry) => Ok(Some(entry)),
                Err(error @ Error::Corrupt(_)) => {
                    unreadable.push((row.text(1)?, error));
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        let entries = db.rows(sql, read).await?.into_iter().flatten().collect();
        let entries = with_lists(db, entries, which).await?;
        Ok(Self { entries, unreadable, last })
    }
}

/// As [`by_entry_ids`], but for rows that cannot be decoded.
pub(crate) async fn readable_by_entry_ids(db: &mut Connection, entry_ids: &[String]) -> Result<Readable, Error> {
    let mut all = Readable { entries: Vec::with_capacity(entry_ids.len()), unreadable: Vec::new(), last: None };
    for some in entry_ids.chunks(1_000) {
        let sql = Sql::new(format!("{SELECT} WHERE e.entry_id IN ")).list(some).push(" ORDER BY e.id");
        let Readable { entries, unreadable, last } = Readable::of(db, sql, Which::Named).await?;
        all.entries.extend(entries);
        all.unreadable.extend(unreadable);
        all.last = all.last.max(last);
    }
    Ok(all)
}

/// As [`load_page`], but for rows that cannot be decoded.
pub(crate) async fn readable_page(db: &mut Connection, after: i64, most: u32) -> Result<Readable, Error> {
    let sql = Sql::new(format!("{SELECT} WHERE e.id > ? ORDER BY e.id LIMIT ?")).bind(after).bind(i64::from(most));
    Readable::of(db, sql, Which::Range).await
}

const SELECT: &str = "SELECT e.id, e.entry_id, e.spiffe_id, e.parent_id, e.ttl, e.jwt_svid_ttl, e.admin, e.downstream, \
                      e.expiry, e.revision_number, e.store_svid, e.hint, e.additional_attributes, e.created_at \
                      FROM registered_entries e";

fn read(row: &Row) -> Result<(i64, Entry), Error> {
    let entry_id = row.text(1)?;
    let attributes = AdditionalAttributes::decode(&*row.bytes(12)?).map_err(|error| {
        Error::Corrupt(format!("unable to read additional attributes of entry {entry_id:?}: {error}"))
    })?;
    let entry = Entry {
        entry_id,
        spiffe_id: row.text(2)?,
        parent_id: row.text(3)?,
        selectors: Vec::new(),
        federates_with: Vec::new(),
        x509_svid_ttl: seconds(row.integer(4)?),
        jwt_svid_ttl: seconds(row.integer(5)?),
        admin: row.flag(6)?,
        downstream: row.flag(7)?,
        expires_at: row.integer(8)?,
        dns_names: Vec::new(),
        revision_number: row.integer(9)?,
        store_svid: row.flag(10)?,
        hint: row.text(11)?,
        additional_attributes: present(Some(attributes)),
        created_at: row.time(13)?.map(time::rounded_seconds).unwrap_or_default(),
    };
    Ok((row.integer(0)?, entry))
}

/// The column is of 32 bits in other databases; SQLite would hold more.
fn seconds(column: i64) -> i32 {
    i32::try_from(column).unwrap_or(i32::MAX)
}

/// Attributes that are all off serialize to nothing.
fn present(attributes: Option<AdditionalAttributes>) -> Option<AdditionalAttributes> {
    attributes.filter(|attributes| attributes.encoded_len() > 0)
}
