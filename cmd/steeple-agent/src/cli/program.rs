//! The name under which the program was called.

use std::ffi::OsString;
use std::path::Path;

use super::console;

/// The version of the reference that this agent is compatible with.
const VERSION: &str = "1.15.3";

/// The program as it was called.
pub(crate) struct Program {
    name: String,
}

impl Program {
    /// By the first argument, of which only the file name counts.
    pub(crate) fn called(argument: Option<OsString>) -> Self {
        let argument = argument.unwrap_or_default();
        let name = Path::new(&argument).file_name().map(|name| name.to_string_lossy().into_owned());
        Self { name: name.unwrap_or_else(|| "steeple-agent".into()) }
    }

    /// The file name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether scripts that were written for the reference call it, so that it says nothing more than that.
    pub(crate) fn is_the_reference(&self) -> bool {
        self.name == "spire-agent"
    }

    /// The reference prints its version to standard error.
    pub(crate) fn print_version(&self) {
        if self.is_the_reference() {
            console::err(&format!("{VERSION}\n"));
        } else {
            console::out(&format!("steeple {} (SPIRE {VERSION})\n", env!("CARGO_PKG_VERSION")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_reference_by_its_file_name_alone() {
        let called = |argument: &str| Program::called(Some(argument.into()));
        for (argument, name, is_the_reference) in [
            ("/opt/spire/bin/spire-agent", "spire-agent", true),
            ("spire-agent", "spire-agent", true),
            ("./steeple-agent", "steeple-agent", false),
            ("/spire-agent/steeple-agent", "steeple-agent", false),
            ("", "steeple-agent", false),
        ] {
            let program = called(argument);
            assert_eq!((program.name(), program.is_the_reference()), (name, is_the_reference), "{argument}");
        }
    }
}
