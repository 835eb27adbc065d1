use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::time::SystemTime;

use prost::Message;
use uuid::Uuid;

use super::{Entry, present};
use crate::connection::Row;
use crate::dialect::Dialect;
use crate::sql::{Conditions, Sql, Value};
use crate::writer::{Mutation, Tx};
use crate::{Error, Selector, selector, time};

/// Creates one entry, unless there is a similar one.
#[derive(Clone, Debug)]
pub struct CreateEntry {
    /// The entry. Its revision number and creation time are not read.
    pub entry: Entry,
}

/// Creates entries, each for itself: what is wrong with one does not touch the others. One call costs little more than
/// one entry.
#[derive(Clone, Debug)]
pub struct CreateEntries {
    /// The entries, as in [`CreateEntry`].
    pub entries: Vec<Entry>,
}

/// What became of an entry that was to be created.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// It was created.
    New(Entry),
    /// It was not: this entry has the same SPIFFE ID, parent and set of selectors. All else is not compared, and nothing
    /// but this check keeps similar entries out (an update may make some).
    Similar(Entry),
}

impl Mutation for CreateEntry {
    type Output = Created;
    const KEY: &'static str = "datastore.registration_entry.create";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Created, Error> {
        let mut outcome = create_set(tx, std::slice::from_ref(&self.entry)).await?;
        outcome.pop().unwrap_or(Err(Error::NotFound))
    }
}

impl Mutation for CreateEntries {
    /// In the order of the request.
    type Output = Vec<Result<Created, Error>>;
    const KEY: &'static str = "datastore.registration_entry.create";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Output, Error> {
        tx.db.savepoint().await?;
        match create_set(tx, &self.entries).await {
            Ok(outcome) => {
                tx.db.keep().await?;
                Ok(outcome)
            }
            // The database does not say which entry it refused: ask one by one.
            Err(error @ Error::Constraint(_)) => {
                tx.db.undo().await.map_err(|_| error)?;
                let mut outcome = Vec::with_capacity(self.entries.len());
                for entry in &self.entries {
                    outcome.push(create_one(tx, entry).await?);
                }
                Ok(outcome)
            }
            Err(error) => Err(error),
        }
    }
}

/// Creates one entry of a batch; the outer error is one that ends the batch.
async fn create_one(tx: &mut Tx<'_>, entry: &Entry) -> Result<Result<Created, Error>, Error> {
    tx.db.savepoint().await?;
    match create_set(tx, std::slice::from_ref(entry)).await {
        Ok(mut outcome) => {
            tx.db.keep().await?;
            Ok(outcome.pop().unwrap_or(Err(Error::NotFound)))
        }
        Err(error @ Error::Constraint(_)) => {
            tx.db.undo().await.map_err(|_| error.clone())?;
            Ok(Err(error))
        }
        Err(error) => Err(error),
    }
}

/// Creates entries by multi-row statements. An error is one of the database and leaves parts behind.
async fn create_set(tx: &mut Tx<'_>, requests: &[Entry]) -> Result<Vec<Result<Created, Error>>, Error> {
    let valid: Vec<_> = requests.iter().map(validate).collect();
    let candidates: Vec<_> = requests.iter().zip(&valid).filter(|(_, valid)| valid.is_ok()).map(|(it, _)| it).collect();
    let mut known = similar_rows(tx, &candidates).await?;
    let bundles = bundle_ids(tx, candidates.iter().flat_map(|entry| &entry.federates_with)).await?;

    let mut new: Vec<New> = Vec::new();
    let mut fates = Vec::with_capacity(requests.len());
    for (request, valid) in requests.iter().zip(valid) {
        fates.push(match valid {
            Err(error) => Fate::Refused(error),
            Ok(()) => match known.entry(Likeness::of(request)) {
                Slot::Occupied(twin) => Fate::Similar(*twin.get()),
                Slot::Vacant(slot) => match federation(request, &bundles) {
                    Err(error) => Fate::Refused(error),
                    Ok(federated) => {
                        slot.insert(Twin::New(new.len()));
                        new.push(New::from_request(request.clone(), federated, tx));
                        Fate::New(new.len() - 1)
                    }
                },
            },
        });
    }
    insert(tx, &new).await?;
    outcome(tx, fates, new).await
}

