//! Parts of a daemon that run together and stop together.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Told to every part: stop now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everybody to stop. Telling twice is harmless.
    pub fn stop(&self) {
        self.0.cancel();
    }

    /// Completes when the signal is given.
    pub async fn stopped(&self) {
        self.0.cancelled().await;
    }

    /// The result of `work`, or None when the signal comes first.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stopped() => None,
            done = work => Some(done),
        }
    }

    /// Stops on SIGINT or SIGTERM. From then on a further signal changes nothing.
    pub fn stop_on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let shutdown = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            shutdown.stop();
        });
        Ok(())
    }
}

/// Why a set of parts stopped before it was told to.
#[derive(Debug)]
pub struct PartFailed<E> {
    /// The part's name.
    pub part: &'static str,
    /// What it ended with.
    pub cause: Cause<E>,
}

/// See [`PartFailed`].
#[derive(Debug)]
pub enum Cause<E> {
    /// The part returned an error.
    Error(E),
    /// The part panicked.
    Panic(String),
}

impl<E: fmt::Display> fmt::Display for PartFailed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Error(error) => error.fmt(f),
            Cause::Panic(text) => write!(f, "{} panicked: {text}", self.part),
        }
    }
}

impl<E: std::error::Error> std::error::Error for PartFailed<E> {}

/// Parts that were started together. The first that fails or panics stops all others.
pub struct Parts<E> {
    shutdown: Shutdown,
    running: JoinSet<Result<(), PartFailed<E>>>,
}

impl<E: Send + 'static> Parts<E> {
    /// No parts yet; they stop when `shutdown` is given.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, running: JoinSet::new() }
    }

    /// Starts a part.
    pub fn start(&mut self, part: &'static str, run: impl Future<Output = Result<(), E>> + Send + 'static) {
        self.running.spawn(async move {
            let cause = match AssertUnwindSafe(run).catch_unwind().await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => Cause::Error(error),
                Err(panic) => Cause::Panic(text_of(&*panic)),
            };
            Err(PartFailed { part, cause })
        });
    }

    /// Waits until every part has ended.
    ///
    /// # Errors
    /// What the first failing part ended with.
    pub async fn join(mut self) -> Result<(), PartFailed<E>> {
        let mut first = Ok(());
        while let Some(ended) = self.running.join_next().await {
            // A part that was cancelled cannot occur: nothing aborts them.
            if let Ok(Err(failed)) = ended {
                self.shutdown.stop();
                if first.is_ok() {
                    first = Err(failed);
                }
            }
        }
        first
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_error_stops_every_part() {
        let shutdown = Shutdown::new();
        let mut parts = Parts::new(shutdown.clone());
        parts.start("waits", {
            let shutdown = shutdown.clone();
            async move {
                shutdown.stopped().await;
                Ok(())
            }
        });
        parts.start("fails", async { Err(std::io::Error::other("broken")) });
        assert_eq!(parts.join().await.unwrap_err().to_string(), "broken");
    }

    #[tokio::test]
    async fn a_panic_is_the_error_of_its_part() {
        let mut parts = Parts::<std::io::Error>::new(Shutdown::new());
        parts.start("falls", async { panic!("over") });
        assert_eq!(parts.join().await.unwrap_err().to_string(), "falls panicked: over");
    }
}
