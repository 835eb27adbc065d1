//! JWT-SVIDs of workloads: made on demand, kept until about half of their life.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use steeple_proto::spire::api::server::svid::v1::NewJwtsvidRequest;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::types;
use steeple_runtime::clock::from_unix_seconds;
use steeple_runtime::logging::with_fields;
use steeple_runtime::metrics::{called, gauge, sample};
use steeple_runtime::{Clock, jitter};
use steeple_spiffe::JwtSvid;
use steeple_transport::rpc::Class;
use steeple_transport::status::describe;
use tonic::Status;
use tracing::{debug, error, info, warn};

use crate::cache::{Cache, Entry};
use crate::log_fields;
use crate::upstream::Upstream;

/// How long a caller waits for a token that he does not have.
const LIMIT: Duration = Duration::from_secs(30);

/// A longer token is given, and not kept: the number of tokens is a bound on memory only with a bound on each.
const KEPT: usize = 16 << 10;

/// Tokens of this agent's workloads.
pub(crate) struct JwtSvids {
    upstream: Upstream,
    /// Tells which authorities are tainted.
    known: Cache,
    clock: Clock,
    options: Options,
    cache: Mutex<Tokens>,
}

/// How tokens are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// `jwt_svid_cache_max_size`
    pub size: usize,
    /// `experimental.jwt_svid_cache_hit_timeout`: how long a caller waits for a new token while the old one would do.
    pub hit_timeout: Duration,
}

#[derive(Default)]
struct Tokens {
    tokens: HashMap<Arc<Key>, Token>,
    /// Each one's last use, so that the one used longest ago is found at once.
    by_use: BTreeMap<u64, Arc<Key>>,
    /// How often any was used.
    uses: u64,
    /// Key IDs of the tainted authorities whose tokens have been taken away.
    tainted: BTreeSet<String>,
}

/// Whom a token is for. Entries with the same SPIFFE ID share tokens.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    spiffe_id: String,
    /// Sorted.
    audience: Vec<String>,
}

struct Token {
    text: String,
    /// `kid`: which authority signed it.
    key_id: Option<String>,
    renew_at: SystemTime,
    expires_at: SystemTime,
    last_used: u64,
}

impl JwtSvids {
    /// None yet.
    pub(crate) fn new(upstream: Upstream, known: Cache, clock: Clock, options: Options) -> Self {
        Self { upstream, known, clock, options, cache: Mutex::default() }
    }

    /// A token for an entry's identity and an audience.
    ///
    /// # Errors
    /// The server's, unless a token that has not ended is at hand.
    pub(crate) async fn fetch(&self, entry: &Entry, audience: &[String]) -> Result<String, Status> {
        let mut sorted = audience.to_vec();
        sorted.sort_unstable();
        let key = Key { spiffe_id: entry.spiffe_id.to_string(), audience: sorted };
        let now = self.clock.now();
        let held = self.held(&key);
        if let Some((token, renew_at, _)) = &held
            && now < *renew_at
        {
            return Ok(token.clone());
        }
        let still_good = held.as_ref().is_some_and(|(_, _, expires_at)| now < *expires_at);
        let (limit, class) = if still_good { (self.options.hit_timeout, Class::Due) } else { (LIMIT, Class::New) };
        match self.new_token(entry, audience, limit, class).await {
            Ok(svid) => Ok(self.keep(key, svid)),
            Err(status) => match held {
                Some((token, _, expires_at)) if self.clock.now() < expires_at => {
                    warn!(
                        target: "manager",
                        spiffe_id = %entry.spiffe_id,
                        error = %status.message(),
                        "Unable to renew JWT; returning cached copy"
                    );
                    Ok(token)
                }
                _ => Err(status),
            },
        }
    }

