//! The one task that writes the cache: it takes what the server says, pushed ([`follow`]) or asked for ([`poll`]), has
//! SVIDs made for it, and shows the readers what has changed.

mod follow;
mod poll;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use steeple_proto::spire::api::server::agent::v1::PostStatusRequest;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_runtime::clock::rfc3339;
use steeple_runtime::logging::with_fields;
use steeple_runtime::metrics::{Coded, called, measure};
use steeple_runtime::trace::{self, Kind, Tracer};
use steeple_runtime::{Clock, Shutdown, jitter};
use steeple_transport::rpc::Class;
use steeple_transport::status::{code_name, describe};
use steeple_transport::tls::is_unknown_authority;
use tokio::sync::{Mutex, mpsc, oneshot};
use tonic::{Code, Status};
use tracing::{debug, error, info, warn};

use crate::attest::Attestation;
use crate::cache::{CachedBundle, Entry, Store, SyncedAt};
use crate::config::RebootstrapMode;
use crate::jwt::JwtSvids;
use crate::log_fields::length;
use crate::mint::{self, Minted};
use crate::rebootstrap::Rebootstrap;
use crate::rejection::{self, Rejection};
use crate::storage::{Storage, StorageError};
use crate::upstream::{CALL_LIMIT, Identity, Upstream};
use follow::Stream;
#[cfg(fuzzing)]
pub use follow::held_after;

/// The longest pause after failures, whatever the interval.
const LONGEST_PAUSE: Duration = Duration::from_secs(8 * 60);
/// The pause before SVIDs are asked for again, and how long it may grow.
const MINT_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_MINT_PAUSE: Duration = Duration::from_secs(4 * 60);
/// The pause after the first failure; it grows with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A new stream is opened at once, but a server that ends each one must not be hammered.
const STREAM_PAUSE: Duration = Duration::from_millis(200);
/// How long a stream may take to open when the clock has jumped: the connection may be one that ended while the machine
/// slept, or as good as before.
const AFTER_JUMP: Duration = Duration::from_secs(5);
/// A server that could not push is asked again whether it can.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What is counted for each time that the agent has all that the server has for it, and for each failure.
const FETCH_ENTRIES: &str = "manager.sync.fetch_entries_updates";

/// Why the agent stopped syncing.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The server does not want this agent any more.
    #[error("failed to fetch authorized entries: {}", describe(.status))]
    Rejected {
        /// What it means.
        rejection: Rejection,
        /// What the server said.
        status: Box<Status>,
    },
    /// The server's certificate has been of no authority that the agent knows for so long that it is to begin anew.
    #[error("shutting down for rebootstrapping: {}", describe(.0))]
    Rebootstrap(Box<Status>),
    /// The same before the first sync has succeeded.
    #[error("Agent needs to rebootstrap. shutting down: {}", describe(.0))]
    RebootstrapAtStart(Box<Status>),
    /// The first sync has not succeeded for as long as it is tried.
    #[error("failed to fetch authorized entries: {}", describe(.0))]
    NotInitialized(Box<Status>),
    /// What the agent knows cannot be kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The sync task.
pub(crate) struct Sync {
    upstream: Upstream,
    store: Store,
    storage: Arc<Mutex<Storage>>,
    clock: Clock,
    mint: mint::Options,
    interval: Duration,
    by_stream: bool,
    rebootstrap: Rebootstrap,
    jwt_svids: Arc<JwtSvids>,
    tracer: Option<Tracer>,
    /// For a server that has forgotten an agent that can prove itself again.
    attestation: Attestation,
    /// Told once, when the first sync is complete.
    ready: Option<oneshot::Sender<()>>,
    minted: (mpsc::Sender<Batch>, mpsc::Receiver<Batch>),
    mint_pause: Duration,
    /// After a batch failed: when the next one may begin.
    mint_again_at: Option<SystemTime>,
    /// How long the next stream may take to open.
    open_limit: Duration,
    /// Whether the cache was as new as the server since the last failure.
    has_synced: bool,
}

/// The end of one batch: the entries that were asked for, and what became of them.
struct Batch {
    asked: Vec<Arc<Entry>>,
    result: Result<Minted, Status>,
}

