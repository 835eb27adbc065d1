//! What a parsed certificate does not tell: its extensions in their order, and what it was signed by.

use steeple_spiffe::x509::Extension;

pub(super) struct Form {
    pub(super) extensions: Vec<Extension>,
    /// As OpenSSL calls the algorithm.
    pub(super) signature: &'static str,
}

const SEQUENCE: u8 = 0x30;
/// Fields of TBSCertificate (RFC 5280, section 4.1).
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `version` of a certificate that has extensions.
const V3: &[u8] = &[2, 1, 2];

const ECDSA_WITH_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

impl Form {
    /// None when it is no certificate of version 3 with extensions.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (SEQUENCE, certificate, []) = element(certificate)? else { return None };
        let (SEQUENCE, mut rest, _) = element(certificate)? else { return None };
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let (tag, content, after) = element(rest)?;
            fields.push((tag, content));
            rest = after;
        }
        let [(VERSION, V3), _, (SEQUENCE, algorithm), ..] = fields[..] else { return None };
        let (EXTENSIONS, extensions) = *fields.last()? else { return None };
        let signature = if algorithm == ECDSA_WITH_SHA256 { "ecdsa-with-SHA256" } else { "another" };
        Some(Self { extensions: Extension::list_from_der(extensions).ok()?, signature })
    }

    /// What is in the extension of a name.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        let extension = self.extensions.iter().find(|extension| extension_name(&extension.oid.to_string()) == name)?;
        Some(&extension.value)
    }
}

/// The name of an extension (RFC 5280, section 4.2.1), or its number.
pub(super) fn extension_name(oid: &str) -> &str {
    match oid {
        "2.5.29.14" => "subjectKeyIdentifier",
        "2.5.29.15" => "keyUsage",
        "2.5.29.17" => "subjectAltName",
        "2.5.29.19" => "basicConstraints",
        "2.5.29.35" => "authorityKeyIdentifier",
        "2.5.29.37" => "extendedKeyUsage",
        other => other,
    }
}

/// The tag and the content of the first element of some DER, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ ..0x80 => (short, rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
            let length = bytes.iter().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()));
            (length?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}
