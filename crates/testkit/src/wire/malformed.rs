//! Requests that nobody should send, made from the description of a method and one good request of it.
//!
//! They come in the same order at each run, and each has a name. What breaks a field is done to each field that the
//! method's message can have, however deep, whether or not the good request has it.

mod fields;

use bytes::Bytes;
use prost::encoding::WireType;
use prost_types::FieldDescriptorProto;
use prost_types::field_descriptor_proto::{Label, Type};
use tonic::Code;

use self::fields::{delimited, found, group, key, longer, number_of, with};
use super::Schema;

/// How deep fields are looked for: no request's message is deeper, and types may contain themselves.
const DEPTH: usize = 8;
/// Bytes of a message, as daemons take them.
const MOST: usize = 4 << 20;
/// A number that no message uses for a field.
const UNKNOWN: u32 = 20_000;
/// So many empty elements has a list.
const MANY: usize = 100_000;
/// And a list of the items of a batch, of which each has an answer and a line in a log.
const ITEMS: usize = 10_000;

/// What is wrong with a request, which decides how it may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// At most what it says: it can be read.
    Content,
    /// It cannot be read as a message of its type.
    Message,
    /// It is larger than any message may be.
    Size,
    /// It is not one message, as gRPC frames it.
    Frame,
}

/// A request that nobody should send.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// Which field, and what is wrong with it.
    pub name: String,
    /// What is wrong.
    pub wrong: Wrong,
    /// Headers that belong to it.
    pub headers: &'static [(&'static str, &'static str)],
    /// The whole body, with the prefixes of its messages.
    pub body: Bytes,
}

impl Malformed {
    fn new(name: impl Into<String>, wrong: Wrong, message: &[u8]) -> Self {
        Self { name: name.into(), wrong, headers: &[], body: framed(0, message.len(), message).into() }
    }

    fn frame(name: &str, body: Vec<u8>) -> Self {
        Self { name: name.to_owned(), wrong: Wrong::Frame, headers: &[], body: body.into() }
    }
}

/// What a caller may be refused with: never with what says that it is not its fault.
const REFUSALS: &[Code] = &[
    Code::InvalidArgument,
    Code::NotFound,
    Code::AlreadyExists,
    Code::FailedPrecondition,
    Code::ResourceExhausted,
    Code::PermissionDenied,
    Code::Unimplemented,
];

/// Texts in what is INTERNAL all the same, and UNAVAILABLE where an agent hands it on: as the reference was recorded, and as
/// gRPC has what cannot be read.
const INTERNAL: &[&str] = &[
    "failed to decode Protobuf message",
    "cannot list by empty selectors set",
    "unhandled match behavior",
    "unhandled selectors match behavior",
    "unhandled federates with match behavior",
    "could not parse token",
    "UNIQUE constraint failed",
    "failed to create join token ID",
    "it is not possible to revoke an untainted key",
    "invalid JWT-SVID audience: cannot be empty",
];

/// Whether a caller whose request was wrong can tell that from how a call, or an item of it, has ended.
pub fn is_clear(code: Code, message: &str) -> bool {
    match code {
        Code::Ok => true,
        Code::Internal | Code::Unavailable => INTERNAL.iter().any(|text| message.contains(text)),
        code => REFUSALS.contains(&code) && !message.is_empty(),
    }
}

