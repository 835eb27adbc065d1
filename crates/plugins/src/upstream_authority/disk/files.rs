//! What the files hold, and what is signed with it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::FutureExt;
use steeple_catalog::PluginError;
use steeple_catalog::upstream_authority::{MintedX509Ca, Plugin};
use steeple_pki::certificate::svid_subject;
use steeple_pki::{
    CertificateRequest, Issuer, KeyType, Kind, LocalSigner, Name, PkiError, PrivateKey, Serial, Template, issue,
};
use steeple_runtime::Clock;
use steeple_spiffe::x509::{parse_pem, verify_chain};
use steeple_spiffe::{Certificate, TrustDomain};
use tracing::warn;
use zeroize::Zeroizing;

use crate::read_text;

/// Clocks of a trust domain may differ by this much: certificates begin that long before they are made.
pub(super) const BACKDATE: Duration = Duration::from_secs(10);
/// Of an authority for which no lifetime is asked.
const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);

/// The plugin.
pub(super) struct Disk {
    trust_domain: TrustDomain,
    clock: Clock,
    files: Files,
    last_good: Mutex<Arc<Authority>>,
}

/// Where it is.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) certificates: PathBuf,
    pub(super) key: PathBuf,
    /// None for a certificate that is its own root.
    pub(super) bundle: Option<PathBuf>,
}

/// What the files hold.
struct Authority {
    /// That of the key, which signs.
    certificate: Certificate,
    /// What is delivered behind an authority that it signs: none when it is a root.
    chain: Vec<Certificate>,
    roots: Vec<Certificate>,
    signer: LocalSigner,
}

impl Files {
    fn read(&self, now: SystemTime) -> Result<Authority, PluginError> {
        let refused = |what: &str, error: String| {
            PluginError::invalid_argument(format!("unable to load upstream CA{what}: {error}"))
        };
        let key = Zeroizing::new(read_text(&self.key).map_err(|error| refused(" key", error))?);
        let key = PrivateKey::from_pem(&key).map_err(|error| refused(" key", error.to_string()))?;
        let chain = read_certificates(&self.certificates).map_err(|error| refused(" cert", error))?;
        let (chain, roots) = match &self.bundle {
            Some(bundle) => (chain, read_certificates(bundle).map_err(|error| refused(" bundle", error))?),
            None if chain.len() == 1 => (Vec::new(), chain),
            None => {
                const ALONE: &str = "with no bundle_file_path configured only self-signed CAs are supported";
                return Err(PluginError::invalid_argument(ALONE));
            }
        };
        let certificate = chain.first().or(roots.first()).cloned();
        let certificate = certificate.ok_or_else(|| refused(" cert", "no PEM blocks".to_owned()))?;
        if certificate.spki_der() != key.public_key().spki_der() {
            return Err(refused("", "certificate and private key do not match".to_owned()));
        }
        let authority = Authority { certificate, chain, roots, signer: LocalSigner(Arc::new(key)) };
        if !authority.is_below_its_roots(now).map_err(|error| refused("", error.to_string()))? {
            const NOT: &str = "certificate cannot be validated with the provided bundle or is not self-signed";
            return Err(refused("", NOT.to_owned()));
        }
        Ok(authority)
    }
}

impl Authority {
    /// Looked at through the eyes of those who will meet what it signs, but for one that is a root itself, which need not
    /// even be an authority here: the server looks at what comes of it.
    fn is_below_its_roots(&self, now: SystemTime) -> Result<bool, PkiError> {
        if self.roots.contains(&self.certificate) {
            return Ok(self.certificate.is_valid_at(now));
        }
        let validity = now - BACKDATE..now + BACKDATE;
        let leaf = Template::new(Serial::random()?, Name::try_from(&svid_subject())?, validity, Kind::Svid);
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let issuer = Issuer::new(&self.certificate, &self.signer);
        // A key in memory is not waited for.
        let Some(leaf) = issue(&leaf, key.public_key(), &issuer).now_or_never().transpose()? else { return Ok(false) };
        let chain: Vec<_> = std::iter::once(leaf).chain(self.chain.iter().cloned()).collect();
        Ok(verify_chain(&chain, &self.roots, now).is_ok())
    }

    async fn sign(&self, asked: CertificateRequest, ttl: Duration, now: SystemTime) -> Result<Certificate, PkiError> {
        let CertificateRequest { public_key, subject, extensions, uri_sans: _, dns_sans: _ } = asked;
        let validity = now - BACKDATE..(now + ttl).min(self.certificate.not_after());
        // The names are among the extensions.
        let template =
            Template { extra_extensions: extensions, ..Template::new(Serial::random()?, subject, validity, Kind::Ca) };
        issue(&template, &public_key, &Issuer::new(&self.certificate, &self.signer)).await
    }
}

#[async_trait]
impl Plugin for Disk {
    async fn mint_x509_ca(&self, csr: &[u8], preferred_ttl: Duration) -> Result<MintedX509Ca, PluginError> {
        let refused = |error: String| PluginError::internal(format!("unable to sign CSR: {error}"));
        let asked = CertificateRequest::parse_and_verify(csr).map_err(|error| refused(error.to_string()))?;
        let [uri] = &asked.uri_sans[..] else {
            return Err(refused("CSR must have exactly one URI SAN".to_owned()));
        };
        if *uri != self.trust_domain.id().as_str() {
            return Err(refused(format!("invalid SPIFFE ID {uri:?} in CSR: must be that of the trust domain")));
        }
        let ttl = if preferred_ttl.is_zero() { DEFAULT_TTL } else { preferred_ttl };
        let authority = self.authority().await;
        let signed = authority.sign(asked, ttl, self.clock.now()).await.map_err(|error| refused(error.to_string()))?;
        let chain = std::iter::once(signed).chain(authority.chain.iter().cloned()).collect();
        Ok(MintedX509Ca { chain, roots: authority.roots.clone() })
    }
}

impl Disk {
    /// # Errors
    /// INVALID_ARGUMENT: a file cannot be read, or they do not fit together.
    pub(super) fn new(files: Files, trust_domain: TrustDomain, clock: Clock) -> Result<Self, PluginError> {
        let last_good = Mutex::new(Arc::new(files.read(clock.now())?));
        Ok(Self { trust_domain, clock, files, last_good })
    }

    /// What the files hold now. Files that make no sense do not stop a server whose authority is about to end: what they
    /// held before signs on, and the log says so.
    async fn authority(&self) -> Arc<Authority> {
        let (files, now) = (self.files.clone(), self.clock.now());
        let read = tokio::task::spawn_blocking(move || files.read(now)).await;
        let read = read.map_err(PluginError::internal).and_then(|read| read);
        let mut last_good = self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(authority) => *last_good = Arc::new(authority),
            Err(error) => warn!(
                target: "upstream_authority",
                plugin_name = "disk",
                %error,
                "Upstream authority could not be read again; the one that was read before signs on"
            ),
        }
        Arc::clone(&last_good)
    }
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    parse_pem(&read_text(path)?).map_err(|error| error.to_string())
}
