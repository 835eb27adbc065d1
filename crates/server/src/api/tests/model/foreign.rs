//! Another program that writes as SPIRE does, in transactions that last.

use steeple_testkit::database::Transaction;

use super::*;

/// What it holds open.
#[derive(Default)]
pub(super) struct Foreign {
    open: Vec<(Transaction, Entry)>,
}

/// Transactions that are open at once.
const MOST: usize = 4;

impl Foreign {
    /// Begins a transaction, mostly, and ends some other one.
    pub(super) async fn go_on(&mut self, place: &Place, history: &History, random: &mut Random) {
        if self.open.len() < MOST && random.below(3) > 0 {
            self.begin(place, history).await;
        }
        if !self.open.is_empty() && random.below(2) == 0 {
            let one = random.below(self.open.len() as u64) as usize;
            let (transaction, entry) = self.open.swap_remove(one);
            end(transaction, &entry, history, random).await;
        }
    }

    /// Ends all of them, in an order of their own.
    pub(super) async fn end(&mut self, history: &History, random: &mut Random) {
        while !self.open.is_empty() {
            let one = random.below(self.open.len() as u64) as usize;
            let (transaction, entry) = self.open.swap_remove(one);
            end(transaction, &entry, history, random).await;
        }
    }

    /// The rows of an entry and its event. It fails when the database goes away meanwhile.
    async fn begin(&mut self, place: &Place, history: &History) {
        let mut transaction = place.transaction().await;
        let entry = history.next("foreign");
        let entry = Entry { entry_id: format!("foreign-{}", entry.x509_svid_ttl), ..entry };
        let Entry { entry_id, spiffe_id, parent_id, hint, x509_svid_ttl, jwt_svid_ttl, .. } = &entry;
        let mut statements = vec![
            format!("INSERT INTO registered_entries_events (entry_id) VALUES ('{entry_id}')"),
            format!(
                "INSERT INTO registered_entries (entry_id, spiffe_id, parent_id, hint, ttl, jwt_svid_ttl) \
                 VALUES ('{entry_id}', '{spiffe_id}', '{parent_id}', '{hint}', {x509_svid_ttl}, {jwt_svid_ttl})"
            ),
        ];
        // A SELECT would lock more than this row on MariaDB.
        let row = match place {
            Place::MySql(_) => {
                statements.push("SET @entry = LAST_INSERT_ID()".to_owned());
                "@entry"
            }
            _ => "currval('registered_entries_id_seq')",
        };
        for Selector { kind, value } in &entry.selectors {
            let into = "INSERT INTO selectors (registered_entry_id, type, value)";
            statements.push(format!("{into} VALUES ({row}, '{kind}', '{value}')"));
        }
        for name in &entry.dns_names {
            statements.push(format!("INSERT INTO dns_names (registered_entry_id, value) VALUES ({row}, '{name}')"));
        }
        for statement in statements {
            if transaction.attempt(&statement).await.is_err() {
                return history.never(&entry);
            }
        }
        self.open.push((transaction, entry));
    }
}

async fn end(mut transaction: Transaction, entry: &Entry, history: &History, random: &mut Random) {
    if random.below(3) == 0 {
        history.never(entry);
        // Whether the connection is still there or not, it ends.
        let _ = transaction.attempt("ROLLBACK").await;
    } else if transaction.attempt("COMMIT").await.is_ok() {
        history.wrote();
    }
}
