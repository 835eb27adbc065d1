//! The span that a task works for.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context as Wake, Poll, ready};

use pin_project_lite::pin_project;

use super::open::Context;
use super::{Kind, Open};

tokio::task_local! {
    pub(super) static CURRENT: Context;
}

/// A span inside of the one that this task works for, if it works for one. Only then is its name made.
pub fn current<N: Into<Cow<'static, str>>>(name: impl FnOnce() -> N, kind: Kind) -> Option<Open> {
    CURRENT.try_with(|context| context.open(name().into(), kind)).ok()
}

/// Does `call`, as a span of this name where the task works for one. `code` names the gRPC code of an error.
pub fn within<T, E, F, C>(name: &'static str, call: F, code: C) -> Within<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: FnOnce(&E) -> &'static str,
{
    Within { call, inside: current(|| name, Kind::Internal).map(|open| (open, code)) }
}

/// Does `work` inside of a span, or of none. The span goes on.
pub fn inside<F: Future>(open: Option<&Open>, work: F) -> Inside<'_, F> {
    Inside { work, open }
}

pin_project! {
    /// A future that works inside of a span that somebody else ends.
    pub struct Inside<'a, F> {
        #[pin]
        work: F,
        open: Option<&'a Open>,
    }
}

impl<F: Future> Future for Inside<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, wake: &mut Wake<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.open {
            Some(open) => open.enter(|| this.work.poll(wake)),
            None => this.work.poll(wake),
        }
    }
}

pin_project! {
    /// A future that works inside of a span, or of none. It is little larger than the future itself: calls are measured
    /// inside of calls.
    pub struct Within<F, C> {
        #[pin]
        call: F,
        inside: Option<(Open, C)>,
    }
}

impl<T, E, F, C> Future for Within<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: FnOnce(&E) -> &'static str,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, wake: &mut Wake<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some((open, _)) = this.inside else { return this.call.poll(wake) };
        let result = ready!(open.enter(|| this.call.poll(wake)));
        if let Some((open, code)) = this.inside.take() {
            open.end(result.as_ref().err().map_or("OK", code));
        }
        Poll::Ready(result)
    }
}
