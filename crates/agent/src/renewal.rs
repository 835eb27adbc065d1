//! When an X.509-SVID is replaced: at about half of its life, or so long before its end that a server may be away for
//! `availability_target`, whichever comes first.

use std::time::{Duration, SystemTime};

use steeple_runtime::{jitter, spread};
use steeple_spiffe::x509::Certificate;
use tracing::warn;

/// What the target leaves of a life must be longer than this: otherwise SVIDs would be made all the time.
const LEAST_USE: Duration = Duration::from_secs(12 * 60 * 60);
/// So that a fleet does not ask at once.
const SPREAD: Duration = Duration::from_secs(10 * 60);

/// The rule of one agent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Renewal {
    /// `availability_target`
    pub availability_target: Option<Duration>,
}

impl Renewal {
    /// When an SVID that was made `now` is replaced.
    ///
    /// At half of the life that is left, not of the whole one: certificates are backdated, and one that lasts no longer
    /// than that would be replaced without end.
    pub(crate) fn moment(self, leaf: &Certificate, now: SystemTime) -> SystemTime {
        let left = leaf.not_after().duration_since(now).unwrap_or_default();
        let half = now + jitter(left / 2);
        let for_target = self.reserve(leaf).and_then(|reserve| leaf.not_after().checked_sub(reserve));
        for_target.map_or(half, |moment| moment.min(half))
    }

    /// Whether an SVID is to be replaced now. Each look draws its own moment.
    pub(crate) fn is_due(self, leaf: &Certificate, now: SystemTime) -> bool {
        let left = leaf.not_after().duration_since(now).unwrap_or_default();
        left <= jitter(life(leaf) / 2) || self.reserve(leaf).is_some_and(|reserve| left <= reserve)
    }

    /// What must be left of an SVID's life for the target.
    fn reserve(self, leaf: &Certificate) -> Option<Duration> {
        let target = self.availability_target?;
        if life(leaf).saturating_sub(target) <= LEAST_USE {
            warn!(
                target: "manager",
                availability_target = ?target,
                ttl = ?life(leaf),
                "X509 SVID lives too short for availability_target; it is renewed at half of its life"
            );
            return None;
        }
        // From nothing to the whole spread, evenly.
        Some(target + spread(SPREAD / 2, SPREAD / 2))
    }
}

fn life(leaf: &Certificate) -> Duration {
    leaf.not_after().duration_since(leaf.not_before()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use steeple_testkit::Ca;

    use super::*;
    use crate::tests::HOUR;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * 365 * 50
    }

    fn leaf(life: Duration) -> Certificate {
        Ca::new("example.org", now()).svid("/a", now()..now() + life).leaf().clone()
    }

    fn renewed_after(availability_target: Option<Duration>, life: Duration) -> Duration {
        let moment = Renewal { availability_target }.moment(&leaf(life), now());
        moment.duration_since(now()).unwrap()
    }

    #[test]
    fn an_svid_is_renewed_at_about_half_of_its_life() {
        for target in [None, Some(DAY)] {
            let after = renewed_after(target, HOUR);
            assert!(after >= HOUR * 45 / 100 && after <= HOUR * 55 / 100, "{after:?}");
        }
    }

    #[test]
    fn an_svid_that_must_last_for_a_target_is_renewed_earlier() {
        let after = renewed_after(Some(DAY * 6), DAY * 7);
        assert!(after <= DAY && after >= DAY - SPREAD - Duration::from_secs(1), "{after:?}");
        // A target beyond half of the life changes nothing.
        let after = renewed_after(Some(DAY), DAY * 7);
        assert!(after >= DAY * 3, "{after:?}");
    }

    #[test]
    fn a_target_that_would_leave_half_a_day_or_less_is_not_held() {
        let after = renewed_after(Some(DAY * 7 - LEAST_USE), DAY * 7);
        assert!(after >= DAY * 3, "{after:?}");
    }

    #[test]
    fn a_look_tells_the_same() {
        let leaf = leaf(DAY * 7);
        let is_due = |availability_target, age| Renewal { availability_target }.is_due(&leaf, now() + age);
        assert!(!is_due(None, DAY * 3) && is_due(None, DAY * 4));
        assert!(!is_due(Some(DAY * 6), DAY - SPREAD * 2) && is_due(Some(DAY * 6), DAY + SPREAD));
    }
}
