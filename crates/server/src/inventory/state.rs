//! What a server remembers of its chain, in its data directory, so that a place whose records are gone does not pass for an
//! empty one.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use steeple_runtime::os::files::replace_private;

use super::InventoryError;
use super::chain::Head;

const NAME: &str = "inventory-head.json";

/// The head that was told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) head: Head,
    /// Whether the server has ended behind it.
    pub(super) stopped: bool,
}

/// The file that it is in.
#[derive(Clone, Debug)]
pub(super) struct StateFile(PathBuf);

impl StateFile {
    pub(super) fn of(data_dir: &Path) -> Self {
        Self(data_dir.join(NAME))
    }

    /// None before the first one.
    pub(super) fn read(&self) -> Result<Option<State>, InventoryError> {
        let text = match std::fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| self.named(error))?,
        };
        // To begin another chain because of a damaged file would hide that the one before was cut off.
        serde_json::from_slice(&text).map(Some).map_err(|error| self.named(error.into()))
    }

    pub(super) fn write(&self, state: &State) -> Result<(), InventoryError> {
        let text = serde_json::to_vec(state).map_err(|error| self.named(error.into()))?;
        replace_private(&self.0, &text).map_err(|error| self.named(error))
    }

    fn named(&self, error: io::Error) -> InventoryError {
        InventoryError::File { path: self.0.clone(), error }
    }
}
