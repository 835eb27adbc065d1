use std::fmt;

use const_oid::db::rfc4519;
use der::asn1::{Any, AnyRef, BmpString};
use der::{Decode, Encode, Sequence, Tag, Tagged};

use super::ObjectIdentifier;
use crate::asn1;

/// A distinguished name by its usual attributes (RFC 5280, section 4.1.2.4).
///
/// Printed as Go prints names (`O=SPIRE,C=US`): the last attribute first, several values of one type joined by `+`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DistinguishedName {
    /// `C`.
    pub countries: Vec<String>,
    /// `ST`.
    pub provinces: Vec<String>,
    /// `L`.
    pub localities: Vec<String>,
    /// `STREET`.
    pub street_addresses: Vec<String>,
    /// `POSTALCODE`.
    pub postal_codes: Vec<String>,
    /// `O`.
    pub organizations: Vec<String>,
    /// `OU`.
    pub organizational_units: Vec<String>,
    /// `CN`; empty for none.
    pub common_name: String,
    /// `SERIALNUMBER`, an attribute of the subject and not the certificate's serial number; empty for none.
    pub serial_number: String,
    /// All other attributes, in their order, such as x500UniqueIdentifier (2.5.4.45). One whose type has a field above
    /// takes that field's place when the name is written, as in Go.
    pub extra: Vec<ExtraName>,
}

/// An attribute that has no field of its own in a [`DistinguishedName`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraName {
    /// Type of the attribute.
    pub oid: ObjectIdentifier,
    /// Its value, a string.
    pub value: String,
}

impl DistinguishedName {
    /// Reads a DER Name. Attributes that are no strings are left out; the grouping into multi-valued RDNs is not kept.
    /// Members of an RDN may stand in any order, as not every authority sorts them.
    ///
    /// # Errors
    /// The bytes are no Name, or a string is not of its type.
    pub fn from_der(der: &[u8]) -> der::Result<Self> {
        let mut name = Self::default();
        for rdn in asn1::members(AnyRef::from_der(der)?, Tag::Sequence)? {
            for attribute in asn1::members(rdn, Tag::Set)? {
                let AttributeRef { oid, value } = attribute.decode_as()?;
                if let Some(value) = text(value)? {
                    name.push(oid, value);
                }
            }
        }
        Ok(name)
    }

    /// Writes a DER Name in the order C, ST, L, STREET, POSTALCODE, O, OU, CN, SERIALNUMBER, extra names. Several values
    /// of one type form one RDN, sorted as DER asks; strings are PrintableString where their characters allow it, else
    /// UTF8String.
    ///
    /// # Errors
    /// The name is longer than DER can say.
    pub fn to_der(&self) -> der::Result<Vec<u8>> {
        let mut rdns = Vec::new();
        for (oid, values) in self.attributes() {
            if !values.is_empty() && !self.extra.iter().any(|extra| extra.oid == oid) {
                rdns.extend(rdn(oid, values)?);
            }
        }
        for ExtraName { oid, value } in &self.extra {
            rdns.extend(rdn(*oid, std::slice::from_ref(value))?);
        }
        asn1::wrap(Tag::Sequence, rdns)
    }

    /// The name without its extra attributes: what remains when SPIRE copies the subject of a request or of an issuer.
    #[must_use]
    pub fn without_extra(self) -> Self {
        Self { extra: Vec::new(), ..self }
    }

    /// Whether there is no attribute at all.
    pub fn is_empty(&self) -> bool {
        self.extra.is_empty() && self.attributes().iter().all(|(_, values)| values.is_empty())
    }

    /// The attributes with fields, in the order in which they are written.
    fn attributes(&self) -> [(ObjectIdentifier, &[String]); 9] {
        [
            (rfc4519::C, &self.countries),
            (rfc4519::ST, &self.provinces),
            (rfc4519::L, &self.localities),
            (rfc4519::STREET, &self.street_addresses),
            (rfc4519::POSTAL_CODE, &self.postal_codes),
            (rfc4519::O, &self.organizations),
            (rfc4519::OU, &self.organizational_units),
            (rfc4519::CN, present(&self.common_name)),
            (rfc4519::SERIAL_NUMBER, present(&self.serial_number)),
        ]
    }

