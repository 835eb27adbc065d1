use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use const_oid::db::rfc5280;
use der::asn1::{AnyRef, BitStringRef, IntRef};
use der::{Decode, Encode, Sequence};
use x509_cert::time::Validity;

use super::constraints;
use super::extensions::{self, Extension, KeyUsage, SubjectAltNames};
use super::{CERTIFICATE_LABEL, DistinguishedName, MAX_CERTIFICATE_LEN, ObjectIdentifier, X509Error};
use crate::{PublicKey, PublicKeyError, SpiffeId, pem};

/// A certificate: its DER and what is read from it. Says nothing about trust.
///
/// Cheap to clone; equal when the DER is.
#[derive(Clone)]
pub struct Certificate(Arc<Facts>);

struct Facts {
    der: Box<[u8]>,
    /// Big-endian, without leading zeros.
    serial: Box<[u8]>,
    not_before: SystemTime,
    not_after: SystemTime,
    issuer: Box<[u8]>,
    subject: Box<[u8]>,
    spki: Box<[u8]>,
    names: SubjectAltNames,
    is_ca: bool,
    path_len: Option<u8>,
    limits_uris: bool,
    key_usage: Option<KeyUsage>,
    extended_key_usages: Vec<ObjectIdentifier>,
    subject_key_id: Option<Box<[u8]>>,
    authority_key_id: Option<Box<[u8]>>,
}

impl Certificate {
    /// Reads one DER certificate (RFC 5280, section 4.1) with nothing behind it. The public key is not looked at before
    /// [`Certificate::public_key`].
    ///
    /// # Errors
    /// [`X509Error::Malformed`] or [`X509Error::TooLong`].
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(X509Error::TooLong);
        }
        Facts::read(der).map(|facts| Self(facts.into())).map_err(X509Error::Malformed)
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// One PEM block.
    pub fn to_pem(&self) -> String {
        pem::encode(CERTIFICATE_LABEL, &self.0.der).to_string()
    }

    /// The serial number, big-endian without leading zeros.
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// The serial number in decimal: how the store and the APIs name a certificate.
    pub fn serial_decimal(&self) -> String {
        decimal(&self.0.serial)
    }

    /// The serial number in lower-case hex, two digits a byte.
    pub fn serial_hex(&self) -> String {
        hex(&self.0.serial)
    }

    /// The first moment of validity, a whole second.
    pub fn not_before(&self) -> SystemTime {
        self.0.not_before
    }

    /// The last moment of validity, a whole second.
    pub fn not_after(&self) -> SystemTime {
        self.0.not_after
    }

    /// Whether `now` lies in the validity, both ends included (RFC 5280, section 4.1.2.5).
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.0.not_before <= now && now <= self.0.not_after
    }

    /// The issuer's name, DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer
    }

    /// The issuer's name, read.
    pub fn issuer(&self) -> DistinguishedName {
        DistinguishedName::from_der(&self.0.issuer).unwrap_or_default()
    }

    /// The subject's name, DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.0.subject
    }

    /// The subject's name, read.
    pub fn subject(&self) -> DistinguishedName {
        // It was read once, when the certificate was.
        DistinguishedName::from_der(&self.0.subject).unwrap_or_default()
    }

    /// The subject as Go prints names: `SERIALNUMBER=1,O=SPIFFE,C=US`.
    pub fn subject_string(&self) -> String {
        self.subject().to_string()
    }

    /// The URI SANs, in their order.
    pub fn uri_sans(&self) -> &[String] {
        &self.0.names.uris
    }

    /// The DNS SANs, in their order.
    pub fn dns_sans(&self) -> &[String] {
        &self.0.names.dns
    }

    /// The e-mail SANs, in their order.
    pub fn email_sans(&self) -> &[String] {
        &self.0.names.emails
    }

    /// The IP SANs, in their order.
    pub fn ip_sans(&self) -> &[IpAddr] {
        &self.0.names.ips
    }

    /// The SPIFFE ID: that of the only URI SAN.
    ///
    /// # Errors
    /// There is no URI SAN, there are several, or it is no SPIFFE ID.
    pub fn spiffe_id(&self) -> Result<SpiffeId, X509Error> {
        match self.uri_sans() {
            [] => Err(X509Error::NoUri),
            [uri] => Ok(SpiffeId::parse(uri)?),
            _ => Err(X509Error::SeveralUris),
        }
    }

    /// Whether the basic constraints make it an authority's.
    pub fn is_ca(&self) -> bool {
        self.0.is_ca
    }

    /// How many authorities may stand between it and a leaf (RFC 5280, section 4.2.1.9); `None` for any number.
    pub fn path_len(&self) -> Option<u8> {
        self.0.path_len
    }

    /// Whether its name constraints say which URIs there may be below it.
    pub(super) fn limits_uris(&self) -> bool {
        self.0.limits_uris
    }

    /// What its key may be used for; `None` when the certificate does not say.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.key_usage
    }

    /// The extended key usages; empty when there is no such extension.
    pub fn extended_key_usages(&self) -> &[ObjectIdentifier] {
        &self.0.extended_key_usages
    }

    /// The subject key identifier.
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.subject_key_id.as_deref()
    }

    /// The key identifier of the authority key identifier.
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0.authority_key_id.as_deref()
    }

    /// The SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki
    }

    /// The public key.
    ///
    /// # Errors
    /// It is malformed or of an unsupported kind.
    pub fn public_key(&self) -> Result<PublicKey, PublicKeyError> {
        PublicKey::from_spki_der(&self.0.spki)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl std::hash::Hash for Certificate {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.der.hash(state);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject_string())
            .field("serial", &self.serial_hex())
            .field("uris", &self.uri_sans())
            .finish_non_exhaustive()
    }
}

