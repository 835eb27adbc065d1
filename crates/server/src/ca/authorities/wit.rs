//! WIT authorities: made, published and activated as JWT authorities are, but there are none unless the operator wants
//! WIT-SVIDs.

use steeple_pki::KeyType;
use steeple_proto::journal::{Status, WitKeyEntry};
use steeple_proto::spire::common;
use steeple_runtime::clock::from_unix_seconds;
use steeple_runtime::logging::with_fields;
use steeple_runtime::metrics::{count, measure};
use tracing::{info, warn};

use super::super::slots::{Slot, SlotId};
use super::super::{CaError, WitAuthority};
use super::{Authorities, Loading, validity};

impl Authorities {
    /// Prepares and activates what is due.
    pub(super) async fn rotate_wit(&mut self) -> Result<(), CaError> {
        let Some(key_type) = self.config.wit_key_type else { return Ok(()) };
        let now = self.clock.now();
        if self.wit.prepare_is_due(now) {
            measure("ca.manager.wit_key.prepare", self.prepare_wit(key_type)).await?;
        }
        if self.wit.activation_is_due(now) {
            self.activate_wit().await;
        }
        Ok(())
    }

    pub(super) async fn prepare_wit(&mut self, key_type: KeyType) -> Result<(), CaError> {
        let slot = self.wit.free_id();
        let (authority, key) = self.new_key("WIT-Signer", slot, key_type).await?;
        self.append(common::Bundle { wit_signing_keys: vec![key], ..common::Bundle::default() }).await?;
        self.journal.append_wit(slot, &authority).await;
        with_fields(validity(&authority), || {
            let local_authority_id = &authority.key_id;
            info!(target: "ca_manager", slot = slot.name(), local_authority_id, "WIT key prepared");
        });
        self.wit.prepare(authority);
        Ok(())
    }

    async fn activate_wit(&mut self) {
        let Some((active, retired)) = self.wit.activate() else { return };
        with_fields(validity(&active), || {
            let (slot, local_authority_id) = (self.wit.current_id().name(), &active.key_id);
            info!(target: "ca_manager", slot, local_authority_id, "WIT key activated");
        });
        if let Some(retired) = retired {
            self.journal.wit_status(&retired.key_id, Status::Old).await;
        }
        self.journal.wit_status(&active.key_id, Status::Active).await;
        self.publish();
        count("manager.wit_key.activate");
    }
}

impl Loading<'_> {
    pub(super) fn wit(&self, entry: &WitKeyEntry) -> Option<(SlotId, Slot<WitAuthority>)> {
        let slot = SlotId::parse(&entry.slot_id)?;
        let published = |bundle: &common::Bundle| bundle.wit_signing_keys.iter().any(|key| key.kid == entry.kid);
        if !self.bundle.is_none_or(published) {
            warn!(target: "ca_manager", slot = slot.name(), "Journal's WIT key is not in the bundle; it is left out");
            return None;
        }
        let not_after = from_unix_seconds(entry.not_after);
        let signer = self.signer("WIT-Signer", slot, &entry.public_key, not_after)?;
        let authority = WitAuthority {
            key_id: entry.kid.clone(),
            signer,
            issued_at: from_unix_seconds(entry.issued_at),
            not_after,
        };
        Some((slot, Slot::of(authority, entry.status())))
    }
}
