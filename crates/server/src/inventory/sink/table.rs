//! Records as rows.

use steeple_datastore::inventory::{InventoryRow, InventoryTable};

use super::super::InventoryError;
use super::super::chain::{Head, Link};

/// The head behind the last record of the chain.
pub(super) async fn newest(table: &mut InventoryTable, chain: &str) -> Result<Option<Head>, InventoryError> {
    let Some(text) = table.newest(chain).await? else { return Ok(None) };
    let Link { record, text } = Link::read(&text).map_err(InventoryError::Row)?;
    Ok(Some(Head::behind(&record, &text)))
}

pub(super) fn rows(links: &[Link]) -> Vec<InventoryRow> {
    links.iter().map(row).collect()
}

fn row(Link { record, text }: &Link) -> InventoryRow {
    let issued = record.event.issued();
    InventoryRow {
        chain: record.chain.clone(),
        seq: i64::try_from(record.seq).unwrap_or(i64::MAX),
        written_at: record.at,
        what: record.event.what().to_owned(),
        spiffe_id: issued.map(|issued| issued.id.clone()),
        through: issued.and_then(|issued| issued.through.clone()),
        authority: issued.map(|issued| issued.authority.clone()),
        expires_at: issued.map(|issued| issued.expires),
        record: text.clone(),
    }
}
