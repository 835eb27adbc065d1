//! The authorities of this server: loaded, prepared, published, activated.

#[cfg(fuzzing)]
mod fuzzing;
mod measured;
mod wit;

#[cfg(fuzzing)]
pub use fuzzing::take_up_journal;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use steeple_catalog::credential_composer::X509CaAttributes;
use steeple_catalog::key_manager::{Key, KeySigner};
use steeple_catalog::{KeyManager, UpstreamAuthority};
use steeple_datastore::DataStore;
use steeple_datastore::bundles::AppendBundle;
use steeple_pki::{KeyType, Serial, Signer, Subject};
use steeple_proto::journal::{JwtKeyEntry, Status, X509caEntry};
use steeple_proto::spire::common;
use steeple_runtime::Clock;
use steeple_runtime::clock::{from_unix_seconds, unix_seconds};
use steeple_runtime::logging::{Field, with_fields};
use steeple_runtime::metrics::{count, gauge_of, measure};
use steeple_spiffe::TrustDomain;
use steeple_spiffe::x509::{self, Certificate};
use tracing::{debug, info, warn};

use super::composed::Composers;
use super::journal::Journal;
use super::sign::{BACKDATE, Signing, authority_template};
use super::slots::{Authority, Slot, SlotId, Slots};
use super::{CaConfig, CaError, CaSubject, JwtAuthority, WitAuthority, X509Authority};

/// All kinds with their slots and the journal. One task owns it ([`super::Rotation`]).
pub struct Authorities {
    pub(super) trust_domain: TrustDomain,
    pub(super) config: CaConfig,
    keys: KeyManager,
    /// What signs them; None where they are roots.
    pub(super) upstream: Option<UpstreamAuthority>,
    pub(super) composers: Composers,
    pub(super) store: DataStore,
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    pub(super) x509: Slots<X509Authority>,
    pub(super) jwt: Slots<JwtAuthority>,
    pub(super) wit: Slots<WitAuthority>,
    pub(super) signing: Signing,
    pub(super) has_warned_of_jwt: bool,
    /// Authorities that an operator has tainted or revoked here: they are not published again.
    pub(super) given_up: HashSet<String>,
}

/// The plugins with which authorities are made.
#[derive(Debug)]
pub struct Plugins {
    /// What holds their keys.
    pub keys: KeyManager,
    /// What signs them; None where they are roots.
    pub upstream: Option<UpstreamAuthority>,
    /// What changes what is said of them.
    pub composers: Composers,
}

impl Authorities {
    /// Takes up what the journal tells, as far as its keys are still there, and publishes to `signing` what signs.
    ///
    /// # Errors
    /// When key manager or datastore cannot be read.
    pub async fn load(
        trust_domain: TrustDomain,
        config: CaConfig,
        plugins: Plugins,
        store: DataStore,
        clock: Clock,
        signing: Signing,
    ) -> Result<Self, CaError> {
        let Plugins { keys, upstream, composers } = plugins;
        let held: HashMap<String, Key> =
            keys.public_keys().await?.into_iter().map(|key| (key.id.clone(), key)).collect();
        let journal = Journal::load(store.clone(), held.values().map(|key| &key.public_key)).await?;
        let bundle = store.fetch_bundle(trust_domain.id().as_str()).await?;
        let has_upstream = upstream.is_some();
        let loading = Loading { held: &held, keys: &keys, has_upstream, bundle: bundle.as_ref(), clock: &clock };
        let x509 = Slots::from_journal(journal.x509().iter().rev().filter_map(|entry| loading.x509(entry)));
        let jwt = Slots::from_journal(journal.jwt().iter().rev().filter_map(|entry| loading.jwt(entry)));
        // Those of a time when WIT-SVIDs were wanted stay in the journal.
        let wit = journal.wit().iter().rev().filter(|_| config.wit_key_type.is_some());
        let wit = Slots::from_journal(wit.filter_map(|entry| loading.wit(entry)));
        let authorities = Self {
            trust_domain,
            config,
            keys,
            upstream,
            composers,
            store,
            clock,
            journal,
            x509,
            jwt,
            wit,
            signing,
            has_warned_of_jwt: false,
            given_up: HashSet::new(),
        };
        authorities.publish();
        Ok(authorities)
    }

    /// Prepares and activates what is due.
    ///
    /// # Errors
    /// When an authority could not be made, or not be published again; the ones that sign go on.
    pub async fn rotate(&mut self) -> Result<(), CaError> {
        let rotated = Box::pin(self.rotate_all()).await;
        // Also when one kind fails: the others may have changed.
        self.measure();
        rotated
    }

    async fn rotate_all(&mut self) -> Result<(), CaError> {
        Box::pin(self.publish_again()).await?;
        let now = self.clock.now();
        if self.x509.prepare_is_due(now) {
            measure("ca.manager.x509_ca.prepare", self.prepare_x509()).await?;
        }
        if self.x509.activation_is_due(now) {
            self.activate_x509().await;
        }
        if !self.config.disable_jwt {
            self.rotate_jwt().await?;
        }
        self.rotate_wit().await
    }

