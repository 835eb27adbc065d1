//! Certificate requests (PKCS #10, RFC 2986).

use const_oid::db::{rfc5280, rfc5912};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use der::{Decode, Encode, Tag, TagNumber, Tagged};
use steeple_spiffe::x509::{Extension, SubjectAltNames};
use steeple_spiffe::{PublicKey, PublicKeyError, SignatureAlgorithm, SpiffeId, asn1};

use crate::certificate::{extensions_der, signed_der, subject_alt_name};
use crate::{Name, PkiError, PrivateKey, Signer};

/// The longest request that is looked at, in bytes.
pub const MAX_LEN: usize = 64 << 10;

/// Makes a request, signed with the algorithm of the key's type. Its only attribute asks for the alternative names; without
/// names the set of attributes is there all the same, and empty.
///
/// # Errors
/// A DNS name is not ASCII, or the back end fails.
pub fn build(
    subject: &Name,
    uri_san: Option<&SpiffeId>,
    dns_sans: &[String],
    key: &PrivateKey,
) -> Result<Vec<u8>, PkiError> {
    let algorithm = key.key_type().signature_algorithm();
    let info = info_der(subject, uri_san, dns_sans, &[], key.public_key())?;
    let signature = key.sign(algorithm, &info)?;
    Ok(signed_der(info, algorithm, &signature)?)
}

/// As [`build`], with a key that may live elsewhere, and more extensions behind the names. One of names takes their place.
///
/// # Errors
/// As there, or the signer fails.
pub async fn build_with(
    subject: &Name,
    uri_san: Option<&SpiffeId>,
    dns_sans: &[String],
    extra_extensions: &[Extension],
    signer: &dyn Signer,
) -> Result<Vec<u8>, PkiError> {
    let info = info_der(subject, uri_san, dns_sans, extra_extensions, signer.public_key())?;
    let signature = signer.sign(&info).await?;
    Ok(signed_der(info, signer.algorithm(), &signature)?)
}

/// A request whose signature was verified with the key in it.
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    /// The key that is to be certified.
    pub public_key: PublicKey,
    /// The subject that is asked for.
    pub subject: Name,
    /// The URI names that are asked for, in their order.
    pub uri_sans: Vec<String>,
    /// The DNS names that are asked for, in their order.
    pub dns_sans: Vec<String>,
    /// All extensions that are asked for, the names among them.
    pub extensions: Vec<Extension>,
}

impl CertificateRequest {
    /// Reads a DER request and verifies its signature, always: who cannot sign with a key must not get a certificate for
    /// it. Keys of kinds that we never generate are taken as well: P-521, Ed25519, RSA from 1024 bits.
    ///
    /// # Errors
    /// [`PkiError::MalformedRequest`], or [`PkiError::RequestSignature`] when the signature is not the key's.
    pub fn parse_and_verify(der: &[u8]) -> Result<Self, PkiError> {
        if der.len() > MAX_LEN {
            return Err(PkiError::MalformedRequest("certificate request is too long".into()));
        }
        let malformed = |_| PkiError::MalformedRequest(asn1::header_fault(der, "certificateRequest"));
        let Parts { info, algorithm, signature, subject, spki, extensions } = Parts::read(der).map_err(malformed)?;
        let SubjectAltNames { uris, dns, emails: _, ips: _ } = SubjectAltNames::of(&extensions).map_err(malformed)?;
        let subject = Name::from_der(subject).map_err(|_| malformed(der::ErrorKind::Failed.into()))?;
        let public_key =
            PublicKey::from_spki_der(spki).map_err(|error| PkiError::MalformedRequest(error.to_string()))?;

        let algorithm = SignatureAlgorithm::from_identifier(algorithm)
            .ok_or(PkiError::RequestSignature(PublicKeyError::Algorithm))?;
        public_key.verify(algorithm, info, signature).map_err(PkiError::RequestSignature)?;
        Ok(Self { public_key, subject, uri_sans: uris, dns_sans: dns, extensions })
    }
}

