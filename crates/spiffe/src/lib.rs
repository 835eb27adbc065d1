//! The SPIFFE standard: identities, SVIDs, trust bundles: their types, parsing and verification.
//!
//! | Standard | Here |
//! |---|---|
//! | SPIFFE ID and trust domain | [`SpiffeId`], [`TrustDomain`] |
//! | X.509-SVID | [`X509Svid`], [`verify_x509_svid`], [`x509`] |
//! | JWT-SVID | [`JwtSvid`], [`jwt`] |
//! | WIT-SVID | [`WitSvid`], [`wit`] |
//! | SPIFFE trust domain and bundle | [`Bundle`], [`BundleSet`], [`bundle`] |
//! | Workload API, Workload Endpoint (the client's side) | `workload_api`, with the feature `workload-api` |
//! | TLS between X.509-SVIDs | `tls`, with the feature `rustls` |
//!
//! But for these two features, nothing here does I/O, reads a clock or knows an async runtime; whoever verifies passes
//! the time. Every parser takes bytes that others wrote: it has a bound on what it accepts, does not recurse on them, and
//! never panics.
//!
//! Where an error text stands in the output of SPIRE, ours is the same, because people and scripts match on it.
#![warn(missing_docs)]

pub mod asn1;
pub mod bundle;
pub mod jwk;
pub mod jwt;
pub mod pem;
#[cfg(feature = "rustls")]
pub mod tls;
pub mod wit;
#[cfg(feature = "workload-api")]
pub mod workload_api;
pub mod x509;

mod algorithm;
mod id;
mod jws;
mod public_key;

pub use algorithm::SignatureAlgorithm;
pub use bundle::{Bundle, BundleError, BundleSet, BundleSource, JwtAuthority, WitAuthority, X509Authority};
pub use id::{IdError, SpiffeId, TrustDomain};
pub use jwt::{JwtError, JwtSvid};
pub use public_key::{PublicKey, PublicKeyError, PublicKeyKind};
pub use wit::{WitError, WitSvid};
pub use x509::{Certificate, X509Error, X509Svid, verify_x509_svid, verify_x509_svid_in};

use std::pin::Pin;
use std::time::{Duration, SystemTime};

/// Where the time comes from. One value is made at start-up and passed down to whoever holds certificates, tokens or
/// timers, so that a test can move all of them at once.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> SystemTime;
}

/// A clock that also wakes who waits.
pub trait Timer: Clock {
    /// Completes after `length`, whatever the wall clock does meanwhile.
    fn sleep(&self, length: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
