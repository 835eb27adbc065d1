//! Which stream of an agent is its newest, where an agent has one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The newest stream of each agent.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>);

/// Tells a stream when its agent opens another one.
pub(crate) struct Newer {
    opened: oneshot::Receiver<()>,
    agent: String,
    streams: Streams,
}

impl Streams {
    /// A stream begins; the agent's last one, if it is still there, is told.
    pub(crate) fn open(&self, agent: &str) -> Newer {
        let (sender, opened) = oneshot::channel();
        // Dropping the older sender tells its stream.
        self.lock().insert(agent.to_owned(), sender);
        Newer { opened, agent: agent.to_owned(), streams: self.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newer {
    /// Ends when the agent has opened another stream.
    pub(crate) async fn opened(&mut self) {
        // An error is the news.
        let _ = (&mut self.opened).await;
    }
}

impl Drop for Newer {
    fn drop(&mut self) {
        self.opened.close();
        let mut streams = self.streams.lock();
        // A newer stream's stays.
        if streams.get(&self.agent).is_some_and(oneshot::Sender::is_closed) {
            streams.remove(&self.agent);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_newer_stream_of_the_same_agent_ends_the_older_one() {
        let streams = Streams::default();
        let mut first = streams.open("a");
        let mut other = streams.open("b");
        assert!(first.opened().now_or_never().is_none());
        let mut second = streams.open("a");
        assert!(first.opened().now_or_never().is_some());
        drop(first);
        assert!(second.opened().now_or_never().is_none());
        assert!(other.opened().now_or_never().is_none());
        drop((second, other));
        assert!(streams.lock().is_empty());
    }
}