/// CertificationRequest (RFC 2986, section 4.2), taken apart.
struct Parts<'a> {
    /// The whole value that is signed.
    info: &'a [u8],
    /// The contents of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
    subject: &'a [u8],
    spki: &'a [u8],
    extensions: Vec<Extension>,
}

impl<'a> Parts<'a> {
    fn read(der: &'a [u8]) -> der::Result<Self> {
        let unexpected = || der::Error::from(der::ErrorKind::Value { tag: Tag::Sequence });
        let [info, algorithm, signature] = sequence(der)?[..] else { return Err(unexpected()) };
        let members = sequence(info)?;
        let [version, subject, spki, attributes @ ..] = &members[..] else { return Err(unexpected()) };
        u8::from_der(version)?;
        let extensions = match attributes {
            [] => Vec::new(),
            [attributes] => requested_extensions(AnyRef::from_der(attributes)?)?,
            _ => return Err(unexpected()),
        };
        let algorithm = AnyRef::from_der(algorithm)?;
        algorithm.tag().assert_eq(Tag::Sequence)?;
        let signature = BitStringRef::from_der(signature)?.as_bytes().ok_or_else(unexpected)?;
        Ok(Self { info, algorithm: algorithm.value(), signature, subject, spki, extensions })
    }
}

/// The members of a SEQUENCE, each with its header.
fn sequence(der: &[u8]) -> der::Result<Vec<&[u8]>> {
    let sequence = AnyRef::from_der(der)?;
    sequence.tag().assert_eq(Tag::Sequence)?;
    asn1::split(sequence.value())
}

/// The extensions of the extensionRequest attribute (RFC 2985, section 5.4.2), if there is one.
fn requested_extensions(attributes: AnyRef<'_>) -> der::Result<Vec<Extension>> {
    for attribute in asn1::members(attributes, ATTRIBUTES)? {
        let members = asn1::members(attribute, Tag::Sequence)?;
        let [oid, values] = members[..] else {
            return Err(der::ErrorKind::Value { tag: Tag::Sequence }.into());
        };
        if oid.decode_as::<ObjectIdentifier>()? == rfc5912::ID_EXTENSION_REQ {
            return match asn1::members(values, Tag::Set)?.first() {
                Some(extensions) => Extension::list_from_der(&extensions.to_der()?),
                None => Ok(Vec::new()),
            };
        }
    }
    Ok(Vec::new())
}

/// CertificationRequestInfo (RFC 2986, section 4.1).
fn info_der(
    subject: &Name,
    uri_san: Option<&SpiffeId>,
    dns_sans: &[String],
    extra_extensions: &[Extension],
    public_key: &PublicKey,
) -> der::Result<Vec<u8>> {
    let names = subject_alt_name(dns_sans, uri_san)?;
    let names = names.map(|value| Extension { oid: rfc5280::ID_CE_SUBJECT_ALT_NAME, critical: false, value });
    let names = names.filter(|names| extra_extensions.iter().all(|extra| extra.oid != names.oid));
    let extensions: Vec<_> = names.into_iter().chain(extra_extensions.iter().cloned()).collect();
    let attributes = if extensions.is_empty() {
        Vec::new()
    } else {
        let values = asn1::wrap(Tag::Set, extensions_der(&extensions)?)?;
        asn1::wrap(Tag::Sequence, [rfc5912::ID_EXTENSION_REQ.to_der()?, values].concat())?
    };
    let info = [VERSION_0, subject.as_der(), public_key.spki_der(), &asn1::wrap(ATTRIBUTES, attributes)?].concat();
    asn1::wrap(Tag::Sequence, info)
}

const VERSION_0: &[u8] = &[0x02, 0x01, 0x00];
const ATTRIBUTES: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

#[cfg(test)]
mod tests;
