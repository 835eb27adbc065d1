//! What keeps a source fresh: one task that holds a stream open, and the state that it writes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tonic::Code;
use tracing::{debug, warn};

use super::answer::Answer;
use super::client::{ClientError, WorkloadApiClient};
use super::{SourceError, SourceOptions};
use crate::Timer;

/// A value that follows a stream of the Workload API. Cheap to clone; the task ends with the last clone.
pub(super) struct Feed<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: watch::Sender<State<T>>,
    task: AbortHandle,
}

/// What is known now.
pub(super) struct State<T> {
    /// The last good answer. It outlives whatever happens to the stream but a denial and the end of the source.
    value: Option<Arc<T>>,
    standing: Standing,
    /// How often access was denied: what was fetched before the last time is not to be used any more.
    denials: u64,
    /// What went wrong since the last good answer.
    trouble: Option<Arc<ClientError>>,
}

#[derive(Clone)]
enum Standing {
    /// Somebody follows the stream, or waits to do so.
    Following,
    /// As before; but the last word of the Workload API was that this process may have nothing.
    Denied(Arc<ClientError>),
    /// The Workload API says that asking again is of no use.
    Ended(Arc<ClientError>),
    /// The owner has closed the source.
    Closed,
}

impl<T: Send + Sync + 'static> Feed<T> {
    /// Follows the stream of `A`; `make` makes a value of each answer.
    pub(super) fn start<A: Answer>(
        client: WorkloadApiClient,
        options: SourceOptions,
        make: impl Fn(A) -> T + Send + Sync + 'static,
    ) -> Result<Self, SourceError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| SourceError::NoRuntime)?;
        let state = watch::Sender::new(State { value: None, standing: Standing::Following, denials: 0, trouble: None });
        let following = follow(client, options, state.clone(), make);
        let task = runtime.spawn(following).abort_handle();
        Ok(Self(Arc::new(Shared { state, task })))
    }

    /// The last good answer.
    pub(super) fn value(&self) -> Result<Arc<T>, SourceError> {
        self.0.state.borrow().value()
    }

    /// Waits for the first answer.
    pub(super) async fn ready(&self) -> Result<(), SourceError> {
        let mut receiver = self.0.state.subscribe();
        let state = receiver.wait_for(|state| state.value.is_some() || state.end().is_some()).await;
        state.map_err(|_| SourceError::Closed)?.value().map(drop)
    }

    pub(super) fn updates(&self) -> Updates<T> {
        let mut receiver = self.0.state.subscribe();
        // What is there already counts as the first update.
        receiver.mark_changed();
        Updates(receiver)
    }

    pub(super) fn trouble(&self) -> Option<Arc<ClientError>> {
        self.0.state.borrow().trouble.clone()
    }

    pub(super) fn denials(&self) -> u64 {
        self.0.state.borrow().denials
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.0.state.borrow().standing, Standing::Closed)
    }

    pub(super) fn close(&self) {
        self.0.task.abort();
        self.0.state.send_modify(|state| {
            state.value = None;
            state.standing = Standing::Closed;
        });
    }
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T> State<T> {
    /// Why there will be no further answer.
    fn end(&self) -> Option<SourceError> {
        match &self.standing {
            Standing::Following | Standing::Denied(_) => None,
            Standing::Ended(error) => Some(SourceError::Ended(Arc::clone(error))),
            Standing::Closed => Some(SourceError::Closed),
        }
    }

    fn value(&self) -> Result<Arc<T>, SourceError> {
        match (&self.standing, &self.value) {
            (Standing::Closed, _) => Err(SourceError::Closed),
            (_, Some(value)) => Ok(Arc::clone(value)),
            (Standing::Denied(error), None) => Err(SourceError::Denied(Arc::clone(error))),
            (Standing::Ended(error), None) => Err(SourceError::Ended(Arc::clone(error))),
            (Standing::Following, None) => Err(SourceError::NotReady),
        }
    }
}

/// The updates of a feed, the latest each time.
pub(super) struct Updates<T>(watch::Receiver<State<T>>);

