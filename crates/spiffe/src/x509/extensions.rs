use std::net::IpAddr;

use const_oid::db::rfc5280;
use der::asn1::{AnyRef, BitStringRef, Ia5StringRef, OctetStringRef, UintRef};
use der::{Decode, ErrorKind, Sequence, Tag, TagNumber, Tagged};

use super::ObjectIdentifier;
use crate::asn1;

/// An extension of a certificate or request (RFC 5280, section 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// What it is.
    pub oid: ObjectIdentifier,
    /// Whether those who do not know it must refuse the certificate.
    pub critical: bool,
    /// The DER inside the OCTET STRING.
    pub value: Vec<u8>,
}

/// The names of a subjectAltName (RFC 5280, section 4.2.1.6) of these kinds, each in its order. Others are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectAltNames {
    /// URIs.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// IP addresses; one that has neither 4 nor 16 bytes is left out.
    pub ips: Vec<IpAddr>,
}

impl SubjectAltNames {
    /// Reads the value of the extension.
    ///
    /// # Errors
    /// It is no list of general names, or a URI, DNS name or e-mail address is not ASCII.
    pub fn from_der(value: &[u8]) -> der::Result<Self> {
        let mut names = Self::default();
        for name in asn1::members(AnyRef::from_der(value)?, Tag::Sequence)? {
            let text = || Ia5StringRef::new(name.value()).map(|text| text.as_str().to_owned());
            match name.tag() {
                DNS_NAME => names.dns.push(text()?),
                URI => names.uris.push(text()?),
                EMAIL => names.emails.push(text()?),
                IP_ADDRESS => names.ips.extend(ip_address(name.value())),
                _ => {}
            }
        }
        Ok(names)
    }

    /// Those of a list of extensions; none when it has no subjectAltName.
    ///
    /// # Errors
    /// As [`SubjectAltNames::from_der`].
    pub fn of(extensions: &[Extension]) -> der::Result<Self> {
        extensions
            .iter()
            .find(|extension| extension.oid == rfc5280::ID_CE_SUBJECT_ALT_NAME)
            .map_or_else(|| Ok(Self::default()), |extension| Self::from_der(&extension.value))
    }
}

/// What a key may be used for (RFC 5280, section 4.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// Bit n of the BIT STRING is bit n here.
    bits: u16,
}

impl KeyUsage {
    /// Signing data: what the key of an SVID is for.
    pub const DIGITAL_SIGNATURE: Self = Self { bits: 1 };
    /// Enciphering keys.
    pub const KEY_ENCIPHERMENT: Self = Self { bits: 1 << 2 };
    /// Agreeing on keys.
    pub const KEY_AGREEMENT: Self = Self { bits: 1 << 4 };
    /// Signing certificates.
    pub const KEY_CERT_SIGN: Self = Self { bits: 1 << 5 };
    /// Signing revocation lists.
    pub const CRL_SIGN: Self = Self { bits: 1 << 6 };

    /// These usages and the other's.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { bits: self.bits | other.bits }
    }

    /// Whether all usages of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.bits & other.bits == other.bits
    }

    pub(super) fn from_der(value: &[u8]) -> der::Result<Self> {
        let usage = BitStringRef::from_der(value)?;
        let bits = usage.bits().take(u16::BITS as usize).enumerate();
        Ok(Self { bits: bits.fold(0, |bits, (n, set)| bits | u16::from(set) << n) })
    }
}

/// Reads a list of extensions.
///
/// # Errors
/// It is malformed, or an extension occurs twice (RFC 5280, section 4.2).
pub(super) fn read(sequence: AnyRef<'_>) -> der::Result<Vec<Extension>> {
    let mut extensions: Vec<Extension> = Vec::new();
    for member in asn1::members(sequence, Tag::Sequence)? {
        let ExtensionRef { oid, critical, value } = member.decode_as()?;
        if extensions.iter().any(|extension| extension.oid == oid) {
            return Err(ErrorKind::Value { tag: Tag::Sequence }.into());
        }
        extensions.push(Extension { oid, critical, value: value.as_bytes().into() });
    }
    Ok(extensions)
}

pub(super) fn octets(value: &[u8]) -> der::Result<&[u8]> {
    <&OctetStringRef>::from_der(value).map(OctetStringRef::as_bytes)
}

/// The `cA` and the `pathLenConstraint` of basic constraints (RFC 5280, section 4.2.1.9). A length beyond 255 limits
/// nothing, and one below 0 is refused: taken for none, it would allow what somebody meant to forbid.
pub(super) fn basic_constraints(value: &[u8]) -> der::Result<(bool, Option<u8>)> {
    let members = asn1::members(AnyRef::from_der(value)?, Tag::Sequence)?;
    let is_ca = members.first().filter(|member| member.tag() == Tag::Boolean);
    let is_ca = is_ca.map_or(Ok(false), |member| member.decode_as())?;
    let length = members.last().filter(|member| member.tag() == Tag::Integer);
    let length = length.map(|member| member.decode_as::<UintRef<'_>>()).transpose()?;
    let fits = |length: UintRef<'_>| <[u8; 1]>::try_from(length.as_bytes()).ok().map(|[length]| length);
    Ok((is_ca, length.and_then(fits)))
}

/// The `keyIdentifier` of an authority key identifier.
pub(super) fn authority_key_id(value: &[u8]) -> der::Result<Option<&[u8]>> {
    let members = asn1::members(AnyRef::from_der(value)?, Tag::Sequence)?;
    Ok(members.into_iter().find(|member| member.tag() == KEY_IDENTIFIER).map(AnyRef::value))
}

impl Extension {
    /// Reads the value of an extensionRequest attribute (RFC 2985, section 5.4.2): a list of extensions.
    ///
    /// # Errors
    /// It is malformed, or an extension occurs twice.
    pub fn list_from_der(der: &[u8]) -> der::Result<Vec<Self>> {
        read(AnyRef::from_der(der)?)
    }
}

#[derive(Sequence)]
struct ExtensionRef<'a> {
    oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: &'a OctetStringRef,
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

const fn implicit(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: false, number: TagNumber(number) }
}

const DNS_NAME: Tag = implicit(2);
pub(super) const URI: Tag = implicit(6);
const EMAIL: Tag = implicit(1);
const IP_ADDRESS: Tag = implicit(7);
const KEY_IDENTIFIER: Tag = implicit(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_length_is_a_number_and_none_below_zero() {
        let read = |length: &[u8]| {
            let len = u8::try_from(length.len()).unwrap();
            let head = [0x30, 5 + len, 1, 1, 0xff, 2, len];
            basic_constraints(&[head.as_slice(), length].concat()).ok()
        };
        assert_eq!(read(&[0]), Some((true, Some(0))));
        assert_eq!(read(&[0, 0xff]), Some((true, Some(255))));
        assert_eq!(read(&[1, 0]), Some((true, None)));
        assert_eq!(read(&[0x80]), None);
        assert_eq!(read(&[0xff, 0x7f]), None);
        assert_eq!(read(&[]), None);
        assert_eq!(basic_constraints(b"\x30\x03\x01\x01\xff").unwrap(), (true, None));
    }
}
