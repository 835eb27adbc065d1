//! Calls of any method, with messages as protobuf JSON: for replaying what other programs were recorded to answer.
//!
//! The JSON is that of the records: original field names, what is unset is absent, 64-bit integers as strings, bytes as
//! base64, enums by name, wrapper types as their value.

pub mod malformed;
pub mod raw;

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes};
use futures::StreamExt;
use http::uri::PathAndQuery;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::value::Kind;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The messages and methods of some descriptor sets, by name.
pub struct Schema {
    messages: HashMap<String, DescriptorProto>,
    enums: HashMap<String, EnumDescriptorProto>,
    methods: HashMap<String, Method>,
}

/// What goes into a method and what comes out.
struct Method {
    input: String,
    output: String,
    streams_answers: bool,
}

/// One call.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// The messages; more than one only where the client streams.
    pub requests: Vec<Value>,
    /// How many answers are read after each of them before the next one is sent.
    pub awaited: Vec<usize>,
    /// Beside them.
    pub metadata: MetadataMap,
    /// How many answers are read before the call is given up, and how long it is looked whether there is one more.
    pub most: Option<(usize, Duration)>,
    /// How long the call may take.
    pub deadline: Option<Duration>,
}

/// What a call came to.
#[derive(Debug)]
pub struct Received {
    /// All answers.
    pub responses: Vec<Value>,
    /// The end; None for OK.
    pub status: Option<Status>,
    /// Whether it was given up while it went on.
    pub open: bool,
}

impl Received {
    fn failed(status: Status) -> Self {
        Self { responses: Vec::new(), status: Some(status), open: false }
    }
}

impl Schema {
    /// Of encoded descriptor sets.
    pub fn new(descriptor_sets: &[&[u8]]) -> Self {
        let mut schema = Self { messages: HashMap::new(), enums: HashMap::new(), methods: HashMap::new() };
        for set in descriptor_sets {
            for file in FileDescriptorSet::decode(*set).unwrap().file {
                let package = file.package.unwrap_or_default();
                let named =
                    |name: &str| if package.is_empty() { format!(".{name}") } else { format!(".{package}.{name}") };
                for message in file.message_type {
                    schema.add_message(named(message.name()), message);
                }
                for kind in file.enum_type {
                    schema.enums.insert(named(kind.name()), kind);
                }
                for service in file.service {
                    for method in &service.method {
                        let path = format!("/{}/{}", &named(service.name())[1..], method.name());
                        let (input, output) = (method.input_type().to_owned(), method.output_type().to_owned());
                        let streams_answers = method.server_streaming();
                        schema.methods.insert(path, Method { input, output, streams_answers });
                    }
                }
            }
        }
        schema
    }

    fn add_message(&mut self, name: String, message: DescriptorProto) {
        for nested in &message.nested_type {
            self.add_message(format!("{name}.{}", nested.name()), nested.clone());
        }
        for kind in &message.enum_type {
            self.enums.insert(format!("{name}.{}", kind.name()), kind.clone());
        }
        self.messages.insert(name, message);
    }

    /// Calls a method, whatever its kind. One message after the other is sent, each as soon as the answers that are awaited
    /// before it have come; then the sending side is closed and the rest is read.
    pub async fn call(&self, channel: Channel, method: &str, sent: Sent) -> Received {
        let deadline = sent.deadline.unwrap_or(Duration::MAX);
        let call = tokio::time::timeout(deadline, self.call_in_time(channel, method, sent));
        call.await.unwrap_or_else(|_| Received::failed(Status::deadline_exceeded("the test has waited long enough")))
    }

