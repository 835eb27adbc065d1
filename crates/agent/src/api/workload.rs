//! The SPIFFE Workload API.
//!
//! Each call attests its caller anew; a stream then follows the caller's selector set in the cache.

use std::sync::Arc;
use std::time::SystemTime;

use futures::stream;
use prost_types::value::Kind;
use steeple_proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use steeple_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest, WitsvidResponse,
    X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use steeple_runtime::Clock;
use steeple_runtime::logging::with_fields;
use steeple_spiffe::{JwtSvid, SpiffeId, jwt};
use steeple_transport::rpc::Call;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tracing::{Level, debug, enabled, error, info, warn};

use super::limits::Limits;
use crate::cache::{Cache, Selector, Selectors, Subscription, Update, VisibleBundles};
use crate::jwt::JwtSvids;
use crate::log_fields;
use crate::workload::Attestor;

/// What the Workload API stands on.
pub(super) struct Service {
    pub(super) cache: Cache,
    pub(super) attestor: Arc<Attestor>,
    pub(super) jwt_svids: Arc<JwtSvids>,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) allow_unauthenticated_verifiers: bool,
    pub(super) allowed_foreign_claims: Arc<[String]>,
    /// Which of a caller's selectors the log may tell.
    pub(super) log_selectors: Arc<[String]>,
    /// The agent's own process.
    pub(super) own_pid: Option<i32>,
}