    fn push(&mut self, oid: ObjectIdentifier, value: String) {
        match oid {
            rfc4519::C => self.countries.push(value),
            rfc4519::ST => self.provinces.push(value),
            rfc4519::L => self.localities.push(value),
            rfc4519::STREET => self.street_addresses.push(value),
            rfc4519::POSTAL_CODE => self.postal_codes.push(value),
            rfc4519::O => self.organizations.push(value),
            rfc4519::OU => self.organizational_units.push(value),
            rfc4519::CN => self.common_name = value,
            rfc4519::SERIAL_NUMBER => self.serial_number = value,
            _ => self.extra.push(ExtraName { oid, value }),
        }
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (oid, values) in self.attributes().iter().rev().filter(|(_, values)| !values.is_empty()) {
            f.write_str(separator)?;
            separator = ",";
            for (n, value) in values.iter().enumerate() {
                let plus = if n == 0 { "" } else { "+" };
                write!(f, "{plus}{}={}", short_name(*oid), Escaped(value))?;
            }
        }
        for ExtraName { oid, value } in self.extra.iter().rev() {
            write!(f, "{separator}{oid}=#")?;
            separator = ",";
            let der = string(value).and_then(|value| value.to_der()).map_err(|_| fmt::Error)?;
            f.write_str(&super::hex(&der))?;
        }
        Ok(())
    }
}

/// A value with the escapes of RFC 2253, section 2.4.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, character) in self.0.char_indices() {
            let is_first = at == 0;
            let is_last = at + character.len_utf8() == self.0.len();
            let escape = match character {
                ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
                ' ' => is_first || is_last,
                '#' => is_first,
                _ => false,
            };
            write!(f, "{}{character}", if escape { "\\" } else { "" })?;
        }
        Ok(())
    }
}

fn present(value: &String) -> &[String] {
    if value.is_empty() { &[] } else { std::slice::from_ref(value) }
}

fn short_name(oid: ObjectIdentifier) -> &'static str {
    match oid {
        rfc4519::C => "C",
        rfc4519::ST => "ST",
        rfc4519::L => "L",
        rfc4519::STREET => "STREET",
        rfc4519::POSTAL_CODE => "POSTALCODE",
        rfc4519::O => "O",
        rfc4519::OU => "OU",
        rfc4519::CN => "CN",
        _ => "SERIALNUMBER",
    }
}

fn rdn(oid: ObjectIdentifier, values: &[String]) -> der::Result<Vec<u8>> {
    let members = values.iter().map(|value| Attribute { oid, value: string(value)? }.to_der());
    asn1::set_of(members.collect::<der::Result<_>>()?)
}

fn string(value: &str) -> der::Result<Any> {
    let printable = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte));
    Any::new(if printable { Tag::PrintableString } else { Tag::Utf8String }, value.as_bytes())
}

/// The text of a string of any type that names have; `None` for what is no string.
fn text(value: AnyRef<'_>) -> der::Result<Option<String>> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            Ok(Some(std::str::from_utf8(value.value())?.to_owned()))
        }
        // Formally T.61; in practice Latin-1, whose bytes are the first code points.
        Tag::TeletexString => Ok(Some(value.value().iter().map(|&byte| char::from(byte)).collect())),
        Tag::BmpString => BmpString::from_ucs2(value.value()).map(|text| Some(text.to_string())),
        _ => Ok(None),
    }
}

/// AttributeTypeAndValue (RFC 5280, appendix A.1), borrowed.
#[derive(Sequence)]
struct AttributeRef<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
}

#[derive(Sequence)]
struct Attribute {
    oid: ObjectIdentifier,
    value: Any,
}

#[cfg(test)]
mod tests;
