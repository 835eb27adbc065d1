//! Two slots of a kind: one signs, the other waits or is what signed before.

use std::time::{Duration, SystemTime};

use steeple_proto::journal::Status;
use steeple_spiffe::x509;

use super::{JwtAuthority, X509Authority};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// However long an authority lives, its successor is prepared at most this long before its end.
const PREPARE_AHEAD: Duration = DAY.saturating_mul(30);
/// However long an authority lives, its successor takes over at most this long before its end.
const ACTIVATE_AHEAD: Duration = DAY.saturating_mul(7);

/// A slot's name, which the key manager's key ids and the journal carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotId {
    A,
    B,
}

impl SlotId {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::A, Self::B].into_iter().find(|id| id.name() == name)
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What the rules of rotation need to know of an authority.
pub(super) trait Authority: Clone {
    /// Under which API clients know it.
    fn authority_id(&self) -> String;
    /// Hexadecimal subject key ID of the authority above it; empty for none.
    fn upstream_id(&self) -> String;
    fn issued_at(&self) -> SystemTime;
    fn not_after(&self) -> SystemTime;
}

impl Authority for X509Authority {
    fn authority_id(&self) -> String {
        self.certificate.subject_key_id().map(x509::hex).unwrap_or_default()
    }

    /// One that is self-signed names itself, and has none.
    fn upstream_id(&self) -> String {
        let upstream = self.certificate.authority_key_id().filter(|_| !self.upstream_chain.is_empty());
        upstream.map(x509::hex).unwrap_or_default()
    }

    fn issued_at(&self) -> SystemTime {
        self.issued_at
    }

    fn not_after(&self) -> SystemTime {
        self.certificate.not_after()
    }
}

impl Authority for JwtAuthority {
    fn authority_id(&self) -> String {
        self.key_id.clone()
    }

    fn upstream_id(&self) -> String {
        String::new()
    }

    fn issued_at(&self) -> SystemTime {
        self.issued_at
    }

    fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

/// What stands in a slot. An old authority no longer signs, but can still be named, tainted and revoked.
#[derive(Clone, Debug)]
pub(super) enum Slot<A> {
    Empty,
    Prepared(A),
    Active(A),
    Old(A),
}

impl<A: Authority> Slot<A> {
    /// Of a journal's entry.
    pub(super) fn of(authority: A, status: Status) -> Self {
        match status {
            Status::Active => Self::Active(authority),
            Status::Old => Self::Old(authority),
            Status::Prepared | Status::Unknown => Self::Prepared(authority),
        }
    }

    fn is_prepared(&self) -> bool {
        matches!(self, Self::Prepared(_))
    }

    /// Whether it can take a new authority without losing one that is to sign.
    fn is_free(&self) -> bool {
        matches!(self, Self::Empty | Self::Old(_))
    }
}

/// The two slots of a kind.
#[derive(Debug)]
pub(super) struct Slots<A> {
    current_id: SlotId,
    current: Slot<A>,
    next: Slot<A>,
}

impl<A: Authority> Slots<A> {
    /// Nothing yet: the first authority goes to slot A.
    pub(super) fn empty() -> Self {
        Self { current_id: SlotId::A, current: Slot::Empty, next: Slot::Empty }
    }

    /// As a journal tells, newest entry first: the newest active one signs, the newest other one is next. Without an
    /// active one, the newest takes its place, and an old one stays beside it: the server was killed between what it notes of
    /// the two when one takes over from the other.
    pub(super) fn from_journal(newest_first: impl IntoIterator<Item = (SlotId, Slot<A>)>) -> Self {
        let (mut current, mut next, mut before_next) = (None, None, None);
        for (id, slot) in newest_first {
            match slot {
                Slot::Active(_) if current.is_none() => current = Some((id, slot)),
                Slot::Active(_) => {}
                _ if next.is_none() => next = Some((id, slot)),
                Slot::Old(_) if before_next.is_none() => {
                    before_next = next.as_ref().filter(|(next_id, _)| *next_id != id).map(|_| slot);
                }
                _ => {}
            }
        }
        match (current, next) {
            (Some((current_id, current)), Some((next_id, next))) if next_id != current_id => {
                Self { current_id, current, next }
            }
            (Some((current_id, current)), _) => Self { current_id, current, next: Slot::Empty },
            (None, Some((current_id, current))) => {
                Self { current_id, current, next: before_next.unwrap_or(Slot::Empty) }
            }
            (None, None) => Self::empty(),
        }
    }

