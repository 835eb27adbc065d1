//! What the agent does while its server's certificate is of no authority that it knows: the trust domain may have got a
//! new one without the agent, or somebody may pretend to be its server.
//!
//! It goes on asking. With `rebootstrap_mode`, when that has lasted for `rebootstrap_delay`, it fetches the first bundle
//! again and attests by that.

use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use crate::config::RebootstrapMode;
use crate::storage::{Storage, StorageError};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LONG_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The rule of one agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rebootstrap {
    /// `rebootstrap_mode`
    pub mode: RebootstrapMode,
    /// `rebootstrap_delay`
    pub delay: Duration,
}

/// An agent that can attest only once could never come back from a rebootstrap.
#[derive(Debug, thiserror::Error)]
#[error(
    "you have requested rebootstrap support but the NodeAttestor plugin or the spire server configuration is not \
     allowing it"
)]
pub struct NotReattestable;

/// Without rebootstrapping.
impl Default for Rebootstrap {
    fn default() -> Self {
        Self { mode: RebootstrapMode::Never, delay: Duration::ZERO }
    }
}

impl Rebootstrap {
    /// How long attestation is tried, at a start.
    pub(crate) fn patience(self) -> Duration {
        match self.mode {
            RebootstrapMode::Never => PATIENCE,
            RebootstrapMode::Auto | RebootstrapMode::Always => LONG_PATIENCE,
        }
    }

    /// Looks at whether the agent can attest again at all.
    ///
    /// # Errors
    /// When it cannot, and was told to.
    pub(crate) fn check(self, storage: &Storage) -> Result<Self, NotReattestable> {
        let once = storage.svid().is_some_and(|svid| !svid.reattestable);
        match self.mode {
            RebootstrapMode::Auto if once => {
                warn!(target: "attestor", "{NotReattestable}. Disabling");
                Ok(Self { mode: RebootstrapMode::Never, ..self })
            }
            RebootstrapMode::Always if once => Err(NotReattestable),
            _ => Ok(self),
        }
    }

    /// The authority was not known: whether it is time to begin anew. Keeps when that was seen first.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn is_due(self, storage: &mut Storage, now: SystemTime) -> Result<bool, StorageError> {
        if self.mode == RebootstrapMode::Never {
            return Ok(false);
        }
        let since = storage.unknown_since(now)?;
        let left = (since + self.delay).duration_since(now).unwrap_or_default();
        if left.is_zero() {
            return Ok(true);
        }
        info!(time_left = ?left, "Trust Bundle and Server don't agree, ignoring for now");
        Ok(false)
    }

    /// An attempt to attest met an authority that is not known. When it is time, the next one fetches the bundle again.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn while_attesting(self, storage: &mut Storage, now: SystemTime) -> Result<(), StorageError> {
        if storage.bundle().is_none() {
            info!("Trust Bundle and Server don't agree, bootstrapping again");
        } else if self.is_due(storage, now)? {
            warn!("Trust Bundle and Server don't agree, rebootstrapping");
            storage.delete_bundle()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{HOUR, Host, SECOND};

    const DELAY: Duration = Duration::from_secs(600);

    fn rule(mode: RebootstrapMode) -> Rebootstrap {
        Rebootstrap { mode, delay: DELAY }
    }

    /// An agent that has a bundle, and an SVID that says whether it can attest again.
    async fn storage(reattestable: bool) -> (Host, Storage) {
        let host = Host::new().await;
        let mut storage = host.storage();
        let svid = host.ca.svid("/spire/agent/test/a", host.manual.now()..host.manual.now() + HOUR);
        storage.store_svid(&svid.chain, reattestable).unwrap();
        storage.store_bundle(&[host.ca.root().clone()]).unwrap();
        (host, storage)
    }

    #[tokio::test]
    async fn the_bundle_is_forgotten_when_the_authority_was_unknown_for_the_whole_delay() {
        for mode in [RebootstrapMode::Auto, RebootstrapMode::Always] {
            let (host, mut storage) = storage(true).await;
            let now = host.manual.now();
            rule(mode).while_attesting(&mut storage, now).unwrap();
            rule(mode).while_attesting(&mut storage, now + DELAY - SECOND).unwrap();
            assert!(storage.bundle().is_some());
            rule(mode).while_attesting(&mut storage, now + DELAY).unwrap();
            assert!(storage.bundle().is_none() && storage.svid().is_some());
        }
    }

    #[tokio::test]
    async fn a_server_that_was_known_in_between_starts_the_delay_anew() {
        let (host, mut storage) = storage(true).await;
        let (rule, now) = (rule(RebootstrapMode::Auto), host.manual.now());
        rule.while_attesting(&mut storage, now).unwrap();
        storage.bootstrapped(host.manual.now()).unwrap();
        rule.while_attesting(&mut storage, now + DELAY).unwrap();
        assert!(storage.bundle().is_some());
    }

    #[tokio::test]
    async fn without_the_mode_the_bundle_stays() {
        let (host, mut storage) = storage(true).await;
        for after in [Duration::ZERO, DELAY * 10] {
            Rebootstrap::default().while_attesting(&mut storage, host.manual.now() + after).unwrap();
        }
        assert!(storage.bundle().is_some());
    }

    #[tokio::test]
    async fn an_agent_that_attests_once_does_not_begin_anew() {
        let (_host, storage) = storage(false).await;
        assert_eq!(rule(RebootstrapMode::Auto).check(&storage).unwrap().mode, RebootstrapMode::Never);
        let refused = rule(RebootstrapMode::Always).check(&storage).unwrap_err();
        assert!(refused.to_string().starts_with("you have requested rebootstrap support"), "{refused}");
        assert!(rule(RebootstrapMode::Never).check(&storage).is_ok());
    }
}
