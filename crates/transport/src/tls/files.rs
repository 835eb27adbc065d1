//! Certificates of files, and those that the system believes.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use steeple_runtime::os::unread;
use zeroize::Zeroizing;

/// The authorities that this host believes; None where it has none.
pub fn system_roots() -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    (!roots.is_empty()).then_some(roots)
}

/// The certificates of a file as authorities.
pub(crate) fn roots(file: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(roots)
}

/// The certificates of a file, at least one.
pub(crate) fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!("{file}: no certificate in it")),
        found => found.map_err(|error| format!("{file}: {error}")),
    }
}

/// A file, which may hold a private key.
pub(crate) fn read(file: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let path = Path::new(file);
    std::fs::read(path).map(Into::into).map_err(|error| unread(path, &error))
}
