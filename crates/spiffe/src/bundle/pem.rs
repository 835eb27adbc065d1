//! The X.509 authorities of a bundle as PEM certificates.

use super::{Bundle, BundleError, X509Authority};
use crate::{TrustDomain, x509};

/// Writes the X.509 authorities, tainted ones included, in their order. Nothing else of the bundle fits this form.
pub fn marshal(bundle: &Bundle) -> String {
    x509::to_pem(bundle.x509_certificates())
}

/// Reads a bundle of X.509 authorities alone; a certificate that occurs twice is taken once.
///
/// # Errors
/// There is no certificate, a block of another kind, or a malformed one.
pub fn parse(trust_domain: &TrustDomain, text: &str) -> Result<Bundle, BundleError> {
    let mut bundle = Bundle::new(trust_domain.clone());
    for certificate in x509::parse_pem(text)? {
        let authority = X509Authority { certificate, tainted: false };
        if !bundle.x509_authorities.contains(&authority) {
            bundle.x509_authorities.push(authority);
        }
    }
    Ok(bundle)
}