    /// The authority that signs.
    pub(super) fn active(&self) -> Option<&A> {
        match &self.current {
            Slot::Active(authority) => Some(authority),
            _ => None,
        }
    }

    /// The authority that is to sign next.
    pub(super) fn prepared(&self) -> Option<&A> {
        match &self.next {
            Slot::Prepared(authority) => Some(authority),
            _ => None,
        }
    }

    /// The authority that signed before.
    pub(super) fn old(&self) -> Option<&A> {
        match &self.next {
            Slot::Old(authority) => Some(authority),
            _ => None,
        }
    }

    /// The slot that a new authority goes to: the one that does not sign.
    pub(super) fn free_id(&self) -> SlotId {
        if matches!(self.current, Slot::Empty) { self.current_id } else { self.current_id.other() }
    }

    /// Whether a successor has to be prepared now.
    pub(super) fn prepare_is_due(&self, now: SystemTime) -> bool {
        match &self.current {
            Slot::Prepared(_) => false,
            Slot::Active(active) => self.next.is_free() && now > ahead_of_end(active, 2, PREPARE_AHEAD),
            Slot::Empty | Slot::Old(_) => true,
        }
    }

    /// Whether the prepared one has to take over now.
    pub(super) fn activation_is_due(&self, now: SystemTime) -> bool {
        match &self.current {
            Slot::Active(active) => self.next.is_prepared() && now > ahead_of_end(active, 6, ACTIVATE_AHEAD),
            Slot::Prepared(_) => true,
            Slot::Empty | Slot::Old(_) => self.next.is_prepared(),
        }
    }

    /// What was prepared loses its key to what takes its place, whether that succeeds or not.
    pub(super) fn drop_prepared(&mut self) {
        if self.next.is_prepared() {
            self.next = Slot::Empty;
        }
    }

    /// Puts a new authority where [`Slots::free_id`] said.
    pub(super) fn prepare(&mut self, authority: A) {
        if matches!(self.current, Slot::Empty) {
            self.current = Slot::Prepared(authority);
        } else {
            self.next = Slot::Prepared(authority);
        }
    }

    /// Where the authority that signs stands, or the first one will.
    pub(super) fn current_id(&self) -> SlotId {
        self.current_id
    }

