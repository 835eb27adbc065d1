//! Rotation, as it happens: the agent's stream is held open, tokens are asked for again and again, and each difference
//! to what was seen last is a line.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::mem;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use steeple_runtime::Clock;
use steeple_spiffe::{Certificate, JwtSvid, SpiffeId};
use tokio::sync::mpsc::Receiver;

use super::describe::short_serial;
use super::screen::{Colour, Screen, distance, time_of_day};
use super::workload::{Workload, WorkloadError, X509Update};

/// The watch over the Workload API.
pub(super) struct Follow<'a> {
    pub(super) workload: &'a Workload,
    /// Of this workload.
    pub(super) updates: Receiver<Result<X509Update, WorkloadError>>,
    /// How long to wait between two requests for tokens.
    pub(super) pause: Duration,
    pub(super) seen: Seen,
}

impl Follow<'_> {
    /// Shows each change, for as long as the caller waits.
    ///
    /// # Errors
    /// The updates have ended.
    pub(super) async fn run(mut self, clock: &Clock, screen: &mut Screen) -> Result<Infallible> {
        let (mut x509_trouble, mut jwt_trouble) = (None, None);
        loop {
            let (result, trouble) = tokio::select! {
                update = self.updates.recv() => {
                    let update = update.context("the Workload API is no longer watched")?;
                    (self.seen.x509(update, &Moment::now(clock, screen)), &mut x509_trouble)
                }
                // Tokens are pulled, never pushed: the agent gives the same one until half of its time is over.
                () = clock.sleep(self.pause) => {
                    let svids = self.workload.jwt_svids().await;
                    (self.seen.jwt(svids, &Moment::now(clock, screen)), &mut jwt_trouble)
                }
            };
            let time = screen.paint(Colour::Dim, &time_of_day(clock.now(), screen.zone()));
            match result {
                Ok(events) => {
                    *trouble = None;
                    for event in events {
                        screen.line(format!("  {time}  {}", event.shown(screen)));
                    }
                }
                // Said once, however often it is met.
                Err(error) if trouble.as_ref() == Some(&error.to_string()) => {}
                Err(error) => {
                    let text =
                        screen.paint(Colour::Red, &format!("no answer from the Workload API: {error}; asking again"));
                    screen.line(format!("  {time}  {text}"));
                    *trouble = Some(error.to_string());
                }
            }
        }
    }
}

/// What was seen last.
pub(super) struct Seen {
    x509: BTreeMap<Place, Certificate>,
    jwt: BTreeMap<Place, JwtSvid>,
    authorities: BTreeMap<Vec<u8>, Certificate>,
}

/// An ID, and which of its SVIDs this is: several entries may give the same ID.
type Place = (SpiffeId, usize);

/// When something was seen, and in which zone that is told.
struct Moment {
    now: SystemTime,
    zone: TimeZone,
}

/// A line of the story.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    subject: &'static str,
    verb: Verb,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    New,
    Renewed,
    Gone,
}

impl Event {
    fn shown(&self, screen: &Screen) -> String {
        let Self { subject, verb, text } = self;
        let (verb, colour) = match verb {
            Verb::New => ("new", Colour::Green),
            Verb::Renewed => ("renewed", Colour::Green),
            Verb::Gone => ("gone", Colour::Yellow),
        };
        format!("{subject:<10}  {}  {text}", screen.paint(colour, &format!("{verb:<7}")))
    }
}

impl Seen {
    pub(super) fn new(update: &X509Update, svids: &[JwtSvid]) -> Self {
        Self { x509: leaves(update), jwt: tokens(svids), authorities: authorities(update) }
    }

    /// Takes what the stream says. No identity is an answer too, but one that says nothing about authorities.
    fn x509(
        &mut self,
        update: Result<X509Update, WorkloadError>,
        moment: &Moment,
    ) -> Result<Vec<Event>, WorkloadError> {
        let (new, new_authorities) = match update {
            Ok(update) => (leaves(&update), authorities(&update)),
            Err(WorkloadError::NoIdentity) => (BTreeMap::new(), self.authorities.clone()),
            Err(error) => return Err(error),
        };
        let old = mem::replace(&mut self.authorities, new_authorities);
        let authorities = changes(&old, &self.authorities);
        let mut events: Vec<Event> = authorities.into_iter().map(|change| authority_event(change, moment)).collect();
        let old = mem::replace(&mut self.x509, new);
        events.extend(changes(&old, &self.x509).into_iter().map(|change| x509_event(change, moment)));
        Ok(events)
    }

