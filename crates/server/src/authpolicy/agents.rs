//! Whether a caller is an agent: attested, not banned, and showing the SVID that it was last given.
//!
//! The index answers for the SVID in use. One that was renewed, or that answered a join token, is taken into use when it is
//! first seen. Any other is looked up in the datastore once before it is refused, since the index may be a moment behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use steeple_datastore::join_tokens::EndAnswers;
use steeple_datastore::nodes::ActivateNodeSerial;
use steeple_datastore::{DataStore, Error, Mutation, Node};
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_runtime::Clock;
use steeple_spiffe::SpiffeId;
use steeple_transport::connection::PeerSvid;
use steeple_transport::status::permission_denied;
use tonic::Status;
use tracing::warn;

use crate::entries::{AgentState, Index};
use crate::freshness::{Freshness, come_again};

/// Knows the agents of the trust domain.
pub struct Agents {
    store: DataStore,
    index: Arc<Index>,
    freshness: Freshness,
    clock: Clock,
    /// SVIDs that this server has given by agent. The index does not know of them for a moment, in which the database may go
    /// away.
    given: Mutex<HashMap<SpiffeId, Given>>,
}

/// An SVID that was given beside the one in use.
struct Given {
    serial: String,
    /// The serial number of that one. When the index knows another one, more has happened since.
    beside: String,
}

/// An agent waits for so long for what the datastore is to be told of it. What was handed over is written all the same.
const TELLING: Duration = Duration::from_secs(2);
/// And if it seems to be away.
const TELLING_NOBODY: Duration = Duration::from_millis(100);

impl Agents {
    pub(super) fn new(store: DataStore, index: Arc<Index>, freshness: Freshness, clock: Clock) -> Self {
        Self { store, index, freshness, clock, given: Mutex::default() }
    }

    /// An agent is about to get its next SVID, and the store knows it.
    pub(crate) fn gave(&self, id: &SpiffeId, node: Node) {
        let beside = node.serial.unwrap_or_default();
        let mut given = self.given();
        // What the index knows by now is told by the index.
        given.retain(|id, given| {
            self.index
                .agent(id.as_str())
                .is_some_and(|known| given.is_news_to(&known) && known.new_serial != given.serial)
        });
        given.insert(id.clone(), Given { serial: node.new_serial, beside });
    }

    /// Whether this server has given the agent this SVID, and the index knows nothing newer.
    fn has_given(&self, id: &SpiffeId, serial: &str, known: &AgentState) -> bool {
        self.given().get(id).is_some_and(|given| given.serial == serial && given.is_news_to(known))
    }

    fn given(&self) -> MutexGuard<'_, HashMap<SpiffeId, Given>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the holder of this SVID may act as an agent now.
    ///
    /// # Errors
    /// PERMISSION_DENIED with the reason as a detail; UNAVAILABLE when the datastore would have to be asked and cannot, or
    /// could not be for so long that nothing is certain any more.
    pub async fn check(&self, svid: &PeerSvid) -> Result<(), Status> {
        if self.clock.now() > svid.certificate.not_after() {
            return Err(permission_denied("agent SVID is expired", Reason::AgentExpired));
        }
        let serial = svid.certificate.serial_decimal();
        if let Some(known) = self.index.agent(svid.id.as_str()) {
            if known.is_banned() {
                // A ban ends only when the agent is deleted; then the index forgets it as well.
                return self.check_stored(svid, &serial, true).await;
            }
            self.freshness.check()?;
            // First, since the SVID that answers a join token is the one in use as well.
            if known.new_serial == serial || self.has_given(&svid.id, &serial, &known) {
                return self.activate(svid, &serial).await;
            }
            if known.serial == serial {
                return self.in_use(svid, &known.new_serial).await;
            }
        }
        self.check_stored(svid, &serial, false).await
    }

    async fn check_stored(&self, svid: &PeerSvid, serial: &str, known_as_banned: bool) -> Result<(), Status> {
        let node = match self.freshness.ask(self.store.fetch_node(svid.id.as_str()).boxed()).await {
            Ok(node) => node,
            // Known as banned is known enough.
            Err(_) if known_as_banned => return Err(is_banned()),
            Err(error) => return Err(come_again(&format!("unable to look up agent information: {error}"))),
        };
        let Some(node) = node else {
            return Err(permission_denied("agent is not attested", Reason::AgentNotAttested));
        };
        if node.is_banned() {
            return Err(is_banned());
        }
        if node.new_serial == serial {
            return self.activate(svid, serial).await;
        }
        if node.serial.as_deref() == Some(serial) {
            return self.in_use(svid, &node.new_serial).await;
        }
        Err(permission_denied("agent SVID is not active", Reason::AgentNotActive))
    }

    /// Writes what can wait. One that takes too long goes on by itself.
    async fn tell<M: Mutation>(&self, mutation: M) -> Result<M::Output, Error> {
        let limit = if self.freshness.is_away() { TELLING_NOBODY } else { TELLING };
        self.freshness.ask_within(limit, self.store.write(mutation).boxed()).await
    }

    /// The SVID in use needs nothing else. While there is a next one, which is not for long, it may be an answer to a join
    /// token that was taken for lost; then no other is given any more.
    async fn in_use(&self, svid: &PeerSvid, next: &str) -> Result<(), Status> {
        if !next.is_empty()
            && let Err(error) = self.tell(EndAnswers { spiffe_id: svid.id.to_string() }).await
        {
            warn!(target: "api", agent_id = %svid.id, error = %error, "Unable to note that the agent was seen");
        }
        Ok(())
    }

    /// The renewed SVID has arrived: the one before it is over.
    async fn activate(&self, svid: &PeerSvid, serial: &str) -> Result<(), Status> {
        let activation = ActivateNodeSerial { spiffe_id: svid.id.to_string(), serial: serial.to_owned() };
        match self.tell(activation).await {
            Ok(node) if node.is_banned() => Err(is_banned()),
            // The index may have been behind a later answer.
            Ok(node) if node.serial.as_deref() == Some(serial) => self.in_use(svid, &node.new_serial).await,
            Ok(_) => Err(permission_denied("agent SVID is not active", Reason::AgentNotActive)),
            Err(Error::NotFound) => Err(permission_denied("agent is not attested", Reason::AgentNotAttested)),
            Err(error) => {
                // The agent must not wait for the datastore to work again; the next call tries anew.
                warn!(target: "api", agent_id = %svid.id, error = %error, "Unable to activate the new agent SVID");
                Ok(())
            }
        }
    }
}

impl Given {
    fn is_news_to(&self, known: &AgentState) -> bool {
        known.serial == self.beside
    }
}

fn is_banned() -> Status {
    permission_denied("agent is banned", Reason::AgentBanned)
}

#[cfg(test)]
mod tests;
