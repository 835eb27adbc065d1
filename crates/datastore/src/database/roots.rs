//! The certificate authorities that this host believes.

use steeple_spiffe::pem;

/// Them as PEM, as they are now. The driver of databases believes those that it is given and no others, and takes all of them or
/// none: one that it cannot use is left out.
pub(super) fn of_this_host() -> Vec<u8> {
    let found = rustls_native_certs::load_native_certs().certs;
    let usable = found.iter().filter(|certificate| webpki::anchor_from_trusted_cert(certificate).is_ok());
    usable.flat_map(|certificate| pem::encode("CERTIFICATE", certificate).as_bytes().to_vec()).collect()
}
