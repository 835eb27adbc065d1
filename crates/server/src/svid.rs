//! The server's own X.509-SVID: a key in memory, renewed at half of its life.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use steeple_pki::{KeyType, PrivateKey};
use steeple_runtime::clock::rfc3339;
use steeple_runtime::metrics::{Coded, measure};
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::tls::{Credential, CredentialWatch};
use tokio::sync::watch;
use tracing::{debug, error};

use crate::ca::{Ca, CaError};

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why the server has no SVID.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    /// The CA did not sign.
    #[error("unable to sign server SVID: {0}")]
    Sign(#[from] CaError),
    /// The key could not be made.
    #[error("unable to make the server's key: {0}")]
    Key(String),
    /// TLS cannot use it.
    #[error(transparent)]
    Tls(#[from] steeple_transport::tls::TlsError),
}

impl Coded for SvidError {
    fn code(&self) -> &'static str {
        match self {
            Self::Sign(error) => error.code(),
            Self::Key(_) | Self::Tls(_) => "Internal",
        }
    }
}

/// Keeps the server's SVID fresh.
pub(crate) struct SvidRotation {
    id: SpiffeId,
    key_type: KeyType,
    ca: Arc<Ca>,
    clock: Clock,
    credential: watch::Sender<Option<Credential>>,
    /// Since when it is valid: later than now, if the clock was set back.
    valid_from: SystemTime,
    renew_at: SystemTime,
}

impl SvidRotation {
    /// Takes the first SVID.
    ///
    /// # Errors
    /// See [`SvidError`].
    pub(crate) async fn start(
        trust_domain: &TrustDomain,
        key_type: KeyType,
        ca: Arc<Ca>,
        clock: Clock,
    ) -> Result<(Self, CredentialWatch), SvidError> {
        let id = SpiffeId::new(trust_domain, "/spire/server").map_err(|error| SvidError::Key(error.to_string()))?;
        let (credential, watch) = watch::channel(None);
        let mut rotation = Self { id, key_type, ca, valid_from: clock.now(), renew_at: clock.now(), clock, credential };
        rotation.rotate().await?;
        Ok((rotation, watch))
    }

    /// Renews it until it is told to stop.
    ///
    /// # Errors
    /// None: a renewal that fails is tried again, and the old SVID serves meanwhile.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), SvidError> {
        while shutdown.unless_stopped(self.clock.sleep_or_jump(LOOK_EVERY)).await.is_some() {
            if (self.valid_from..self.renew_at).contains(&self.clock.now()) {
                continue;
            }
            if let Err(error) = measure("svid.rotate", self.rotate()).await {
                error!(target: "svid_rotator", error = %error, "Could not rotate server SVID");
            }
        }
        debug!(target: "svid_rotator", "Stopping SVID rotator");
        Ok(())
    }

    async fn rotate(&mut self) -> Result<(), SvidError> {
        debug!(target: "svid_rotator", "Rotating server SVID");
        let key_type = self.key_type;
        let unable = |error: String| SvidError::Key(error);
        // RSA keys take their time.
        let key = tokio::task::spawn_blocking(move || PrivateKey::generate(key_type))
            .await
            .map_err(|error| unable(error.to_string()))?
            .map_err(|error| unable(error.to_string()))?;
        let chain = self.ca.sign_server(&self.id, key.public_key()).await?;
        let pkcs8 = key.to_pkcs8_der().map_err(|error| unable(error.to_string()))?;
        self.credential.send_replace(Some(Credential::new(&chain, &pkcs8)?));
        if let Some(leaf) = chain.first() {
            (self.valid_from, self.renew_at) = (leaf.not_before(), half_life(leaf));
            let expiration = rfc3339(leaf.not_after());
            debug!(target: "svid_rotator", spiffe_id = %self.id, expiration, "Signed X509 SVID");
        }
        Ok(())
    }
}

fn half_life(certificate: &Certificate) -> SystemTime {
    let life = certificate.not_after().duration_since(certificate.not_before()).unwrap_or_default();
    certificate.not_before() + life / 2
}

#[cfg(test)]
mod tests {
    use steeple_testkit::MemoryKeys;

    use super::*;
    use crate::ca::authorities::Authorities;
    use crate::ca::sign::{Lifetimes, Signing};
    use crate::ca::{CaConfig, CaSubject};
    use crate::tests::{DAY, HOUR, manual, store};

    #[tokio::test]
    async fn an_svid_is_replaced_at_half_of_its_life_and_at_once_when_the_clock_leaves_its_validity() {
        let manual = manual();
        let (store, _dir) = store(&manual).await;
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let config = CaConfig {
            ttl: DAY,
            x509_key_type: KeyType::EcP256,
            jwt_key_type: KeyType::EcP256,
            wit_key_type: None,
            disable_jwt: false,
            subject: CaSubject::default(),
        };
        let (signing, keys) = (Signing::default(), MemoryKeys::new().of_server());
        let authorities =
            Authorities::load(trust_domain.clone(), config, keys, store, manual.clock(), signing.clone()).await;
        authorities.unwrap().rotate().await.unwrap();
        let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR, agent: HOUR, ca: DAY };
        let ca = Arc::new(Ca::new(signing, lifetimes, None, manual.clock()));
        let (rotation, mut credential) =
            SvidRotation::start(&trust_domain, KeyType::EcP256, ca, manual.clock()).await.unwrap();
        credential.mark_unchanged();
        let shutdown = Shutdown::new();
        let running = tokio::spawn(rotation.run(shutdown.clone()));

        manual.until_somebody_sleeps(..).await;
        manual.advance(HOUR / 4);
        manual.until_somebody_sleeps(..).await;
        assert!(!credential.has_changed().unwrap());
        manual.advance(HOUR / 2);
        credential.changed().await.unwrap();
        // The machine slept, and the clock was set back to before the SVID.
        for shown in [manual.now() + HOUR * 8, manual.now()] {
            manual.until_somebody_sleeps(..).await;
            manual.set(shown);
            credential.changed().await.unwrap();
        }
        shutdown.stop();
        running.await.unwrap().unwrap();
    }
}
