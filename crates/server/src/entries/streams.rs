//! Agents with an open stream, each of which is told of what concerns it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

/// By SPIFFE ID. A number grows with each change that concerns the agent.
#[derive(Default)]
pub(super) struct Streams {
    open: HashMap<Arc<str>, watch::Sender<u64>>,
    /// Once there are so many, those that ended are forgotten.
    sweep_at: usize,
}

impl Streams {
    /// Wakes for each later change that concerns the agent, until it is dropped.
    pub(super) fn open(&mut self, agent: &str) -> watch::Receiver<u64> {
        if self.open.len() >= self.sweep_at {
            self.open.retain(|_, stream| stream.receiver_count() > 0);
            // Not at each one: there may be ten thousand.
            self.sweep_at = 2 * self.open.len() + 1;
        }
        self.open.entry(agent.into()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// The agent's ID as it is kept here, if it has a stream.
    pub(super) fn get(&self, agent: &str) -> Option<&Arc<str>> {
        self.open.get_key_value(agent).map(|(agent, _)| agent)
    }

    /// The agents.
    pub(super) fn agents(&self) -> impl Iterator<Item = &Arc<str>> {
        self.open.keys()
    }

    /// Wakes the stream of an agent, if it has one.
    pub(super) fn wake(&self, agent: &str) {
        if let Some(stream) = self.open.get(agent) {
            stream.send_modify(|changes| *changes += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_ended_are_forgotten_as_others_open() {
        let mut streams = Streams::default();
        let held: Vec<_> = (0..10).map(|number| streams.open(&format!("held-{number}"))).collect();
        for number in 0..1000 {
            drop(streams.open(&format!("ended-{number}")));
            assert!(streams.open.len() <= 2 * held.len() + 1, "{}", streams.open.len());
        }
        (0..held.len()).for_each(|number| streams.wake(&format!("held-{number}")));
        assert!(held.iter().all(|stream| stream.has_changed().unwrap()));
    }
}