impl<T> Updates<T> {
    /// The next one: the value that is there at first, then whatever is newer than what was seen last.
    pub(super) async fn next(&mut self) -> Result<Arc<T>, SourceError> {
        loop {
            // An end is the last word, however often it is asked for.
            if !self.0.has_changed().unwrap_or(false)
                && let Some(end) = self.0.borrow().end()
            {
                return Err(end);
            }
            self.0.changed().await.map_err(|_| SourceError::Closed)?;
            let state = self.0.borrow_and_update();
            if let Some(end) = state.end() {
                return Err(end);
            }
            match state.value() {
                Err(SourceError::NotReady) => {}
                value => return value,
            }
        }
    }
}

async fn follow<A: Answer, T>(
    client: WorkloadApiClient,
    options: SourceOptions,
    state: watch::Sender<State<T>>,
    make: impl Fn(A) -> T,
) {
    let SourceOptions { backoff, timer } = options;
    let mut failures = 0;
    loop {
        let mut stream = Stream { timer: &*timer, good_after: backoff.first, failures: &mut failures, answered: false };
        let error = match stream.run(&client, &state, &make).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        let answered = stream.answered;
        let error = Arc::new(error);
        let code = error.code();
        match code {
            // Asking again would be answered alike (SPIFFE Workload Endpoint, section 6 and appendix A).
            Some(Code::InvalidArgument | Code::Unimplemented) => {
                warn!(%error, "The Workload API will not serve this source");
                update(&state, |state| {
                    state.trouble = Some(Arc::clone(&error));
                    state.standing = Standing::Ended(error);
                    true
                });
                return;
            }
            Some(Code::PermissionDenied) => {
                debug!(%error, "The Workload API denies this process an identity; asking again");
                update(&state, |state| {
                    let news = state.value.take().is_some() || !matches!(state.standing, Standing::Denied(_));
                    state.denials += 1;
                    state.trouble = Some(Arc::clone(&error));
                    state.standing = Standing::Denied(error);
                    news
                });
            }
            _ => {
                debug!(%error, "The stream of the Workload API has ended; asking again");
                update(&state, |state| {
                    state.trouble = Some(error);
                    false
                });
            }
        }
        // Whoever has been served comes back at once (SPIFFE Workload API, section 4.2), unless that did not last.
        let at_once = answered && failures == 0 && code != Some(Code::PermissionDenied);
        failures += 1;
        if !at_once {
            timer.sleep(backoff.pause(failures)).await;
        }
    }
}

/// One stream, from its opening to its end.
struct Stream<'a> {
    timer: &'a dyn Timer,
    /// How long it must live to be a good one.
    good_after: Duration,
    /// In a row, before this one.
    failures: &'a mut u32,
    /// Whether it has carried a good answer.
    answered: bool,
}

impl Stream<'_> {
    async fn run<A: Answer, T>(
        &mut self,
        client: &WorkloadApiClient,
        state: &watch::Sender<State<T>>,
        make: impl Fn(A) -> T,
    ) -> Result<std::convert::Infallible, ClientError> {
        let mut answers = client.stream::<A>().await?;
        let mut lasts = None;
        loop {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                () = async { match &mut lasts { Some(lasts) => lasts.await, None => std::future::pending().await } } => {
                    (*self.failures, lasts) = (0, None);
                    continue;
                }
            };
            match answer {
                Ok(answer) => {
                    let value = Arc::new(make(answer));
                    update(state, |state| {
                        (state.value, state.standing, state.trouble) = (Some(value), Standing::Following, None);
                        true
                    });
                    if !self.answered && *self.failures > 0 {
                        lasts = Some(self.timer.sleep(self.good_after));
                    }
                    self.answered = true;
                }
                Err(error @ ClientError::Answer(_)) => {
                    warn!(%error, "An answer of the Workload API is dropped");
                    update(state, |state| {
                        state.trouble = Some(Arc::new(error));
                        false
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Changes the state of a source that its owner has not closed meanwhile; `change` says whether that is an update.
fn update<T>(state: &watch::Sender<State<T>>, change: impl FnOnce(&mut State<T>) -> bool) {
    state.send_if_modified(|state| !matches!(state.standing, Standing::Closed) && change(state));
}
