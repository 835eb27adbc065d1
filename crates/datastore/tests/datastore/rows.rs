//! Whatever an entry holds, it is read as it was written.

use std::cell::RefCell;

use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::test_runner::TestRunner;
use steeple_datastore::bundles::SetBundle;
use steeple_datastore::entries::{CreateEntry, Created, EntryFilter, EntryMask, UpdateEntry};
use steeple_datastore::{AdditionalAttributes, Bundle, Entry, Page, Selector};

use crate::opened::{Opened, on_sqlite};

/// In the order of their rows, which is that of reading.
const TRUST_DOMAINS: [&str; 3] = ["spiffe://c.test", "spiffe://a.test", "spiffe://b.test"];
const TRIES: u32 = 100;

/// Marks of SQL and of other scripts among others, and nothing at all.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z:/'\"%_\\\\ ?$-]{0,12}", any::<String>()]
}

/// An entry that a store takes.
fn some_entry() -> impl Strategy<Value = Entry> {
    let ids = ("spiffe://[a-z]{1,5}/\\PC{0,8}", text(), text());
    let selectors = btree_set((text(), text()), 1..6);
    let lists = (selectors, btree_set(text(), 0..4), subsequence(&TRUST_DOMAINS, 0..=TRUST_DOMAINS.len()));
    let numbers = (0..=i32::MAX, 0..=i32::MAX, any::<i64>());
    let written = (ids, lists, numbers, any::<[bool; 4]>());
    written.prop_map(|(ids, (selectors, dns_names, federates_with), numbers, flags)| {
        let (spiffe_id, parent_id, hint) = ids;
        let (x509_svid_ttl, jwt_svid_ttl, expires_at) = numbers;
        let [admin, downstream, disable_x509_svid_prefetch, jwt_svid_include_jti] = flags;
        let attributes = AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti };
        let selectors: Vec<_> = selectors.into_iter().map(|(kind, value)| Selector::new(kind, value)).collect();
        // Only those are stored away whose selectors are of one kind, and which are fetched without being asked for.
        let may_store = selectors.iter().all(|it| it.kind == selectors[0].kind) && !disable_x509_svid_prefetch;
        Entry {
            spiffe_id,
            parent_id,
            selectors,
            federates_with: federates_with.into_iter().map(str::to_owned).collect(),
            x509_svid_ttl,
            jwt_svid_ttl,
            admin,
            downstream,
            expires_at,
            dns_names: dns_names.into_iter().collect(),
            store_svid: may_store,
            hint,
            // Where all are off there are none.
            additional_attributes: (disable_x509_svid_prefetch || jwt_svid_include_jti).then_some(attributes),
            ..Entry::default()
        }
    })
}

#[test]
fn an_entry_is_read_as_it_was_created_and_as_it_was_updated() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(async {
        let store = on_sqlite().await;
        for trust_domain in TRUST_DOMAINS {
            let bundle = Bundle { trust_domain_id: trust_domain.to_owned(), ..Bundle::default() };
            store.write(SetBundle(bundle)).await.unwrap();
        }
        store
    });
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(TRIES) };
    let written = RefCell::new(Vec::new());
    TestRunner::new(config)
        .run(&(some_entry(), some_entry()), |(new, other)| {
            written.borrow_mut().push(runtime.block_on(goes_around(&store, new, other))?);
            Ok(())
        })
        .unwrap();
    let written = written.into_inner();
    runtime.block_on(async {
        let listed = store.list_entries(&EntryFilter::default(), &Page::default()).await.unwrap().rows;
        assert_eq!(listed, written);
        assert_eq!(store.feed().snapshot().await.unwrap().entries, written);
    });
}

/// Writes an entry, reads it, makes it another one and reads that, which it returns.
async fn goes_around(store: &Opened, new: Entry, other: Entry) -> Result<Entry, TestCaseError> {
    let created = match store.write(CreateEntry { entry: new.clone() }).await.unwrap() {
        Created::New(created) => created,
        Created::Similar(_) => return Err(TestCaseError::reject("there is one")),
    };
    let (entry_id, created_at) = (created.entry_id.clone(), created.created_at);
    let stored =
        |entry: Entry, revision_number| Entry { entry_id: entry_id.clone(), created_at, revision_number, ..entry };
    let expected = stored(new, 0);
    prop_assert_eq!(&created, &expected);
    is_read(store, &expected).await?;

    let update = UpdateEntry { entry: stored(other.clone(), 0), mask: EntryMask::ALL };
    let updated = store.write(update).await.unwrap();
    let expected = stored(other, 1);
    prop_assert_eq!(&updated, &expected);
    is_read(store, &expected).await?;
    Ok(expected)
}

async fn is_read(store: &Opened, expected: &Entry) -> Result<(), TestCaseError> {
    let fetched = store.fetch_entry(&expected.entry_id).await.unwrap();
    prop_assert_eq!(fetched.as_ref(), Some(expected));
    Ok(())
}
