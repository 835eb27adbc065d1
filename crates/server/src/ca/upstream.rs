//! X.509 authorities that an authority above the server has signed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use steeple_catalog::UpstreamAuthority;
use steeple_catalog::credential_composer::X509CaAttributes;
use steeple_catalog::upstream_authority::MintedX509Ca;
use steeple_datastore::bundles::{RevokeX509Authority, TaintX509Authority};
use steeple_pki::certificate::svid_subject;
use steeple_pki::{Issuer, KeyType, Kind, Name, PrivateKey, Serial, Signer, Template, csr, issue};
use steeple_proto::spire::common;
use steeple_spiffe::SpiffeId;
use steeple_spiffe::x509::{self, Certificate, KeyUsage, verify_x509_svid};
use tracing::warn;

use super::authorities::{Authorities, published};
use super::orders::{Of, OrderError, Place, State};
use super::sign::BACKDATE;
use super::{CaError, X509Authority};

impl Authorities {
    /// An authority that the upstream authority has signed, whose roots are in the bundle.
    pub(super) async fn minted(
        &self,
        upstream: &UpstreamAuthority,
        signer: Arc<dyn Signer>,
        issued_at: SystemTime,
    ) -> Result<X509Authority, CaError> {
        // Policies are for the authority above to say.
        let X509CaAttributes { subject, policy_identifiers: _, extra_extensions } =
            self.composers.x509_ca(self.attributes(Serial::random()?)).await?;
        let (subject, own) = (Name::try_from(&subject)?, self.trust_domain.id());
        let csr = csr::build_with(&subject, Some(&own), &[], &extra_extensions, &*signer).await?;
        let MintedX509Ca { chain, roots } = upstream.mint_x509_ca(&csr, self.config.ttl).await?;
        let certificate = chain.first().cloned().ok_or_else(|| CaError::Minted("no certificate".to_owned()))?;
        let authority = X509Authority { certificate, upstream_chain: chain, signer, issued_at };
        self.check(&authority, &roots).await?;
        self.publish_roots(&roots).await?;
        Ok(authority)
    }

    /// Whether it is an authority of this trust domain, and what it signs is believed by whoever has these roots.
    async fn check(&self, authority: &X509Authority, roots: &[Certificate]) -> Result<(), CaError> {
        let X509Authority { certificate, upstream_chain, signer, .. } = authority;
        let (now, own) = (self.clock.now(), self.trust_domain.id());
        if let Some(wrong) = wrong_in(certificate, own.as_str(), now) {
            return Err(CaError::Minted(wrong.to_owned()));
        }
        let invalid = |error: String| CaError::Minted(format!("X509 CA produced an invalid X509-SVID chain: {error}"));
        let id = SpiffeId::new(&self.trust_domain, "/spire/throwaway").map_err(|error| invalid(error.to_string()))?;
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let validity = now - BACKDATE..now + Duration::from_secs(60);
        let leaf = Template {
            uri_san: Some(id),
            ..Template::new(Serial::random()?, Name::try_from(&svid_subject())?, validity, Kind::Svid)
        };
        let leaf = issue(&leaf, key.public_key(), &Issuer::new(certificate, &**signer)).await?;
        let chain: Vec<_> = std::iter::once(leaf).chain(upstream_chain.iter().cloned()).collect();
        verify_x509_svid(&chain, roots, now).map_err(|error| invalid(error.to_string()))?;
        Ok(())
    }

    /// Takes the roots into the bundle. One that is tainted there stays so as long as the upstream authority has it, and goes
    /// then.
    async fn publish_roots(&self, roots: &[Certificate]) -> Result<(), CaError> {
        let trust_domain = self.trust_domain.id().to_string();
        let known = self.store.fetch_bundle(&trust_domain).await?.unwrap_or_default().root_cas;
        let is_known = |root: &&Certificate| known.iter().any(|known| known.der_bytes == root.der());
        let new: Vec<_> = roots.iter().filter(|root| !is_known(root)).map(published).collect();
        self.append(common::Bundle { root_cas: new, ..common::Bundle::default() }).await?;
        for gone in known.iter().filter(|known| known.tainted_key) {
            let Ok(gone) = Certificate::from_der(&gone.der_bytes) else { continue };
            let Some(key_id) = gone.subject_key_id().filter(|_| !roots.contains(&gone)) else { continue };
            let (trust_domain, subject_key_id) = (trust_domain.clone(), x509::hex(key_id));
            self.store.write(RevokeX509Authority { trust_domain, subject_key_id }).await?;
        }
        Ok(())
    }