    async fn rotate_jwt(&mut self) -> Result<(), CaError> {
        let now = self.clock.now();
        if self.jwt.prepare_is_due(now) {
            measure("ca.manager.jwt_key.prepare", self.prepare_jwt()).await?;
        }
        if self.jwt.activation_is_due(now) {
            self.activate_jwt().await;
        }
        Ok(())
    }

    pub(super) async fn prepare_x509(&mut self) -> Result<(), CaError> {
        let slot = self.x509.free_id();
        debug!(target: "ca_manager", slot = slot.name(), "Preparing X509 CA");
        self.x509.drop_prepared();
        let signer = self.generate(&format!("x509-CA-{}", slot.name()), self.config.x509_key_type).await?;
        let issued_at = self.clock.now();
        // Either puts the root into the bundle before anything is signed: whoever meets an SVID below it finds it there.
        let authority = match self.upstream.clone() {
            Some(upstream) => Box::pin(self.minted(&upstream, signer, issued_at)).await?,
            None => self.self_signed(signer, issued_at).await?,
        };
        self.journal.append_x509(slot, &authority).await;
        with_fields(validity(&authority), || {
            info!(
                target: "ca_manager",
                slot = slot.name(),
                self_signed = self.upstream.is_none(),
                local_authority_id = authority.authority_id(),
                upstream_authority_id = authority.upstream_id(),
                "X509 CA prepared"
            );
        });
        self.x509.prepare(authority);
        Ok(())
    }

    async fn self_signed(&self, signer: Arc<dyn Signer>, issued_at: SystemTime) -> Result<X509Authority, CaError> {
        let (serial, own) = (Serial::random()?, self.trust_domain.id());
        let validity = issued_at - BACKDATE..issued_at + self.config.ttl;
        let composed = self.composers.x509_ca(self.attributes(serial)).await?;
        let root = authority_template(serial, composed, &own, validity)?;
        let certificate = steeple_pki::self_signed(&root, &*signer).await?;
        self.composers.check_x509_ca(&certificate, own.as_str(), issued_at)?;
        self.append(common::Bundle { root_cas: vec![published(&certificate)], ..common::Bundle::default() }).await?;
        Ok(X509Authority { certificate, upstream_chain: Vec::new(), signer, issued_at })
    }

    /// What is said of an authority. Its name holds a serial number, which tells apart authorities of the same configured name;
    /// that of the certificate, if it is made here.
    pub(super) fn attributes(&self, serial: Serial) -> X509CaAttributes {
        let CaSubject { countries, organizations, common_name } = self.config.subject.clone();
        let serial_number = serial.to_string();
        let subject = Subject { countries, organizations, common_name, serial_number, ..Subject::default() };
        X509CaAttributes { subject, ..X509CaAttributes::default() }
    }

    pub(super) async fn activate_x509(&mut self) {
        let Some((active, retired)) = self.x509.activate() else { return };
        let id = active.authority_id();
        with_fields(validity(&active), || {
            info!(
                target: "ca_manager",
                slot = self.x509.current_id().name(),
                local_authority_id = id,
                upstream_authority_id = active.upstream_id(),
                "X509 CA activated"
            );
        });
        if let Some(retired) = retired {
            self.journal.x509_status(&retired.authority_id(), Status::Old).await;
        }
        self.journal.x509_status(&id, Status::Active).await;
        self.publish();
        let left = active.not_after().duration_since(self.clock.now()).unwrap_or_default();
        let of = [("trust_domain_id", self.trust_domain.name())];
        gauge_of("manager.x509_ca.rotate.expiration", &of, unix_seconds(active.not_after()) as f64);
        gauge_of("manager.x509_ca.rotate.ttl", &of, left.as_secs_f64());
        count("ca.manager.x509_ca.activate");
        let (trust_domain_id, ttl) = (self.trust_domain.id(), left.as_secs_f64());
        debug!(target: "ca_manager", %trust_domain_id, ttl, "Successfully rotated X.509 CA");
    }

    pub(super) async fn prepare_jwt(&mut self) -> Result<(), CaError> {
        let slot = self.jwt.free_id();
        debug!(target: "ca_manager", slot = slot.name(), "Preparing JWT key");
        self.jwt.drop_prepared();
        self.warn_of_jwt();
        let (authority, key) = self.new_key("JWT-Signer", slot, self.config.jwt_key_type).await?;
        self.append(common::Bundle { jwt_signing_keys: vec![key], ..common::Bundle::default() }).await?;
        self.journal.append_jwt(slot, &authority).await;
        with_fields(validity(&authority), || {
            let local_authority_id = &authority.key_id;
            info!(target: "ca_manager", slot = slot.name(), local_authority_id, "JWT key prepared");
        });
        self.jwt.prepare(authority);
        Ok(())
    }

