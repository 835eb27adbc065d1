//! The agent's own SVID is renewed before it ends.

use std::sync::Arc;
use std::time::Duration;

use steeple_catalog::KeyManager;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{AgentX509svidParams, RenewAgentRequest};
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_runtime::metrics::measure;
use steeple_runtime::{Clock, Shutdown, jitter};
use steeple_spiffe::x509::{self, Certificate};
use tokio::sync::{Mutex, watch};
use tonic::Status;
use tracing::{debug, error, info};

use crate::attest::{AttestError, Attestation, agent_csr, chain_of, new_key};
use crate::renewal::Renewal;
use crate::storage::Storage;
use crate::upstream::{CALL_LIMIT, Identity, Upstream};

/// How often it is looked at, and the longest pause after failures.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Keeps the agent's SVID fresh.
pub(crate) struct Rotation {
    /// The server.
    pub upstream: Upstream,
    /// The agent's keys.
    pub keys: KeyManager,
    /// For agents that attest again rather than renew.
    pub attestation: Attestation,
    /// Where the SVID is kept.
    pub storage: Arc<Mutex<Storage>>,
    /// The time.
    pub clock: Clock,
    /// When.
    pub renewal: Renewal,
}

impl Rotation {
    /// Renews until it is told to stop. The first look is at once: an agent that was ended again and again before it
    /// could renew has no time to lose.
    ///
    /// # Errors
    /// When the server does not want this agent any more, or the SVID ended before it could be renewed. An outage of the
    /// server ends nothing: what workloads have may last longer than the agent's SVID, and only the server can tell
    /// whether there is another way for this agent.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), AttestError> {
        let mut pause = LOOK_EVERY;
        let mut tainted = self.upstream.tainted();
        loop {
            pause = match self.upstream.identity() {
                Some(identity) if self.is_due(&identity) => self.look(&identity, pause).await?,
                _ => LOOK_EVERY,
            };
            if shutdown.unless_stopped(self.next_look(pause, &mut tainted)).await.is_none() {
                debug!(target: "manager", "Stopping SVID rotator");
                return Ok(());
            }
        }
    }

    /// Renews one that is due, and says how long to wait after it.
    async fn look(&self, identity: &Identity, pause: Duration) -> Result<Duration, AttestError> {
        let Err(failed) = measure("agent_svid.rotate", self.rotate(identity)).await else { return Ok(LOOK_EVERY) };
        let not_after = identity.chain.first().map(Certificate::not_after);
        let left = not_after.and_then(|end| end.duration_since(self.clock.now()).ok()).unwrap_or_default();
        let what = if identity.reattestable { "reattest agent" } else { "rotate agent SVID" };
        error!(target: "manager", error = %failed, "Could not {what}");
        if failed.is_rejection() {
            return Err(failed);
        }
        if left.is_zero() && (!failed.is_outage() || self.is_refused(identity).await) {
            return Err(AttestError::Ended { what, cause: Box::new(failed) });
        }
        let longest = match left / 2 {
            Duration::ZERO => LONGEST_PAUSE,
            // Never so long that the end comes without another try.
            half => LONGEST_PAUSE.min(half),
        };
        let pause = pause * 3 / 2;
        let pause = failed.status().map_or(pause, |status| self.upstream.pause_after(status, pause));
        Ok(pause.min(longest).max(LOOK_EVERY))
    }

    /// Whether a server answers that does not take the SVID, which has ended. What it says in the handshake may be lost when
    /// the connection breaks, so that it is asked for something that needs no SVID.
    async fn is_refused(&self, identity: &Identity) -> bool {
        if identity.reattestable {
            return false;
        }
        let Ok(channel) = self.upstream.anonymous_channel(false) else { return false };
        let asked = async { BundleClient::new(channel).get_bundle(GetBundleRequest { output_mask: None }).await };
        self.clock.within(CALL_LIMIT, asked).await.is_some_and(|answer| answer.is_ok())
    }

    /// In a while, or at once when an authority is tainted or the clock has jumped.
    async fn next_look(&self, pause: Duration, tainted: &mut watch::Receiver<Arc<[Certificate]>>) {
        tokio::select! {
            () = self.clock.sleep_or_jump(jitter(pause)) => {}
            // The sender is in the upstream, which is ours as well.
            Ok(()) = tainted.changed() => {}
        }
    }

    fn is_due(&self, identity: &Identity) -> bool {
        let (now, tainted) = (self.clock.now(), Arc::clone(&self.upstream.tainted().borrow()));
        let is_tainted = x509::verify_chain(&identity.chain, &tainted, now).is_ok();
        if is_tainted {
            info!(target: "manager", "Agent SVID is tainted by a root authority, forcing rotation");
        }
        is_tainted || identity.chain.first().is_none_or(|leaf| self.renewal.is_due(leaf, now))
    }

    async fn rotate(&self, identity: &Identity) -> Result<(), AttestError> {
        debug!(target: "manager", "Rotating agent SVID");
        // Held throughout: nobody else may store an SVID meanwhile.
        let mut storage = self.storage.lock().await;
        if identity.reattestable {
            self.attestation.reattest(&mut storage).await?;
            info!(target: "manager", spiffe_id = %identity.id, "Successfully reattested node");
            return Ok(());
        }
        let (key, signer) = new_key(&self.keys, Some(&identity.key_id)).await?;
        let csr = agent_csr(&signer).await?;
        let mut client = AgentClient::new(self.upstream.channel()?);
        let request = RenewAgentRequest { params: Some(AgentX509svidParams { csr }) };
        let renewed = self.upstream.call(async { client.renew_agent(request).await }).await;
        let renewed = renewed.map_err(|status: Status| AttestError::Server {
            what: "failed to renew agent",
            status: Box::new(status),
        })?;
        let chain = chain_of(renewed.into_inner().svid)?;
        // On disk before it is shown: the server forgets the old one when it sees the new one.
        storage.store_svid(&chain, identity.reattestable)?;
        self.upstream.set_identity(Identity {
            id: identity.id.clone(),
            chain,
            signer: Arc::new(signer),
            reattestable: identity.reattestable,
            key_id: key.id,
        })?;
        info!(target: "manager", spiffe_id = %identity.id, "Successfully rotated agent SVID");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