/// A message of a body: its flag, the length that it says it has, and its bytes.
pub fn framed(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap();
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

impl Schema {
    /// The paths of the methods of those services whose full names are `wanted`, in order.
    pub fn methods(&self, wanted: impl Fn(&str) -> bool) -> Vec<&str> {
        let is_wanted = |path: &&str| path[1..].rsplit_once('/').is_some_and(|(service, _)| wanted(service));
        let mut paths: Vec<&str> = self.methods.keys().map(String::as_str).filter(is_wanted).collect();
        paths.sort_unstable();
        paths
    }

    /// Whether a method may have many answers.
    pub fn streams_answers(&self, method: &str) -> bool {
        self.methods[method].streams_answers
    }

    /// What is wrong in each way that there is, with `good` as the rest. What may be taken as it is, and so change
    /// something, comes last.
    pub fn malformed(&self, method: &str, good: &[u8]) -> Vec<Malformed> {
        let mut all: Vec<Malformed> = whole(good);
        for place in self.places(&self.methods[method].input) {
            all.extend(place.malformed(self, good));
        }
        all.extend(frames(good));
        all.sort_by_key(|malformed| malformed.wrong == Wrong::Content);
        all
    }

    /// Every field of a message, and of those inside it.
    fn places(&self, message: &str) -> Vec<Place<'_>> {
        let mut places = Vec::new();
        self.add_places(message, &[], "", &mut places);
        places
    }

    fn add_places<'a>(&'a self, message: &str, above: &[u32], prefix: &str, places: &mut Vec<Place<'a>>) {
        for field in &self.messages[message].field {
            let (number, name) = (u32::try_from(field.number()).unwrap(), format!("{prefix}{}", field.name()));
            let path = [above, &[number]].concat();
            if field.r#type() == Type::Message && path.len() < DEPTH {
                self.add_places(field.type_name(), &path, &format!("{name}."), places);
            }
            places.push(Place { path, name, field, beside: self.beside(message, field) });
        }
    }

    /// Another field of those of which only one may be there.
    fn beside(&self, message: &str, field: &FieldDescriptorProto) -> Option<&FieldDescriptorProto> {
        let choice = field.oneof_index.filter(|_| !field.proto3_optional())?;
        let others = self.messages[message].field.iter();
        others.filter(|other| other.number != field.number).find(|other| other.oneof_index == Some(choice))
    }
}

/// A field, and the way to it.
struct Place<'a> {
    path: Vec<u32>,
    name: String,
    field: &'a FieldDescriptorProto,
    beside: Option<&'a FieldDescriptorProto>,
}

