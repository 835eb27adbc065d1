//! What a call did, span by span, where traces are asked for.
//!
//! A [`Tracer`] begins traces; whoever works inside of one finds it by the task that it runs in, so that nobody passes it
//! down: all that is measured by [`measure`](crate::metrics::measure) is a span of its call's trace. Spans that have ended
//! wait in a queue of bounded length for whoever sends them. A call that is in no trace pays for one look at its task.

mod open;
mod parent;
mod scope;
mod tracer;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

pub use open::Open;
pub use parent::{HEADER, Parent};
pub use scope::{Inside, Within, current, inside, within};
pub use tracer::{Spans, Tracer};

/// Something that was done, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it is in.
    pub trace: [u8; 16],
    /// Its own number.
    pub id: [u8; 8],
    /// What it was done for; None where the trace begins.
    pub parent: Option<[u8; 8]>,
    /// Whether that was in another process.
    pub parent_is_remote: bool,
    /// What was done: a call's full name, or the name of the measurement.
    pub name: Cow<'static, str>,
    /// At which end of a call.
    pub kind: Kind,
    /// Where a call went, if it went anywhere.
    pub server: Option<String>,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// How it ended: the name of a gRPC code, such as `NotFound`.
    pub code: &'static str,
}

/// At which end of a call something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At none.
    Internal,
    /// Where it was answered.
    Server,
    /// Where it was made.
    Client,
}

#[cfg(test)]
mod tests;