/// How the agent syncs.
pub(crate) struct Options {
    /// How workloads' SVIDs are made.
    pub mint: mint::Options,
    /// `experimental.sync_interval`
    pub interval: Duration,
    /// `experimental.use_sync_authorized_entries`
    pub by_stream: bool,
    /// What to do when the server's authority is not known.
    pub rebootstrap: Rebootstrap,
    /// Where tokens of tainted authorities are taken away.
    pub jwt_svids: Arc<JwtSvids>,
    /// What begins traces, where they are wanted.
    pub tracer: Option<Tracer>,
}

/// What the select loop does next.
enum Next {
    Change(Result<Option<follow::Change>, Status>),
    /// Another stream.
    Stream,
    Minted(Batch),
    Look,
}

impl Sync {
    /// Completes `ready` after the first sync.
    pub(crate) fn new(
        upstream: Upstream,
        store: Store,
        storage: Arc<Mutex<Storage>>,
        clock: Clock,
        options: Options,
        attestation: Attestation,
        ready: oneshot::Sender<()>,
    ) -> Self {
        let Options { mint, interval, by_stream, rebootstrap, jwt_svids, tracer } = options;
        Self {
            upstream,
            store,
            storage,
            clock,
            mint,
            interval,
            by_stream,
            rebootstrap,
            jwt_svids,
            tracer,
            attestation,
            ready: Some(ready),
            minted: mpsc::channel(4),
            mint_pause: MINT_PAUSE,
            mint_again_at: None,
            open_limit: CALL_LIMIT,
            has_synced: false,
        }
    }

