//! The little of ASN.1 that the rooms share: walking over DER without types, and saying what is wrong with it.

use der::asn1::{Any, AnyRef};
use der::{Decode, Encode, Reader, SliceReader, Tag};

pub use const_oid::ObjectIdentifier;

/// The members of a SEQUENCE or SET, whatever they are. Reads one level and never recurses.
///
/// # Errors
/// The value has another tag, or its contents are no DER.
pub fn members(value: AnyRef<'_>, tag: Tag) -> der::Result<Vec<AnyRef<'_>>> {
    tag_is(value, tag)?;
    let mut reader = SliceReader::new(value.value())?;
    let mut members = Vec::new();
    while !reader.is_finished() {
        members.push(AnyRef::decode(&mut reader)?);
    }
    Ok(members)
}

/// Splits concatenated DER values, each with its header.
///
/// # Errors
/// The bytes are no sequence of whole DER values.
pub fn split(concatenated: &[u8]) -> der::Result<Vec<&[u8]>> {
    let mut rest = concatenated;
    let mut values = Vec::new();
    while !rest.is_empty() {
        let mut reader = SliceReader::new(rest)?;
        values.push(reader.tlv_bytes()?);
        rest = &rest[usize::try_from(reader.position())?..];
    }
    Ok(values)
}

/// A DER value of this tag around the given contents.
///
/// # Errors
/// The contents are longer than a DER length can say (256 MiB).
pub fn wrap(tag: Tag, contents: Vec<u8>) -> der::Result<Vec<u8>> {
    Any::new(tag, contents)?.to_der()
}

/// A SET OF with its members, each a whole DER value, in the order that DER asks for (X.690, section 11.6).
///
/// # Errors
/// As [`wrap`].
pub fn set_of(mut members: Vec<Vec<u8>>) -> der::Result<Vec<u8>> {
    members.sort();
    wrap(Tag::Set, members.concat())
}

/// Says what is wrong at the very beginning of bytes that should be a SEQUENCE named `element`, as Go's ASN.1 reader
/// says it: nothing there, another tag (text or PEM in place of DER), or too little data. SPIRE passes these texts on
/// to its callers, so they are part of its API.
pub fn header_fault(bytes: &[u8], element: &str) -> String {
    let Some(header) = Header::read(bytes) else {
        let what = if bytes.is_empty() { "sequence truncated" } else { "truncated tag or length" };
        return format!("asn1: syntax error: {what}");
    };
    let Header { class, compound, tag, length, size } = header;
    if (class, compound, tag) != (0, true, 16) {
        return format!(
            "asn1: structure error: tags don't match (16 vs {{class:{class} tag:{tag} length:{length} \
             isCompound:{compound}}}) {{optional:false explicit:false application:false private:false \
             defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false}} {element} @{size}"
        );
    }
    if bytes.len() - size < length {
        return "asn1: syntax error: data truncated".into();
    }
    format!("asn1: structure error: malformed {element}")
}

pub(crate) fn tag_is(value: AnyRef<'_>, tag: Tag) -> der::Result<()> {
    der::Tagged::tag(&value).assert_eq(tag).map(drop)
}

struct Header {
    class: u8,
    compound: bool,
    tag: u8,
    length: usize,
    /// Bytes of the header itself.
    size: usize,
}

impl Header {
    /// One-byte tags and lengths of up to four bytes; `None` when the bytes end before or mean something else.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&identifier, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, size) = if first < 0x80 {
            (usize::from(first), 2)
        } else {
            let count = usize::from(first & 0x7f);
            let digits = rest.get(..count).filter(|_| (1..=4).contains(&count))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), 2 + count)
        };
        Some(Self { class: identifier >> 6, compound: identifier & 0x20 != 0, tag: identifier & 0x1f, length, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_go_says_about_text_in_place_of_der() {
        assert_eq!(
            header_fault(b"garbage", "certificateRequest"),
            "asn1: structure error: tags don't match (16 vs {class:1 tag:7 length:97 isCompound:true}) {optional:false \
             explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 \
             set:false omitEmpty:false} certificateRequest @2"
        );
        assert_eq!(header_fault(b"", "publicKeyInfo"), "asn1: syntax error: sequence truncated");
        assert_eq!(header_fault(b"x", "publicKeyInfo"), "asn1: syntax error: truncated tag or length");
        assert_eq!(header_fault(b"\x30\x05\x01", "publicKeyInfo"), "asn1: syntax error: data truncated");
    }

    #[test]
    fn splits_concatenated_values() {
        let values: Vec<&[u8]> = split(b"\x30\x00\x04\x02ab\x05\x00").unwrap();
        assert_eq!(values, [b"\x30\x00".as_slice(), b"\x04\x02ab", b"\x05\x00"]);
        assert!(split(b"\x30\x00\x04\x02a").is_err());
        assert!(split(b"\x30").is_err());
    }

    #[test]
    fn members_of_a_set_stand_in_the_order_of_their_bytes() {
        let members = vec![b"\x0c\x01b".to_vec(), b"\x0c\x02aa".to_vec(), b"\x0c\x01a".to_vec()];
        assert_eq!(set_of(members).unwrap(), b"\x31\x0a\x0c\x01a\x0c\x01b\x0c\x02aa");
    }
}
