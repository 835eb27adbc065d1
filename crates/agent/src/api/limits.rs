//! How often processes with the same selectors may call: `experimental.ratelimit`.

use std::collections::HashMap;
use std::time::Duration;

use steeple_runtime::Clock;
use steeple_transport::rpc::{Buckets, Call};
use tonic::Status;
use tracing::{info, warn};

use crate::cache::Selectors;
use crate::config::RateLimits;

/// The limits of those methods that have one.
pub(super) struct Limits(HashMap<&'static str, Buckets<Selectors>>);

impl Limits {
    /// As configured.
    pub(super) fn new(limits: &RateLimits, clock: &Clock) -> Self {
        let RateLimits { fetch_x509_svid, fetch_jwt_svid, fetch_x509_bundles, fetch_jwt_bundles } = *limits;
        let methods = [
            ("FetchX509SVID", fetch_x509_svid),
            ("FetchJWTSVID", fetch_jwt_svid),
            ("FetchX509Bundles", fetch_x509_bundles),
            ("FetchJWTBundles", fetch_jwt_bundles),
        ];
        let limited = methods.into_iter().filter(|(_, limit)| *limit > 0).map(|(method, limit)| {
            info!(target: "endpoints", method, limit, "Workload API/SDS rate limiting enabled");
            (method, Buckets::new(limit, clock.clone()))
        });
        Self(limited.collect())
    }

    /// Who is too fast is refused; a stream counts when it is opened.
    ///
    /// # Errors
    /// UNAVAILABLE, as the reference has it.
    pub(super) fn admit(&self, call: &Call, selectors: &Selectors) -> Result<(), Status> {
        if self.has_room(call.method.name, selectors) {
            return Ok(());
        }
        steeple_runtime::metrics::count_of("workload_api.rate_limit_exceeded", "method", call.method.name);
        warn!(target: "endpoints", method = call.method.name, "Rate limit exceeded");
        Err(Status::unavailable(format!("rate limit exceeded for {}", call.method.path)))
    }

    fn has_room(&self, method: &str, selectors: &Selectors) -> bool {
        let buckets = self.0.get(method);
        buckets.is_none_or(|buckets| buckets.take(selectors.clone(), 1, Some(Duration::ZERO)).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Selector;
    use crate::tests::SECOND;

    fn uid(uid: &str) -> Selectors {
        Selectors::new(vec![Selector { kind: "unix".into(), value: format!("uid:{uid}").into() }])
    }

    #[test]
    fn processes_with_the_same_selectors_share_a_limit_for_each_method() {
        let manual = steeple_testkit::ManualClock::new(std::time::SystemTime::UNIX_EPOCH);
        let limits = RateLimits { fetch_x509_svid: 2, fetch_jwt_svid: 1, ..RateLimits::default() };
        let limits = Limits::new(&limits, &manual.clock());
        assert!(limits.has_room("FetchX509SVID", &uid("1")) && limits.has_room("FetchX509SVID", &uid("1")));
        assert!(!limits.has_room("FetchX509SVID", &uid("1")));
        assert!(limits.has_room("FetchX509SVID", &uid("2")) && limits.has_room("FetchX509SVID", &Selectors::default()));
        assert!(limits.has_room("FetchJWTSVID", &uid("1")) && !limits.has_room("FetchJWTSVID", &uid("1")));
        manual.advance(SECOND / 2);
        assert!(limits.has_room("FetchX509SVID", &uid("1")) && !limits.has_room("FetchJWTSVID", &uid("1")));
    }

    #[test]
    fn what_has_no_limit_is_not_limited() {
        let manual = steeple_testkit::ManualClock::new(std::time::SystemTime::UNIX_EPOCH);
        let limits = Limits::new(&RateLimits::default(), &manual.clock());
        assert!((0..1000).all(|_| limits.has_room("FetchX509SVID", &uid("1"))));
    }
}