    /// Makes the prepared authority the one that signs. Returns it, and the one that signed before.
    pub(super) fn activate(&mut self) -> Option<(A, Option<A>)> {
        if let Slot::Prepared(authority) = self.current.clone() {
            self.current = Slot::Active(authority.clone());
            return Some((authority, None));
        }
        let Slot::Prepared(authority) = self.next.clone() else { return None };
        let before = std::mem::replace(&mut self.current, Slot::Active(authority.clone()));
        self.current_id = self.current_id.other();
        let (next, retired) = match before {
            Slot::Active(old) => (Slot::Old(old.clone()), Some(old)),
            other => (other, None),
        };
        self.next = next;
        Some((authority, retired))
    }
}

/// The moment at 1/`part` of an authority's life before its end, but not earlier than `most` before it.
fn ahead_of_end(authority: &impl Authority, part: u32, most: Duration) -> SystemTime {
    let life = authority.not_after().duration_since(authority.issued_at()).unwrap_or_default();
    authority.not_after() - (life / part).min(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Fake(u32, u64, u64);

    impl Authority for Fake {
        fn authority_id(&self) -> String {
            self.0.to_string()
        }

        fn upstream_id(&self) -> String {
            String::new()
        }

        fn issued_at(&self) -> SystemTime {
            at(self.1)
        }

        fn not_after(&self) -> SystemTime {
            at(self.2)
        }
    }

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(hours * 3600)
    }

    #[test]
    fn a_day_long_authority_is_followed_after_half_and_replaced_after_five_sixths() {
        let mut slots = Slots::empty();
        assert!(slots.prepare_is_due(at(0)));
        assert_eq!(slots.free_id(), SlotId::A);
        slots.prepare(Fake(1, 0, 24));
        assert!(slots.activation_is_due(at(0)));
        slots.activate().unwrap();

        assert!(!slots.prepare_is_due(at(12)));
        assert!(slots.prepare_is_due(at(13)));
        assert_eq!(slots.free_id(), SlotId::B);
        slots.prepare(Fake(2, 13, 37));
        assert!(!slots.prepare_is_due(at(14)));

        assert!(!slots.activation_is_due(at(20)));
        assert!(slots.activation_is_due(at(21)));
        assert_eq!(slots.activate(), Some((Fake(2, 13, 37), Some(Fake(1, 0, 24)))));
        assert_eq!(slots.active(), Some(&Fake(2, 13, 37)));
        assert_eq!(slots.free_id(), SlotId::A);
    }

    #[test]
    fn a_long_lived_authority_is_followed_thirty_days_and_replaced_seven_days_before_its_end() {
        let year = 365 * 24;
        let mut slots = Slots::from_journal([(SlotId::B, Slot::Active(Fake(1, 0, year)))]);
        assert!(!slots.prepare_is_due(at(year - 30 * 24)));
        assert!(slots.prepare_is_due(at(year - 30 * 24 + 1)));
        slots.prepare(Fake(2, year, 2 * year));
        assert!(!slots.activation_is_due(at(year - 7 * 24)));
        assert!(slots.activation_is_due(at(year - 7 * 24 + 1)));
    }

    #[test]
    fn a_journal_gives_the_newest_active_and_the_newest_other() {
        let slots = Slots::from_journal([
            (SlotId::A, Slot::Prepared(Fake(3, 2, 9))),
            (SlotId::B, Slot::Active(Fake(2, 1, 9))),
            (SlotId::A, Slot::Old(Fake(1, 0, 9))),
        ]);
        assert_eq!(slots.active(), Some(&Fake(2, 1, 9)));
        assert_eq!(slots.free_id(), SlotId::A);
        assert!(slots.next.is_prepared());
    }

    #[test]
    fn a_journal_without_an_active_one_makes_its_newest_the_current() {
        let mut slots = Slots::from_journal([(SlotId::B, Slot::Prepared(Fake(1, 0, 9)))]);
        assert!(slots.activation_is_due(at(0)));
        slots.activate().unwrap();
        assert_eq!(slots.free_id(), SlotId::A);
    }

    #[test]
    fn an_old_authority_can_be_named_though_its_successor_was_not_noted_as_active() {
        let entries = [
            (SlotId::B, Slot::Prepared(Fake(2, 1, 9))),
            (SlotId::B, Slot::Old(Fake(0, 0, 9))),
            (SlotId::A, Slot::Old(Fake(1, 0, 9))),
        ];
        let mut slots = Slots::from_journal(entries);
        assert_eq!(slots.activate(), Some((Fake(2, 1, 9), None)));
        assert_eq!(slots.old(), Some(&Fake(1, 0, 9)));
        assert_eq!(slots.free_id(), SlotId::A);
    }

    prop_compose! {
        fn entry()(is_a: bool, status in 0..3, issued_at in 0..48_u64) -> (SlotId, Slot<Fake>) {
            let authority = Fake(0, issued_at, issued_at + 24);
            let slot = match status {
                0 => Slot::Prepared(authority),
                1 => Slot::Active(authority),
                _ => Slot::Old(authority),
            };
            (if is_a { SlotId::A } else { SlotId::B }, slot)
        }
    }

    proptest! {
        #[test]
        fn whatever_a_journal_tells_each_look_leaves_one_that_signs_and_its_slot_alone(
            journal in prop::collection::vec(entry(), 0..6),
            steps in prop::collection::vec(0..30_u64, 1..40),
        ) {
            let (mut slots, mut hour) = (Slots::from_journal(journal), 24);
            for (n, step) in (1..).zip(steps) {
                hour += step;
                if slots.prepare_is_due(at(hour)) {
                    let signs = slots.active().cloned();
                    prop_assert!(signs.is_none() || slots.free_id() != slots.current_id());
                    slots.prepare(Fake(n, hour, hour + 24));
                    prop_assert_eq!(slots.active().cloned(), signs);
                }
                if slots.activation_is_due(at(hour)) {
                    prop_assert!(slots.activate().is_some());
                }
                prop_assert!(slots.active().is_some());
            }
        }
    }
}