    /// How many tokens are kept.
    pub(crate) fn kept(&self) -> usize {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).tokens.len()
    }

    async fn new_token(
        &self,
        entry: &Entry,
        audience: &[String],
        limit: Duration,
        class: Class,
    ) -> Result<types::Jwtsvid, Status> {
        let request = NewJwtsvidRequest { entry_id: entry.id.to_string(), audience: audience.to_vec() };
        let call = |channel| {
            let mut request = tonic::Request::new(request.clone());
            class.mark(&mut request);
            async move { SvidClient::new(channel).new_jwtsvid(request).await }
        };
        let answer = self.upstream.call_again(limit, call).await.map_err(|status| {
            let error = describe(&status);
            with_fields(
                log_fields::status(&status),
                || error!(target: "manager", parent: None, error, "Failed to fetch JWT SVID"),
            );
            Status::new(status.code(), format!("failed to fetch JWT SVID: {error}"))
        })?;
        let svid = answer.into_inner().svid.ok_or_else(|| Status::internal("JWTSVID response missing SVID"))?;
        if svid.issued_at == 0 || svid.expires_at == 0 || svid.issued_at > svid.expires_at {
            return Err(Status::internal("JWTSVID issued or expired at no sound time"));
        }
        Ok(svid)
    }

    /// Takes away the tokens of authorities that have been tainted since the last time.
    pub(crate) fn drop_tainted(&self) {
        let known = self.known.snapshot();
        let Some(own) = known.own_bundle() else { return };
        let authorities = own.bundle.jwt_authorities.iter().filter(|authority| authority.tainted);
        let tainted: BTreeSet<_> = authorities.map(|authority| authority.key_id.clone()).collect();
        let began = Instant::now();
        let (new, tainted_jwt_svids) =
            self.cache.lock().unwrap_or_else(PoisonError::into_inner).drop_signed_by(tainted);
        if new.is_empty() {
            return;
        }
        called("cache_manager.workload.process_tainted_jwt_svids", "OK", began);
        sample("cache_manager.tainted_jwt_svids.workload", tainted_jwt_svids as f64);
        let jwt_authority_key_ids = new.join(",");
        debug!(target: "manager", jwt_authority_key_ids, "New tainted JWT authorities found");
        if tainted_jwt_svids > 0 {
            info!(
                target: "cache_manager",
                jwt_authority_key_ids,
                tainted_jwt_svids,
                "JWT-SVIDs were removed from the JWT cache because they were issued by a tainted authority"
            );
        }
    }

    /// A token of a tainted authority counts as none: it may have been under way when the others were taken away.
    fn held(&self, key: &Key) -> Option<(String, SystemTime, SystemTime)> {
        let known = self.known.snapshot();
        let is_tainted = |token: &Token| {
            let authority = known.own_bundle().and_then(|own| own.bundle.jwt_authority(token.key_id.as_deref()?));
            authority.is_some_and(|authority| authority.tainted)
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.tokens.get(key).is_some_and(is_tainted) {
            cache.remove(key);
        }
        let token = cache.of_use(key)?;
        Some((token.text.clone(), token.renew_at, token.expires_at))
    }

    fn keep(&self, key: Key, svid: types::Jwtsvid) -> String {
        let types::Jwtsvid { token: text, issued_at, expires_at, id: _, hint: _ } = svid;
        if text.len() > KEPT {
            return text;
        }
        let (issued_at, expires_at) = (from_unix_seconds(issued_at), from_unix_seconds(expires_at));
        let life = expires_at.duration_since(issued_at).unwrap_or(Duration::ZERO);
        let renew_at = expires_at - jitter(life / 2);
        let key_id = JwtSvid::key_id_unverified(&text);
        let token = Token { text: text.clone(), key_id, renew_at, expires_at, last_used: 0 };
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).insert(key, token, self.options.size);
        text
    }
}

impl Tokens {
    /// A token that is used now.
    fn of_use(&mut self, key: &Key) -> Option<&Token> {
        let token = self.tokens.get_mut(key)?;
        let key = self.by_use.remove(&token.last_used)?;
        self.uses += 1;
        token.last_used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(token)
    }

    /// Keeps a new token in place of the key's old one or, when there are `size`, of the one used longest ago.
    fn insert(&mut self, key: Key, token: Token, size: usize) {
        self.remove(&key);
        if self.tokens.len() >= size
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.tokens.remove(&oldest);
        }
        self.uses += 1;
        let key = Arc::new(key);
        self.by_use.insert(self.uses, Arc::clone(&key));
        self.tokens.insert(key, Token { last_used: self.uses, ..token });
        self.measure();
    }

    fn measure(&self) {
        gauge("jwt_svid_cache_size", self.tokens.len() as f64);
    }

    /// Removes what the authorities have signed that were not among the tainted ones before; returns their key IDs and the
    /// number of tokens.
    fn drop_signed_by(&mut self, tainted: BTreeSet<String>) -> (Vec<String>, usize) {
        let new: Vec<_> = tainted.difference(&self.tainted).cloned().collect();
        let is_of_new = |token: &Token| token.key_id.as_ref().is_some_and(|id| new.contains(id));
        let dropped: Vec<_> =
            self.tokens.iter().filter(|(_, token)| is_of_new(token)).map(|(key, _)| Arc::clone(key)).collect();
        dropped.iter().for_each(|key| self.remove(key));
        self.tainted = tainted;
        self.measure();
        (new, dropped.len())
    }

    fn remove(&mut self, key: &Key) {
        if let Some(token) = self.tokens.remove(key) {
            self.by_use.remove(&token.last_used);
        }
    }
}

#[cfg(test)]
mod tests;
