//! Agents with an open stream, each of which is told of what concerns it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// What has happened to an agent, as far as it has to be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wakes {
    /// Grows with each change that is told at once.
    at_once: u64,
    /// Within what time the last of the other changes is told.
    within: Duration,
}

impl Wakes {
    /// Within what time a stream tells what has happened since: those of all agents that a change concerns do so evenly.
    pub(crate) fn within(self, before: Self) -> Duration {
        if self.at_once == before.at_once { self.within } else { Duration::ZERO }
    }

    fn add(&mut self, within: Duration) {
        if within.is_zero() {
            self.at_once += 1;
        } else {
            self.within = within;
        }
    }
}

/// So many agents are told at once of what concerns them; a change that concerns more of them is spread.
const FEW: usize = 10;
/// Spread changes are told to so many agents a second,
const A_SECOND: u32 = 1_000;
/// but within this time, however many there are.
pub(crate) const MOST_SPREAD: Duration = Duration::from_secs(10);

/// Within what time a change is told that concerns so many agents.
pub(super) fn spread_over(agents: usize) -> Duration {
    let spread = Duration::from_secs(1) / A_SECOND * u32::try_from(agents).unwrap_or(u32::MAX);
    if agents <= FEW { Duration::ZERO } else { spread.min(MOST_SPREAD) }
}

/// By SPIFFE ID.
#[derive(Default)]
pub(super) struct Streams {
    open: HashMap<Arc<str>, watch::Sender<Wakes>>,
    /// Once there are so many, those that ended are forgotten.
    sweep_at: usize,
}

impl Streams {
    /// Wakes for each later change that concerns the agent, until it is dropped.
    pub(super) fn open(&mut self, agent: &str) -> watch::Receiver<Wakes> {
        if self.open.len() >= self.sweep_at {
            self.open.retain(|_, stream| stream.receiver_count() > 0);
            // Not at each one: there may be ten thousand.
            self.sweep_at = 2 * self.open.len() + 1;
        }
        self.open.entry(agent.into()).or_default().subscribe()
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
    pub(super) fn wake(&self, agent: &str, within: Duration) {
        if let Some(stream) = self.open.get(agent) {
            stream.send_modify(|wakes| wakes.add(within));
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
        (0..held.len()).for_each(|number| streams.wake(&format!("held-{number}"), Duration::ZERO));
        assert!(held.iter().all(|stream| stream.has_changed().unwrap()));
    }

    #[test]
    fn what_concerns_many_is_spread_and_what_concerns_few_is_not_held_up_by_it() {
        let millis = |agents| spread_over(agents).as_millis();
        assert_eq!(
            [0, 1, 10, 11, 2_500, 10_000, 50_000, usize::MAX].map(millis),
            [0, 0, 0, 11, 2_500, 10_000, 10_000, 10_000]
        );
        let (mut streams, second) = (Streams::default(), Duration::from_secs(1));
        let stream = streams.open("a");
        let opened = *stream.borrow();
        streams.wake("a", second);
        let wide = *stream.borrow();
        assert_eq!(wide.within(opened), second);
        streams.wake("a", Duration::ZERO);
        streams.wake("a", second);
        assert_eq!(stream.borrow().within(opened), Duration::ZERO);
        assert_eq!(stream.borrow().within(wide), Duration::ZERO);
    }
}