    /// Syncs until it is told to stop.
    ///
    /// # Errors
    /// See [`SyncError`]; everything else is tried again: for ever, once the first sync is complete, and for the patience of
    /// a start before. A rejection is one only if the agent cannot attest again.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), SyncError> {
        self.post_status().await;
        let give_up_at = self.clock.now() + self.rebootstrap.patience();
        let mut pause = FIRST_PAUSE;
        loop {
            let mut identities = self.upstream.identities();
            let shown = identities.borrow_and_update().clone();
            let Some(ended) = shutdown.unless_stopped(Box::pin(self.sync())).await else { return Ok(()) };
            let wait = match ended {
                Ok(wait) => {
                    pause = FIRST_PAUSE;
                    identities.mark_unchanged();
                    wait
                }
                Err(status) => {
                    error!(target: "manager", error = describe(&status), "Failed to fetch authorized entries");
                    let checking = Box::pin(self.check(&status, shown.as_ref()));
                    let Some(checked) = shutdown.unless_stopped(checking).await else { return Ok(()) };
                    let goes_on = checked.inspect_err(|_| self.tell_failed(&status))?;
                    if std::mem::take(&mut self.has_synced) {
                        pause = FIRST_PAUSE;
                    }
                    if is_unknown_authority(&status) && self.rebootstrap.mode != RebootstrapMode::Never {
                        // The delay is looked at again soon.
                        pause = FIRST_PAUSE;
                    }
                    let wait = jitter(self.upstream.pause_after(&status, pause));
                    if self.ready.is_some() && self.clock.now() + wait > give_up_at {
                        return Err(SyncError::NotInitialized(Box::new(status)));
                    }
                    if goes_on == GoesOn::AsItIs {
                        self.tell(&status, wait);
                    }
                    pause = (pause * 3 / 2).min(LONGEST_PAUSE.min(self.interval * 48));
                    wait
                }
            };
            // Whoever has a new identity has met the server meanwhile.
            let waiting = async {
                tokio::select! {
                    () = self.mint_for(wait) => {}
                    Ok(()) = identities.changed() => {}
                }
            };
            if shutdown.unless_stopped(waiting).await.is_none() {
                return Ok(());
            }
        }
    }

    /// A failure after which it is tried again.
    fn tell(&self, status: &Status, retry_interval: Duration) {
        if self.ready.is_some() {
            let error = SyncError::NotInitialized(Box::new(status.clone()));
            with_fields(vec![length("retry_interval", retry_interval)], || {
                warn!(target: "manager", %error, "Failed to initialize manager");
            });
        }
        self.tell_failed(status);
    }

    /// A failure of a sync that is not the first one.
    fn tell_failed(&self, status: &Status) {
        if self.ready.is_none() {
            let error = SyncError::NotInitialized(Box::new(status.clone()));
            error!(target: "manager", %error, "Synchronize failed");
        }
    }

    /// One stream from its opening to its end, or one poll. Returns how long to wait before the next.
    async fn sync(&mut self) -> Result<Duration, Status> {
        let limit = std::mem::replace(&mut self.open_limit, CALL_LIMIT);
        let began = Instant::now();
        match Stream::open(&self.upstream, &self.store, limit).await {
            Ok(stream) => {
                let ended = self.follow(stream).await.inspect_err(failed_at(Instant::now()));
                if self.store.cache().synced_at() == SyncedAt::AllTheTime {
                    self.store.cache().set_synced_at(SyncedAt::Once(self.clock.now()));
                }
                ended
            }
            Err(status) if status.code() == Code::Unimplemented => {
                debug!(target: "manager", "The server cannot push changes; it is asked for them");
                Box::pin(self.poll_for(ASK_AGAIN)).await
            }
            Err(status) => Err(status).inspect_err(failed_at(began)),
        }
    }

    /// Takes changes as they come, and makes the SVIDs that they need. Returns how long to wait before the next stream.
    async fn follow(&mut self, mut stream: Stream) -> Result<Duration, Status> {
        // A renewed identity is shown on a new connection; this stream then ends without a meaning.
        let mut identities = self.upstream.identities();
        identities.mark_unchanged();
        let mut jumps = self.clock.jumps();
        loop {
            let next = async {
                tokio::select! {
                    change = stream.next() => Next::Change(change),
                    _ = identities.changed() => Next::Stream,
                    next = self.next_of_minting() => next,
                }
            };
            let next = tokio::select! {
                // First: what falls due by the jump is not to be asked for over a connection that may be gone.
                biased;
                Ok(()) = jumps.changed() => {
                    self.after_jump();
                    return Ok(Duration::ZERO);
                }
                next = next => next,
            };
            match next {
                Next::Change(change) => match change.inspect_err(|status| self.upstream.after(status))? {
                    Some(change) => {
                        let complete = stream.apply(change, &mut self.store).await?;
                        if complete {
                            self.synced().await;
                            self.store.cache().set_synced_at(SyncedAt::AllTheTime);
                        }
                    }
                    None => return Ok(STREAM_PAUSE),
                },
                Next::Stream => return Ok(STREAM_PAUSE),
                other => self.after_minting(other),
            }
            self.store.publish(self.clock.now());
            self.mint_due();
        }
    }

    /// Asks the server at each interval, for `length` altogether. Returns the pause that is left.
    async fn poll_for(&mut self, length: Duration) -> Result<Duration, Status> {
        let until = self.clock.now() + length;
        loop {
            let polled = Box::pin(poll::everything(&self.upstream, &mut self.store, self.by_stream));
            measure(FETCH_ENTRIES, async { polled.await.map_err(Failed) }).await.map_err(|Failed(status)| status)?;
            self.synced().await;
            self.store.cache().set_synced_at(SyncedAt::Once(self.clock.now()));
            self.store.publish(self.clock.now());
            let wait = jitter(self.interval);
            if self.clock.now() + wait >= until {
                return Ok(wait);
            }
            self.mint_for(wait).await;
        }
    }

    /// Makes SVIDs as they fall due, for `length` or until the clock jumps.
    async fn mint_for(&mut self, length: Duration) {
        if length.is_zero() {
            return;
        }
        let (clock, mut jumps) = (self.clock.clone(), self.clock.jumps());
        let over = clock.sleep(length);
        tokio::pin!(over);
        loop {
            self.store.publish(self.clock.now());
            self.mint_due();
            tokio::select! {
                () = &mut over => return,
                Ok(()) = jumps.changed() => return self.after_jump(),
                next = self.next_of_minting() => self.after_minting(next),
            }
        }
    }

    /// Waits until a batch has ended, somebody asks for something new, or an SVID falls due.
    async fn next_of_minting(&mut self) -> Next {
        let due = self.mint_again_at.or(self.store.next_due()).unwrap_or(self.clock.now() + LONGEST_PAUSE);
        let due = self.store.first_end().map_or(due, |end| end.min(due));
        tokio::select! {
            batch = self.minted.1.recv() => match batch {
                Some(batch) => Next::Minted(batch),
                // The sender is ours as well.
                None => std::future::pending().await,
            },
            () = self.store.cache().asked() => Next::Look,
            () = self.clock.sleep_until(due) => Next::Look,
        }
    }

    fn after_minting(&mut self, next: Next) {
        let Next::Minted(Batch { asked, result }) = next else { return };
        match result {
            Ok(minted) => {
                self.mint_pause = MINT_PAUSE;
                for (entry, svid) in minted {
                    match svid {
                        Some(svid) => self.store.minted(&entry.id, svid),
                        // It holds up no other.
                        None => self.store.refused(&entry.id, self.clock.now() + jitter(self.interval)),
                    }
                }
            }
            Err(status) => {
                error!(target: "manager", error = %describe(&status), "SVID sync failed");
                asked.iter().for_each(|entry| self.store.not_minted(&entry.id));
                self.mint_later(&status);
            }
        }
    }

    /// The clock was set, or the machine slept: what was to wait until a moment waits no longer.
    fn after_jump(&mut self) {
        info!(target: "manager", "The clock has jumped; asking the server anew");
        self.open_limit = AFTER_JUMP;
        self.mint_again_at = None;
        self.store.ask_again();
    }

    fn mint_later(&mut self, failure: &Status) {
        let pause = self.upstream.pause_after(failure, self.mint_pause);
        self.mint_again_at = Some(self.clock.now() + jitter(pause));
        self.mint_pause = (self.mint_pause * 3 / 2).min(LONGEST_MINT_PAUSE);
    }

    /// Starts a batch for what is due.
    fn mint_due(&mut self) {
        let now = self.clock.now();
        if self.mint_again_at.is_some_and(|at| now < at) {
            return;
        }
        self.mint_again_at = None;
        // What workloads wait for is not in one call with what can wait.
        loop {
            let (class, due) = self.store.take_due(now, mint::BATCH);
            if due.is_empty() {
                return;
            }
            let is_full = due.len() == mint::BATCH;
            self.mint(class, due);
            if is_full {
                // The server lets an agent ask for no more in a second; the end of this batch brings the next one.
                return;
            }
        }
    }

    /// Starts a batch.
    fn mint(&self, class: Class, due: Vec<Arc<Entry>>) {
        let cache_type = "workload";
        let expiring_svids = due.iter().filter(|entry| self.store.svid_ends_at(&entry.id).is_some()).count();
        if expiring_svids > 0 {
            debug!(target: "manager", cache_type, expiring_svids, "Updating expiring SVIDs in cache");
        }
        debug!(target: "manager", cache_type, count = due.len(), limit = mint::BATCH, "Renewing stale entries");
        for Entry { id, spiffe_id, .. } in due.iter().map(|entry| &**entry) {
            match self.store.svid_ends_at(id).map(rfc3339) {
                Some(expires_at) => {
                    info!(target: "manager", entry_id = %id, %spiffe_id, expires_at, "Renewing X509-SVID");
                }
                None => info!(target: "manager", entry_id = %id, %spiffe_id, "Creating X509-SVID"),
            }
        }
        let (upstream, clock) = (self.upstream.clone(), self.clock.clone());
        let (options, ended) = (self.mint, self.minted.0.clone());
        let traced = self.tracer.as_ref().and_then(|tracer| tracer.begin("mint", Kind::Internal, None));
        tokio::spawn(async move {
            let minting = async { mint::mint(&upstream, &clock, options, class, &due).await.map_err(Failed) };
            let minting = trace::inside(traced.as_ref(), measure("manager.sync.fetch_svids_updates", minting));
            let result = minting.await;
            if let Some(traced) = traced {
                traced.end(result.as_ref().err().map_or("OK", Failed::code));
            }
            let result = result.map_err(|Failed(status)| status);
            // Nobody waits for it when the agent stops.
            let _ = ended.send(Batch { asked: due, result }).await;
        });
    }

    /// The cache is as new as the server: what must survive a restart is kept.
    async fn synced(&mut self) {
        self.has_synced = true;
        self.store.publish(self.clock.now());
        let snapshot = self.store.cache().snapshot();
        if let Some(own) = snapshot.own_bundle() {
            let authorities = own.authorities();
            self.upstream.set_authorities(authorities.clone());
            self.upstream.set_tainted(own.tainted());
            self.jwt_svids.drop_tainted();
            let (mut storage, now) = (self.storage.lock().await, self.clock.now());
            if let Err(failed) = storage.store_bundle(&authorities).and_then(|()| storage.bootstrapped(now)) {
                warn!(target: "manager", error = %failed, "Could not store bundle");
            }
        }
        if let Some(ready) = self.ready.take() {
            info!(target: "manager", "First sync is complete");
            // Nobody waits any more when the start was given up.
            let _ = ready.send(());
        }
    }

    async fn post_status(&self) {
        let posted = async {
            let channel = self.upstream.channel().map_err(|error| Status::internal(error.to_string()))?;
            let request = PostStatusRequest {
                agent_version: steeple_runtime::COMPATIBLE.to_owned(),
                ..PostStatusRequest::default()
            };
            self.upstream.call(async { AgentClient::new(channel).post_status(request).await }).await
        };
        if let Err(status) = posted.await {
            error!(target: "manager", error = %describe(&status), "Failed to post status to server");
        }
    }

    /// The server's certificate is of no authority that the agent knows. What it has goes on to be served, unlike in the
    /// reference, unless it is told to begin anew and it is time for that.
    async fn begin_anew_if_due(&self, status: &Status) -> Result<(), SyncError> {
        let (mut storage, now) = (self.storage.lock().await, self.clock.now());
        if self.rebootstrap.is_due(&mut storage, now)? {
            warn!(target: "manager", "Trust Bundle and Server don't agree, rebootstrapping");
            storage.begin_anew(now)?;
            let status = Box::new(status.clone());
            // The words are the reference's.
            let is_at_start = self.ready.is_some();
            return Err(if is_at_start {
                SyncError::RebootstrapAtStart(status)
            } else {
                SyncError::Rebootstrap(status)
            });
        }
        Ok(())
    }

    /// What a failure means for an agent that showed the identity `shown` meanwhile.
    ///
    /// # Errors
    /// What the agent cannot go on with.
    async fn check(&self, status: &Status, shown: Option<&Identity>) -> Result<GoesOn, SyncError> {
        let Some(rejection) = rejection::of(status) else {
            if is_unknown_authority(status) {
                self.begin_anew_if_due(status).await?;
            }
            return Ok(GoesOn::AsItIs);
        };
        let rejected = || SyncError::Rejected { rejection, status: Box::new(status.clone()) };
        if rejection == Rejection::Banned {
            return Err(rejected());
        }
        // While the SVID is being renewed, whoever does that holds the storage; the server may refuse the old one as soon
        // as the new one is on its way.
        let mut storage = self.storage.lock().await;
        let current = self.upstream.identity();
        let is_shown = |current: &Identity| shown.is_some_and(|shown| shown.chain == current.chain);
        let Some(current) = current.filter(is_shown) else { return Ok(GoesOn::WithAnotherIdentity) };
        // As in the reference, an agent that is refused before its first sync ends, and attests when it is started again.
        if self.ready.is_some() || !current.reattestable {
            return Err(rejected());
        }
        let reason = rejection.reason_name();
        warn!(target: "manager", status_message = status.message(), reason, "Agent needs to re-attest; attesting again");
        match self.attestation.reattest(&mut storage).await {
            Ok(()) => {
                info!(target: "manager", spiffe_id = %current.id, "Successfully reattested node");
                Ok(GoesOn::WithAnotherIdentity)
            }
            Err(failed) => {
                error!(target: "manager", error = %failed, "Could not reattest agent");
                Err(rejected())
            }
        }
    }
}

