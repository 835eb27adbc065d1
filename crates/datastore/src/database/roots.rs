//! The certificate authorities that this host believes.

use steeple_spiffe::pem;

use crate::Error;

/// Them as PEM, as they are now. The driver of databases believes those that it is given and no others, and takes all of them or
/// none: one that it cannot use is left out.
///
/// # Errors
/// There is none.
pub(super) fn of_this_host() -> Result<Vec<u8>, Error> {
    let found = rustls_native_certs::load_native_certs().certs;
    let usable = found.iter().filter(|certificate| webpki::anchor_from_trusted_cert(certificate).is_ok());
    let pem: Vec<u8> = usable.flat_map(|it| pem::encode("CERTIFICATE", it).as_bytes().to_vec()).collect();
    if pem.is_empty() {
        let why = "tls: no authority is named for the database, and this host has none";
        return Err(Error::Unavailable(why.to_owned()));
    }
    Ok(pem)
}