    pub(super) async fn activate_jwt(&mut self) {
        let Some((active, retired)) = self.jwt.activate() else { return };
        with_fields(validity(&active), || {
            let (slot, local_authority_id) = (self.jwt.current_id().name(), &active.key_id);
            info!(target: "ca_manager", slot, local_authority_id, "JWT key activated");
        });
        if let Some(retired) = retired {
            self.journal.jwt_status(&retired.key_id, Status::Old).await;
        }
        self.journal.jwt_status(&active.key_id, Status::Active).await;
        self.publish();
        count("manager.jwt_key.activate");
    }

    /// An authority that is nothing but a key, and the form in which bundles have it.
    async fn new_key(
        &self,
        kind: &str,
        slot: SlotId,
        key_type: KeyType,
    ) -> Result<(JwtAuthority, common::PublicKey), CaError> {
        let signer = self.generate(&format!("{kind}-{}", slot.name()), key_type).await?;
        let (key_id, issued_at) = (steeple_pki::random_key_id()?, self.clock.now());
        let not_after = issued_at + self.config.ttl;
        let authority = JwtAuthority { key_id, signer, issued_at, not_after };
        let key = authority.published();
        Ok((authority, key))
    }

    async fn generate(&self, key_id: &str, key_type: KeyType) -> Result<Arc<dyn Signer>, CaError> {
        let key = self.keys.generate_key(key_id, key_type).await?;
        Ok(Arc::new(KeySigner::new(self.keys.clone(), key)))
    }

    pub(super) async fn append(&self, authorities: common::Bundle) -> Result<(), CaError> {
        let bundle = common::Bundle { trust_domain_id: self.trust_domain.id().to_string(), ..authorities };
        self.store.write(AppendBundle(bundle)).await?;
        Ok(())
    }

    fn publish(&self) {
        self.signing.set(self.x509.active().cloned(), self.jwt.active().cloned(), self.wit.active().cloned());
    }
}

/// An authority in the form in which bundles have it.
pub(super) fn published(certificate: &Certificate) -> common::Certificate {
    common::Certificate { der_bytes: certificate.der().to_vec(), tainted_key: false }
}

/// From when and until when an authority signs, for the log.
fn validity(authority: &impl Authority) -> Vec<Field> {
    vec![("issued_at".into(), authority.issued_at().into()), ("expiration".into(), authority.not_after().into())]
}

/// What decides whether a journal's entry can still sign.
struct Loading<'a> {
    held: &'a HashMap<String, Key>,
    keys: &'a KeyManager,
    has_upstream: bool,
    bundle: Option<&'a common::Bundle>,
    clock: &'a Clock,
}

impl Loading<'_> {
    fn x509(&self, entry: &X509caEntry) -> Option<(SlotId, Slot<X509Authority>)> {
        let slot = SlotId::parse(&entry.slot_id)?;
        let certificate = Certificate::from_der(&entry.certificate).ok()?;
        let published =
            |bundle: &common::Bundle| bundle.root_cas.iter().any(|root| root.der_bytes == entry.certificate);
        // One that is no root is none in the bundle either; whether it is trusted is for what stands above it to say.
        let is_below = self.has_upstream && !entry.upstream_chain.is_empty();
        if !is_below && !self.bundle.is_none_or(published) {
            warn!(target: "ca_manager", slot = slot.name(), "Journal's X509 CA is not in the bundle; it is left out");
            return None;
        }
        let signer = self.signer("x509-CA", slot, certificate.spki_der(), certificate.not_after())?;
        let upstream_chain =
            entry.upstream_chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>().ok()?;
        let authority =
            X509Authority { certificate, upstream_chain, signer, issued_at: from_unix_seconds(entry.issued_at) };
        Some((slot, Slot::of(authority, entry.status())))
    }

    fn jwt(&self, entry: &JwtKeyEntry) -> Option<(SlotId, Slot<JwtAuthority>)> {
        let slot = SlotId::parse(&entry.slot_id)?;
        let published = |bundle: &common::Bundle| bundle.jwt_signing_keys.iter().any(|key| key.kid == entry.kid);
        if !self.bundle.is_none_or(published) {
            warn!(target: "ca_manager", slot = slot.name(), "Journal's JWT key is not in the bundle; it is left out");
            return None;
        }
        let not_after = from_unix_seconds(entry.not_after);
        let signer = self.signer("JWT-Signer", slot, &entry.public_key, not_after)?;
        let authority = JwtAuthority {
            key_id: entry.kid.clone(),
            signer,
            issued_at: from_unix_seconds(entry.issued_at),
            not_after,
        };
        Some((slot, Slot::of(authority, entry.status())))
    }

    /// The key manager's key of a slot, if it is the journal's.
    fn signer(&self, kind: &str, slot: SlotId, public_key: &[u8], not_after: SystemTime) -> Option<Arc<dyn Signer>> {
        let id = format!("{kind}-{}", slot.name());
        let key = self.held.get(&id).filter(|key| key.public_key.spki_der() == public_key)?;
        if not_after <= self.clock.now() {
            info!(target: "ca_manager", key_id = id, key_sha1 = x509::hex(&steeple_pki::ski(&key.public_key)), "Authority has expired; it is left out");
            return None;
        }
        Some(Arc::new(KeySigner::new(self.keys.clone(), key.clone())))
    }
}

#[cfg(test)]
mod tests;
