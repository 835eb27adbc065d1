//! What the server remembers of its authorities across restarts: one row of `ca_journals`.
//!
//! The row is found by the key that is active in it, so each server of a shared database finds its own, and a server that
//! has lost its keys starts anew.

use prost::Message;
use steeple_datastore::DataStore;
use steeple_datastore::journals::{CaJournal, SetCaJournal};
use steeple_proto::journal::{Entries, JwtKeyEntry, Status, WitKeyEntry, X509caEntry};
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::{PublicKey, x509};
use tracing::{debug, error, info};

use super::slots::{Authority, SlotId};
use super::{CaError, JwtAuthority, WitAuthority, X509Authority};

/// Entries kept of each kind.
const KEPT: usize = 10;

pub(super) struct Journal {
    store: DataStore,
    /// 0 before it is first stored.
    row: i64,
    /// Hex SKI of the active X.509 authority; nothing is stored before there is one.
    active_x509: String,
    entries: Entries,
}

impl Journal {
    /// The journal whose active authority is one of these keys, or an empty one.
    ///
    /// # Errors
    /// When the store cannot be read, or the row makes no sense: it is left as it is.
    pub(super) async fn load(store: DataStore, keys: impl IntoIterator<Item = &PublicKey>) -> Result<Self, CaError> {
        debug!(target: "ca_manager", "Loading journal from datastore");
        for key in keys {
            let id = x509::hex(&steeple_pki::ski(key));
            let Some(CaJournal { id: row, data, active_x509_authority_id }) = store.fetch_ca_journal(&id).await? else {
                continue;
            };
            let entries = Entries::decode(data.as_slice()).map_err(|error| CaError::Journal(error.to_string()))?;
            tell(&entries);
            return Ok(Self { store, row, active_x509: active_x509_authority_id, entries });
        }
        let entries = Entries::default();
        info!(
            target: "ca_manager",
            "There is not a CA journal record that matches any of the local X509 authority IDs"
        );
        tell(&entries);
        Ok(Self { store, row: 0, active_x509: String::new(), entries })
    }

    /// Oldest first.
    pub(super) fn x509(&self) -> &[X509caEntry] {
        &self.entries.x509_c_as
    }

    /// Oldest first.
    pub(super) fn jwt(&self) -> &[JwtKeyEntry] {
        &self.entries.jwt_keys
    }

    /// Oldest first.
    pub(super) fn wit(&self) -> &[WitKeyEntry] {
        &self.entries.wit_keys
    }

    pub(super) async fn append_x509(&mut self, slot: SlotId, authority: &X509Authority) {
        let certificate = &authority.certificate;
        self.entries.x509_c_as.push(X509caEntry {
            slot_id: slot.name().to_owned(),
            issued_at: unix_seconds(authority.issued_at),
            certificate: certificate.der().to_vec(),
            upstream_chain: authority.upstream_chain.iter().map(|c| c.der().to_vec()).collect(),
            status: Status::Prepared.into(),
            authority_id: authority.authority_id(),
            not_after: unix_seconds(authority.not_after()),
            upstream_authority_id: certificate.authority_key_id().map(x509::hex).unwrap_or_default(),
        });
        keep_newest(&mut self.entries.x509_c_as);
        self.save().await;
    }

    pub(super) async fn append_jwt(&mut self, slot: SlotId, authority: &JwtAuthority) {
        self.entries.jwt_keys.push(JwtKeyEntry {
            slot_id: slot.name().to_owned(),
            issued_at: unix_seconds(authority.issued_at),
            not_after: unix_seconds(authority.not_after),
            kid: authority.key_id.clone(),
            public_key: authority.signer.public_key().spki_der().to_vec(),
            status: Status::Prepared.into(),
            authority_id: authority.key_id.clone(),
        });
        keep_newest(&mut self.entries.jwt_keys);
        self.save().await;
    }

    pub(super) async fn append_wit(&mut self, slot: SlotId, authority: &WitAuthority) {
        self.entries.wit_keys.push(WitKeyEntry {
            slot_id: slot.name().to_owned(),
            issued_at: unix_seconds(authority.issued_at),
            not_after: unix_seconds(authority.not_after),
            kid: authority.key_id.clone(),
            public_key: authority.signer.public_key().spki_der().to_vec(),
            status: Status::Prepared.into(),
            authority_id: authority.key_id.clone(),
        });
        keep_newest(&mut self.entries.wit_keys);
        self.save().await;
    }

    /// The active X.509 authority's ID is also what the row is found by.
    pub(super) async fn x509_status(&mut self, authority_id: &str, status: Status) {
        for entry in self.entries.x509_c_as.iter_mut().filter(|entry| entry.authority_id == authority_id) {
            entry.status = status.into();
        }
        if status == Status::Active {
            authority_id.clone_into(&mut self.active_x509);
        }
        self.save().await;
    }

    pub(super) async fn jwt_status(&mut self, authority_id: &str, status: Status) {
        for entry in self.entries.jwt_keys.iter_mut().filter(|entry| entry.authority_id == authority_id) {
            entry.status = status.into();
        }
        self.save().await;
    }

    pub(super) async fn wit_status(&mut self, authority_id: &str, status: Status) {
        for entry in self.entries.wit_keys.iter_mut().filter(|entry| entry.authority_id == authority_id) {
            entry.status = status.into();
        }
        self.save().await;
    }

    /// After the database has lost what was stored. The row may be another server's now, so it is looked for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn store_again(&mut self) -> Result<(), CaError> {
        self.row = 0;
        for entry in self.entries.x509_c_as.iter().rev() {
            if let Some(found) = self.store.fetch_ca_journal(&entry.authority_id).await? {
                self.row = found.id;
                break;
            }
        }
        self.save().await;
        Ok(())
    }

    /// A journal that cannot be stored costs a new authority at the next start, not this one's work.
    async fn save(&mut self) {
        if self.active_x509.is_empty() {
            debug!(
                target: "ca_manager",
                "There is no active X.509 authority yet. Can't save CA journal in the datastore"
            );
            return;
        }
        let row = CaJournal {
            id: self.row,
            data: self.entries.encode_to_vec(),
            active_x509_authority_id: self.active_x509.clone(),
        };
        if self.row == 0 {
            info!(target: "ca_manager", "Creating a new CA journal entry");
        }
        match self.store.write(SetCaJournal(row)).await {
            Ok(row) => {
                self.row = row;
                debug!(
                    target: "ca_manager",
                    ca_journal_id = row,
                    local_authority_id = self.active_x509,
                    "Successfully stored CA journal entry in datastore"
                );
            }
            Err(error) => error!(target: "ca_manager", error = %error, "Unable to save CA journal"),
        }
    }
}

fn tell(entries: &Entries) {
    info!(
        target: "ca_manager",
        x509_cas = entries.x509_c_as.len(),
        jwt_keys = entries.jwt_keys.len(),
        wit_keys = entries.wit_keys.len(),
        "Journal loaded"
    );
}

fn keep_newest<T>(entries: &mut Vec<T>) {
    let surplus = entries.len().saturating_sub(KEPT);
    entries.drain(..surplus);
}
