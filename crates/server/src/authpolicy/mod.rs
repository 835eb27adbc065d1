//! Who may call what: the default policy as a table, or one that an operator has written in Rego; and the order in which
//! a caller's classes are tried.

mod agents;
mod rego;
mod table;

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use steeple_datastore::entries::EntryFilter;
use steeple_datastore::{DataStore, Page};
use steeple_runtime::Clock;
use steeple_spiffe::SpiffeId;
use steeple_transport::connection::Connection;
use steeple_transport::rpc::{Authorize, Authorized, Incoming, Method};
use steeple_transport::status::{denial_reason, permission_denied};
use tokio::sync::watch;
use tonic::{Code, Status};
use tracing::{debug, error};

use crate::api::status::capitalized;
use crate::entries::Index;
use crate::freshness::{Freshness, come_again};
use crate::settings::Settings;
pub use agents::Agents;
use rego::Contents;
#[cfg(fuzzing)]
pub use rego::told;
pub use rego::{Files, PolicyError, Rego, Unanswered};
use table::Classes;
pub use table::Table;
pub(crate) use table::{local_services, network_services};

/// Where a policy comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Nothing is configured: the default policy.
    Standard,
    /// A block without files, with which no server starts.
    Nowhere,
    /// An operator's own.
    Files(Files),
}

/// Which classes of callers may call what.
#[derive(Debug)]
pub enum Rules {
    /// The default policy.
    Table(Table),
    /// An operator's own.
    Rego(Rego),
}

impl Rules {
    /// The default policy.
    pub fn standard() -> Self {
        Self::Table(Table::standard())
    }

    /// What the configuration asks for.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn load(source: &Source) -> Result<Self, PolicyError> {
        match source {
            Source::Standard => Ok(Self::standard()),
            Source::Nowhere => Err(PolicyError::NoProvider),
            Source::Files(files) => Ok(Self::Rego(Rego::load(files)?)),
        }
    }

    /// What the files of an operator's own say; None of the default policy.
    pub(crate) fn files(&self) -> Option<&Contents> {
        match self {
            Self::Table(_) => None,
            Self::Rego(policy) => Some(policy.contents()),
        }
    }

    async fn classes_of(&self, call: &Incoming<'_>) -> Result<Classes, Status> {
        match self {
            Self::Table(table) => Ok(table.classes_of(&call.method.path)),
            Self::Rego(policy) => policy.classes_of(call).await,
        }
    }
}

/// The policy of one server.
pub struct Policy {
    store: DataStore,
    rules: watch::Receiver<Arc<Rules>>,
    admin_ids: watch::Receiver<Arc<[SpiffeId]>>,
    agents: Arc<Agents>,
    freshness: Freshness,
}

impl Policy {
    /// By what `settings` hold at the time of each call.
    pub fn new(
        store: DataStore,
        index: Arc<Index>,
        settings: &Settings,
        freshness: Freshness,
        clock: Clock,
    ) -> (Self, Arc<Agents>) {
        let agents = Arc::new(Agents::new(store.clone(), index, freshness.clone(), clock));
        let (rules, admin_ids) = (settings.policy.subscribe(), settings.admin_ids.subscribe());
        (Self { store, rules, admin_ids, agents: Arc::clone(&agents), freshness }, agents)
    }

    /// The first class that fits, in the reference's order.
    async fn classify(&self, request: &Incoming<'_>) -> Result<Authorized, Status> {
        let rules = Arc::clone(&self.rules.borrow());
        let allowed = rules.classes_of(request).await?;
        if allowed.has(Classes::ANY) {
            return Ok(Authorized::Nobody);
        }
        let svid = match request.connection {
            Connection::Local(_) if allowed.has(Classes::LOCAL) => return Ok(Authorized::Local),
            Connection::Local(_) => None,
            Connection::Remote(remote) => remote.svid.as_ref(),
        };
        // Without an identity there is no further class.
        let svid = svid.ok_or_else(|| Status::permission_denied("no caller ID"))?;
        if allowed.has(Classes::ADMIN) && self.admin_ids.borrow().contains(&svid.id) {
            return Ok(Authorized::Admin { via: "config" });
        }
        if allowed.has(Classes::ADMIN) || allowed.has(Classes::DOWNSTREAM) {
            let may_be_agent = allowed.has(Classes::AGENT);
            // While the database is away nobody is more than an agent, which is enough where agents may call.
            let nothing_more = || Ok(Roles { admin: false, downstream: false });
            let entries = match self.entries_of(&svid.id).await {
                Err(status) if may_be_agent && status.code() == Code::Unavailable => nothing_more(),
                roles => roles,
            }?;
            if allowed.has(Classes::ADMIN) && entries.admin {
                return Ok(Authorized::Admin { via: "entries" });
            }
            if allowed.has(Classes::DOWNSTREAM) && entries.downstream {
                return Ok(Authorized::Downstream);
            }
        }
        if allowed.has(Classes::AGENT) {
            self.agents.check(svid).await?;
            return Ok(Authorized::Agent(svid.id.clone()));
        }
        Err(Status::permission_denied("no rule allows it"))
    }

    async fn entries_of(&self, id: &SpiffeId) -> Result<Roles, Status> {
        let filter = EntryFilter { by_spiffe_id: Some(id.to_string()), ..EntryFilter::default() };
        let page = Page::default();
        let listing = self.freshness.ask(self.store.list_entries(&filter, &page).boxed()).await;
        let listing = listing.map_err(|error| {
            let message = format!("failed to fetch caller entries: {error}");
            if error.is_away() { come_again(&message) } else { Status::internal(message) }
        })?;
        Ok(Roles {
            admin: listing.rows.iter().any(|entry| entry.admin),
            downstream: listing.rows.iter().any(|entry| entry.downstream),
        })
    }
}

/// What the entries of a caller make it.
struct Roles {
    admin: bool,
    downstream: bool,
}

#[async_trait]
impl Authorize for Policy {
    async fn authorize(&self, request: Incoming<'_>) -> Result<Authorized, Status> {
        self.classify(&request).await.map_err(|refusal| {
            if refusal.code() != Code::PermissionDenied {
                return refusal;
            }
            denied(request.method, &refusal)
        })
    }

    fn reads(&self, method: &Method) -> bool {
        match &**self.rules.borrow() {
            Rules::Table(_) => false,
            Rules::Rego(policy) => policy.reads(method),
        }
    }
}

/// A denial as the caller sees it: that it may not call the method, and an agent why. The rest is for the log.
pub(crate) fn denied(method: &Method, refusal: &Status) -> Status {
    let message = format!("authorization denied for method {}", method.path);
    match denial_reason(refusal) {
        Some(reason) => {
            let told = capitalized(refusal.message());
            error!(target: "api", authorized_as = "nobody", authorized_via = "", reason = reason.as_str_name(), "{told}");
            permission_denied(&message, reason)
        }
        None => {
            debug!(target: "api", error = %refusal.message(), "Caller is not authorized");
            Status::permission_denied(message)
        }
    }
}
