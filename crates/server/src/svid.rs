//! The server's own X.509-SVID: a key in memory, renewed at half of its life, and when the authority that signed it is
//! tainted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use steeple_pki::{KeyType, PrivateKey};
use steeple_runtime::clock::rfc3339;
use steeple_runtime::metrics::{Coded, measure};
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::x509::{self, Certificate};
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::tls::{Credential, CredentialWatch};
use tokio::sync::watch;
use tracing::{debug, error, info};

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
    /// Leaf first.
    chain: Vec<Certificate>,
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
        let mut rotation = Self { id, key_type, ca, clock, credential, chain: Vec::new() };
        measure("svid.rotate", rotation.rotate()).await?;
        Ok((rotation, watch))
    }

    /// Renews it until it is told to stop.
    ///
    /// # Errors
    /// None: a renewal that fails is tried again, and the old SVID serves meanwhile.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), SvidError> {
        let mut tainted = self.ca.tainted();
        tainted.mark_changed();
        while shutdown.unless_stopped(self.next_look(&mut tainted)).await.is_some() {
            if !self.is_due(tainted.borrow_and_update().as_ref()) {
                continue;
            }
            if let Err(error) = measure("svid.rotate", self.rotate()).await {
                error!(target: "svid_rotator", error = %error, "Could not rotate server SVID");
            }
        }
        debug!(target: "svid_rotator", "Stopping SVID rotator");
        Ok(())
    }

    /// In a while, or at once when the clock jumps or an authority is tainted.
    async fn next_look(&self, tainted: &mut watch::Receiver<Option<Certificate>>) {
        tokio::select! {
            () = self.clock.sleep_or_jump(LOOK_EVERY) => {}
            // The sender is the CA's, which is ours as well.
            Ok(()) = tainted.changed() => {}
        }
    }

    fn is_due(&self, tainted: Option<&Certificate>) -> bool {
        let now = self.clock.now();
        // It begins later than now if the clock was set back.
        if self.chain.first().is_none_or(|leaf| !(leaf.not_before()..half_life(leaf)).contains(&now)) {
            return true;
        }
        let is_tainted = tainted
            .is_some_and(|authority| x509::verify_chain(&self.chain, std::slice::from_ref(authority), now).is_ok());
        if is_tainted {
            info!(
                target: "svid_rotator",
                "Server SVID signed using a tainted authority, forcing rotation of the Server SVID"
            );
        }
        is_tainted
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
            let expiration = rfc3339(leaf.not_after());
            debug!(target: "svid_rotator", spiffe_id = %self.id, expiration, "Signed X509 SVID");
        }
        self.chain = chain;
        Ok(())
    }
}

fn half_life(certificate: &Certificate) -> SystemTime {
    let life = certificate.not_after().duration_since(certificate.not_before()).unwrap_or_default();
    certificate.not_before() + life / 2
}

#[cfg(test)]
mod tests {
    use steeple_testkit::record::Logged;
    use steeple_testkit::{Ca as OtherCa, ManualClock, MemoryKeys};
    use tempfile::TempDir;

    use super::*;
    use crate::ca::authorities::{Authorities, Plugins};
    use crate::ca::orders::Of;
    use crate::ca::sign::{Lifetimes, Signing};
    use crate::ca::{CaConfig, CaSubject, Composers, Orders, Rotation};
    use crate::tests::{DAY, HOUR, manual, store};

    struct Case {
        manual: ManualClock,
        orders: Orders,
        rotation: SvidRotation,
        credential: CredentialWatch,
        shutdown: Shutdown,
        _dir: TempDir,
    }

    impl Case {
        /// A server with its first SVID, whose authorities are looked after.
        async fn new() -> Self {
            let manual = manual();
            let (store, dir) = store(&manual).await;
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
            let plugins = Plugins { keys, upstream: None, composers: Composers::default() };
            let authorities =
                Authorities::load(trust_domain.clone(), config, plugins, store, manual.clock(), signing.clone());
            let authorities =
                Rotation::start(authorities.await.unwrap(), manual.clock(), crate::health::unknown(manual.clock()))
                    .await
                    .unwrap();
            let (orders, shutdown) = (authorities.orders(), Shutdown::new());
            tokio::spawn(authorities.run(shutdown.clone()));
            let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR, agent: HOUR, ca: DAY };
            let ca = Arc::new(Ca::new(signing, lifetimes, None, manual.clock()));
            let (rotation, mut credential) =
                SvidRotation::start(&trust_domain, KeyType::EcP256, ca, manual.clock()).await.unwrap();
            credential.mark_unchanged();
            Self { manual, orders, rotation, credential, shutdown, _dir: dir }
        }
    }

    /// Both of them look at the clock.
    const LOOK: std::ops::RangeInclusive<Duration> = Duration::ZERO..=LOOK_EVERY;

    #[tokio::test]
    async fn an_svid_is_replaced_at_half_of_its_life_and_at_once_when_the_clock_leaves_its_validity() {
        let Case { manual, rotation, mut credential, shutdown, orders: _, _dir } = Case::new().await;
        let running = tokio::spawn(rotation.run(shutdown.clone()));

        manual.until_somebody_sleeps(LOOK).await;
        manual.advance(HOUR / 4);
        manual.until_somebody_sleeps(LOOK).await;
        assert!(!credential.has_changed().unwrap());
        manual.advance(HOUR / 2);
        credential.changed().await.unwrap();
        // The machine slept, and the clock was set back to before the SVID.
        for shown in [manual.now() + HOUR * 8, manual.now()] {
            manual.until_somebody_sleeps(LOOK).await;
            manual.set(shown);
            credential.changed().await.unwrap();
        }
        shutdown.stop();
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_svid_of_an_authority_that_is_tainted_is_replaced_at_once() {
        let logged = Logged::new();
        let Case { manual, rotation, mut credential, shutdown, orders, _dir } = Case::new().await;
        let of = Of::X509;
        let first = orders.show(of).await.unwrap().active.authority_id;
        let second = orders.prepare(of).await.unwrap().authority_id;
        orders.activate(of, second).await.unwrap();
        assert!(!rotation.is_due(None) && !rotation.is_due(Some(OtherCa::new("example.org", manual.now()).root())));

        let running = tokio::spawn(rotation.run(shutdown.clone()));
        // No time passes.
        orders.taint(of, first).await.unwrap();
        credential.changed().await.unwrap();
        let told = "Server SVID signed using a tainted authority, forcing rotation of the Server SVID";
        assert_eq!(logged.with(told).len(), 1);
        shutdown.stop();
        running.await.unwrap().unwrap();
    }
}
