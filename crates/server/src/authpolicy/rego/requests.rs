//! What a call asks, as policies see it: the JSON that Go's own encoder makes of a request's struct, not protobuf's.
//!
//! Names are those of the .proto files, what is empty is absent, numbers and enums are numbers, bytes are base64, a wrapper
//! is an object with `value`. A oneof stands under its Go name and is null when nothing of it is set.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message as _};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::{Map, Value};
use tonic::Status;

/// The requests of all unary methods.
pub(super) struct Requests {
    /// The type of its request, by a method's path; None of a stream of them.
    methods: HashMap<String, Option<String>>,
    messages: HashMap<String, Message>,
}

struct Message {
    fields: HashMap<u32, Field>,
    /// Go names of its oneofs.
    oneofs: Vec<String>,
}

struct Field {
    name: String,
    kind: Kind,
    place: Place,
}

/// Where a field's value goes.
enum Place {
    /// A list.
    Repeated,
    /// A member that is left out when it is 0 or empty.
    Plain,
    /// A member that says whether it is there.
    Optional,
    /// Inside the oneof of this Go name, under its own.
    Oneof(String),
}

enum Kind {
    Message(String),
    String,
    Bytes,
    Bool,
    /// Enums too.
    Int32,
    Uint32,
    Int64,
    Uint64,
    /// One that no request has so far.
    Other,
}

/// Fields of a request that a policy is told of: each takes far more room there than on the wire, and nobody has been let in
/// yet.
const MOST_FIELDS: usize = 100_000;

/// Why the bytes are no message of a type. The decoder behind refuses all that is refused here, but for what is too much.
#[derive(Debug)]
enum Unreadable {
    TooMuch,
    Wire(DecodeError),
    Field(String),
}

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Self {
        Self::Wire(error)
    }
}

impl Requests {
    /// Of encoded sets of descriptors.
    pub(super) fn new(descriptor_sets: &[&[u8]]) -> Result<Self, DecodeError> {
        let mut requests = Self { methods: HashMap::new(), messages: HashMap::new() };
        for set in descriptor_sets {
            for file in FileDescriptorSet::decode(*set)?.file {
                let package = file.package();
                let named = |name: &str| if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") };
                for message in &file.message_type {
                    requests.add(&format!(".{}", named(message.name())), message);
                }
                for service in &file.service {
                    for method in &service.method {
                        let path = format!("/{}/{}", named(service.name()), method.name());
                        let streams = method.client_streaming() || method.server_streaming();
                        requests.methods.insert(path, (!streams).then(|| method.input_type().to_owned()));
                    }
                }
            }
        }
        Ok(requests)
    }

    fn add(&mut self, name: &str, message: &DescriptorProto) {
        for nested in &message.nested_type {
            self.add(&format!("{name}.{}", nested.name()), nested);
        }
        let fields = message
            .field
            .iter()
            .filter_map(|field| Some((u32::try_from(field.number()).ok()?, Field::new(field, message))));
        let fields: HashMap<_, _> = fields.collect();
        let oneofs = fields.values().filter_map(|field| match &field.place {
            Place::Oneof(name) => Some(name.clone()),
            Place::Repeated | Place::Plain | Place::Optional => None,
        });
        let oneofs = oneofs.collect();
        self.messages.insert(name.to_owned(), Message { fields, oneofs });
    }

    /// Whether the method at `path` has one request. Those of streams are not told: policies decide when one begins.
    pub(super) fn has(&self, path: &str) -> bool {
        self.kind(path).is_some()
    }

    fn kind(&self, path: &str) -> Option<&str> {
        self.methods.get(path)?.as_deref()
    }

    /// What stands for the request of the method at `path` when its message is not looked at. One that is not described
    /// here has no request with members.
    pub(super) fn unread(&self, path: &str) -> Value {
        if self.methods.get(path).is_some_and(Option::is_none) { Value::Null } else { Value::Object(Map::new()) }
    }

    /// The request of the method at `path`, which has one.
    ///
    /// # Errors
    /// INTERNAL when the bytes are none, RESOURCE_EXHAUSTED when they have more fields than a policy is told of.
    pub(super) fn read(&self, path: &str, bytes: &[u8]) -> Result<Value, Status> {
        let kind = self.kind(path).unwrap_or_default();
        let mut members = self.empty(kind);
        let mut left = MOST_FIELDS;
        self.merge(kind, bytes, &mut members, &mut left).map_err(|unreadable| {
            let why = match unreadable {
                Unreadable::TooMuch => {
                    let why =
                        format!("the request has more than {MOST_FIELDS} fields, and the policy is asked about each");
                    return Status::resource_exhausted(why);
                }
                Unreadable::Wire(error) => error.to_string(),
                Unreadable::Field(name) => format!("wrong kind of field {name}"),
            };
            Status::internal(format!("grpc: error unmarshalling request: {why}"))
        })?;
        Ok(Value::Object(members))
    }

    /// A message in which nothing is set.
    fn empty(&self, kind: &str) -> Map<String, Value> {
        let oneofs = self.messages.get(kind).into_iter().flat_map(|message| &message.oneofs);
        oneofs.map(|name| (name.clone(), Value::Null)).collect()
    }