/// The service.
pub(super) fn service(service: Service) -> SpiffeWorkloadApiServer<impl SpiffeWorkloadApi> {
    SpiffeWorkloadApiServer::new(service)
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<BoxStream<X509svidResponse>>, Status> {
        let call = Call::of(&request)?;
        let selectors = self.attest(&call).await?;
        self.admit(&call, &selectors)?;
        let (no_identity, is_own) = (self.no_identity(&call, &selectors), self.is_own(&call));
        let updates = Updates::of(&self.cache, selectors, true);
        let clock = self.clock.clone();
        let stream = updates.into_stream(move |update| {
            if !update.has_identity() {
                return Err(no_identity());
            }
            let response = update.x509_response();
            if response.svids.is_empty() {
                // Its only identities are so new that they have no SVID yet: what it has is better than nothing.
                return Ok(None);
            }
            if !is_own {
                log_svids(update, &clock);
            }
            Ok(Some(response.clone()))
        });
        Ok(Response::new(stream))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<BoxStream<X509BundlesResponse>>, Status> {
        let answer = |update: &Update| X509BundlesResponse { crl: Vec::new(), bundles: update.x509_bundles() };
        self.bundles(&*Call::of(&request)?, answer).await
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<BoxStream<JwtBundlesResponse>>, Status> {
        let answer = |update: &Update| JwtBundlesResponse { bundles: update.jwt_bundles() };
        self.bundles(&*Call::of(&request)?, answer).await
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        let call = Call::of(&request)?;
        let JwtsvidRequest { audience, spiffe_id } = request.into_inner();
        if audience.is_empty() {
            return Err(invalid("audience must be specified"));
        }
        let wanted = match spiffe_id.as_str() {
            "" => None,
            id => Some(SpiffeId::parse(id).map_err(|error| invalid(&format!("invalid requested SPIFFE ID: {error}")))?),
        };
        let selectors = self.attest(&call).await?;
        self.admit(&call, &selectors)?;
        // Hints first: an identity that another one's hint hides cannot be asked for either.
        let mut entries = crate::cache::without_duplicate_hints(self.cache.snapshot().matching(&selectors));
        entries.retain(|entry| wanted.as_ref().is_none_or(|wanted| *wanted == entry.spiffe_id));
        if entries.is_empty() {
            return Err(self.no_identity(&call, &selectors)());
        }
        let mut svids = Vec::with_capacity(entries.len());
        for entry in entries {
            let svid = self.jwt_svids.fetch(&entry, &audience).await.map_err(|status| {
                let (error, spiffe_id) = (status.message(), &entry.spiffe_id);
                error!(target: "endpoints", registered = true, %spiffe_id, error, "Could not fetch JWT-SVID");
                Status::unavailable(format!("could not fetch JWT-SVID: {}", status.message()))
            })?;
            debug!(
                target: "endpoints",
                registered = true,
                spiffe_id = %entry.spiffe_id,
                ttl = JwtSvid::parse_unverified(&svid).ok().map(|svid| seconds_until(svid.expires_at, &self.clock)),
                "Fetched JWT SVID"
            );
            svids.push(Jwtsvid { spiffe_id: entry.spiffe_id.to_string(), svid, hint: entry.hint.clone() });
        }
        Ok(Response::new(JwtsvidResponse { svids }))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let call = Call::of(&request)?;
        let ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        if audience.is_empty() {
            return Err(invalid("audience must be specified"));
        }
        if svid.is_empty() {
            return Err(invalid("svid must be specified"));
        }
        let selectors = self.attest(&call).await?;
        let snapshot = self.cache.snapshot();
        let entries = snapshot.matching(&selectors);
        let federated = entries.iter().flat_map(|entry| entry.federates_with.iter().cloned());
        let trust_domains = federated.chain([snapshot.trust_domain().clone()]).collect();
        let bundles = VisibleBundles { snapshot: &snapshot, trust_domains };
        let validated = jwt::validate(&svid, &bundles, &audience, self.clock.now());
        let JwtSvid { id, mut claims, .. } = validated.map_err(|error| {
            warn!(target: "endpoints", %error, audience, "Failed to validate JWT");
            Status::invalid_argument(error.to_string())
        })?;
        debug!(target: "endpoints", audience, spiffe_id = %id, "Successfully validated JWT");
        if !id.is_member_of(snapshot.trust_domain()) {
            // Of a foreign token only what the standard defines, and what the operator trusts it with.
            claims.retain(|claim, _| {
                ["sub", "exp", "aud"].contains(&claim.as_str()) || self.allowed_foreign_claims.contains(claim)
            });
        }
        if let Some(audience) = claims.get_mut("aud")
            && audience.is_string()
        {
            *audience = serde_json::Value::Array(vec![audience.take()]);
        }
        let claims =
            prost_types::Struct { fields: claims.into_iter().map(|(claim, value)| (claim, proto(value))).collect() };
        Ok(Response::new(ValidateJwtsvidResponse { spiffe_id: id.to_string(), claims: Some(claims) }))
    }

    async fn fetch_witsvid(&self, _: Request<WitsvidRequest>) -> Result<Response<BoxStream<WitsvidResponse>>, Status> {
        Err(Status::unimplemented("fetching WIT-SVIDs is not implemented"))
    }

    async fn fetch_wit_bundles(
        &self,
        _: Request<WitBundlesRequest>,
    ) -> Result<Response<BoxStream<WitBundlesResponse>>, Status> {
        Err(Status::unimplemented("fetching WIT bundles is not implemented"))
    }
}

impl Service {
    /// A stream of bundles: each answer once, though other things change between.
    async fn bundles<T: Clone + PartialEq + Send + 'static>(
        &self,
        call: &Call,
        answer: impl Fn(&Update) -> T + Send + 'static,
    ) -> Result<Response<BoxStream<T>>, Status> {
        let selectors = self.attest(call).await?;
        self.admit(call, &selectors)?;
        let no_identity = self.no_identity(call, &selectors);
        let updates = Updates::of(&self.cache, selectors, false);
        let open = self.allow_unauthenticated_verifiers;
        let mut last = None;
        let stream = updates.into_stream(move |update| {
            if !update.has_identity() && !open {
                return Err(no_identity());
            }
            let response = Some(answer(update));
            if response == last {
                return Ok(None);
            }
            last.clone_from(&response);
            Ok(response)
        });
        Ok(Response::new(stream))
    }

    /// Whether it is the agent that calls itself, as its health check does.
    fn is_own(&self, call: &Call) -> bool {
        self.own_pid.is_some() && call.connection.peer().map(|peer| peer.pid) == self.own_pid
    }

    fn admit(&self, call: &Call, selectors: &Selectors) -> Result<(), Status> {
        if self.is_own(call) { Ok(()) } else { self.limits.admit(call, selectors) }
    }

    /// The refusal of a caller with these selectors. The log tells those of them that it may.
    fn no_identity(&self, call: &Call, selectors: &Selectors) -> impl Fn() -> Status + Send + Sync + use<> {
        let is_own = self.is_own(call);
        let may_be_told = |selector: &&Selector| self.log_selectors.iter().any(|prefix| selector.is_below(prefix));
        let told: Vec<_> = selectors.iter().filter(may_be_told).map(ToString::to_string).collect();
        let told = (!told.is_empty()).then(|| told.join(","));
        move || {
            if !is_own {
                error!(target: "endpoints", registered = false, selectors = told, "No identity issued");
            }
            Status::permission_denied("no identity issued")
        }
    }

    async fn attest(&self, call: &Call) -> Result<Selectors, Status> {
        let attested = match call.connection.peer() {
            Some(peer) => match self.attestor.attest(peer).await {
                Ok(selectors) => Ok((peer.pid, selectors)),
                Err(error) => Err(error.to_string()),
            },
            None => Err("the caller is no process of this host".to_owned()),
        };
        let attested = attested.map(|(pid, selectors)| {
            if enabled!(target: "workload_attestor", Level::DEBUG) && !self.is_own(call) {
                // Of the attestors, which know of no call.
                with_fields(vec![log_fields::selectors(&selectors)], || {
                    debug!(target: "workload_attestor", parent: None, pid, "PID attested to have selectors");
                });
            }
            selectors
        });
        attested.map_err(|error| {
            error!(target: "endpoints", error, "Workload attestation failed");
            Status::unavailable("workload attestation failed")
        })
    }
}

/// The updates of one caller.
struct Updates {
    selectors: Selectors,
    subscription: Subscription,
    /// Whether the first answer waits until every identity has its SVID.
    wants_svids: bool,
    first: bool,
}

impl Updates {
    fn of(cache: &Cache, selectors: Selectors, wants_svids: bool) -> Self {
        Self { subscription: cache.subscribe(selectors.clone()), selectors, wants_svids, first: true }
    }

    /// The next update that the caller can be told.
    async fn next(&mut self) -> Arc<Update> {
        if !self.first {
            self.subscription.changed().await;
        }
        let mut update = self.subscription.latest();
        while self.first && self.wants_svids && !update.is_complete() {
            if enabled!(target: "cache_manager", Level::INFO) {
                with_fields(vec![log_fields::selectors(&self.selectors)], || {
                    info!(target: "cache_manager", parent: None, "Waiting for SVID to get cached");
                });
            }
            self.subscription.changed().await;
            update = self.subscription.latest();
        }
        self.first = false;
        update
    }

    /// Answers as long as the caller stays. `answer` makes an answer of an update; None says nothing, an error is the
    /// last answer.
    fn into_stream<T: Send + 'static>(
        self,
        answer: impl FnMut(&Update) -> Result<Option<T>, Status> + Send + 'static,
    ) -> BoxStream<T> {
        Box::pin(stream::unfold(Some((self, answer)), |state| async move {
            let (mut updates, mut answer) = state?;
            loop {
                match answer(&*updates.next().await) {
                    Ok(None) => {}
                    Ok(Some(response)) => return Some((Ok(response), Some((updates, answer)))),
                    Err(status) => return Some((Err(status), None)),
                }
            }
        }))
    }
}

fn log_svids(update: &Update, clock: &Clock) {
    for identity in &update.identities {
        let Some(leaf) = identity.svid.as_ref().and_then(|svid| svid.chain.first()) else { continue };
        debug!(
            target: "endpoints",
            count = update.identities.len(),
            registered = true,
            spiffe_id = %identity.entry.spiffe_id,
            ttl = seconds_until(leaf.not_after(), clock),
            "Fetched X.509 SVID"
        );
    }
}

fn seconds_until(end: SystemTime, clock: &Clock) -> f64 {
    end.duration_since(clock.now()).unwrap_or_default().as_secs_f64()
}

fn invalid(message: &str) -> Status {
    error!(target: "endpoints", error = message, "Invalid argument");
    Status::invalid_argument(message)
}

/// JSON as protobuf's Struct has it.
fn proto(value: serde_json::Value) -> prost_types::Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(proto).collect() })
        }
        serde_json::Value::Object(members) => Kind::StructValue(prost_types::Struct {
            fields: members.into_iter().map(|(name, value)| (name, proto(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}
