//! The key file, in the reference's form: `{"keys": {"<id>": "<base64 of PKCS#8>"}}`, indented by tabs, ids sorted.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};
use steeple_catalog::PluginError;
use steeple_pki::PrivateKey;
use steeple_runtime::os::files::replace_private;
use steeple_runtime::os::{reason, unread};
use zeroize::Zeroizing;

use super::keys::Keys;

/// A key file holds a handful of keys; what is longer is none.
const LONGEST: u64 = 1 << 20;

#[derive(Deserialize, Serialize)]
struct File {
    #[serde(default)]
    keys: BTreeMap<String, Zeroizing<String>>,
}

/// The keys in a file; none when there is no file.
pub(super) fn load(path: &Path) -> Result<Keys, PluginError> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Keys::new()),
        Err(error) => return Err(PluginError::unknown(unread(path, &error))),
    };
    let file: File = serde_json::from_slice(&text)
        .map_err(|error| PluginError::internal(format!("unable to decode keys JSON in {}: {error}", path.display())))?;
    file.keys.into_iter().map(|(id, key)| parse(&id, &key).map(|key| (id, Arc::new(key)))).collect()
}

/// Replaces the file by these keys, whole or not at all.
pub(super) fn save(path: &Path, keys: &Keys) -> Result<(), PluginError> {
    let unable = |error: String| PluginError::internal(format!("unable to write entries: {}: {error}", path.display()));
    let encode = |(id, key): (&String, &Arc<PrivateKey>)| {
        let der = key.to_pkcs8_der().map_err(|error| unable(error.to_string()))?;
        Ok((id.clone(), Zeroizing::new(STANDARD.encode(&*der))))
    };
    let file = File { keys: keys.iter().map(encode).collect::<Result<_, PluginError>>()? };
    let mut text = Zeroizing::new(Vec::new());
    let mut serializer = Serializer::with_formatter(&mut *text, PrettyFormatter::with_indent(b"\t"));
    file.serialize(&mut serializer).map_err(|error| unable(error.to_string()))?;
    replace_private(path, &text).map_err(|error| unable(reason(&error)))
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    if std::fs::metadata(path)?.len() > LONGEST {
        return Err(std::io::Error::new(ErrorKind::InvalidData, "too long for a key file"));
    }
    std::fs::read(path).map(Zeroizing::new)
}

fn parse(id: &str, key: &str) -> Result<PrivateKey, PluginError> {
    let unable = |error: String| PluginError::internal(format!("unable to parse key {id:?}: {error}"));
    let der = STANDARD.decode(key).map(Zeroizing::new).map_err(|error| unable(error.to_string()))?;
    PrivateKey::from_pkcs8_der(&der).map_err(|error| unable(error.to_string()))
}
