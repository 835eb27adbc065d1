//! Bundles that stay fresh, for those who verify others and have no identity themselves.

use std::fmt;
use std::sync::Arc;

use super::answer::{Answer, JwtBundles, WitBundles, X509Bundles};
use super::feed::{Feed, Updates};
use super::{ClientError, SourceError, SourceOptions, WorkloadApiClient};
use crate::{Bundle, BundleSet, BundleSource, TrustDomain};

/// The bundles of one kind that the Workload API has for this process, as they are now. Cheap to clone; all clones follow
/// one stream, which ends with the last of them.
pub struct LiveBundles<A: BundleAnswer>(Feed<A>);

/// X.509 bundles that stay fresh.
pub type X509BundleSource = LiveBundles<X509Bundles>;
/// JWT bundles that stay fresh.
pub type JwtBundleSource = LiveBundles<JwtBundles>;
/// WIT bundles that stay fresh.
pub type WitBundleSource = LiveBundles<WitBundles>;

/// An answer that is about bundles.
pub trait BundleAnswer: Answer {
    /// Those in the answer.
    fn bundles(&self) -> &BundleSet;
}

impl BundleAnswer for X509Bundles {
    fn bundles(&self) -> &BundleSet {
        &self.bundles
    }
}

impl BundleAnswer for JwtBundles {
    fn bundles(&self) -> &BundleSet {
        &self.bundles
    }
}

impl BundleAnswer for WitBundles {
    fn bundles(&self) -> &BundleSet {
        &self.bundles
    }
}

impl<A: BundleAnswer> LiveBundles<A> {
    /// Follows the Workload API that the environment names, and waits for the first answer, however long that takes.
    ///
    /// # Errors
    /// [`SourceError::Client`] when the environment names no endpoint, [`SourceError::Ended`] when the Workload API
    /// refuses for good.
    pub async fn new() -> Result<Self, SourceError> {
        let source = Self::start(WorkloadApiClient::from_env()?, SourceOptions::default())?;
        source.ready().await?;
        Ok(source)
    }

    /// Begins to follow the Workload API.
    ///
    /// # Errors
    /// [`SourceError::NoRuntime`].
    pub fn start(client: WorkloadApiClient, options: SourceOptions) -> Result<Self, SourceError> {
        Feed::start(client, options, |answer: A| answer).map(Self)
    }

    /// Waits for the first answer.
    ///
    /// # Errors
    /// [`SourceError::Ended`] or [`SourceError::Closed`].
    pub async fn ready(&self) -> Result<(), SourceError> {
        self.0.ready().await
    }

    /// The whole last answer.
    ///
    /// # Errors
    /// [`SourceError`] says why there is none.
    pub fn answer(&self) -> Result<Arc<A>, SourceError> {
        self.0.value()
    }

    /// The answers from now on, the one that is there at first.
    pub fn updates(&self) -> BundleUpdates<A> {
        BundleUpdates::of(&self.0)
    }

    /// What went wrong since the last good answer.
    pub fn trouble(&self) -> Option<Arc<ClientError>> {
        self.0.trouble()
    }

    /// Ends the stream and forgets the bundles, for all clones.
    pub fn close(&self) {
        self.0.close();
    }
}

impl<A: BundleAnswer> BundleSource for LiveBundles<A> {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.0.value().ok()?.bundles().bundle(trust_domain)
    }
}

impl<A: BundleAnswer> Clone for LiveBundles<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: BundleAnswer> fmt::Debug for LiveBundles<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveBundles")
    }
}

/// The updates of a [`LiveBundles`].
pub struct BundleUpdates<A: BundleAnswer>(Updates<A>);

impl<A: BundleAnswer> BundleUpdates<A> {
    pub(super) fn of(feed: &Feed<A>) -> Self {
        Self(feed.updates())
    }

    /// The next update; of several that came since the last call, the latest.
    ///
    /// # Errors
    /// As [`X509Updates::next`](super::X509Updates::next).
    pub async fn next(&mut self) -> Result<Arc<A>, SourceError> {
        self.0.next().await
    }
}

impl<A: BundleAnswer> fmt::Debug for BundleUpdates<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BundleUpdates")
    }
}