/// What becomes of an entry of the request.
enum Fate {
    Refused(Error),
    /// It is the new entry at this place.
    New(usize),
    Similar(Twin),
}

/// Where the entry is that another one is similar to.
#[derive(Clone, Copy)]
enum Twin {
    /// A row with this id.
    Row(i64),
    /// The new entry at this place: an earlier one of the same request.
    New(usize),
}

/// What similar entries have in common.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    spiffe_id: String,
    parent_id: String,
    selectors: Vec<Selector>,
}

impl Likeness {
    fn of(entry: &Entry) -> Self {
        Self {
            spiffe_id: entry.spiffe_id.clone(),
            parent_id: entry.parent_id.clone(),
            selectors: selector::set(&entry.selectors),
        }
    }
}

async fn outcome(tx: &mut Tx<'_>, fates: Vec<Fate>, new: Vec<New>) -> Result<Vec<Result<Created, Error>>, Error> {
    let similar: Vec<i64> = fates
        .iter()
        .filter_map(|fate| if let Fate::Similar(Twin::Row(id)) = fate { Some(*id) } else { None })
        .collect();
    let mut rows = HashMap::new();
    for some in similar.chunks(1_000) {
        let mut conditions = Conditions::default();
        conditions.add(Sql::new("e.id IN ").list(some.iter().copied()));
        rows.extend(super::load(tx.db, conditions, None).await?);
    }
    let new: Vec<Entry> = new.into_iter().map(|New { entry, bundles: _ }| entry.sorted()).collect();
    Ok(fates
        .into_iter()
        .map(|fate| match fate {
            Fate::Refused(error) => Err(error),
            Fate::New(place) => Ok(Created::New(new[place].clone())),
            Fate::Similar(Twin::New(place)) => Ok(Created::Similar(new[place].clone())),
            Fate::Similar(Twin::Row(id)) => rows.get(&id).cloned().map(Created::Similar).ok_or(Error::NotFound),
        })
        .collect())
}

/// The order of these checks is the reference's.
fn validate(entry: &Entry) -> Result<(), Error> {
    let invalid = |text: &str| Err(Error::Validation(format!("invalid registration entry: {text}")));
    if entry.selectors.is_empty() {
        return invalid("missing selector list");
    }
    if entry.store_svid && !super::update::same_kind(&entry.selectors) {
        return invalid("selector types must be the same when store SVID is enabled");
    }
    if entry.entry_id.len() > 255 {
        return invalid("entry ID too long");
    }
    if !entry.entry_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return invalid("entry ID contains invalid characters");
    }
    if entry.spiffe_id.is_empty() {
        return invalid("missing SPIFFE ID");
    }
    if entry.x509_svid_ttl < 0 {
        return invalid("X509SvidTtl is not set");
    }
    if entry.jwt_svid_ttl < 0 {
        return invalid("JwtSvidTtl is not set");
    }
    let no_prefetch = entry.additional_attributes.as_ref().is_some_and(|it| it.disable_x509_svid_prefetch);
    if entry.store_svid && no_prefetch {
        return Err(Error::Validation("specifying cache behaviour is incompatible with storable SVIDs".to_owned()));
    }
    Ok(())
}