    /// Takes the answer to a request for tokens.
    fn jwt(
        &mut self,
        svids: Result<Vec<JwtSvid>, WorkloadError>,
        moment: &Moment,
    ) -> Result<Vec<Event>, WorkloadError> {
        let new = match svids {
            Ok(svids) => tokens(&svids),
            Err(WorkloadError::NoIdentity) => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let old = mem::replace(&mut self.jwt, new);
        Ok(changes(&old, &self.jwt).into_iter().map(|change| jwt_event(change, moment)).collect())
    }
}

fn x509_event(change: Change<'_, Place, Certificate>, moment: &Moment) -> Event {
    let subject = "X.509-SVID";
    match change {
        Change::New((id, _), leaf) => {
            let text = format!("{id}  serial {}, {}", short_serial(leaf), moment.until(leaf.not_after()));
            Event { subject, verb: Verb::New, text }
        }
        Change::Renewed((id, _), old, new) => {
            let (from, to, until) = (short_serial(old), short_serial(new), moment.until(new.not_after()));
            let issuer = if old.authority_key_id() == new.authority_key_id() { "" } else { ", by another authority" };
            Event { subject, verb: Verb::Renewed, text: format!("{id}  serial {from} -> {to}, {until}{issuer}") }
        }
        Change::Gone((id, _), _) => Event { subject, verb: Verb::Gone, text: format!("{id}  {NO_ENTRY}") },
    }
}

fn jwt_event(change: Change<'_, Place, JwtSvid>, moment: &Moment) -> Event {
    let subject = "JWT-SVID";
    match change {
        Change::New((id, _), svid) => {
            Event { subject, verb: Verb::New, text: format!("{id}  {}", moment.until(svid.expires_at)) }
        }
        Change::Renewed((id, _), old, new) => {
            let (from, until) = (time_of_day(old.expires_at, &moment.zone), moment.until(new.expires_at));
            let key = if old.key_id == new.key_id { "" } else { ", by another key" };
            Event { subject, verb: Verb::Renewed, text: format!("{id}  until {from} -> {until}{key}") }
        }
        Change::Gone((id, _), _) => Event { subject, verb: Verb::Gone, text: format!("{id}  {NO_ENTRY}") },
    }
}

fn authority_event(change: Change<'_, Vec<u8>, Certificate>, moment: &Moment) -> Event {
    let subject = "authority";
    match change {
        // The key is the value's bytes, so that a value never changes.
        Change::New(_, authority) | Change::Renewed(_, _, authority) => {
            let text = format!("serial {}, {}", short_serial(authority), moment.until(authority.not_after()));
            Event { subject, verb: Verb::New, text: format!("in the bundle: {text}") }
        }
        Change::Gone(_, authority) => {
            let text = format!("no longer in the bundle: serial {}", short_serial(authority));
            Event { subject, verb: Verb::Gone, text }
        }
    }
}

impl Moment {
    fn now(clock: &Clock, screen: &Screen) -> Self {
        Self { now: clock.now(), zone: screen.zone().clone() }
    }

    fn until(&self, end: SystemTime) -> String {
        format!("until {} ({})", time_of_day(end, &self.zone), distance(end, self.now))
    }
}

fn leaves(update: &X509Update) -> BTreeMap<Place, Certificate> {
    let leaves = update.svids.iter().filter_map(|svid| Some((svid.id.clone(), svid.chain.first()?.clone())));
    placed(leaves)
}

fn tokens(svids: &[JwtSvid]) -> BTreeMap<Place, JwtSvid> {
    placed(svids.iter().map(|svid| (svid.id.clone(), svid.clone())))
}

fn authorities(update: &X509Update) -> BTreeMap<Vec<u8>, Certificate> {
    update.authorities.iter().map(|authority| (authority.der().to_vec(), authority.clone())).collect()
}

fn placed<V>(svids: impl Iterator<Item = (SpiffeId, V)>) -> BTreeMap<Place, V> {
    let mut map = BTreeMap::new();
    for (id, svid) in svids {
        let mut place = (id, 0);
        while map.contains_key(&place) {
            place.1 += 1;
        }
        map.insert(place, svid);
    }
    map
}

enum Change<'a, K, V> {
    New(&'a K, &'a V),
    Renewed(&'a K, &'a V, &'a V),
    Gone(&'a K, &'a V),
}

/// What differs, in the order of the new keys, those that went last.
fn changes<'a, K: Ord, V: PartialEq>(old: &'a BTreeMap<K, V>, new: &'a BTreeMap<K, V>) -> Vec<Change<'a, K, V>> {
    let come = new.iter().filter_map(|(key, value)| match old.get(key) {
        None => Some(Change::New(key, value)),
        Some(before) if before != value => Some(Change::Renewed(key, before, value)),
        Some(_) => None,
    });
    let gone = old.iter().filter(|(key, _)| !new.contains_key(key)).map(|(key, value)| Change::Gone(key, value));
    come.chain(gone).collect()
}

const NO_ENTRY: &str = "no entry gives it to this process any more";

#[cfg(test)]
mod tests;
