//! The `plugins` section.
//!
//! A declaration is `Type "name" { ... }`. Type and name are the first two keys on the way down, however the way is
//! written: `Type { name { ... } }`, `Type "name" plugin_data { ... }`, and in JSON objects and lists of objects in
//! any mixture.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Error;
use crate::decode::{Decoded, Part, decode_parts, members};
use crate::hcl::{Body, Item, Key, List, Pos, Value};

/// One declared plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginBlock {
    /// Type as it was written: `NodeAttestor`. Case matters.
    pub kind: String,
    /// Name as it was written: `x509pop`.
    pub name: String,
    /// Line of the name.
    pub line: u32,
    /// Program of an external plugin; `None` for a built-in one. As it was written: it may be relative to the working
    /// directory.
    pub cmd: Option<String>,
    /// Arguments of the program.
    pub args: Vec<String>,
    /// SHA-256 of the program; see [`parse_checksum`].
    pub checksum: Option<String>,
    /// `true` unless the block says otherwise.
    pub enabled: bool,
    /// What the plugin is configured with.
    pub data: PluginData,
}

/// What a plugin is configured with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PluginData {
    /// Nothing: `plugin_data` is absent, `null` or empty.
    #[default]
    None,
    /// The content of `plugin_data`. Its printed form is the text that an external plugin gets.
    Fixed(Body),
    /// The path in `plugin_data_file`, whose content is read when the plugin is configured.
    File(PathBuf),
}

/// Reads the `plugins` section of a whole file, in the order of the text, which is the order in which plugins are
/// loaded. Several sections are one. `None` if there is no section.
///
/// Keys of a declaration that mean nothing are ignored, as the reference does.
///
/// # Errors
///
/// [`Error::NoPlugin`], [`Error::DuplicatePlugin`], [`Error::PluginBlock`] and [`Error::PluginDataTwice`].
pub fn read(file: &Body) -> Result<Option<Vec<PluginBlock>>, Error> {
    let mut declarations = None;
    for Item { keys, value } in &file.items {
        let [section, path @ ..] = keys.as_slice() else { continue };
        if section.text.eq_ignore_ascii_case("plugins") && !value.is_null() {
            collect(None, path, value, declarations.get_or_insert_default())?;
        }
    }
    let Some(declarations) = declarations else { return Ok(None) };
    let mut seen = HashSet::new();
    let mut plugins = Vec::with_capacity(declarations.len());
    for Declaration { kind, name, parts } in declarations {
        if !seen.insert((&kind.text, &name.text)) {
            return Err(Error::DuplicatePlugin { kind: kind.text.clone(), name: name.text.clone() });
        }
        plugins.push(plugin(kind, name, &parts)?);
    }
    Ok(Some(plugins))
}

/// The 32 bytes of a SHA-256 in hexadecimal, of either case.
///
/// # Errors
///
/// [`Error::ChecksumNotHex`] and [`Error::ChecksumLength`].
pub fn parse_checksum(text: &str) -> Result<[u8; 32], Error> {
    let digits: Option<Vec<_>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or(Error::ChecksumNotHex)?;
    let bytes: Vec<_> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().map_err(|_| Error::ChecksumLength(digits.len()))
}

struct Declaration<'a> {
    kind: &'a Key,
    name: &'a Key,
    parts: Vec<Part<'a>>,
}

/// Goes down until type and name are known.
fn collect<'a>(
    kind: Option<&'a Key>,
    keys: &'a [Key],
    value: &'a Value,
    declarations: &mut Vec<Declaration<'a>>,
) -> Result<(), Error> {
    let (kind, bodies) = match (kind, keys) {
        (None, [kind, name, labels @ ..]) | (Some(kind), [name, labels @ ..]) => {
            let part = Part::new(labels, value);
            // JSON that was taken apart into labelled items repeats the very keys. The same name at another place is
            // another declaration.
            match declarations.last_mut().filter(|last| last.name.pos == name.pos) {
                Some(declaration) => declaration.parts.extend(part),
                None => declarations.push(Declaration { kind, name, parts: part.into_iter().collect() }),
            }
            return Ok(());
        }
        (None, [kind]) => (Some(kind), value),
        (kind, []) => (kind, value),
    };
    match bodies {
        value if value.is_null() => Ok(()),
        Value::Object(body) => {
            body.items.iter().try_for_each(|Item { keys, value }| collect(kind, keys, value, declarations))
        }
        Value::List(List { pos, values }) => values.iter().try_for_each(|value| match value {
            Value::Object(_) => collect(kind, &[], value, declarations),
            _ => Err(Error::NoPlugin { pos: *pos }),
        }),
        Value::Literal(literal) => Err(Error::NoPlugin { pos: literal.pos }),
    }
}

/// The keys of a declaration.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    plugin_cmd: String,
    plugin_args: Vec<String>,
    plugin_checksum: String,
    enabled: Option<bool>,
    plugin_data: Option<IgnoredAny>,
    plugin_data_file: Option<PathBuf>,
}

fn plugin(kind: &Key, name: &Key, parts: &[Part<'_>]) -> Result<PluginBlock, Error> {
    let block_error =
        |error| Error::PluginBlock { kind: kind.text.clone(), name: name.text.clone(), reason: Box::new(error) };
    let Decoded { value: keys, unknown: _ } = decode_parts(parts.to_vec(), "").map_err(block_error)?;
    let Keys { plugin_cmd, plugin_args, plugin_checksum, enabled, plugin_data, plugin_data_file } = keys;
    let data = match (plugin_data, plugin_data_file) {
        // An empty path, too, says that there is a file.
        (Some(_), Some(_)) => {
            return Err(Error::PluginDataTwice { kind: kind.text.clone(), name: name.text.clone() });
        }
        (None, Some(path)) => PluginData::File(path),
        (None, None) => PluginData::None,
        (Some(_), None) => match data(parts).map_err(block_error)? {
            body if body.is_empty() => PluginData::None,
            body => PluginData::Fixed(body),
        },
    };
    Ok(PluginBlock {
        kind: kind.text.clone(),
        name: name.text.clone(),
        line: name.pos.line,
        cmd: Some(plugin_cmd).filter(|cmd| !cmd.is_empty()),
        args: plugin_args,
        checksum: Some(plugin_checksum).filter(|checksum| !checksum.is_empty()),
        enabled: enabled.unwrap_or(true),
        data,
    })
}

/// What is in `plugin_data`.
fn data(parts: &[Part<'_>]) -> Result<Body, Error> {
    let block = members(parts, "", "struct")?.into_iter();
    let data = block.filter(|member| member.name().text.eq_ignore_ascii_case("plugin_data"));
    let data: Vec<_> = data.filter_map(|member| member.part()).collect();
    let pos = data.first().map_or(Pos::START, Part::pos);
    let items = members(&data, "plugin_data", "struct")?.into_iter();
    let items = items.map(|member| Item { keys: member.keys.to_vec(), value: member.value.clone() });
    Ok(Body { pos, items: items.collect() })
}

#[cfg(test)]
mod tests;