/// The rows that have the identity and the parent of one of `candidates`.
async fn similar_rows(tx: &mut Tx<'_>, candidates: &[&Entry]) -> Result<HashMap<Likeness, Twin>, Error> {
    let keys = candidates.iter().map(|entry| likeness_key(&entry.spiffe_id, &entry.parent_id));
    tx.db.lock(keys).await?;
    let mut pairs: Vec<_> = candidates.iter().map(|entry| (&entry.spiffe_id, &entry.parent_id)).collect();
    pairs.sort_unstable();
    pairs.dedup();

    // The index on the identity is the selective one: a parent may have a hundred thousand entries.
    let dialect = tx.db.dialect();
    // Without statistics SQLite takes whichever of two indexes was created last, and the reference creates them in random
    // order; it takes none for an expression.
    let columns = ["e.spiffe_id", if dialect == Dialect::Sqlite { "+e.parent_id" } else { "e.parent_id" }];
    let mut rows = Vec::new();
    for some in pairs.chunks(1_000) {
        let wanted = some.iter().map(|(spiffe_id, parent_id)| [(*spiffe_id).into(), (*parent_id).into()]);
        let select = "SELECT e.id, e.spiffe_id, e.parent_id";
        let sql = dialect.among(select, "registered_entries e", "", columns, wanted).push(" ORDER BY e.id");
        rows.append(&mut tx.db.rows(sql, |row| Ok((row.integer(0)?, row.text(1)?, row.text(2)?))).await?);
    }

    let ids: Vec<i64> = rows.iter().map(|(id, _, _)| *id).collect();
    let select = "SELECT registered_entry_id, type, value FROM selectors WHERE registered_entry_id IN ";
    let read = |row: &Row| Ok((row.integer(0)?, Selector { kind: row.text(1)?, value: row.text(2)? }));
    let mut selectors: HashMap<i64, Vec<Selector>> = HashMap::new();
    for (id, selector) in tx.db.rows_in(select, &ids, "", read).await? {
        selectors.entry(id).or_default().push(selector);
    }

    let mut known = HashMap::new();
    for (id, spiffe_id, parent_id) in rows {
        let selectors = selector::set(&selectors.remove(&id).unwrap_or_default());
        // Of several similar rows the oldest is the one that is found.
        known.entry(Likeness { spiffe_id, parent_id, selectors }).or_insert(Twin::Row(id));
    }
    Ok(known)
}

