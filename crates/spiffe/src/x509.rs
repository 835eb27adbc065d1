//! X.509: certificates, names, X.509-SVIDs and their verification (SPIFFE X509-SVID; RFC 5280).

mod certificate;
mod constraints;
mod extensions;
mod name;
mod svid;
mod verify;

pub use crate::asn1::ObjectIdentifier;
pub use certificate::{Certificate, hex};
pub use extensions::{Extension, KeyUsage, SubjectAltNames};
pub use name::{DistinguishedName, ExtraName};
pub use svid::X509Svid;
pub use verify::{verified_paths, verify_chain, verify_x509_svid, verify_x509_svid_in};

use std::time::{Duration, SystemTime};

use der::DateTime;

use crate::pem::{self, PemError};
use crate::{IdError, PublicKeyError, SpiffeId, TrustDomain, asn1};

/// The longest certificate that is looked at, in bytes.
pub const MAX_CERTIFICATE_LEN: usize = 64 << 10;

/// The longest list of concatenated certificates that is looked at, in bytes.
pub const MAX_CHAIN_LEN: usize = 4 << 20;

/// Reads concatenated DER certificates: the form of chains and of bundles in the Workload API. Nothing gives an empty
/// list.
///
/// # Errors
/// One of them is malformed or too long, or all together are.
pub fn parse_chain_der(concatenated: &[u8]) -> Result<Vec<Certificate>, X509Error> {
    if concatenated.len() > MAX_CHAIN_LEN {
        return Err(X509Error::TooLong);
    }
    let values = asn1::split(concatenated).map_err(X509Error::Malformed)?;
    values.into_iter().map(Certificate::from_der).collect()
}

/// Reads PEM certificates; there must be one at least and no block of another kind.
///
/// # Errors
/// [`X509Error::Pem`], or one of the certificates is malformed.
pub fn parse_pem(text: &str) -> Result<Vec<Certificate>, X509Error> {
    pem::parse_only(CERTIFICATE_LABEL, text)?.iter().map(|der| Certificate::from_der(der)).collect()
}

/// Writes certificates as PEM blocks, one behind the other.
pub fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> String {
    certificates.into_iter().map(Certificate::to_pem).collect()
}

/// Why a certificate, a chain or an X.509-SVID is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum X509Error {
    /// The bytes are no certificate. The text is that of Go's library, which SPIRE passes on.
    #[error("x509: malformed certificate")]
    Malformed(#[source] der::Error),
    /// A certificate or list exceeds [`MAX_CERTIFICATE_LEN`] or [`MAX_CHAIN_LEN`].
    #[error("certificate data is too long")]
    TooLong,
    /// The text is not PEM, or holds something else.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// There is no certificate where one is needed.
    #[error("empty certificates chain")]
    EmptyChain,
    /// The leaf has no URI SAN, so no SPIFFE ID (X509-SVID 2).
    #[error("certificate contains no URI SAN")]
    NoUri,
    /// The leaf has several URI SANs (X509-SVID 2).
    #[error("certificate contains more than one URI SAN")]
    SeveralUris,
    /// The URI SAN is no SPIFFE ID.
    #[error("cannot get X509-SVID ID: {0}")]
    Id(#[from] IdError),
    /// The SPIFFE ID is that of a trust domain, which only authorities have (X509-SVID 3.1, 5.2).
    #[error("leaf certificate with the SPIFFE ID of a trust domain: {0} has no path")]
    LeafWithoutPath(SpiffeId),
    /// The leaf may sign certificates (X509-SVID 5.2).
    #[error("leaf certificate with CA flag set to true")]
    LeafIsCa,
    /// The leaf has a key usage that belongs to authorities (X509-SVID 5.2).
    #[error("leaf certificate with {0} key usage")]
    LeafKeyUsage(&'static str),
    /// The leaf of an own SVID lacks the usage that it is for (X509-SVID 4.3).
    #[error("leaf certificate must have 'digitalSignature' set as key usage")]
    LeafNotSigning,
    /// A signing certificate in an own chain is none (X509-SVID 4.2, 4.3).
    #[error("signing certificate must have {0}")]
    NotSigning(&'static str),
    /// The public key of a certificate, or the private key of an SVID, is malformed or of an unsupported kind.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
    /// The private key is not that of the leaf.
    #[error("leaf certificate does not match private key")]
    KeyMismatch,
    /// There is no bundle for the leaf's trust domain.
    #[error("could not get X509 bundle: no X.509 bundle for trust domain {:?} found", .0.name())]
    UnknownTrustDomain(TrustDomain),
    /// No authority has signed the chain. Alone among these errors it can mean that the verifier's bundle is stale.
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    /// A certificate of the path, its authority included, is past its end.
    #[error(
        "x509: certificate has expired or is not yet valid: current time {} is after {}",
        rfc3339(*now),
        rfc3339(*not_after)
    )]
    Expired {
        /// The time of the verification.
        now: SystemTime,
        /// When the certificate ended.
        not_after: SystemTime,
    },
    /// A certificate of the path, its authority included, has not begun.
    #[error(
        "x509: certificate has expired or is not yet valid: current time {} is before {}",
        rfc3339(*now),
        rfc3339(*not_before)
    )]
    NotYetValid {
        /// The time of the verification.
        now: SystemTime,
        /// When the certificate begins.
        not_before: SystemTime,
    },
    /// A certificate that came with the chain has name constraints for URIs. Only an authority of the bundle may: what is
    /// below others cannot be told to lie within them.
    #[error("x509: name constraints for URIs are not supported below the authorities of the bundle")]
    UriConstraints,
    /// The path breaks another rule of RFC 5280: length, name constraints, a critical extension that nobody knows.
    #[error("x509: {0}")]
    Path(webpki::Error),
}

/// The time to the second, as Go prints it. Times before 1970 and behind 9999 cannot come out of a certificate; the
/// verifier's own clock is cut to that range.
fn rfc3339(time: SystemTime) -> String {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    DateTime::from_unix_duration(Duration::from_secs(since_epoch.as_secs())).unwrap_or(DateTime::INFINITY).to_string()
}

const CERTIFICATE_LABEL: &str = "CERTIFICATE";
