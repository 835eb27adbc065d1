//! A client of the SPIFFE Workload API (SPIFFE Workload API; SPIFFE Workload Endpoint): how a program gets its own
//! identities and what it verifies others with.
//!
//! | Want | Take |
//! |---|---|
//! | an X.509 identity that rotates, for TLS | [`X509Source`] |
//! | tokens to show, and others' to validate | [`JwtSource`] |
//! | to verify others without an identity | [`X509BundleSource`], [`JwtBundleSource`] |
//! | one call, or a stream of one's own | [`WorkloadApiClient`] |
//!
//! ```no_run
//! # async fn run() -> Result<(), steeple_spiffe::workload_api::SourceError> {
//! use steeple_spiffe::workload_api::X509Source;
//!
//! // Where SPIFFE_ENDPOINT_SOCKET points to; waits until there is an identity.
//! let source = X509Source::new().await?;
//! println!("this is {}", source.svid()?.id);
//! # Ok(())
//! # }
//! ```
//!
//! ```no_run
//! # async fn run(shown: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use steeple_spiffe::workload_api::JwtSource;
//!
//! let source = JwtSource::new().await?;
//! let to_show = source.fetch(&["db"], None).await?.token;
//! // And what somebody has shown to this process, whose audience is `web`.
//! println!("this comes from {}", source.validate(shown, "web")?.id);
//! # Ok(())
//! # }
//! ```
//!
//! ```no_run
//! # async fn run(token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use steeple_spiffe::workload_api::{JwtBundleSource, SystemClock};
//! use steeple_spiffe::{Clock, jwt};
//!
//! // Without an identity: whatever validates takes any source of bundles.
//! let bundles = JwtBundleSource::new().await?;
//! let svid = jwt::validate(token, &bundles, "web", SystemClock.now())?;
//! println!("this comes from {}", svid.id);
//! # Ok(())
//! # }
//! ```
//!
//! # What a source does
//!
//! It holds a stream open and has the last good answer at hand. When the stream ends, it opens another, at once if the
//! old one had served it, else after a pause that grows ([`Backoff`]). What it has meanwhile, and what it does:
//!
//! | The Workload API | The source |
//! |---|---|
//! | answers | has the answer, and nothing of the one before it |
//! | answers what breaks the standard | drops all of that answer and keeps the last good one ([`X509Source::trouble`]) |
//! | is away, or ends the stream | keeps the last good answer, and asks again |
//! | denies (`PERMISSION_DENIED`) | has nothing any more ([`SourceError::Denied`]), and asks again |
//! | refuses (`INVALID_ARGUMENT`, `UNIMPLEMENTED`) | keeps the last good answer, and does not ask again ([`SourceError::Ended`]) |
//!
//! Calls inside of a tokio runtime never panic; outside, where nothing can be followed, the constructors say so.

mod answer;
mod backoff;
mod bundle_source;
mod client;
mod clock;
mod endpoint;
mod feed;
mod jwt_source;
mod x509_source;

pub use answer::{
    Answer, AnswerError, FetchedJwtSvid, FetchedWitSvid, JwtBundles, WitBundles, WitSvids, X509Bundles, X509Context,
};
#[cfg(fuzzing)]
pub use answer::{read, read_jwt_svids};
pub use backoff::Backoff;
pub use bundle_source::{BundleAnswer, BundleUpdates, JwtBundleSource, LiveBundles, WitBundleSource, X509BundleSource};
#[cfg(fuzzing)]
pub use client::read_validated;
pub use client::{Answers, ClientError, SecurityHeader, Stub, ValidatedJwtSvid, WorkloadApiClient};
pub use clock::SystemClock;
pub use endpoint::{ENDPOINT_VARIABLE, Endpoint, EndpointError};
pub use jwt_source::JwtSource;
pub use x509_source::{X509Source, X509Updates};

use std::fmt;
use std::sync::Arc;

use crate::Timer;

/// How a source follows the Workload API.
#[derive(Clone)]
pub struct SourceOptions {
    /// How long it waits before it asks again.
    pub backoff: Backoff,
    /// What it waits with, and the time by which tokens age.
    pub timer: Arc<dyn Timer>,
}

/// The default pauses, and the clock of this machine.
impl Default for SourceOptions {
    fn default() -> Self {
        Self { backoff: Backoff::default(), timer: Arc::new(SystemClock) }
    }
}

impl fmt::Debug for SourceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceOptions").field("backoff", &self.backoff).finish_non_exhaustive()
    }
}

/// Why a source has nothing to give.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The Workload API has not answered yet.
    #[error("the Workload API has not answered yet")]
    NotReady,
    /// The Workload API says that this process may have nothing, at least for now. The source asks again.
    #[error("access is denied: {0}")]
    Denied(#[source] Arc<ClientError>),
    /// The Workload API says that asking again is of no use.
    #[error("the source has ended: {0}")]
    Ended(#[source] Arc<ClientError>),
    /// The owner has closed the source.
    #[error("the source is closed")]
    Closed,
    /// The answer has no identity that was picked.
    #[error("none of the identities was picked")]
    NonePicked,
    /// TLS cannot use the key of the identity.
    #[cfg(feature = "rustls")]
    #[error(transparent)]
    Tls(Arc<crate::tls::TlsError>),
    /// There is no tokio runtime to follow the Workload API on.
    #[error("a source needs a tokio runtime")]
    NoRuntime,
    /// A call that was made for the caller failed.
    #[error(transparent)]
    Client(Arc<ClientError>),
}

impl From<ClientError> for SourceError {
    fn from(error: ClientError) -> Self {
        Self::Client(Arc::new(error))
    }
}
