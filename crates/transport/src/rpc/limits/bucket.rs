//! Token buckets by key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use steeple_runtime::Clock;

/// A key that was silent for one to two of these has a full bucket again, and costs no memory.
pub(super) const GENERATION: Duration = Duration::from_secs(60);
/// Keys that are remembered a generation; more of them end the generation early.
pub(super) const KEYS: usize = 65_536;

/// One bucket a key, all of one rate: so many tokens come a second, and so many a bucket holds.
#[derive(Debug)]
pub struct Buckets<K> {
    per_second: u32,
    clock: Clock,
    generations: Mutex<Generations<K>>,
}

/// What is not asked for while it is old is forgotten.
#[derive(Debug)]
struct Generations<K> {
    young: HashMap<K, Tokens>,
    old: HashMap<K, Tokens>,
    born: SystemTime,
}

/// Below zero while callers wait.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    left: f64,
    at: SystemTime,
}

impl<K: Eq + Hash> Buckets<K> {
    /// All of them full.
    pub fn new(per_second: u32, clock: Clock) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), born: clock.now() };
        Self { per_second, clock, generations: Mutex::new(generations) }
    }

    /// What a bucket holds.
    pub(super) fn size(&self) -> u32 {
        self.per_second
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How long to wait for the tokens, which are taken; None, and nothing taken, when that is longer than `patience`.
    pub fn take(&self, key: K, count: u32, patience: Option<Duration>) -> Option<Duration> {
        let now = self.clock.now();
        let (full, rate) = (f64::from(self.per_second), f64::from(self.per_second));
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.age(now);
        let tokens = generations.tokens(key, Tokens { left: full, at: now });
        // A clock that was set back refills nothing.
        let passed = now.duration_since(tokens.at).unwrap_or_default().as_secs_f64();
        let left = (tokens.left + passed * rate).min(full) - f64::from(count);
        let wait = Duration::from_secs_f64((-left / rate).max(0.0));
        let waits = patience.is_none_or(|patience| wait <= patience);
        *tokens = Tokens { left: if waits { left } else { left + f64::from(count) }, at: now };
        waits.then_some(wait)
    }

    /// Takes back a [`Buckets::take`].
    pub(super) fn give_back(&self, key: &K, count: u32) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokens) = generations.young.get_mut(key) {
            tokens.left += f64::from(count);
        }
    }

    /// Keys of either generation.
    #[cfg(test)]
    pub(super) fn known(&self) -> (usize, usize) {
        let generations = self.generations.lock().unwrap();
        (generations.young.len(), generations.old.len())
    }
}

impl<K: Eq + Hash> Generations<K> {
    fn age(&mut self, now: SystemTime) {
        let aged = now.duration_since(self.born).map_or(true, |age| age >= GENERATION);
        if aged || self.young.len() >= KEYS {
            self.old = std::mem::take(&mut self.young);
            self.born = now;
        }
    }

    fn tokens(&mut self, key: K, full: Tokens) -> &mut Tokens {
        let old = self.old.remove(&key);
        self.young.entry(key).or_insert(old.unwrap_or(full))
    }
}
