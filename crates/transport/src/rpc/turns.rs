//! Who is served first when more is asked for than can be done at once: so many calls are under way, the others wait by
//! class, and whoever would wait behind too many is told when to come again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use steeple_runtime::jitter;
use tokio::sync::oneshot;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};
use tracing::warn;

use crate::status::exhausted;

/// What a call is for; the first ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An agent attests: before that it can do nothing.
    Attestation,
    /// A workload waits for its first identity.
    New,
    /// Something in use has to be replaced in time; also what says nothing of itself.
    Due,
    /// Nobody waits for it yet.
    Early,
}

/// In a call's metadata, what it is for: `new`, `due` or `early`.
const URGENCY: &str = "steeple-urgency";

/// How many calls of each class may wait. Each takes a few kilobytes.
const WAITING: [usize; 4] = [4096, 2048, 1024, 512];
/// After which time it is worth asking again; the longer, the less it is waited for.
const COME_AGAIN: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(30)];

/// The calls of a listener, in two rows: whoever only needs the processor does not wait behind those who wait for the store.
#[derive(Clone, Debug)]
pub struct Turns {
    pub(super) computing: Arc<Row>,
    pub(super) storing: Arc<Row>,
}

/// Calls that wait for each other.
#[derive(Debug)]
pub(super) struct Row {
    /// Under way at once.
    at_once: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    queues: [VecDeque<oneshot::Sender<Turn>>; 4],
    refused: u64,
}

/// A call's turn, which ends when this is dropped.
#[derive(Debug)]
pub struct Turn(Option<Arc<Row>>);

impl Class {
    /// What a call says of itself. That it is an attestation nobody can say.
    pub(super) fn said_in(headers: &HeaderMap) -> Self {
        match headers.get(URGENCY).map(HeaderValue::as_bytes) {
            Some(b"new") => Self::New,
            Some(b"early") => Self::Early,
            _ => Self::Due,
        }
    }

    /// Says it of a request.
    pub fn mark<T>(self, request: &mut Request<T>) {
        let urgency = match self {
            Self::New => "new",
            Self::Early => "early",
            Self::Attestation | Self::Due => return,
        };
        request.metadata_mut().insert(URGENCY, MetadataValue::from_static(urgency));
    }
}

impl Turns {
    /// So many calls at once in each row.
    pub fn new(at_once: usize) -> Self {
        Self { computing: Row::new(at_once), storing: Row::new(at_once) }
    }
}

impl Row {
    fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self { at_once, state: Mutex::default() })
    }

    /// Waits for a call's turn.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, with the time after which to come again, when too many of its class wait already.
    pub(super) async fn turn(self: &Arc<Self>, class: Class) -> Result<Turn, Status> {
        match self.enter(class) {
            Ok(turn) => Ok(turn),
            // Whoever ends gives its turn on, and this is kept for as long as somebody waits.
            Err(Some(waiting)) => waiting.await.map_err(|_| refused(class)),
            Err(None) => Err(refused(class)),
        }
    }

    /// The turn, or what brings it, or nothing.
    fn enter(self: &Arc<Self>, class: Class) -> Result<Turn, Option<oneshot::Receiver<Turn>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.under_way < self.at_once {
            state.under_way += 1;
            return Ok(Turn(Some(Arc::clone(self))));
        }
        let most = WAITING[class as usize];
        let queue = &mut state.queues[class as usize];
        if queue.len() >= most {
            // Those who have gone wait no longer.
            queue.retain(|waiting| !waiting.is_closed());
        }
        if queue.len() >= most {
            state.refused += 1;
            let refused = state.refused;
            // Told ever more seldom: a storm must not fill the log as well.
            if refused.is_power_of_two() {
                warn!(target: "endpoints", class = ?class, refused, "More calls wait than can be served soon");
            }
            return Err(None);
        }
        let (turn, waiting) = oneshot::channel();
        queue.push_back(turn);
        Err(Some(waiting))
    }
}

impl Turn {
    /// Where all are served at once.
    pub(super) fn always() -> Self {
        Self(None)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            let mut state = turns.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(next) = state.queues.iter_mut().find_map(VecDeque::pop_front) else {
                state.under_way -= 1;
                return;
            };
            drop(state);
            match next.send(Turn(Some(Arc::clone(&turns)))) {
                Ok(()) => return,
                // It has gone. Its turn must not be given on by itself, since that would be done once for each who has gone.
                Err(mut unused) => drop(unused.0.take()),
            }
        }
    }
}