impl Place<'_> {
    fn malformed(&self, schema: &Schema, good: &[u8]) -> Vec<Malformed> {
        let number = *self.path.last().unwrap();
        let there = found(good, &self.path);
        let mut all = Vec::new();
        let mut put = |what: &str, wrong, bytes: &[u8]| {
            let name = format!("{}: {what}", self.name);
            all.push(Malformed::new(name, wrong, &with(good, &self.path, bytes)));
        };
        if !there.is_empty() {
            put("missing", Wrong::Content, &[]);
        }
        put("64 bits", Wrong::Message, &[&key(number, WireType::SixtyFourBit)[..], &[0; 8]].concat());
        put("a group", Wrong::Message, &group(number, 1));
        match self.field.r#type() {
            Type::String | Type::Bytes | Type::Message => {
                put("a number", Wrong::Message, &number_of(number, 1));
                put("longer than the rest", Wrong::Message, &longer(number, 1 << 20));
                put("of nearly all bytes that there can be", Wrong::Message, &longer(number, u64::MAX));
                put("empty", Wrong::Content, &delimited(number, b""));
            }
            _ => {
                put("text", Wrong::Message, &delimited(number, &[0xff; 3]));
                put(
                    "a number that does not end",
                    Wrong::Message,
                    &[&key(number, WireType::Varint), &[0xff; 11][..]].concat(),
                );
            }
        }
        let large = |byte| {
            [("64 KiB", delimited(number, &vec![byte; 64 << 10])), ("1 MiB", delimited(number, &vec![byte; 1 << 20]))]
        };
        match self.field.r#type() {
            Type::String => {
                put("not UTF-8", Wrong::Message, &delimited(number, b"a\xff\xfe"));
                put("half a letter", Wrong::Message, &delimited(number, "ü".as_bytes().get(..1).unwrap()));
                put("control characters", Wrong::Content, &delimited(number, "\0\n\r\x1b[2J\u{202e}".as_bytes()));
                put("a path out of here", Wrong::Content, &delimited(number, b"/../../%2e%2e/"));
                large(b'a').iter().for_each(|(what, bytes)| put(what, Wrong::Content, bytes));
            }
            Type::Bytes => {
                // Of DER, a sequence that is longer than the rest.
                put("a beginning", Wrong::Content, &delimited(number, &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]));
                large(0x30).iter().for_each(|(what, bytes)| put(what, Wrong::Content, bytes));
            }
            Type::Message => put("cut off", Wrong::Message, &delimited(number, &longer(UNKNOWN, 3))),
            Type::Enum => {
                let values = &schema.enums[self.field.type_name()].value;
                let next = values.iter().map(|value| value.number()).max().unwrap_or_default() + 1;
                put("the value after the last", Wrong::Content, &number_of(number, next.unsigned_abs().into()));
                put("the largest value", Wrong::Content, &number_of(number, i32::MAX.unsigned_abs().into()));
                put("a negative value", Wrong::Content, &number_of(number, u64::MAX));
            }
            Type::Bool => put("all bits", Wrong::Content, &number_of(number, u64::MAX)),
            _ => {
                put("-1", Wrong::Content, &number_of(number, u64::MAX));
                put("the largest of 32 bits", Wrong::Content, &number_of(number, i32::MAX.unsigned_abs().into()));
                put("the smallest of 32 bits", Wrong::Content, &number_of(number, i64::from(i32::MIN).cast_unsigned()));
                put("the largest of 64 bits", Wrong::Content, &number_of(number, i64::MAX.cast_unsigned()));
                put("the smallest of 64 bits", Wrong::Content, &number_of(number, i64::MIN.cast_unsigned()));
            }
        }
        let default = match self.field.r#type() {
            Type::String | Type::Bytes | Type::Message => delimited(number, b""),
            _ => number_of(number, 0),
        };
        if self.field.label() == Label::Repeated {
            let many = if self.path.len() == 1 { ITEMS } else { MANY };
            put("very often, empty", Wrong::Content, &default.repeat(many));
            if !there.is_empty() {
                put("a hundred times", Wrong::Content, &there.repeat(100));
            }
        } else {
            put("twice", Wrong::Content, &there.repeat(2));
            put("twice, empty the second time", Wrong::Content, &[&there[..], &default].concat());
        }
        if let Some(beside) = self.beside {
            let other = delimited(u32::try_from(beside.number()).unwrap(), b"");
            put("beside what excludes it", Wrong::Content, &[&there[..], &other].concat());
        }
        all
    }
}

/// What can be done to a message whatever is in it.
fn whole(good: &[u8]) -> Vec<Malformed> {
    let and = |more: &[u8]| [good, more].concat();
    let mut all = vec![
        Malformed::new("noise", Wrong::Message, &[0xff; 100]),
        Malformed::new("a field 0", Wrong::Message, &and(&[0, 0])),
        Malformed::new("a wire type that there is not", Wrong::Message, &and(&[0x0e, 0])),
        Malformed::new("the end of a group", Wrong::Message, &and(&key(UNKNOWN, WireType::EndGroup))),
        Malformed::new("a group that does not end", Wrong::Message, &and(&key(UNKNOWN, WireType::StartGroup))),
        Malformed::new("groups, 500 deep", Wrong::Message, &and(&group(UNKNOWN, 500))),
        Malformed::new("groups, 100,000 deep", Wrong::Message, &and(&group(UNKNOWN, 100_000))),
        Malformed::new("an unknown field longer than the rest", Wrong::Message, &and(&longer(UNKNOWN, 1 << 40))),
        Malformed::new("4 MiB and more", Wrong::Size, &and(&delimited(UNKNOWN, &vec![0; MOST]))),
        Malformed::new("groups, 50 deep", Wrong::Content, &and(&group(UNKNOWN, 50))),
        Malformed::new("an unknown number", Wrong::Content, &and(&number_of(UNKNOWN, 7))),
        Malformed::new("an unknown text of 1 MiB", Wrong::Content, &and(&delimited(UNKNOWN, &vec![b'a'; 1 << 20]))),
        Malformed::new("the unknown field of the largest number", Wrong::Content, &and(&number_of((1 << 29) - 1, 7))),
        Malformed::new("many unknown fields", Wrong::Content, &and(&number_of(UNKNOWN, 7).repeat(MANY))),
        Malformed::new("twice", Wrong::Content, &and(good)),
        Malformed::new("empty", Wrong::Content, b""),
    ];
    if let Some((_, but_the_last)) = good.split_last() {
        all.push(Malformed::new("without its last byte", Wrong::Message, but_the_last));
        all.push(Malformed::new("its first byte", Wrong::Message, good.get(..1).unwrap()));
    }
    all
}

