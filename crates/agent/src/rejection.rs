//! What an agent does when its server does not want it any more.

use std::fmt::Display;

use steeple_catalog::{KeyManager, PluginError};
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_transport::status::denial_reason;
use tonic::Status;
use tracing::{error, warn};

use crate::attest::KEY_IDS;
use crate::storage::Storage;

/// What a server's refusal means for the agent itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Its SVID is no longer good: only attestation gives another.
    MustAttest(Reason),
    /// It is banned.
    Banned,
}

impl Rejection {
    /// The server's reason, as the protocol names it.
    pub(crate) fn reason_name(self) -> &'static str {
        match self {
            Self::MustAttest(reason) => reason,
            Self::Banned => Reason::AgentBanned,
        }
        .as_str_name()
    }
}

/// The rejection in an answer, if it is one: only PERMISSION_DENIED with a reason is.
pub(crate) fn of(status: &Status) -> Option<Rejection> {
    match denial_reason(status)? {
        Reason::AgentBanned => Some(Rejection::Banned),
        reason @ (Reason::AgentExpired
        | Reason::AgentNotAttested
        | Reason::AgentNotActive
        | Reason::AgentMustReattest) => Some(Rejection::MustAttest(reason)),
        Reason::Unknown => None,
    }
}

/// Erases what makes the agent who it is, its keys and its SVID: the next start attests anew, if it can. What cannot be
/// erased is told, and the rest is erased all the same.
pub(crate) async fn erase_identity(
    rejection: Rejection,
    error: impl Display,
    storage: &mut Storage,
    keys: &KeyManager,
) {
    let reason = rejection.reason_name();
    match rejection {
        Rejection::Banned => {
            warn!(target: "manager", %error, reason, "Agent is banned: removing SVID and shutting down");
        }
        Rejection::MustAttest(_) => {
            warn!(target: "manager", %error, reason, "Agent needs to re-attest: removing SVID and shutting down");
        }
    }
    if let Err(failed) = storage.delete_svid() {
        error!(target: "manager", error = %failed, "Failed to remove SVID");
    }
    if let Err(failed) = destroy_keys(keys).await {
        error!(target: "manager", error = %failed, "Failed to remove keys");
    }
}

async fn destroy_keys(keys: &KeyManager) -> Result<(), PluginError> {
    for key in keys.public_keys().await?.into_iter().filter(|key| KEY_IDS.contains(&&*key.id)) {
        keys.destroy_key(&key.id).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use steeple_pki::KeyType;

    use super::*;
    use crate::tests::{HOUR, Host};

    #[tokio::test]
    async fn neither_svid_nor_keys_are_left_and_no_key_of_anybody_else_is_touched() {
        let host = Host::new().await;
        let (mut storage, keys) = (host.storage(), host.keys.of_agent());
        let now = host.manual.now();
        storage.store_svid(&host.ca.svid("/spire/agent/test/a", now..now + HOUR).chain, true).unwrap();
        storage.store_bundle(&[host.ca.root().clone()]).unwrap();
        for id in ["agent-svid-A", "agent-svid-B", "another"] {
            keys.generate_key(id, KeyType::EcP256).await.unwrap();
        }
        let before = keys.public_keys().await.unwrap();
        erase_identity(Rejection::Banned, "banned", &mut storage, &keys).await;
        // This key manager is like an external one: it has no way to destroy a key but to overwrite it.
        let is_left = |id: &str, keys: &[steeple_catalog::key_manager::Key]| {
            let before = before.iter().find(|key| key.id == id).unwrap();
            keys.iter().any(|key| key.public_key.spki_der() == before.public_key.spki_der())
        };
        let after = keys.public_keys().await.unwrap();
        assert!(!is_left("agent-svid-A", &after) && !is_left("agent-svid-B", &after) && is_left("another", &after));
        let storage = host.storage();
        assert!(storage.svid().is_none() && storage.bundle().is_some());
    }

    #[tokio::test]
    async fn a_key_manager_that_fails_does_not_keep_the_svid() {
        let host = Host::new().await;
        let mut storage = host.storage();
        let now = host.manual.now();
        storage.store_svid(&host.ca.svid("/spire/agent/test/a", now..now + HOUR).chain, true).unwrap();
        host.keys.fail_with(Some(PluginError::internal("out of order")));
        erase_identity(
            Rejection::MustAttest(Reason::AgentNotAttested),
            "not attested",
            &mut storage,
            &host.keys.of_agent(),
        )
        .await;
        assert!(host.storage().svid().is_none());
    }
}
