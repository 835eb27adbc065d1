//! How much a caller may ask for: token buckets, one an address, each shared by the methods that its [`Rate`] names. A
//! caller that is too fast waits; it is refused only when it asks for more than a bucket holds, or could not wait so long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use steeple_runtime::Clock;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::Method;
use crate::connection::Connection;
use crate::status::code_name;

/// An address that was silent for one to two of these has a full bucket again, and costs no memory.
const GENERATION: Duration = Duration::from_secs(60);
/// Addresses that a bucket remembers a generation; more of them end the generation early.
const ADDRESSES: usize = 65_536;

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
pub struct Limits(HashMap<String, (Arc<Bucket>, &'static str)>);

impl Limits {
    /// No limits, for ever.
    pub fn none() -> watch::Receiver<Arc<Self>> {
        watch::channel(Arc::default()).1
    }

    /// One bucket a rate; a method that no rate names is not limited.
    pub fn new(rates: impl IntoIterator<Item = Rate>, clock: &Clock) -> Arc<Self> {
        let mut limits = HashMap::new();
        for Rate { per_second, methods } in rates {
            let bucket = Arc::new(Bucket { per_second, clock: clock.clone(), addresses: Mutex::default() });
            limits.extend(methods.into_iter().map(|(path, refusal)| (path, (Arc::clone(&bucket), refusal))));
        }
        Arc::new(Self(limits))
    }

    /// Processes of this host are not limited.
    pub(super) fn limiter(&self, method: &'static Method, connection: &Connection, headers: &HeaderMap) -> Limiter {
        let (Connection::Remote(remote), Some((bucket, refusal))) = (connection, self.0.get(&method.path)) else {
            return Limiter(None);
        };
        let deadline = timeout(headers).and_then(|timeout| bucket.clock.now().checked_add(timeout));
        let address = remote.address.ip().to_canonical();
        Limiter(Some(Limited { bucket: Arc::clone(bucket), refusal, address, deadline, metric: method.limit_metric }))
    }
}

/// One caller's limit on one call.
#[derive(Debug)]
pub struct Limiter(Option<Limited>);

#[derive(Debug)]
struct Limited {
    bucket: Arc<Bucket>,
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
        let Self { bucket, refusal, address, deadline, metric: _ } = self;
        let refused = |why: String| Err(Status::resource_exhausted(format!("{refusal}: {why}")));
        if count > bucket.per_second {
            return refused(format!("rate ({count}) exceeds burst size ({})", bucket.per_second));
        }
        let patience = deadline.map(|deadline| deadline.duration_since(bucket.clock.now()).unwrap_or_default());
        match bucket.take(*address, count, patience) {
            Some(Duration::ZERO) => Ok(()),
            Some(wait) => {
                let unused = GiveBack { bucket, address: *address, count };
                bucket.clock.sleep(wait).await;
                std::mem::forget(unused);
                Ok(())
            }
            None => refused(format!("rate: Wait(n={count}) would exceed context deadline")),
        }
    }
}

#[derive(Debug)]
struct Bucket {
    per_second: u32,
    clock: Clock,
    addresses: Mutex<Addresses>,
}

/// Two generations: what is not asked for while it is old is forgotten with it.
#[derive(Debug, Default)]
struct Addresses {
    young: HashMap<IpAddr, Tokens>,
    old: HashMap<IpAddr, Tokens>,
    born: Option<SystemTime>,
}

/// Below zero while callers wait.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    left: f64,
    at: SystemTime,
}

impl Bucket {
    /// How long to wait for the tokens, which are taken; None, and nothing taken, when that is longer than `patience`.
    fn take(&self, address: IpAddr, count: u32, patience: Option<Duration>) -> Option<Duration> {
        let now = self.clock.now();
        let (full, rate) = (f64::from(self.per_second), f64::from(self.per_second));
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.age(now);
        let tokens = addresses.tokens(address, Tokens { left: full, at: now });
        // A clock that was set back refills nothing.
        let passed = now.duration_since(tokens.at).unwrap_or_default().as_secs_f64();
        let left = (tokens.left + passed * rate).min(full) - f64::from(count);
        let wait = Duration::from_secs_f64((-left / rate).max(0.0));
        let waits = patience.is_none_or(|patience| wait <= patience);
        *tokens = Tokens { left: if waits { left } else { left + f64::from(count) }, at: now };
        waits.then_some(wait)
    }

    fn give_back(&self, address: IpAddr, count: u32) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokens) = addresses.young.get_mut(&address) {
            tokens.left += f64::from(count);
        }
    }
}

impl Addresses {
    fn age(&mut self, now: SystemTime) {
        let born = *self.born.get_or_insert(now);
        let aged = now.duration_since(born).map_or(true, |age| age >= GENERATION);
        if aged || self.young.len() >= ADDRESSES {
            self.old = std::mem::take(&mut self.young);
            self.born = Some(now);
        }
    }

    fn tokens(&mut self, address: IpAddr, full: Tokens) -> &mut Tokens {
        let old = self.old.remove(&address);
        self.young.entry(address).or_insert(old.unwrap_or(full))
    }
}

/// A caller that went while it waited has spent nothing.
struct GiveBack<'a> {
    bucket: &'a Bucket,
    address: IpAddr,
    count: u32,
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        self.bucket.give_back(self.address, self.count);
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
