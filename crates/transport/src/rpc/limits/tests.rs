use std::net::SocketAddr;

use futures::FutureExt;
use http::HeaderValue;
use steeple_testkit::ManualClock;
use steeple_testkit::record::Counted;

use super::bucket::{GENERATION, KEYS};
use super::*;
use crate::connection::{Local, Remote};
use crate::rpc::{Methods, ServiceName};

const SERVICE: ServiceName =
    ServiceName { full: "s.Service", log: "s", metric: "s", connections: None, methods: &["Sign", "Renew", "List"] };

struct Case {
    manual: ManualClock,
    limits: Arc<Limits>,
    methods: Methods,
}

/// Five a second for `Sign` and `Renew` together.
fn case() -> Case {
    let manual = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let methods =
        vec![("/s.Service/Sign".to_owned(), "rejecting Sign"), ("/s.Service/Renew".to_owned(), "rejecting Renew")];
    let limits = Limits::new([Rate { per_second: 5, methods }], &manual.clock());
    Case { manual, limits, methods: Methods::new(&[SERVICE]) }
}

impl Case {
    fn limiter_of(&self, connection: &Connection, method: &str, timeout: Option<&'static str>) -> Limiter {
        let timeout = timeout.map(|timeout| ("grpc-timeout".parse().unwrap(), HeaderValue::from_static(timeout)));
        let method = self.methods.find(&format!("/s.Service/{method}")).unwrap();
        self.limits.limiter(method, connection, &timeout.into_iter().collect())
    }

    fn limiter(&self, address: &str, method: &str) -> Limiter {
        self.limiter_of(&remote(address), method, None)
    }

    fn is_full(&self, address: &str) -> bool {
        matches!(self.limiter(address, "Sign").admit(5).now_or_never(), Some(Ok(())))
    }
}

fn remote(address: &str) -> Connection {
    let address = SocketAddr::new(address.parse().unwrap(), 1);
    Connection::Remote(Remote { address, svid: None })
}

#[tokio::test]
async fn methods_of_one_rate_spend_from_one_bucket_and_others_are_free() {
    let case = case();
    case.limiter("10.0.0.1", "Sign").admit(3).await.unwrap();
    case.limiter("10.0.0.1", "Renew").admit(2).await.unwrap();
    let limiter = case.limiter("10.0.0.1", "Sign");
    assert!(limiter.admit(1).now_or_never().is_none(), "the bucket should be empty");
    case.limiter("10.0.0.1", "List").admit(100).await.unwrap();
    case.limiter_of(&Connection::Local(Local { peer: None }), "Sign", None).admit(100).await.unwrap();
    assert!(case.is_full("10.0.0.2"), "another address has its own bucket");
}

#[tokio::test]
async fn an_address_is_the_same_in_both_families() {
    let case = case();
    case.limiter("10.0.0.1", "Sign").admit(5).await.unwrap();
    assert!(!case.is_full("::ffff:10.0.0.1"));
}

#[tokio::test]
async fn who_is_too_fast_waits_for_the_tokens() {
    let case = case();
    case.limiter("10.0.0.1", "Sign").admit(5).await.unwrap();
    let limiter = case.limiter("10.0.0.1", "Sign");
    let mut waiting = Box::pin(limiter.admit(2));
    assert!(waiting.as_mut().now_or_never().is_none());
    case.manual.advance(Duration::from_millis(399));
    assert!(waiting.as_mut().now_or_never().is_none());
    case.manual.advance(Duration::from_millis(1));
    waiting.await.unwrap();
}

#[tokio::test]
async fn more_than_a_bucket_holds_is_refused_at_once_and_spends_nothing() {
    let counted = Counted::new();
    let case = case();
    let status = case.limiter("10.0.0.1", "Renew").admit(6).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "rejecting Renew: rate (6) exceeds burst size (5)");
    assert_eq!(counted.of("rateLimit.s.renew{status=ResourceExhausted}"), 1);
    assert!(case.is_full("10.0.0.1"));
    assert_eq!(counted.of("rateLimit.s.sign{status=OK}"), 1);
}

#[tokio::test]
async fn who_could_not_wait_so_long_is_refused_at_once_and_spends_nothing() {
    let case = case();
    case.limiter("10.0.0.1", "Sign").admit(5).await.unwrap();
    let hasty = case.limiter_of(&remote("10.0.0.1"), "Sign", Some("199m"));
    let status = hasty.admit(1).await.unwrap_err();
    assert_eq!(status.message(), "rejecting Sign: rate: Wait(n=1) would exceed context deadline");
    let patient = case.limiter_of(&remote("10.0.0.1"), "Sign", Some("200m"));
    let mut waiting = Box::pin(patient.admit(1));
    assert!(waiting.as_mut().now_or_never().is_none());
    case.manual.advance(Duration::from_millis(200));
    waiting.await.unwrap();
}

#[tokio::test]
async fn who_goes_while_waiting_has_spent_nothing() {
    let case = case();
    case.limiter("10.0.0.1", "Sign").admit(5).await.unwrap();
    let limiter = case.limiter("10.0.0.1", "Sign");
    assert!(limiter.admit(5).now_or_never().is_none());
    case.manual.advance(Duration::from_secs(1));
    assert!(case.is_full("10.0.0.1"));
}

#[tokio::test]
async fn an_address_keeps_its_bucket_for_a_minute_and_no_longer_than_two() {
    let case = case();
    // So many that time alone would not fill the bucket within the test.
    for _ in 0..200 {
        case.limits.0["/s.Service/Sign"].0.take([10, 0, 0, 1].into(), 5, None);
    }
    case.manual.advance(GENERATION);
    assert!(!case.is_full("10.0.0.1"), "it is remembered in the next generation");
    case.manual.advance(GENERATION);
    assert!(case.is_full("10.0.0.2"));
    case.manual.advance(GENERATION);
    assert!(case.is_full("10.0.0.1"), "it was silent for two generations");
}

#[tokio::test]
async fn a_flood_of_addresses_costs_bounded_memory() {
    let case = case();
    let buckets = &case.limits.0["/s.Service/Sign"].0;
    for number in 0..u32::try_from(3 * KEYS).unwrap() {
        buckets.take(IpAddr::V4(number.into()), 1, None);
    }
    let (young, old) = buckets.known();
    assert!(young <= KEYS && old <= KEYS, "{young} {old}");
}

#[test]
fn a_callers_limit_of_time_is_read_in_each_unit() {
    let read = |text: &'static str| {
        let headers = [("grpc-timeout".parse().unwrap(), HeaderValue::from_static(text))];
        timeout(&headers.into_iter().collect())
    };
    assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
    assert_eq!(read("2M"), Some(Duration::from_secs(120)));
    assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
    assert_eq!(read("5m"), Some(Duration::from_millis(5)));
    assert_eq!(read("5u"), Some(Duration::from_micros(5)));
    assert_eq!(read("5n"), Some(Duration::from_nanos(5)));
    for malformed in ["", "S", "5", "5x", "-5S", "+5S", "123456789S"] {
        assert_eq!(read(malformed), None, "{malformed}");
    }
}
