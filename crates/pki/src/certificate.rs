//! Issuing certificates (RFC 5280) in the form that SPIRE gives them.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use const_oid::db::rfc5280;
use der::asn1::{AnyRef, BitStringRef, Ia5String, OctetString, UintRef};
use der::{DateTime, Decode, Encode, Sequence, Tag};
use steeple_spiffe::x509::{DistinguishedName, Extension, ObjectIdentifier};
use steeple_spiffe::{Certificate, PublicKey, SignatureAlgorithm, SpiffeId, asn1};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::{Time, Validity};

use crate::{PkiError, Signer, Subject, random, ski};

/// Issues a certificate. Only the signature is waited for.
///
/// # Errors
/// A field does not fit into DER, or the signer fails.
pub async fn issue(template: &Template, public_key: &PublicKey, issuer: &Issuer<'_>) -> Result<Certificate, PkiError> {
    let Issuer { name, subject_key_id, signer } = issuer;
    assemble(template, public_key, name, subject_key_id.as_deref(), *signer).await
}

/// Issues a certificate that the subject's own key signs: a root. It has no authority key identifier.
///
/// # Errors
/// As [`issue`].
pub async fn self_signed(template: &Template, signer: &dyn Signer) -> Result<Certificate, PkiError> {
    assemble(template, signer.public_key(), &template.subject, None, signer).await
}

/// The subject of every SVID: `C=US, O=SPIRE`.
pub fn svid_subject() -> Subject {
    Subject { countries: vec!["US".into()], organizations: vec!["SPIRE".into()], ..Subject::default() }
}

/// What a certificate is to say. The rest (key identifiers, key usages, basic constraints) follows from [`Kind`] and
/// from the keys.
#[derive(Debug, Clone)]
pub struct Template {
    /// The serial number.
    pub serial: Serial,
    /// The subject. By custom that of an own CA holds the serial number once more, as an attribute in decimal.
    pub subject: Name,
    /// The SPIFFE ID.
    pub uri_san: Option<SpiffeId>,
    /// DNS names, in their order; they stand before the SPIFFE ID.
    pub dns_sans: Vec<String>,
    /// The first moment of validity, cut to the second.
    pub not_before: SystemTime,
    /// The last moment of validity, cut to the second.
    pub not_after: SystemTime,
    /// Authority or leaf.
    pub kind: Kind,
    /// Certificate policies.
    pub policies: Vec<ObjectIdentifier>,
    /// More extensions, behind all others. One of a type that we write ourselves takes its place.
    pub extra_extensions: Vec<Extension>,
}

impl Template {
    /// Without names, policies and more extensions.
    pub fn new(serial: Serial, subject: Name, validity: Range<SystemTime>, kind: Kind) -> Self {
        Self {
            serial,
            subject,
            uri_san: None,
            dns_sans: Vec::new(),
            not_before: validity.start,
            not_after: validity.end,
            kind,
            policies: Vec::new(),
            extra_extensions: Vec::new(),
        }
    }
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Signs certificates: key usage keyCertSign and cRLSign, no path length.
    Ca,
    /// Identifies a workload, agent or server: key usage digitalSignature, keyEncipherment and keyAgreement, for
    /// servers and clients.
    Svid,
}

/// Who signs.
#[derive(Debug, Clone)]
pub struct Issuer<'a> {
    /// The issuer's own subject.
    pub name: Name,
    /// Its subject key identifier, which becomes the authority key identifier.
    pub subject_key_id: Option<Vec<u8>>,
    /// Its key.
    pub signer: &'a dyn Signer,
}

impl<'a> Issuer<'a> {
    /// The issuer that this certificate and its key make.
    pub fn new(certificate: &Certificate, signer: &'a dyn Signer) -> Self {
        Self {
            name: Name(certificate.subject_der().into()),
            subject_key_id: certificate.subject_key_id().map(Into::into),
            signer,
        }
    }
}

/// A serial number from 1 to 2^128 - 1. Printed in decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Serial(u128);

