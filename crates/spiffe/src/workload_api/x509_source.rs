//! X.509-SVIDs and bundles that stay fresh.

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "rustls")]
use std::sync::OnceLock;

use super::feed::{Feed, Updates};
use super::{ClientError, SourceError, SourceOptions, WorkloadApiClient, X509Context};
#[cfg(feature = "rustls")]
use crate::tls::{Credential, CredentialSource, TlsError};
use crate::{Bundle, BundleSource, TrustDomain, X509Svid};

/// The X.509 identity of this process and the bundles that it verifies others with, as they are now. Cheap to clone; all
/// clones follow one stream, which ends with the last of them.
///
/// As a [`BundleSource`] it has the X.509 authorities of each trust domain by itself: those of one never vouch for a
/// member of another.
#[derive(Clone)]
pub struct X509Source(Feed<Snapshot>);

/// An answer, and which of its SVIDs is shown.
struct Snapshot {
    context: Arc<X509Context>,
    picked: Option<Arc<X509Svid>>,
    /// Made when the first handshake asks for it.
    #[cfg(feature = "rustls")]
    credential: OnceLock<Result<Credential, Arc<TlsError>>>,
}

impl X509Source {
    /// Follows the Workload API that the environment names, and waits for the first answer. That may take as long as it
    /// takes until there is an entry for this process: set a limit around it where that matters.
    ///
    /// # Errors
    /// [`SourceError::Client`] when the environment names no endpoint, [`SourceError::Ended`] when the Workload API
    /// refuses for good.
    pub async fn new() -> Result<Self, SourceError> {
        let source = Self::start(WorkloadApiClient::from_env()?, SourceOptions::default())?;
        source.ready().await?;
        Ok(source)
    }

    /// Begins to follow the Workload API. The identity is the default one, the first.
    ///
    /// # Errors
    /// [`SourceError::NoRuntime`].
    pub fn start(client: WorkloadApiClient, options: SourceOptions) -> Result<Self, SourceError> {
        Self::start_picking(client, options, |context| context.default_svid().cloned())
    }

    /// As [`X509Source::start`], with an identity that the caller picks out of each answer, by its hint for example. With
    /// none picked, there is no identity: [`SourceError::NonePicked`].
    ///
    /// # Errors
    /// [`SourceError::NoRuntime`].
    pub fn start_picking(
        client: WorkloadApiClient,
        options: SourceOptions,
        pick: impl Fn(&X509Context) -> Option<Arc<X509Svid>> + Send + Sync + 'static,
    ) -> Result<Self, SourceError> {
        let make = move |context: X509Context| Snapshot {
            picked: pick(&context),
            context: Arc::new(context),
            #[cfg(feature = "rustls")]
            credential: OnceLock::new(),
        };
        Feed::start(client, options, make).map(Self)
    }

    /// Waits for the first answer.
    ///
    /// # Errors
    /// [`SourceError::Ended`] or [`SourceError::Closed`].
    pub async fn ready(&self) -> Result<(), SourceError> {
        self.0.ready().await
    }

    /// The identity to show. It is the last one that the Workload API gave; it may have expired if that is long ago.
    ///
    /// # Errors
    /// [`SourceError`] says why there is none.
    pub fn svid(&self) -> Result<Arc<X509Svid>, SourceError> {
        self.0.value()?.picked.clone().ok_or(SourceError::NonePicked)
    }

    /// The identity to show, as handshakes show it. Where TLS cannot use its key, a handshake of this side fails without a
    /// reason; here it is to be had, and it is in the log.
    ///
    /// # Errors
    /// [`SourceError::Tls`], or as [`X509Source::svid`].
    #[cfg(feature = "rustls")]
    pub fn tls_credential(&self) -> Result<Credential, SourceError> {
        let snapshot = self.0.value()?;
        let svid = snapshot.picked.as_deref().ok_or(SourceError::NonePicked)?;
        let credential = snapshot.credential.get_or_init(|| {
            Credential::of_svid(svid).map_err(|error| {
                tracing::warn!(%error, id = %svid.id, "TLS cannot use the X.509-SVID");
                Arc::new(error)
            })
        });
        credential.clone().map_err(SourceError::Tls)
    }

    /// The whole last answer.
    ///
    /// # Errors
    /// [`SourceError`] says why there is none.
    pub fn context(&self) -> Result<Arc<X509Context>, SourceError> {
        Ok(Arc::clone(&self.0.value()?.context))
    }

    /// The answers from now on, the one that is there at first.
    pub fn updates(&self) -> X509Updates {
        X509Updates(self.0.updates())
    }

    /// What went wrong since the last good answer: a stream that ended, an answer that was dropped.
    pub fn trouble(&self) -> Option<Arc<ClientError>> {
        self.0.trouble()
    }

    /// Ends the stream and forgets the identity, for all clones.
    pub fn close(&self) {
        self.0.close();
    }
}

impl BundleSource for X509Source {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.0.value().ok()?.context.bundles.bundle(trust_domain)
    }
}

#[cfg(feature = "rustls")]
impl CredentialSource for X509Source {
    fn credential(&self) -> Option<Credential> {
        self.tls_credential().ok()
    }
}

impl fmt::Debug for X509Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Source").field("svid", &self.svid().map(|svid| svid.id.clone())).finish_non_exhaustive()
    }
}

/// The updates of an [`X509Source`].
pub struct X509Updates(Updates<Snapshot>);

impl X509Updates {
    /// The next update; of several that came since the last call, the latest.
    ///
    /// # Errors
    /// [`SourceError::Denied`] when access was denied, after which there may be another update; [`SourceError::Ended`]
    /// and [`SourceError::Closed`] when there will be none.
    pub async fn next(&mut self) -> Result<Arc<X509Context>, SourceError> {
        Ok(Arc::clone(&self.0.next().await?.context))
    }
}

impl fmt::Debug for X509Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X509Updates")
    }
}
