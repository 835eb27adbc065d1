//! JWT-SVIDs to show, and bundles to validate those of others with.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tonic::Code;

use super::answer::{FetchedJwtSvid, JwtBundles};
use super::feed::Feed;
use super::{BundleUpdates, ClientError, SourceError, SourceOptions, WorkloadApiClient};
use crate::jwt::{self, JwtError};
use crate::{Bundle, BundleSource, JwtSvid, SpiffeId, Timer, TrustDomain};

/// The JWT-SVIDs of this process, fetched when they are wanted, and the JWT bundles, as they are now. Cheap to clone; all
/// clones share tokens and stream.
///
/// A token is kept and given again until half of its life is over; after that a new one is fetched, and if the Workload
/// API is away, the old one serves until its end. It is dropped before that when access is denied or when its key leaves
/// the bundle.
#[derive(Clone)]
pub struct JwtSource(Arc<Inner>);

struct Inner {
    client: WorkloadApiClient,
    bundles: Feed<JwtBundles>,
    kept: Mutex<HashMap<Wanted, Kept>>,
    timer: Arc<dyn Timer>,
}

/// Whom tokens are for, sorted, and whose they are.
type Wanted = (Vec<String>, Option<SpiffeId>);

struct Kept {
    svids: Arc<[FetchedJwtSvid]>,
    /// Half of the life of the one that lives shortest.
    renew_at: SystemTime,
    ends_at: SystemTime,
    /// How often access had been denied when they were asked for.
    denials: u64,
}

impl JwtSource {
    /// How many sets of tokens are kept, each for another audience or subject. Beyond it, the one that ends first goes.
    pub const MAX_KEPT: usize = 256;

    /// Follows the Workload API that the environment names, and waits for the first bundles, however long that takes.
    ///
    /// # Errors
    /// [`SourceError::Client`] when the environment names no endpoint, [`SourceError::Ended`] when the Workload API
    /// refuses for good.
    pub async fn new() -> Result<Self, SourceError> {
        let source = Self::start(WorkloadApiClient::from_env()?, SourceOptions::default())?;
        source.ready().await?;
        Ok(source)
    }

    /// Begins to follow the bundles.
    ///
    /// # Errors
    /// [`SourceError::NoRuntime`].
    pub fn start(client: WorkloadApiClient, options: SourceOptions) -> Result<Self, SourceError> {
        let timer = Arc::clone(&options.timer);
        let bundles = Feed::start(client.clone(), options, |answer: JwtBundles| answer)?;
        Ok(Self(Arc::new(Inner { client, bundles, kept: Mutex::default(), timer })))
    }

    /// Waits for the first bundles. Tokens can be fetched before that.
    ///
    /// # Errors
    /// [`SourceError::Ended`] or [`SourceError::Closed`].
    pub async fn ready(&self) -> Result<(), SourceError> {
        self.0.bundles.ready().await
    }

    /// A token of the default identity, or of `subject`, for all of `audience`.
    ///
    /// # Errors
    /// [`SourceError::Client`] with what the Workload API said, or [`SourceError::Closed`].
    pub async fn fetch(
        &self,
        audience: &[impl AsRef<str>],
        subject: Option<&SpiffeId>,
    ) -> Result<JwtSvid, SourceError> {
        let svids = self.fetch_all(audience, subject).await?;
        // An answer without SVIDs is refused.
        svids.first().map(|first| first.svid.clone()).ok_or(SourceError::NonePicked)
    }

    /// As [`JwtSource::fetch`], with a token of each identity of this process.
    ///
    /// # Errors
    /// As there.
    pub async fn fetch_all(
        &self,
        audience: &[impl AsRef<str>],
        subject: Option<&SpiffeId>,
    ) -> Result<Arc<[FetchedJwtSvid]>, SourceError> {
        let Inner { client, bundles, kept: _, timer } = &*self.0;
        if bundles.is_closed() {
            return Err(SourceError::Closed);
        }
        let mut wanted: Vec<String> = audience.iter().map(|member| member.as_ref().to_owned()).collect();
        wanted.sort();
        wanted.dedup();
        let wanted = (wanted, subject.cloned());
        let old = self.kept(&wanted, timer.now());
        if let Some((svids, true)) = old {
            return Ok(svids);
        }
        let denials = bundles.denials();
        match client.fetch_jwt_svids(audience, subject).await {
            Ok(svids) => {
                let svids: Arc<[FetchedJwtSvid]> = svids.into();
                self.keep(wanted, Arc::clone(&svids), denials, timer.now());
                Ok(svids)
            }
            Err(error) => match (error.code(), old) {
                (Some(Code::PermissionDenied), _) => {
                    self.forget(subject);
                    Err(error.into())
                }
                (Some(Code::InvalidArgument | Code::Unimplemented), _) => Err(error.into()),
                (_, Some((svids, _))) => Ok(svids),
                (_, None) => Err(error.into()),
            },
        }
    }