fn refused(class: Class) -> Status {
    exhausted("the server has more to do than it can do soon", jitter(COME_AGAIN[class as usize]))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tonic::Code;

    use super::*;
    use crate::status::retry_delay;

    fn said(urgency: &'static str) -> Class {
        let name = http::HeaderName::from_static(URGENCY);
        Class::said_in(&[(name, HeaderValue::from_static(urgency))].into_iter().collect())
    }

    #[test]
    fn what_says_nothing_or_something_unknown_is_due_and_nobody_says_that_it_attests() {
        assert_eq!(Class::said_in(&HeaderMap::new()), Class::Due);
        for (urgency, class) in
            [("new", Class::New), ("early", Class::Early), ("attestation", Class::Due), ("", Class::Due)]
        {
            assert_eq!(said(urgency), class, "{urgency}");
        }
        for class in [Class::New, Class::Due, Class::Early] {
            let mut request = Request::new(());
            class.mark(&mut request);
            assert_eq!(Class::said_in(&request.metadata().clone().into_headers()), class);
        }
    }

    #[tokio::test]
    async fn a_signature_does_not_wait_behind_those_who_wait_for_the_store() {
        let turns = Turns::new(1);
        let _renewal = turns.storing.turn(Class::Due).await.unwrap();
        assert!(turns.computing.turn(Class::Early).now_or_never().is_some());
        assert!(turns.storing.turn(Class::Attestation).now_or_never().is_none());
    }

    #[tokio::test]
    async fn attestations_come_first_then_what_is_new_and_last_what_is_early() {
        let turns = Row::new(1);
        let first = turns.turn(Class::Early).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut calls = Vec::new();
        for class in [Class::Early, Class::Due, Class::New, Class::Due, Class::Attestation] {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            let mut call = Box::pin(async move {
                let turn = turns.turn(class).await.unwrap();
                order.lock().unwrap().push(class);
                drop(turn);
            });
            assert!(call.as_mut().now_or_never().is_none(), "{class:?} has its turn at once");
            calls.push(call);
        }
        drop(first);
        futures::future::join_all(calls).await;
        assert_eq!(*order.lock().unwrap(), [Class::Attestation, Class::New, Class::Due, Class::Due, Class::Early]);
        assert_eq!(turns.state.lock().unwrap().under_way, 0);
    }

    #[tokio::test]
    async fn who_would_wait_behind_too_many_is_told_when_to_come_again_and_others_are_not() {
        let turns = Row::new(1);
        let _first = turns.turn(Class::Due).await.unwrap();
        let wait = |class| {
            let mut call = Box::pin(turns.turn(class));
            assert!(call.as_mut().now_or_never().is_none());
            call
        };
        let mut early: Vec<_> = (0..WAITING[Class::Early as usize]).map(|_| wait(Class::Early)).collect();
        let refused = turns.turn(Class::Early).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(retry_delay(&refused).is_some_and(|delay| delay > Duration::from_secs(20)));
        drop(wait(Class::New));
        // One of those who wait goes.
        early.pop();
        drop(wait(Class::Early));
    }

    #[tokio::test]
    async fn the_turn_of_one_who_has_gone_is_the_next_ones() {
        let turns = Row::new(1);
        let first = turns.turn(Class::Due).await.unwrap();
        let mut gone = Box::pin(turns.turn(Class::Due));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut next = Box::pin(turns.turn(Class::Due));
        assert!(next.as_mut().now_or_never().is_none());
        drop(gone);
        drop(first);
        drop(next.await.unwrap());
        assert_eq!(turns.state.lock().unwrap().under_way, 0);
    }

    #[tokio::test]
    async fn a_turn_that_comes_to_one_who_goes_at_that_moment_is_not_lost() {
        let turns = Row::new(1);
        let first = turns.turn(Class::Due).await.unwrap();
        let mut gone = Box::pin(turns.turn(Class::Due));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(first);
        // It has the turn and does not know it.
        drop(gone);
        assert!(turns.turn(Class::Due).now_or_never().is_some());
    }
}