    async fn call_in_time(&self, channel: Channel, method: &str, sent: Sent) -> Received {
        let Sent { requests, awaited, metadata, most, deadline: _ } = sent;
        let path: PathAndQuery = method.parse().unwrap();
        let mut encoded: Vec<_> =
            requests.iter().map(|request| Bytes::from(self.encode_request(method, request))).collect();
        let later = encoded.split_off(encoded.len().min(1));
        let (sender, stream) = mpsc::unbounded_channel();
        for first in encoded {
            sender.send(first).unwrap();
        }
        let mut sender = Some(sender);
        if later.is_empty() {
            sender = None;
        }
        let mut request = Request::new(UnboundedReceiverStream::new(stream));
        *request.metadata_mut() = metadata;
        let mut client = Grpc::new(channel);
        if let Err(error) = client.ready().await {
            return Received::failed(Status::from_error(error.into()));
        }
        let mut answers = match client.streaming(request, path, Raw).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Received::failed(status),
        };
        let mut responses = Vec::new();
        let mut later = later.into_iter();
        let mut awaited = awaited.into_iter();
        let mut left = awaited.next().unwrap_or_default();
        loop {
            // A message whose turn has come is sent; after the last one the sending side is closed.
            while sender.is_some() && left == 0 {
                match later.next() {
                    Some(next) => {
                        // The server may have ended the stream; what it said about that is read below.
                        let _ = sender.as_ref().map(|sender| sender.send(next));
                        left = awaited.next().unwrap_or_default();
                    }
                    None => sender = None,
                }
            }
            let next = match most {
                Some((most, _)) if responses.len() > most => return Received { responses, status: None, open: true },
                Some((most, hold)) if responses.len() == most => {
                    let Ok(next) = tokio::time::timeout(hold, answers.next()).await else {
                        return Received { responses, status: None, open: true };
                    };
                    next
                }
                _ => answers.next().await,
            };
            match next {
                None => return Received { responses, status: None, open: false },
                Some(Err(status)) => return Received { responses, status: Some(status), open: false },
                Some(Ok(answer)) => {
                    responses.push(self.decode(&self.methods[method].output, &answer));
                    left = left.saturating_sub(1);
                }
            }
        }
    }

    /// A request of a method from its JSON. Of a method that nobody describes, an empty one.
    pub fn encode_request(&self, method: &str, json: &Value) -> Vec<u8> {
        self.methods.get(method).map_or_else(Vec::new, |method| self.encode(&method.input, json))
    }

    /// A message from its JSON. The name begins with a dot, as in descriptors.
    pub fn encode(&self, message: &str, json: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        let descriptor = &self.messages[message];
        if let (Some(value), false) = (wrapped(message), json.is_object()) {
            self.encode_field(value_field(descriptor, value), json, &mut bytes);
            return bytes;
        }
        for (name, value) in json.as_object().unwrap_or_else(|| panic!("{message} from {json}")) {
            let field = descriptor.field.iter().find(|field| field.name() == name);
            let field = field.unwrap_or_else(|| panic!("{message} has no field {name}"));
            if !value.is_null() {
                self.encode_field(field, value, &mut bytes);
            }
        }
        bytes
    }

    fn encode_field(&self, field: &FieldDescriptorProto, json: &Value, bytes: &mut Vec<u8>) {
        let entry = self.map_entry(field);
        match json {
            Value::Array(items) => items.iter().for_each(|item| self.encode_one(field, item, bytes)),
            Value::Object(map) if entry.is_some() => {
                for (key, value) in map {
                    self.encode_one(field, &json!({"key": key, "value": value}), bytes);
                }
            }
            one => self.encode_one(field, one, bytes),
        }
    }

    fn encode_one(&self, field: &FieldDescriptorProto, json: &Value, bytes: &mut Vec<u8>) {
        let number = u32::try_from(field.number()).unwrap();
        let mut delimited = |content: &[u8]| {
            encode_key(number, WireType::LengthDelimited, bytes);
            encode_varint(content.len() as u64, bytes);
            bytes.put_slice(content);
        };
        match field.r#type() {
            Type::Message => delimited(&self.encode(field.type_name(), json)),
            Type::String => delimited(json.as_str().unwrap().as_bytes()),
            Type::Bytes => delimited(&STANDARD.decode(json.as_str().unwrap()).unwrap()),
            Type::Bool => varint(number, u64::from(json.as_bool().unwrap()), bytes),
            Type::Enum => varint(number, self.enum_number(field.type_name(), json), bytes),
            // Negative numbers are ten bytes long.
            Type::Int32 | Type::Int64 => varint(number, integer(json).cast_unsigned(), bytes),
            Type::Uint32 | Type::Uint64 => varint(number, integer(json).cast_unsigned(), bytes),
            other => panic!("fields of type {other:?} are not in use"),
        }
    }

    /// The JSON of a message. The name begins with a dot, as in descriptors.
    pub fn decode(&self, message: &str, mut bytes: &[u8]) -> Value {
        if message == ".google.protobuf.Struct" {
            return object(prost_types::Struct::decode(bytes).unwrap());
        }
        let descriptor = &self.messages[message];
        let mut members = Map::new();
        while bytes.has_remaining() {
            let (number, wire) = decode_key(&mut bytes).unwrap();
            let field = descriptor.field.iter().find(|field| u32::try_from(field.number()) == Ok(number));
            let Some(field) = field else {
                skip_field(wire, number, &mut bytes, DecodeContext::default()).unwrap();
                continue;
            };
            if wire == WireType::LengthDelimited {
                let length = usize::try_from(decode_varint(&mut bytes).unwrap()).unwrap();
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                self.take_delimited(field, content, &mut members);
            } else {
                let value = decode_varint(&mut bytes).unwrap();
                self.put(field, self.scalar(field, value), &mut members);
            }
        }
        match wrapped(message) {
            // A wrapper that holds the default value is there all the same.
            Some(value) => members.remove(value).unwrap_or_else(|| default_of(value_field(descriptor, value))),
            None => Value::Object(members),
        }
    }

    fn take_delimited(&self, field: &FieldDescriptorProto, mut content: &[u8], members: &mut Map<String, Value>) {
        match field.r#type() {
            Type::String => self.put(field, json!(std::str::from_utf8(content).unwrap()), members),
            Type::Bytes => self.put(field, json!(STANDARD.encode(content)), members),
            Type::Message if self.map_entry(field).is_some() => {
                let entry = self.decode(field.type_name(), content);
                let map = members.entry(field.name()).or_insert_with(|| json!({}));
                let key = entry["key"].as_str().unwrap_or_default().to_owned();
                map.as_object_mut().unwrap().insert(key, entry["value"].clone());
            }
            Type::Message => self.put(field, self.decode(field.type_name(), content), members),
            // Numbers one behind the other.
            _ => {
                while content.has_remaining() {
                    let value = decode_varint(&mut content).unwrap();
                    self.put(field, self.scalar(field, value), members);
                }
            }
        }
    }

    fn put(&self, field: &FieldDescriptorProto, value: Value, members: &mut Map<String, Value>) {
        if field.label() == Label::Repeated {
            members.entry(field.name()).or_insert_with(|| json!([])).as_array_mut().unwrap().push(value);
        } else {
            members.insert(field.name().to_owned(), value);
        }
    }

    fn scalar(&self, field: &FieldDescriptorProto, value: u64) -> Value {
        let low = value as u32;
        match field.r#type() {
            Type::Bool => json!(value != 0),
            Type::Int32 => json!(low.cast_signed()),
            Type::Uint32 => json!(low),
            Type::Int64 => json!(value.cast_signed().to_string()),
            Type::Uint64 => json!(value.to_string()),
            Type::Enum => {
                let kind = &self.enums[field.type_name()];
                let named = kind.value.iter().find(|value| value.number() == low.cast_signed());
                named.map_or(json!(low.cast_signed()), |value| json!(value.name()))
            }
            other => panic!("fields of type {other:?} are not in use"),
        }
    }

    fn enum_number(&self, kind: &str, json: &Value) -> u64 {
        let Some(name) = json.as_str() else { return integer(json).cast_unsigned() };
        let value = self.enums[kind].value.iter().find(|value| value.name() == name);
        i64::from(value.unwrap_or_else(|| panic!("{kind} has no value {name}")).number()).cast_unsigned()
    }

    fn map_entry(&self, field: &FieldDescriptorProto) -> Option<&DescriptorProto> {
        let message = self.messages.get(field.type_name())?;
        message.options.as_ref().is_some_and(|options| options.map_entry()).then_some(message)
    }
}