/// What can be done to the frame of a message.
fn frames(good: &[u8]) -> Vec<Malformed> {
    let length = good.len();
    let whole = framed(0, length, good);
    let compressed = Malformed::frame("compressed in a way that nobody knows", framed(1, length, good));
    let mut all = vec![
        Malformed::frame("no message", Vec::new()),
        Malformed::frame("a part of a prefix", vec![0, 0, 0]),
        Malformed::frame("a message that says that it is longer", framed(0, length + 1, good)),
        Malformed::frame("a message that says that it has 4 GiB", framed(0, u32::MAX as usize, good)),
        Malformed::frame("compressed, and nobody says how", framed(1, length, good)),
        Malformed::frame("a flag that there is not", framed(0x80, length, good)),
        Malformed { headers: &[("grpc-encoding", "zorp")], ..compressed },
        Malformed::frame("two messages", [&whole[..], &whole].concat()),
        Malformed::frame("a message and a part of a prefix", [&whole[..], &[0, 0]].concat()),
    ];
    if length > 0 {
        all.push(Malformed::frame("a message that says that it is shorter", framed(0, length - 1, good)));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use prost::Message;
    use serde_json::json;
    use steeple_proto::spire::api::server::entry::v1::BatchCreateEntryRequest;

    use super::*;

    const METHOD: &str = "/spire.api.server.entry.v1.Entry/BatchCreateEntry";

    fn all() -> Vec<Malformed> {
        let schema = Schema::new(&[steeple_proto::descriptors::PACKAGED]);
        let good = json!({"entries": [{"id": "a", "spiffe_id": {"trust_domain": "example.org", "path": "/a"}}]});
        schema.malformed(METHOD, &schema.encode_request(METHOD, &good))
    }

    #[test]
    fn what_is_said_to_be_no_message_cannot_be_read_and_the_rest_can() {
        for Malformed { name, wrong, body, .. } in all() {
            let read = BatchCreateEntryRequest::decode(&body[5.min(body.len())..]);
            match wrong {
                Wrong::Message => assert!(read.is_err(), "{name}: {read:?}"),
                Wrong::Content => assert!(read.is_ok(), "{name}: {read:?}"),
                Wrong::Size => assert!(body.len() > MOST, "{name}"),
                Wrong::Frame => {}
            }
        }
    }

    #[test]
    fn each_field_is_changed_where_it_is_and_the_rest_stays() {
        let all = all();
        let names: HashSet<&str> = all.iter().map(|malformed| malformed.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        let read = |name: &str| {
            let found = all.iter().find(|malformed| malformed.name == name).unwrap_or_else(|| panic!("no {name}"));
            BatchCreateEntryRequest::decode(&found.body[5..]).unwrap()
        };
        let [entry] = &read("entries.spiffe_id.path: missing").entries[..] else { panic!("not one") };
        assert_eq!((&*entry.id, &*entry.spiffe_id.as_ref().unwrap().trust_domain), ("a", "example.org"));
        assert_eq!(entry.spiffe_id.as_ref().unwrap().path, "");
        // What was not there is made.
        assert_eq!(read("entries.parent_id.path: 64 KiB").entries[0].parent_id.as_ref().unwrap().path.len(), 64 << 10);
        assert_eq!(read("entries.x509_svid_ttl: the smallest of 32 bits").entries[0].x509_svid_ttl, i32::MIN);
        assert_eq!(read("entries: a hundred times").entries.len(), 100);
        assert_eq!(read("entries: very often, empty").entries.len(), ITEMS);
        assert_eq!(read("entries.selectors: very often, empty").entries[0].selectors.len(), MANY);
    }
}
