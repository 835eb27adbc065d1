//! Where traces begin, and where their spans wait.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Kind, Open, Parent, Span};
use crate::Clock;
use crate::jitter::{fraction, random};

/// Spans that wait. They come to half a megabyte at most.
const QUEUE: usize = 2048;

/// Begins traces. Cheap to clone.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    ratio: f64,
    clock: Clock,
    queue: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

/// Spans that have ended, for whoever sends them.
pub struct Spans {
    queue: mpsc::Receiver<Span>,
    dropped: Arc<AtomicU64>,
}

impl Tracer {
    /// One that begins a trace with so many of all calls, from none at 0 to all at 1.
    pub fn new(ratio: f64, clock: Clock) -> (Self, Spans) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        let inner = Inner { ratio, clock, queue: sender, dropped: Arc::clone(&dropped) };
        (Self(Arc::new(inner)), Spans { queue, dropped })
    }

    /// Goes on with a trace that its caller writes down; None where the caller does not.
    pub fn go_on(&self, name: impl Into<Cow<'static, str>>, kind: Kind, parent: Parent) -> Option<Open> {
        parent.sampled.then(|| self.open(name.into(), kind, parent.trace, Some(parent.span), true))
    }

    /// Begins a trace with some of all calls. A caller that is somebody else does not decide that: where its call is one of
    /// those, the trace is the caller's.
    pub fn begin(&self, name: impl Into<Cow<'static, str>>, kind: Kind, parent: Option<Parent>) -> Option<Open> {
        if fraction() >= self.0.ratio {
            return None;
        }
        let (trace, span) = match parent {
            Some(Parent { trace, span, sampled: _ }) => (trace, Some(span)),
            None => (((u128::from(random()) << 64) | u128::from(random())).to_be_bytes(), None),
        };
        Some(self.open(name.into(), kind, trace, span, true))
    }

    pub(super) fn open(
        &self,
        name: Cow<'static, str>,
        kind: Kind,
        trace: [u8; 16],
        parent: Option<[u8; 8]>,
        parent_is_remote: bool,
    ) -> Open {
        let span = Span {
            trace,
            id: random().to_be_bytes(),
            parent,
            parent_is_remote: parent_is_remote && parent.is_some(),
            name,
            kind,
            server: None,
            began: self.0.clock.now(),
            took: std::time::Duration::ZERO,
            code: "",
        };
        Open::new(span, self.clone())
    }

    /// Nobody who works waits for those who send.
    pub(super) fn ended(&self, span: Span) {
        if let Err(TrySendError::Full(_)) = self.0.queue.try_send(span) {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Spans {
    /// Adds up to `most` spans to a list as soon as there is one, and returns how many; 0 when no further one will come.
    pub async fn next(&mut self, list: &mut Vec<Span>, most: usize) -> usize {
        self.queue.recv_many(list, most).await
    }

    /// Takes no further ones; those that wait can still be had.
    pub fn close(&mut self) {
        self.queue.close();
    }

    /// How many have found no place since it was last asked.
    pub fn dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}
