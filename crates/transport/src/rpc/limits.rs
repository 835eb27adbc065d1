//! How much a caller may ask for: token buckets, one an address, each shared by the methods that its [`Rate`] names. A
//! caller that is too fast waits; it is refused only when it asks for more than a bucket holds, or could not wait so long.

mod bucket;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use steeple_runtime::Clock;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::Method;
use crate::connection::Connection;
use crate::status::code_name;
pub use bucket::Buckets;

/// What some methods may do together in a second, an address; also what a bucket holds.
#[derive(Clone, Debug)]
pub struct Rate {
    /// Tokens a second.
    pub per_second: u32,
    /// Paths of the methods that share the bucket, each with the beginning of its refusals.
    pub methods: Vec<(String, &'static str)>,
}

/// The limits of a listener's methods.
#[derive(Debug, Default)]
pub struct Limits(HashMap<String, (Arc<Buckets<IpAddr>>, &'static str)>);

impl Limits {
    /// No limits, for ever.
    pub fn none() -> watch::Receiver<Arc<Self>> {
        watch::channel(Arc::default()).1
    }

    /// One bucket a rate; a method that no rate names is not limited.
    pub fn new(rates: impl IntoIterator<Item = Rate>, clock: &Clock) -> Arc<Self> {
        let mut limits = HashMap::new();
        for Rate { per_second, methods } in rates {
            let buckets = Arc::new(Buckets::new(per_second, clock.clone()));
            limits.extend(methods.into_iter().map(|(path, refusal)| (path, (Arc::clone(&buckets), refusal))));
        }
        Arc::new(Self(limits))
    }

    /// Processes of this host are not limited.
    pub(super) fn limiter(&self, method: &'static Method, connection: &Connection, headers: &HeaderMap) -> Limiter {
        let (Connection::Remote(remote), Some((buckets, refusal))) = (connection, self.0.get(&method.path)) else {
            return Limiter(None);
        };
        let deadline = timeout(headers).and_then(|timeout| buckets.clock().now().checked_add(timeout));
        let address = remote.address.ip().to_canonical();
        Limiter(Some(Limited { buckets: Arc::clone(buckets), refusal, address, deadline, metric: method.limit_metric }))
    }
}

/// One caller's limit on one call.
#[derive(Debug)]
pub struct Limiter(Option<Limited>);

#[derive(Debug)]
struct Limited {
    buckets: Arc<Buckets<IpAddr>>,
    refusal: &'static str,
    address: IpAddr,
    /// When the caller gives up.
    deadline: Option<SystemTime>,
    metric: &'static str,
}

impl Limiter {
    /// Waits until `count` may be spent.
    pub(super) async fn admit(&self, count: u32) -> Result<(), Status> {
        let Some(limited) = &self.0 else { return Ok(()) };
        let started = Instant::now();
        let admitted = limited.admit(count).await;
        let code = admitted.as_ref().err().map_or(Code::Ok, Status::code);
        steeple_runtime::metrics::called(limited.metric, code_name(code), started);
        admitted
    }
}

impl Limited {
    async fn admit(&self, count: u32) -> Result<(), Status> {
        let Self { buckets, refusal, address, deadline, metric: _ } = self;
        let refused = |why: String| Err(Status::resource_exhausted(format!("{refusal}: {why}")));
        if count > buckets.size() {
            return refused(format!("rate ({count}) exceeds burst size ({})", buckets.size()));
        }
        let patience = deadline.map(|deadline| deadline.duration_since(buckets.clock().now()).unwrap_or_default());
        match buckets.take(*address, count, patience) {
            Some(Duration::ZERO) => Ok(()),
            Some(wait) => {
                let unused = GiveBack { buckets, address: *address, count };
                buckets.clock().sleep(wait).await;
                std::mem::forget(unused);
                Ok(())
            }
            None => refused(format!("rate: Wait(n={count}) would exceed context deadline")),
        }
    }
}

/// A caller that went while it waited has spent nothing.
struct GiveBack<'a> {
    buckets: &'a Buckets<IpAddr>,
    address: IpAddr,
    count: u32,
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        self.buckets.give_back(&self.address, self.count);
    }
}

/// The caller's own limit of time: up to eight digits and a unit (gRPC over HTTP/2, `grpc-timeout`).
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let digits = Some(digits).filter(|digits| digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 60 * 60),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