    /// Validates somebody's token for `audience` with the bundle of its trust domain, without asking the Workload API;
    /// [`WorkloadApiClient::validate_jwt_svid`] asks it.
    ///
    /// # Errors
    /// [`JwtError`]; while there are no bundles, that of a trust domain that is not known.
    pub fn validate(&self, token: &str, audience: &str) -> Result<JwtSvid, JwtError> {
        jwt::validate(token, self, audience, self.0.timer.now())
    }

    /// The bundles from now on, those that are there at first.
    pub fn updates(&self) -> BundleUpdates<JwtBundles> {
        BundleUpdates::of(&self.0.bundles)
    }

    /// What went wrong with the bundles since the last good answer.
    pub fn trouble(&self) -> Option<Arc<ClientError>> {
        self.0.bundles.trouble()
    }

    /// Ends the stream and forgets tokens and bundles, for all clones.
    pub fn close(&self) {
        self.0.bundles.close();
        self.lock().clear();
    }

    /// What is kept and still good, and whether it is young enough not to ask for another.
    fn kept(&self, wanted: &Wanted, now: SystemTime) -> Option<(Arc<[FetchedJwtSvid]>, bool)> {
        let mut all = self.lock();
        let kept = all.get(wanted)?;
        if now >= kept.ends_at || kept.denials != self.0.bundles.denials() || !self.is_signed_by_the_bundle(&kept.svids)
        {
            all.remove(wanted);
            return None;
        }
        Some((Arc::clone(&kept.svids), now < kept.renew_at))
    }

    fn keep(&self, wanted: Wanted, svids: Arc<[FetchedJwtSvid]>, denials: u64, now: SystemTime) {
        let half = |svid: &JwtSvid| {
            let begin = svid.issued_at.unwrap_or(now);
            begin + svid.expires_at.duration_since(begin).unwrap_or_default() / 2
        };
        let renew_at = svids.iter().map(|fetched| half(&fetched.svid)).min();
        let ends_at = svids.iter().map(|fetched| fetched.svid.expires_at).min();
        let (Some(renew_at), Some(ends_at)) = (renew_at, ends_at) else { return };
        let mut all = self.lock();
        // One that was closed meanwhile keeps nothing; its closing has passed or waits for this lock.
        if self.0.bundles.is_closed() {
            return;
        }
        if all.len() >= Self::MAX_KEPT && !all.contains_key(&wanted) {
            let first = all.iter().min_by_key(|(_, kept)| kept.ends_at).map(|(wanted, _)| wanted.clone());
            first.map(|wanted| all.remove(&wanted));
        }
        all.insert(wanted, Kept { svids, renew_at, ends_at, denials });
    }

    /// Denied without a subject, this process has no identity at all.
    fn forget(&self, subject: Option<&SpiffeId>) {
        self.lock().retain(|(_, of), _| match (subject, of) {
            (None, _) => false,
            // Those of no subject in particular hold this one's as well.
            (Some(_), None) => false,
            (Some(subject), Some(of)) => subject != of,
        });
    }

    fn is_signed_by_the_bundle(&self, svids: &[FetchedJwtSvid]) -> bool {
        let Ok(answer) = self.0.bundles.value() else { return true };
        svids.iter().all(|FetchedJwtSvid { svid, hint: _ }| {
            let bundle = answer.bundles.get(&svid.id.trust_domain());
            bundle.is_some_and(|bundle| bundle.jwt_authority(&svid.key_id).is_some())
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Wanted, Kept>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BundleSource for JwtSource {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.0.bundles.value().ok()?.bundles.bundle(trust_domain)
    }
}

impl fmt::Debug for JwtSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSource")
    }
}