impl Serial {
    /// A new one, all equally likely.
    ///
    /// # Errors
    /// [`PkiError::Random`].
    pub fn random() -> Result<Self, PkiError> {
        loop {
            if let Some(serial) = Self::new(u128::from_be_bytes(random()?)) {
                return Ok(serial);
            }
        }
    }

    /// This one; `None` for zero.
    pub fn new(number: u128) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A distinguished name as DER, the way it goes into a certificate: a copied name stays the same to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl Name {
    /// Takes over a DER Name.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        DistinguishedName::from_der(der)?;
        Ok(Self(der.into()))
    }

    /// The DER.
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// The attributes.
    pub fn to_subject(&self) -> Subject {
        // Every constructor has a sound name in its hand.
        Subject::from_der(&self.0).unwrap_or_default()
    }

    /// Whether there is no attribute in it.
    pub fn is_empty(&self) -> bool {
        self.0 == EMPTY_SEQUENCE
    }
}

impl TryFrom<&Subject> for Name {
    type Error = PkiError;

    fn try_from(subject: &Subject) -> Result<Self, PkiError> {
        Ok(Self(subject.to_der()?))
    }
}

async fn assemble(
    template: &Template,
    public_key: &PublicKey,
    issuer: &Name,
    authority_key_id: Option<&[u8]>,
    signer: &dyn Signer,
) -> Result<Certificate, PkiError> {
    let tbs = tbs_der(template, public_key, issuer, authority_key_id, signer.algorithm())?;
    let signature = signer.sign(&tbs).await?;
    Ok(Certificate::from_der(&signed_der(tbs, signer.algorithm(), &signature)?)?)
}

/// Puts what was signed, the algorithm and the signature together: the outer form of certificates and requests.
pub(crate) fn signed_der(signed: Vec<u8>, algorithm: SignatureAlgorithm, signature: &[u8]) -> der::Result<Vec<u8>> {
    let identifier = AnyRef::new(Tag::Sequence, &algorithm.identifier())?.to_der()?;
    let signature = BitStringRef::from_bytes(signature)?.to_der()?;
    asn1::wrap(Tag::Sequence, [signed, identifier, signature].concat())
}

/// The value of a subjectAltName: DNS names, then the URI. `None` when there is no name.
pub(crate) fn subject_alt_name(dns: &[String], uri: Option<&SpiffeId>) -> der::Result<Option<Vec<u8>>> {
    let mut names = Vec::new();
    for name in dns {
        names.push(GeneralName::DnsName(Ia5String::new(name)?));
    }
    if let Some(id) = uri {
        names.push(GeneralName::UniformResourceIdentifier(Ia5String::new(id.as_str())?));
    }
    if names.is_empty() { Ok(None) } else { names.to_der().map(Some) }
}

/// Writes a list of extensions.
pub(crate) fn extensions_der(extensions: &[Extension]) -> der::Result<Vec<u8>> {
    extensions.iter().map(ExtensionDer::new).collect::<der::Result<Vec<_>>>()?.to_der()
}