/// What transactions lock that want to create entries of this identity and parent: FNV-1a, which all servers on a database
/// have to have in common.
fn likeness_key(spiffe_id: &str, parent_id: &str) -> u64 {
    let bytes = spiffe_id.bytes().chain([0]).chain(parent_id.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The row ids of the bundles of these trust domains.
pub(super) async fn bundle_ids<'e>(
    tx: &mut Tx<'_>,
    trust_domains: impl Iterator<Item = &'e String>,
) -> Result<HashMap<String, i64>, Error> {
    let mut wanted: Vec<&str> = trust_domains.map(String::as_str).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let select = "SELECT trust_domain, id FROM bundles WHERE trust_domain IN ";
    let rows = tx.db.rows_in(select, &wanted, "", |row| Ok((row.text(0)?, row.integer(1)?))).await?;
    Ok(rows.into_iter().collect())
}

/// The bundles that `entry` federates with, each once, in the order in which they are read back.
pub(super) fn federation(entry: &Entry, bundles: &HashMap<String, i64>) -> Result<Vec<(i64, String)>, Error> {
    let mut federated = Vec::with_capacity(entry.federates_with.len());
    for trust_domain in &entry.federates_with {
        let id = bundles.get(trust_domain).ok_or_else(|| Error::FederatedBundleMissing(trust_domain.clone()))?;
        federated.push((*id, trust_domain.clone()));
    }
    federated.sort_unstable();
    federated.dedup();
    Ok(federated)
}

/// An entry to insert.
struct New {
    entry: Entry,
    /// Row ids of the bundles it federates with.
    bundles: Vec<i64>,
}

impl New {
    fn from_request(request: Entry, federated: Vec<(i64, String)>, tx: &Tx<'_>) -> Self {
        let Entry {
            entry_id,
            spiffe_id,
            parent_id,
            selectors,
            federates_with: _,
            x509_svid_ttl,
            jwt_svid_ttl,
            admin,
            downstream,
            expires_at,
            dns_names,
            revision_number: _,
            store_svid,
            hint,
            additional_attributes,
            created_at: _,
        } = request;
        let (bundles, federates_with) = federated.into_iter().unzip();
        let entry = Entry {
            entry_id: if entry_id.is_empty() { Uuid::new_v4().to_string() } else { entry_id },
            spiffe_id,
            parent_id,
            selectors,
            federates_with,
            x509_svid_ttl,
            jwt_svid_ttl,
            admin,
            downstream,
            expires_at,
            dns_names,
            revision_number: 0,
            store_svid,
            hint,
            additional_attributes: present(additional_attributes),
            created_at: time::rounded_seconds(tx.now),
        };
        Self { entry, bundles }
    }
}

async fn insert(tx: &mut Tx<'_>, new: &[New]) -> Result<(), Error> {
    if new.is_empty() {
        return Ok(());
    }
    let now = tx.now;
    let rows: Vec<_> = new.iter().map(|new| columns(&new.entry, now)).collect();
    let entry_ids: Vec<&str> = new.iter().map(|new| new.entry.entry_id.as_str()).collect();
    let read = |row: &Row| Ok((row.text(0)?, row.integer(1)?));
    let ids = if tx.db.dialect().returns() {
        tx.db.insert_returning(INSERT, rows, "entry_id, id", read).await?
    } else {
        tx.db.insert(INSERT, rows).await?;
        tx.db.rows_in("SELECT entry_id, id FROM registered_entries WHERE entry_id IN ", &entry_ids, "", read).await?
    };
    let ids: HashMap<String, i64> = ids.into_iter().collect();
    let with_id = || new.iter().filter_map(|new| ids.get(&new.entry.entry_id).map(|id| (*id, new)));

    let selectors: Vec<_> = with_id().flat_map(|(id, new)| selector_rows(now, id, &new.entry.selectors)).collect();
    tx.db.insert(INSERT_SELECTORS, selectors).await?;
    let dns_names: Vec<_> = with_id().flat_map(|(id, new)| dns_rows(now, id, &new.entry.dns_names)).collect();
    tx.db.insert(INSERT_DNS_NAMES, dns_names).await?;
    let bundles: Vec<_> = with_id().flat_map(|(id, new)| bundle_rows(id, new.bundles.iter().copied())).collect();
    tx.db.insert(INSERT_BUNDLES, bundles).await?;
    tx.entry_events(entry_ids).await
}

const INSERT: &str = "INSERT INTO registered_entries (created_at, updated_at, entry_id, spiffe_id, parent_id, ttl, admin, \
                      downstream, expiry, revision_number, store_svid, hint, jwt_svid_ttl, additional_attributes) VALUES ";
pub(super) const INSERT_SELECTORS: &str =
    "INSERT INTO selectors (created_at, updated_at, registered_entry_id, type, value) VALUES ";
pub(super) const INSERT_DNS_NAMES: &str =
    "INSERT INTO dns_names (created_at, updated_at, registered_entry_id, value) VALUES ";
pub(super) const INSERT_BUNDLES: &str =
    "INSERT INTO federated_registration_entries (bundle_id, registered_entry_id) VALUES ";

pub(super) fn selector_rows(now: SystemTime, entry: i64, selectors: &[Selector]) -> impl Iterator<Item = [Value; 5]> {
    selectors.iter().map(move |Selector { kind, value }| {
        [now.into(), now.into(), entry.into(), kind.as_str().into(), value.as_str().into()]
    })
}

pub(super) fn dns_rows(now: SystemTime, entry: i64, dns_names: &[String]) -> impl Iterator<Item = [Value; 4]> {
    dns_names.iter().map(move |dns_name| [now.into(), now.into(), entry.into(), dns_name.as_str().into()])
}

pub(super) fn bundle_rows(entry: i64, bundles: impl IntoIterator<Item = i64>) -> impl Iterator<Item = [Value; 2]> {
    bundles.into_iter().map(move |bundle| [bundle.into(), entry.into()])
}

fn columns(entry: &Entry, now: SystemTime) -> [Value; 14] {
    let attributes = entry.additional_attributes.as_ref().map(Message::encode_to_vec);
    [
        now.into(),
        now.into(),
        (&entry.entry_id).into(),
        (&entry.spiffe_id).into(),
        (&entry.parent_id).into(),
        entry.x509_svid_ttl.into(),
        entry.admin.into(),
        entry.downstream.into(),
        entry.expires_at.into(),
        entry.revision_number.into(),
        entry.store_svid.into(),
        (&entry.hint).into(),
        entry.jwt_svid_ttl.into(),
        attributes.into(),
    ]
}
