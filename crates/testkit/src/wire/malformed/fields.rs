//! Messages as the bytes of their fields, whatever their type.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};

use crate::wire::varint;

/// The fields of a message: numbers, and all of their bytes.
fn fields(mut message: &[u8]) -> Vec<(u32, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let mut rest = message;
        let (number, wire) = decode_key(&mut rest).unwrap();
        skip_field(wire, number, &mut rest, DecodeContext::default()).unwrap();
        let (field, behind) = message.split_at(message.len() - rest.len());
        fields.push((number, field));
        message = behind;
    }
    fields
}

/// The content of a field that has its length before it.
fn content(mut field: &[u8]) -> &[u8] {
    decode_key(&mut field).unwrap();
    decode_varint(&mut field).unwrap();
    field
}

/// The bytes of a field at the end of a path. Of lists on the way there, the first element counts.
pub(super) fn found(message: &[u8], path: &[u32]) -> Vec<u8> {
    let (number, deeper) = path.split_first().unwrap();
    let mut of_this = fields(message).into_iter().filter(|(found, _)| found == number).map(|(_, field)| field);
    if deeper.is_empty() {
        of_this.collect::<Vec<_>>().concat()
    } else {
        of_this.next().map(|field| found(content(field), deeper)).unwrap_or_default()
    }
}

/// A message with other bytes in place of a field. What is not on the way there is made.
pub(super) fn with(message: &[u8], path: &[u32], bytes: &[u8]) -> Vec<u8> {
    let (number, deeper) = path.split_first().unwrap();
    let mut fields = fields(message);
    if deeper.is_empty() {
        fields.retain(|(found, _)| found != number);
        return [&fields.iter().map(|(_, field)| *field).collect::<Vec<_>>().concat()[..], bytes].concat();
    }
    let at = fields.iter().position(|(found, _)| found == number);
    let inside = at.map_or(&[][..], |at| content(fields[at].1));
    let changed = delimited(*number, &with(inside, deeper, bytes));
    match at {
        Some(at) => fields[at].1 = &changed,
        None => fields.push((*number, &changed)),
    }
    fields.into_iter().map(|(_, field)| field).collect::<Vec<_>>().concat()
}

pub(super) fn key(number: u32, wire: WireType) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(number, wire, &mut bytes);
    bytes
}

pub(super) fn number_of(number: u32, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(number, value, &mut bytes);
    bytes
}

pub(super) fn delimited(number: u32, content: &[u8]) -> Vec<u8> {
    [&of_length(number, content.len() as u64)[..], content].concat()
}

/// A field that has less than it says.
pub(super) fn longer(number: u32, length: u64) -> Vec<u8> {
    [&of_length(number, length)[..], b"a"].concat()
}

fn of_length(number: u32, length: u64) -> Vec<u8> {
    let mut bytes = key(number, WireType::LengthDelimited);
    encode_varint(length, &mut bytes);
    bytes
}

pub(super) fn group(number: u32, depth: usize) -> Vec<u8> {
    let (start, end) = (key(number, WireType::StartGroup), key(number, WireType::EndGroup));
    [start.repeat(depth), end.repeat(depth)].concat()
}