/// As whom syncing goes on after a failure.
#[derive(PartialEq)]
enum GoesOn {
    AsItIs,
    /// With another identity than the one that was refused.
    WithAnotherIdentity,
}

/// A status, as an error that the metrics can label.
struct Failed(Status);

impl Coded for Failed {
    fn code(&self) -> &'static str {
        code_name(self.0.code())
    }
}

/// Counts a sync that has failed.
fn failed_at(began: Instant) -> impl FnOnce(&Status) {
    move |status| called(FETCH_ENTRIES, code_name(status.code()), began)
}

/// Entries and bundles that the server sent and that make no sense are left out, each with a warning.
fn put_entry(store: &mut Store, entry: Result<Entry, crate::cache::BadEntry>) {
    match entry {
        Ok(entry) => store.put_entry(entry),
        Err(error) => warn!(target: "manager", error = %error, "Received malformed entry from SPIRE server"),
    }
}

fn put_bundle(store: &mut Store, bundle: steeple_proto::spire::api::types::Bundle) {
    match CachedBundle::from_api(bundle) {
        // Whoever believed it could not be told anything any more: no server could show that it is one.
        Ok(own) if own.x509.is_empty() && own.bundle.trust_domain == *store.cache().snapshot().trust_domain() => {
            warn!(target: "manager", "Received own bundle without X.509 authorities from SPIRE server");
        }
        Ok(bundle) => drop(store.put_bundle(bundle)),
        Err(error) => warn!(target: "manager", error = %error, "Received malformed bundle from SPIRE server"),
    }
}

#[cfg(test)]
mod tests;
