//! Every service method, message field and enum value of the contract (`wire.txt`: package, then its services, enums
//! and messages, each field by number, name and type) stands in our .proto files, and stands there the same.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use steeple_proto::descriptors;

/// (package, owner such as `message Entry`, key such as `1 id`) to the rest of the fact.
type Facts = BTreeMap<(String, String, String), String>;

#[test]
fn every_fact_of_the_contract_is_in_our_protos() {
    let ours = facts_of_our_protos();
    let contract = facts_of_the_contract(include_str!("wire.txt"));
    let different: Vec<_> = contract
        .iter()
        .filter(|(key, fact)| ours.get(key) != Some(fact))
        .map(|(key, fact)| format!("{key:?}: {fact:?} is {:?}", ours.get(key)))
        .collect();
    println!("wire: {} compared, {} differ", contract.len(), different.len());
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(contract.len(), 1184, "facts were lost from wire.txt");
}

fn facts_of_our_protos() -> Facts {
    let mut facts = Facts::new();
    for set in [descriptors::PACKAGED, descriptors::WORKLOAD, descriptors::JOURNAL] {
        for file in FileDescriptorSet::decode(set).unwrap().file {
            let mut reader = Reader { package: file.package().to_owned(), facts: &mut facts };
            for service in &file.service {
                for method in &service.method {
                    let stream = |yes| if yes { "stream " } else { "" };
                    let fact = format!(
                        "({}{}) -> {}{}",
                        stream(method.client_streaming()),
                        method.input_type().trim_start_matches('.'),
                        stream(method.server_streaming()),
                        method.output_type().trim_start_matches('.')
                    );
                    reader.add(&format!("service {}", service.name()), method.name(), fact);
                }
            }
            file.enum_type.iter().for_each(|e| reader.enumeration("", e));
            file.message_type.iter().for_each(|m| reader.message("", m));
        }
    }
    facts
}

struct Reader<'a> {
    package: String,
    facts: &'a mut Facts,
}

impl Reader<'_> {
    fn add(&mut self, owner: &str, key: &str, fact: String) {
        self.facts.insert((self.package.clone(), owner.to_owned(), key.to_owned()), fact);
    }

    fn enumeration(&mut self, prefix: &str, e: &EnumDescriptorProto) {
        for value in &e.value {
            let owner = format!("enum {prefix}{}", e.name());
            self.add(&owner, &format!("{} {}", value.number(), value.name()), String::new());
        }
    }

    fn message(&mut self, prefix: &str, message: &DescriptorProto) {
        let name = format!("{prefix}{}", message.name());
        let owner = format!("message {name}");
        self.add(&owner, "", String::new());
        for field in &message.field {
            let fact = self.field(&name, message, field);
            self.add(&owner, &format!("{} {}", field.number(), field.name()), fact);
        }
        let prefix = format!("{name}.");
        message.enum_type.iter().for_each(|e| self.enumeration(&prefix, e));
        let nested = message.nested_type.iter().filter(|m| !is_map_entry(m));
        nested.for_each(|m| self.message(&prefix, m));
    }

    fn field(&self, owner: &str, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
        let map = message
            .nested_type
            .iter()
            .filter(|m| is_map_entry(m))
            .find(|m| field.type_name().ends_with(&format!("{owner}.{}", m.name())));
        if let Some(map) = map {
            return format!("map<{}, {}>", type_of(&map.field[0]), type_of(&map.field[1]));
        }
        let label = if field.label() == Label::Repeated {
            "repeated ".to_owned()
        } else if field.proto3_optional() {
            "optional ".to_owned()
        } else if let Some(index) = field.oneof_index {
            format!("oneof({}) ", message.oneof_decl[index as usize].name())
        } else {
            String::new()
        };
        label + &type_of(field)
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|o| o.map_entry())
}

fn type_of(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

fn facts_of_the_contract(text: &str) -> Facts {
    let (mut facts, mut package, mut owner) = (Facts::new(), String::new(), String::new());
    for line in text.lines() {
        let line = line.replace("  (deprecated)", "");
        let mut add = |owner: &str, key: &str, fact: &str| {
            facts.insert((package.clone(), owner.to_owned(), key.to_owned()), fact.to_owned());
        };
        if let Some(name) = line.strip_prefix("package ") {
            package = name.replace("(none)", "");
        } else if ["service ", "message ", "enum "].iter().any(|kind| line.starts_with(kind)) {
            if line.starts_with("message ") {
                add(&line, "", "");
            }
            owner = line;
        } else if let Some(row) = line.strip_prefix("  ").filter(|row| !row.starts_with("reserved")) {
            if owner.starts_with("service ") {
                let at = row.find('(').unwrap();
                add(&owner, &row[..at], &row[at..]);
            } else if owner.starts_with("enum ") {
                add(&owner, row, "");
            } else {
                let (key, fact) = row.split_once(": ").unwrap();
                add(&owner, key, fact);
            }
        }
    }
    facts
}
