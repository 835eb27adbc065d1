//! Whether what signs is still in the bundle: a database that moved back (a restore, a failover that lost commits) has lost
//! what was published since, and nobody would believe what is signed.

use std::time::Duration;

use futures::FutureExt;
use steeple_proto::spire::common;
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::x509::Certificate;
use tracing::warn;

use super::authorities::{Authorities, published};
use super::slots::{Authority, Slots};
use super::{CaError, JwtAuthority, X509Authority};

/// A database that is away for longer is looked at another time.
const LIMIT: Duration = Duration::from_secs(5);

impl Authorities {
    /// Publishes once more what the bundle has lost, and stores the journal again.
    ///
    /// # Errors
    /// The datastore's; but none while it is away.
    pub(super) async fn publish_again(&mut self) -> Result<(), CaError> {
        let own = self.trust_domain.id();
        let fetched = self.clock.within(LIMIT, self.store.fetch_bundle(own.as_str()).boxed()).await;
        let bundle = match fetched {
            None => return Ok(()),
            Some(Err(error)) if error.is_away() => return Ok(()),
            Some(fetched) => fetched?.unwrap_or_default(),
        };
        let lost = self.lost_from(&bundle);
        let is_rootless = self.x509.active().is_some_and(|active| is_rootless(active, &bundle));
        if !is_rootless && lost == common::Bundle::default() {
            return Ok(());
        }
        warn!(
            target: "ca_manager",
            x509_authorities = lost.root_cas.len() + usize::from(is_rootless),
            jwt_authorities = lost.jwt_signing_keys.len(),
            wit_authorities = lost.wit_signing_keys.len(),
            "The bundle has lost authorities of this server; they are published again"
        );
        self.append(lost).await?;
        self.journal.store_again().await?;
        if is_rootless {
            // What stands above tells its roots when it signs.
            self.prepare_x509().await?;
            self.activate_x509().await;
        }
        Ok(())
    }

    /// Those that sign or will, and those whose SVIDs may be in use; but none that was tainted here. JWT authorities that have
    /// signed are left out, because any server may have revoked them.
    fn lost_from(&self, bundle: &common::Bundle) -> common::Bundle {
        let now = self.clock.now();
        let old = self.x509.old().filter(|old| !self.given_up.contains(&old.authority_id()) && old.not_after() > now);
        let x509 = self.x509.active().into_iter().chain(self.x509.prepared()).chain(old);
        // Others are no roots.
        let roots = x509.filter(|authority| authority.upstream_chain.is_empty());
        let roots = roots.map(|authority| published(&authority.certificate));
        let has_root = |lost: &common::Certificate| bundle.root_cas.iter().any(|it| it.der_bytes == lost.der_bytes);
        common::Bundle {
            root_cas: roots.filter(|root| !has_root(root)).collect(),
            jwt_signing_keys: lost_keys(&self.jwt, &bundle.jwt_signing_keys),
            wit_signing_keys: lost_keys(&self.wit, &bundle.wit_signing_keys),
            ..common::Bundle::default()
        }
    }
}

fn lost_keys(slots: &Slots<JwtAuthority>, known: &[common::PublicKey]) -> Vec<common::PublicKey> {
    let signing = slots.active().into_iter().chain(slots.prepared());
    signing
        .filter(|authority| known.iter().all(|key| key.kid != authority.key_id))
        .map(JwtAuthority::published)
        .collect()
}

/// Whether the root of an authority that is none itself is not there.
fn is_rootless(authority: &X509Authority, bundle: &common::Bundle) -> bool {
    let Some(last) = authority.upstream_chain.last() else { return false };
    let roots = bundle.root_cas.iter().filter_map(|root| Certificate::from_der(&root.der_bytes).ok());
    !roots.into_iter().any(|root| root.subject_der() == last.issuer_der())
}

impl JwtAuthority {
    /// In the form in which bundles have it.
    pub(super) fn published(&self) -> common::PublicKey {
        common::PublicKey {
            pkix_bytes: self.signer.public_key().spki_der().to_vec(),
            kid: self.key_id.clone(),
            not_after: unix_seconds(self.not_after),
            tainted_key: false,
        }
    }
}
