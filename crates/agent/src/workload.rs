//! What a process of this host is: its selectors, from all attestors at once.

use std::sync::Arc;

use futures::future::join_all;
use steeple_catalog::WorkloadAttestor;
use steeple_runtime::metrics::{Coded, measure, sample};
use steeple_runtime::os::peer::{Peer, PeerError};
use tracing::error;

use crate::cache::{Selector, Selectors};

/// All workload attestors.
pub(crate) struct Attestor {
    plugins: Vec<WorkloadAttestor>,
}

/// Why a process was not attested.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkloadError {
    /// It is gone, or is not what it was when it connected.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// No attestor had anything to say.
    #[error("workload attestation failed: every workload attestor failed")]
    AllFailed,
}

impl Coded for WorkloadError {
    fn code(&self) -> &'static str {
        match self {
            Self::Peer(_) => "Unauthenticated",
            Self::AllFailed => "Unavailable",
        }
    }
}

impl Attestor {
    /// Of these plugins.
    pub(crate) fn new(plugins: Vec<WorkloadAttestor>) -> Self {
        Self { plugins }
    }

    /// The selectors of the process that made a connection, as it is now. An attestor that fails costs its own selectors.
    ///
    /// # Errors
    /// See [`WorkloadError`].
    pub(crate) async fn attest(&self, peer: &Peer) -> Result<Selectors, WorkloadError> {
        measure("workload_api.workload_attestation", self.ask(peer)).await
    }

    async fn ask(&self, peer: &Peer) -> Result<Selectors, WorkloadError> {
        // Before and after: what the attestors read in between is about this process, and no other, only if it still
        // runs under the user that it connected as.
        peer.check()?;
        let answers =
            join_all(self.plugins.iter().map(|plugin| async move { (plugin.name(), plugin.attest(peer.pid).await) }))
                .await;
        peer.check()?;
        let (mut selectors, mut answered) = (Vec::new(), false);
        for (kind, answer) in answers {
            match answer {
                Ok(values) => {
                    answered = true;
                    let kind: Arc<str> = kind.into();
                    selectors.extend(
                        values.into_iter().map(|value| Selector { kind: Arc::clone(&kind), value: value.into() }),
                    );
                }
                Err(failed) => error!(
                    target: "workload_attestor",
                    pid = peer.pid,
                    attestor = kind,
                    error = %failed,
                    "Failed to collect all selectors for PID"
                ),
            }
        }
        if !answered {
            return Err(WorkloadError::AllFailed);
        }
        sample("workload_api.discovered_selectors", selectors.len() as f64);
        Ok(Selectors::new(selectors))
    }
}