/// The JSON that a message stands for.
fn object(message: prost_types::Struct) -> Value {
    message.fields.into_iter().map(|(name, value)| (name, any(value))).collect()
}

fn any(value: prost_types::Value) -> Value {
    match value.kind {
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::BoolValue(value)) => value.into(),
        // Whole numbers are written as such.
        Some(Kind::NumberValue(number)) => Value::Number(number.to_string().parse().unwrap()),
        Some(Kind::StructValue(message)) => object(message),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(any).collect(),
        Some(Kind::NullValue(_)) | None => Value::Null,
    }
}

/// The one field of a wrapper type.
fn wrapped(message: &str) -> Option<&'static str> {
    let name = message.strip_prefix(".google.protobuf.")?;
    name.ends_with("Value").then_some("value")
}

fn value_field<'a>(descriptor: &'a DescriptorProto, name: &str) -> &'a FieldDescriptorProto {
    descriptor.field.iter().find(|field| field.name() == name).unwrap()
}

fn default_of(field: &FieldDescriptorProto) -> Value {
    match field.r#type() {
        Type::Bool => json!(false),
        Type::String | Type::Bytes => json!(""),
        Type::Int64 | Type::Uint64 => json!("0"),
        _ => json!(0),
    }
}

fn varint(number: u32, value: u64, bytes: &mut Vec<u8>) {
    encode_key(number, WireType::Varint, bytes);
    encode_varint(value, bytes);
}

