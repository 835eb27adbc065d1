//! TLS before what is scraped: with the daemon's own SVID or a certificate of files, for anybody, for those below an
//! authority of a file, or for SPIFFE IDs.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use steeple_config::telemetry::Tls;
use steeple_runtime::Clock;
use steeple_spiffe::tls::{Config, Credential, TlsError, provider};
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{SpiffeId, TrustDomain};
use tracing::warn;

use super::{Authorities, Spiffe};
use crate::http1;
use crate::tls::{Admission, Admitted, Time, certificates, read, roots, shown};

/// Why there is no TLS, in the reference's words.
#[derive(Debug, thiserror::Error)]
#[error("failed to create TLS config for Prometheus: {0}")]
pub struct ScrapeError(String);

/// TLS as the section says, asked for each connection: files are read anew each time, and the last good ones stay in use
/// while those that are there are not.
pub(super) fn of(tls: &Tls, spiffe: Spiffe, clock: Clock) -> Result<http1::Tls, ScrapeError> {
    let plan = Plan::of(tls, spiffe, clock).map_err(ScrapeError)?;
    let first = Arc::new(plan.config().map_err(ScrapeError)?);
    let Some(_) = &plan.files else { return Ok(Arc::new(move || Arc::clone(&first))) };
    let last = Mutex::new((first, false));
    Ok(Arc::new(move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let (config, is_failing) = &mut *last;
        match plan.config() {
            Ok(read) => (*config, *is_failing) = (Arc::new(read), false),
            // Once, until it is over.
            Err(error) if !std::mem::replace(is_failing, true) => {
                warn!(target: "telemetry", error, "The files of TLS are no good; what was read before stays in use");
            }
            Err(_) => {}
        }
        Arc::clone(config)
    }))
}

/// What each configuration is made of.
struct Plan {
    /// Certificate and key; None: the SVID.
    files: Option<(String, String)>,
    client_authorities: Option<String>,
    /// Who may come in by a SPIFFE ID.
    named: Arc<dyn Admission>,
    is_for_named: bool,
    spiffe: Spiffe,
    clock: Clock,
}

/// Clients with these IDs.
struct Named {
    ids: Vec<SpiffeId>,
    authorities: Authorities,
}

impl Plan {
    fn of(tls: &Tls, spiffe: Spiffe, clock: Clock) -> Result<Self, String> {
        let Tls { cert_file, key_file, client_ca_file, use_spire_svid, authorized_spiffe_ids } = tls;
        let is_set = |text: &String| !text.is_empty();
        if *use_spire_svid && (is_set(cert_file) || is_set(key_file)) {
            return Err("cert_file and key_file cannot be configured when use_spire_svid is enabled".to_owned());
        }
        if !(*use_spire_svid || is_set(cert_file) && is_set(key_file)) {
            return Err("cert_file and key_file must both be configured unless use_spire_svid is enabled".to_owned());
        }
        if !authorized_spiffe_ids.is_empty() && is_set(client_ca_file) {
            return Err("client_ca_file cannot be configured with authorized_spiffe_ids".to_owned());
        }
        let id = |text: &String| {
            SpiffeId::parse(text).map_err(|error| format!("invalid authorized SPIFFE ID {text:?}: {error}"))
        };
        let ids: Vec<_> = authorized_spiffe_ids.iter().map(id).collect::<Result<_, _>>()?;
        Ok(Self {
            files: (!use_spire_svid).then(|| (cert_file.clone(), key_file.clone())),
            // Without effect beside the SVID, as in the reference.
            client_authorities: Some(client_ca_file.clone()).filter(|file| is_set(file) && !use_spire_svid),
            is_for_named: !ids.is_empty(),
            named: Arc::new(Named { ids, authorities: Arc::clone(&spiffe.authorities) }),
            spiffe,
            clock,
        })
    }

    fn config(&self) -> Result<ServerConfig, String> {
        let Self { files, client_authorities, named, is_for_named, spiffe, clock } = self;
        let mut config = Config::new(Admitted(Arc::clone(named)))
            .with_time(Arc::new(Time(clock.clone())))
            .with_key_exchange(spiffe.key_exchange);
        config = match files {
            Some((certificate, key)) => config.with_identity(credential(certificate, key)?),
            None => config.with_identity(shown(spiffe.credential.clone())),
        };
        if let Some(file) = client_authorities {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(file)?), provider()).build();
            config = config.with_other_clients(verifier.map_err(|error| format!("{file}: {error}"))?);
        } else if !is_for_named {
            config = config.with_other_clients(WebPkiClientVerifier::no_client_auth());
        }
        config.server().map_err(|error| error.to_string())
    }
}

impl Admission for Named {
    fn authorities(&self, trust_domain: &TrustDomain) -> Option<Arc<[Certificate]>> {
        (self.authorities)(trust_domain)
    }

    fn admits(&self, id: &SpiffeId) -> bool {
        self.ids.contains(id)
    }
}

fn credential(certificate: &str, key: &str) -> Result<Credential, String> {
    let chain = certificates(certificate)?;
    let pem = read(key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| format!("{key}: {error}"))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(TlsError::Key);
    let key = key.map_err(|error| error.to_string())?;
    let certified = CertifiedKey::new(chain.clone(), Arc::clone(&key));
    certified.keys_match().map_err(|_| "tls: private key does not match public key".to_owned())?;
    let chain: Result<Vec<_>, _> = chain.iter().map(|der| Certificate::from_der(der)).collect();
    Ok(Credential::with_key(&chain.map_err(|error| format!("{certificate}: {error}"))?, key))
}

#[cfg(test)]
mod tests;