    /// Once: tokens of this server are not known above it.
    pub(super) fn warn_of_jwt(&mut self) {
        let Some(upstream) = self.upstream.as_ref().filter(|_| !self.has_warned_of_jwt) else { return };
        self.has_warned_of_jwt = true;
        warn!(
            target: "ca_manager",
            plugin_name = upstream.name(),
            "UpstreamAuthority plugin does not support JWT-SVIDs. Workloads managed by this server may have trouble \
             communicating with workloads outside this cluster when using JWT-SVIDs."
        );
    }

    /// Taints the authority above the one that signed before.
    pub(super) async fn taint_upstream(&self, subject_key_id: &str) -> Result<(), OrderError> {
        let id = self.above_the_old(subject_key_id)?;
        let trust_domain = self.trust_domain.id().to_string();
        let taint = TaintX509Authority { trust_domain: trust_domain.clone(), subject_key_id: id.clone() };
        self.store.write(taint).await?;
        let bundle = self.store.fetch_bundle(&trust_domain).await?.unwrap_or_default();
        let mut roots = bundle.root_cas.iter().filter_map(|root| Certificate::from_der(&root.der_bytes).ok());
        self.signing.taint(roots.find(|root| root.subject_key_id().map(x509::hex).as_ref() == Some(&id)));
        Ok(())
    }

    /// Takes the authority above the one that signed before out of the bundle. It has to be tainted.
    pub(super) async fn revoke_upstream(&self, subject_key_id: &str) -> Result<(), OrderError> {
        let subject_key_id = self.above_the_old(subject_key_id)?;
        let trust_domain = self.trust_domain.id().to_string();
        self.store.write(RevokeX509Authority { trust_domain, subject_key_id }).await?;
        Ok(())
    }

    /// The subject key ID, as authorities tell theirs, if it is that of the authority above the one that signed before, and
    /// not of the one above the one that signs.
    fn above_the_old(&self, subject_key_id: &str) -> Result<String, OrderError> {
        let State { active, next } = self.state(Of::X509)?;
        if self.upstream.is_none() {
            return Err(OrderError::NoUpstream);
        }
        if subject_key_id.is_empty() {
            return Err(OrderError::NoSubjectKeyId);
        }
        let subject_key_id = subject_key_id.to_lowercase();
        if active.upstream_id == subject_key_id {
            return Err(OrderError::AboveActive);
        }
        match next.filter(|(_, next)| next.upstream_id == subject_key_id) {
            Some((Place::Old, _)) => Ok(subject_key_id),
            Some((Place::Prepared, _)) => Err(OrderError::NotAboveOld),
            None => Err(OrderError::NotAbove),
        }
    }
}

/// What keeps a certificate from being an authority of the trust domain with this ID.
pub(super) fn wrong_in(certificate: &Certificate, own: &str, now: SystemTime) -> Option<&'static str> {
    let usage = certificate.key_usage();
    let may = |what| usage.is_some_and(|usage| usage.contains(what));
    let rules = [
        (certificate.is_ca(), "it is no authority"),
        (may(KeyUsage::KEY_CERT_SIGN), "it may not sign certificates"),
        (!may(KeyUsage::KEY_ENCIPHERMENT) && !may(KeyUsage::KEY_AGREEMENT), "it may do more than sign"),
        (certificate.uri_sans().iter().all(|uri| uri == own), "its URI is not the ID of the trust domain"),
        (certificate.is_valid_at(now), "it is not valid now"),
    ];
    rules.into_iter().find(|(holds, _)| !holds).map(|(_, wrong)| wrong)
}
