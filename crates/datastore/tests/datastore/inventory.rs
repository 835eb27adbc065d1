//! The table of what was signed.

use steeple_datastore::inventory::{InventoryRow, InventoryTable};
use steeple_runtime::Clock;

use crate::opened::Opened;

pub(crate) const DAY: i64 = 24 * 60 * 60;

pub(crate) fn row(chain: &str, seq: i64, written_at: i64) -> InventoryRow {
    InventoryRow {
        chain: chain.to_owned(),
        seq,
        written_at,
        what: "x509-svid".to_owned(),
        spiffe_id: Some("spiffe://td/x".to_owned()),
        through: None,
        authority: Some("a".to_owned()),
        expires_at: Some(written_at + 7),
        record: format!("{chain} {seq}"),
    }
}

/// All records, in the order in which they are read.
pub(crate) async fn all(table: &mut InventoryTable) -> Vec<String> {
    let (mut records, mut place) = (Vec::new(), None);
    while let Some((mut page, last)) = table.page(place).await.unwrap() {
        records.append(&mut page);
        place = Some(last);
    }
    records
}

pub(crate) async fn records_of_each_chain_are_in_their_order_and_whole_batches(store: Opened) {
    let clock = Clock::system();
    let mut first = InventoryTable::create(store.options.clone(), &clock).await.unwrap();
    let mut second = InventoryTable::create(store.options.clone(), &clock).await.unwrap();
    assert_eq!(first.newest("a").await.unwrap(), None);
    first.append(&(1..=700).map(|seq| row("a", seq, DAY)).collect::<Vec<_>>()).await.unwrap();
    second.append(&[row("b", 1, DAY), row("b", 2, DAY * 2)]).await.unwrap();
    // The clock was set back.
    second.append(&[row("b", 3, 0)]).await.unwrap();
    // One that is there already takes the others of its batch with it; after that, what is there is passed over.
    first.append(&[row("a", 701, DAY), row("a", 700, DAY)]).await.unwrap_err();
    first.append(&[row("a", 700, DAY), row("a", 701, DAY), row("a", 702, DAY)]).await.unwrap();

    let mut reader = InventoryTable::read_only(store.options.clone(), &clock).await.unwrap();
    let records = all(&mut reader).await;
    let of = |chain: &str| records.iter().filter(|it| it.starts_with(chain)).cloned().collect::<Vec<_>>();
    assert_eq!(of("a"), (1..=702).map(|seq| format!("a {seq}")).collect::<Vec<_>>());
    assert_eq!(of("b"), ["b 1", "b 2", "b 3"]);
    assert_eq!(first.newest("a").await.unwrap().as_deref(), Some("a 702"));
    assert_eq!(
        store.sql("SELECT spiffe_id FROM steeple_inventory WHERE chain = 'b' AND expires_at = 7").await,
        [["spiffe://td/x"]]
    );
    for table in [first, second, reader] {
        table.close().await;
    }
}

pub(crate) async fn records_of_days_that_are_over_are_deleted(store: Opened) {
    let mut table = InventoryTable::create(store.options.clone(), &Clock::system()).await.unwrap();
    for day in 1..=4 {
        table.append(&[row("a", day, DAY * day)]).await.unwrap();
    }
    for _ in 0..2 {
        table.prune(DAY * 3 + 5).await.unwrap();
        assert_eq!(all(&mut table).await, ["a 3", "a 4"]);
    }
    table.append(&[row("a", 5, DAY * 4)]).await.unwrap();
    assert_eq!(table.newest("a").await.unwrap().as_deref(), Some("a 5"));
    table.close().await;
}
