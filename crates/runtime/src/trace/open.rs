//! A span that has not ended.

use std::borrow::Cow;
use std::time::Instant;

use super::scope::CURRENT;
use super::{Kind, Parent, Span, Tracer};

/// Something that is being done. One that is dropped was given up.
pub struct Open(Box<Inner>);

struct Inner {
    /// Until it has ended.
    span: Option<Span>,
    started: Instant,
    context: Context,
}

/// What those who work inside of a span need to know of it.
#[derive(Clone)]
pub(super) struct Context {
    tracer: Tracer,
    trace: [u8; 16],
    span: [u8; 8],
}

impl Open {
    pub(super) fn new(span: Span, tracer: Tracer) -> Self {
        let context = Context { tracer, trace: span.trace, span: span.id };
        Self(Box::new(Inner { span: Some(span), started: Instant::now(), context }))
    }

    /// Says where a call goes.
    #[must_use]
    pub fn to(mut self, server: &str) -> Self {
        if let Some(span) = &mut self.0.span {
            span.server = Some(server.to_owned());
        }
        self
    }

    /// What whoever is called is told.
    pub fn parent(&self) -> Parent {
        let Context { trace, span, .. } = self.0.context;
        Parent { trace, span, sampled: true }
    }

    /// Runs `work`, which may begin spans inside of this one.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.0.context.clone(), work)
    }

    /// It has ended, with the gRPC code of this name.
    pub fn end(mut self, code: &'static str) {
        self.0.end(code);
    }
}

impl Inner {
    fn end(&mut self, code: &'static str) {
        let Some(span) = self.span.take() else { return };
        self.context.tracer.ended(Span { took: self.started.elapsed(), code, ..span });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.end("Canceled");
    }
}

impl Context {
    pub(super) fn open(&self, name: Cow<'static, str>, kind: Kind) -> Open {
        self.tracer.open(name, kind, self.trace, Some(self.span), false)
    }
}