    /// `left` is how many fields there may still be.
    fn merge(
        &self,
        kind: &str,
        mut bytes: &[u8],
        members: &mut Map<String, Value>,
        left: &mut usize,
    ) -> Result<(), Unreadable> {
        let message = self.messages.get(kind).ok_or_else(|| Unreadable::Field(kind.to_owned()))?;
        while bytes.has_remaining() {
            *left = left.checked_sub(1).ok_or(Unreadable::TooMuch)?;
            let (number, wire) = decode_key(&mut bytes)?;
            let Some(field) = message.fields.get(&number) else {
                skip_field(wire, number, &mut bytes, DecodeContext::default())?;
                continue;
            };
            match wire {
                WireType::Varint => field.put(field.number(decode_varint(&mut bytes)?)?, members),
                WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut bytes)?).unwrap_or(usize::MAX);
                    let content = bytes.split_off(..length).ok_or_else(|| field.unreadable())?;
                    self.take(field, content, members, left)?;
                }
                _ => return Err(field.unreadable()),
            }
        }
        Ok(())
    }

    fn take(
        &self,
        field: &Field,
        mut content: &[u8],
        members: &mut Map<String, Value>,
        left: &mut usize,
    ) -> Result<(), Unreadable> {
        match &field.kind {
            Kind::String => {
                let text = std::str::from_utf8(content).map_err(|_| field.unreadable())?;
                field.put(text.into(), members);
            }
            Kind::Bytes => field.put(STANDARD.encode(content).into(), members),
            Kind::Message(kind) => {
                // One that comes in several parts is put together.
                let begun = field.take_begun(members);
                let mut inner = begun.unwrap_or_else(|| self.empty(kind));
                self.merge(kind, content, &mut inner, left)?;
                field.put(Value::Object(inner), members);
            }
            _ if matches!(field.place, Place::Repeated) => {
                while content.has_remaining() {
                    *left = left.checked_sub(1).ok_or(Unreadable::TooMuch)?;
                    field.put(field.number(decode_varint(&mut content)?)?, members);
                }
            }
            _ => return Err(field.unreadable()),
        }
        Ok(())
    }
}

impl Field {
    fn new(field: &FieldDescriptorProto, of: &DescriptorProto) -> Self {
        let oneof = field.oneof_index.and_then(|at| of.oneof_decl.get(usize::try_from(at).ok()?));
        let place = match oneof {
            _ if field.label() == Label::Repeated => Place::Repeated,
            _ if field.proto3_optional() => Place::Optional,
            Some(oneof) => Place::Oneof(go_name(oneof.name())),
            None => Place::Plain,
        };
        let name = match place {
            Place::Oneof(_) => go_name(field.name()),
            Place::Repeated | Place::Plain | Place::Optional => field.name().to_owned(),
        };
        let kind = match field.r#type() {
            Type::Message => Kind::Message(field.type_name().to_owned()),
            Type::String => Kind::String,
            Type::Bytes => Kind::Bytes,
            Type::Bool => Kind::Bool,
            Type::Enum | Type::Int32 => Kind::Int32,
            Type::Uint32 => Kind::Uint32,
            Type::Int64 => Kind::Int64,
            Type::Uint64 => Kind::Uint64,
            _ => Kind::Other,
        };
        Self { name, kind, place }
    }

    fn unreadable(&self) -> Unreadable {
        Unreadable::Field(self.name.clone())
    }

    #[allow(clippy::cast_possible_truncation, reason = "as protobuf decoders do")]
    fn number(&self, value: u64) -> Result<Value, Unreadable> {
        Ok(match self.kind {
            Kind::Bool => (value != 0).into(),
            Kind::Int32 => (value as i32).into(),
            Kind::Uint32 => (value as u32).into(),
            Kind::Int64 => value.cast_signed().into(),
            Kind::Uint64 => value.into(),
            Kind::Message(_) | Kind::String | Kind::Bytes | Kind::Other => return Err(self.unreadable()),
        })
    }

    /// The last value of a field is the one that counts.
    fn put(&self, value: Value, members: &mut Map<String, Value>) {
        match &self.place {
            Place::Repeated => match members.get_mut(&self.name) {
                Some(Value::Array(list)) => list.push(value),
                _ => _ = members.insert(self.name.clone(), vec![value].into()),
            },
            Place::Plain if is_default(&value) => _ = members.remove(&self.name),
            Place::Plain | Place::Optional => _ = members.insert(self.name.clone(), value),
            Place::Oneof(oneof) => {
                let chosen = Map::from_iter([(self.name.clone(), value)]);
                members.insert(oneof.clone(), chosen.into());
            }
        }
    }

    /// What has come of this message so far.
    fn take_begun(&self, members: &mut Map<String, Value>) -> Option<Map<String, Value>> {
        let begun = match &self.place {
            Place::Repeated => None,
            Place::Plain | Place::Optional => members.remove(&self.name),
            Place::Oneof(oneof) => members.get_mut(oneof)?.as_object_mut()?.remove(&self.name),
        };
        match begun {
            Some(Value::Object(members)) => Some(members),
            _ => None,
        }
    }
}

/// Whether it is left out. Not so a message: an empty one is there.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// `https_web` is `HttpsWeb`.
fn go_name(name: &str) -> String {
    let mut go = String::with_capacity(name.len());
    for word in name.split('_') {
        let mut letters = word.chars();
        go.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        go.push_str(letters.as_str());
    }
    go
}

#[cfg(test)]
mod tests;