impl Facts {
    fn read(der: &[u8]) -> der::Result<Self> {
        let CertificateParts { tbs, signature_algorithm: _, signature: _ } = CertificateParts::from_der(der)?;
        let TbsParts {
            version: _,
            serial,
            signature_algorithm: _,
            issuer,
            validity,
            subject,
            spki,
            issuer_unique_id: _,
            subject_unique_id: _,
            extensions,
        } = tbs;
        let subject = subject.to_der()?.into_boxed_slice();
        DistinguishedName::from_der(&subject)?;
        let mut facts = Self {
            der: der.into(),
            serial: unsigned(serial)?.into(),
            not_before: validity.not_before.to_system_time(),
            not_after: validity.not_after.to_system_time(),
            issuer: issuer.to_der()?.into(),
            subject,
            spki: spki.to_der()?.into(),
            names: SubjectAltNames::default(),
            is_ca: false,
            path_len: None,
            limits_uris: false,
            key_usage: None,
            extended_key_usages: Vec::new(),
            subject_key_id: None,
            authority_key_id: None,
        };
        if let Some(extensions) = extensions {
            facts.read_extensions(extensions)?;
        }
        Ok(facts)
    }

    fn read_extensions(&mut self, sequence: AnyRef<'_>) -> der::Result<()> {
        for extension in extensions::read(sequence)? {
            self.limits_uris |= constraints::limits_uris(&extension);
            let Extension { oid, critical: _, value } = extension;
            match oid {
                rfc5280::ID_CE_SUBJECT_ALT_NAME => self.names = SubjectAltNames::from_der(&value)?,
                rfc5280::ID_CE_BASIC_CONSTRAINTS => {
                    (self.is_ca, self.path_len) = extensions::basic_constraints(&value)?;
                }
                rfc5280::ID_CE_KEY_USAGE => self.key_usage = Some(KeyUsage::from_der(&value)?),
                rfc5280::ID_CE_EXT_KEY_USAGE => self.extended_key_usages = Vec::from_der(&value)?,
                rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER => {
                    self.subject_key_id = Some(extensions::octets(&value)?.into());
                }
                rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER => {
                    self.authority_key_id = extensions::authority_key_id(&value)?.map(Into::into);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Certificate (RFC 5280, section 4.1), borrowed.
#[derive(Sequence)]
struct CertificateParts<'a> {
    tbs: TbsParts<'a>,
    signature_algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
}

/// TBSCertificate (RFC 5280, section 4.1), borrowed. Names, key and extensions stay as they are: they are read with more
/// patience than types would have.
#[derive(Sequence)]
struct TbsParts<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    version: Option<u8>,
    serial: IntRef<'a>,
    signature_algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: AnyRef<'a>,
    spki: AnyRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<AnyRef<'a>>,
}

/// The digits of a serial number without leading zeros. Negative ones are refused (RFC 5280, section 4.1.2.2), zero is
/// not: certificates with it exist.
fn unsigned(number: IntRef<'_>) -> der::Result<&[u8]> {
    let bytes = number.as_bytes();
    match bytes {
        [first, ..] if *first >= 0x80 => Err(der::ErrorKind::Value { tag: der::Tag::Integer }.into()),
        _ if bytes.len() > MAX_SERIAL_LEN => Err(der::ErrorKind::Length { tag: der::Tag::Integer }.into()),
        _ => Ok(&bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..]),
    }
}

/// Lower-case hex, two digits a byte: how serial numbers, key IDs and authorities are named.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four_bits: u8| char::from(DIGITS[usize::from(four_bits)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A big-endian number in decimal.
fn decimal(number: &[u8]) -> String {
    const BASE: u64 = 1_000_000_000;
    // Nine decimal digits each, the least significant first.
    let mut limbs = vec![0_u64];
    for &byte in number {
        let mut carry = u64::from(byte);
        for limb in &mut limbs {
            let value = (*limb << 8) + carry;
            *limb = value % BASE;
            carry = value / BASE;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    let mut digits = limbs.pop().unwrap_or_default().to_string();
    for limb in limbs.iter().rev() {
        digits += &format!("{limb:09}");
    }
    digits
}

/// Twice and more what RFC 5280 allows, so that odd authorities work and turning one into decimal stays cheap.
const MAX_SERIAL_LEN: usize = 64;

#[cfg(test)]
mod tests;