fn tbs_der(
    template: &Template,
    public_key: &PublicKey,
    issuer: &Name,
    authority_key_id: Option<&[u8]>,
    algorithm: SignatureAlgorithm,
) -> der::Result<Vec<u8>> {
    let Template { serial, subject, uri_san, dns_sans, not_before, not_after, kind, policies, extra_extensions } =
        template;
    let alt_name = subject_alt_name(dns_sans, uri_san.as_ref())?;
    // SPIRE's order. Without a subject, the alternative names are all there is, hence critical (RFC 5280, 4.2.1.6).
    let own = [
        Some(extension(rfc5280::ID_CE_KEY_USAGE, true, kind.key_usage().into())),
        kind.extended_key_usage().map(|value| extension(rfc5280::ID_CE_EXT_KEY_USAGE, false, value.into())),
        Some(extension(rfc5280::ID_CE_BASIC_CONSTRAINTS, true, kind.basic_constraints().into())),
        Some(extension(rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER, false, octet_string(&ski(public_key))?)),
        authority_key_id
            .map(|id| key_identifier(id).map(|value| extension(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, false, value)))
            .transpose()?,
        alt_name.map(|value| extension(rfc5280::ID_CE_SUBJECT_ALT_NAME, subject.is_empty(), value)),
        policies_der(policies)?.map(|value| extension(rfc5280::ID_CE_CERTIFICATE_POLICIES, false, value)),
    ];
    let own = own.iter().flatten().filter(|own| !extra_extensions.iter().any(|extra| extra.oid == own.oid));

    Tbs {
        version: 2,
        serial: UintRef::new(&serial.0.to_be_bytes())?,
        signature_algorithm: AnyRef::new(Tag::Sequence, &algorithm.identifier())?,
        issuer: AnyRef::from_der(&issuer.0)?,
        validity: Validity::new(time(*not_before)?, time(*not_after)?),
        subject: AnyRef::from_der(&subject.0)?,
        spki: AnyRef::from_der(public_key.spki_der())?,
        extensions: own.chain(extra_extensions).map(ExtensionDer::new).collect::<der::Result<_>>()?,
    }
    .to_der()
}

impl Kind {
    /// BIT STRING of the key usage.
    fn key_usage(self) -> [u8; 4] {
        match self {
            Self::Ca => [0x03, 0x02, 0x01, 0b0000_0110],
            Self::Svid => [0x03, 0x02, 0x03, 0b1010_1000],
        }
    }

    /// The OIDs of serverAuth and clientAuth.
    fn extended_key_usage(self) -> Option<&'static [u8]> {
        match self {
            Self::Ca => None,
            Self::Svid => {
                Some(b"\x30\x14\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02")
            }
        }
    }

    fn basic_constraints(self) -> &'static [u8] {
        match self {
            Self::Ca => b"\x30\x03\x01\x01\xff",
            Self::Svid => EMPTY_SEQUENCE,
        }
    }
}

fn extension(oid: ObjectIdentifier, critical: bool, value: Vec<u8>) -> Extension {
    Extension { oid, critical, value }
}

fn octet_string(bytes: &[u8]) -> der::Result<Vec<u8>> {
    asn1::wrap(Tag::OctetString, bytes.into())
}

/// An authority key identifier with the key identifier alone.
fn key_identifier(id: &[u8]) -> der::Result<Vec<u8>> {
    let tag = Tag::ContextSpecific { constructed: false, number: der::TagNumber(0) };
    asn1::wrap(Tag::Sequence, asn1::wrap(tag, id.into())?)
}

fn policies_der(policies: &[ObjectIdentifier]) -> der::Result<Option<Vec<u8>>> {
    let mut list = Vec::new();
    for policy in policies {
        list.extend(asn1::wrap(Tag::Sequence, policy.to_der()?)?);
    }
    if list.is_empty() { Ok(None) } else { asn1::wrap(Tag::Sequence, list).map(Some) }
}

/// UTCTime up to 2049, GeneralizedTime from then on (RFC 5280, section 4.1.2.5).
fn time(time: SystemTime) -> der::Result<Time> {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| der::ErrorKind::DateTime)?;
    Ok(DateTime::from_unix_duration(Duration::from_secs(since_epoch.as_secs()))?.into())
}

/// TBSCertificate (RFC 5280, section 4.1).
#[derive(Sequence)]
struct Tbs<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: UintRef<'a>,
    signature_algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: AnyRef<'a>,
    spki: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<ExtensionDer>,
}

#[derive(Sequence)]
struct ExtensionDer {
    oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: OctetString,
}

impl ExtensionDer {
    fn new(extension: &Extension) -> der::Result<Self> {
        let Extension { oid, critical, value } = extension;
        Ok(Self { oid: *oid, critical: *critical, value: OctetString::new(value.as_slice())? })
    }
}

const EMPTY_SEQUENCE: &[u8] = &[0x30, 0x00];

#[cfg(test)]
mod tests;