fn integer(json: &Value) -> i64 {
    json.as_i64().or_else(|| json.as_str()?.parse().ok()).unwrap_or_else(|| panic!("no integer: {json}"))
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_is_the_json_that_it_stands_for() {
        let value = |kind| prost_types::Value { kind: Some(kind) };
        let fields = [
            ("exp", value(Kind::NumberValue(4_070_908_800.0))),
            ("half", value(Kind::NumberValue(1.5))),
            ("none", value(Kind::NullValue(0))),
            ("all", value(Kind::ListValue(prost_types::ListValue { values: vec![value(Kind::BoolValue(true))] }))),
        ];
        let message = prost_types::Struct { fields: fields.map(|(name, value)| (name.to_owned(), value)).into() };
        let decoded = Schema::new(&[]).decode(".google.protobuf.Struct", &message.encode_to_vec());
        assert_eq!(decoded, json!({"exp": 4_070_908_800_u64, "half": 1.5, "none": null, "all": [true]}));
    }

    #[test]
    fn messages_survive_the_way_to_bytes_and_back() {
        let schema = Schema::new(&[steeple_proto::descriptors::PACKAGED]);
        let entry = json!({
            "id": "a",
            "spiffe_id": {"trust_domain": "example.org", "path": "/a"},
            "selectors": [{"type": "unix", "value": "uid:0"}, {"type": "unix"}],
            "x509_svid_ttl": -1,
            "federates_with": ["b", "c"],
            "admin": true,
            "expires_at": "4102444800",
        });
        let bytes = schema.encode(".spire.api.types.Entry", &entry);
        assert_eq!(schema.decode(".spire.api.types.Entry", &bytes), entry);
        let filter = json!({"filter": {"by_banned": false, "by_selector_match": {"match": "MATCH_SUBSET"}}});
        let bytes = schema.encode(".spire.api.server.agent.v1.ListAgentsRequest", &filter);
        assert_eq!(schema.decode(".spire.api.server.agent.v1.ListAgentsRequest", &bytes), filter);
    }
}
