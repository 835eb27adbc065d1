//! The name under which a program was called.

use std::ffi::OsString;
use std::path::Path;

use crate::print;

/// What a program is called by us and by the reference, and what it is compatible with.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Ours: `steeple-server`.
    pub own: &'static str,
    /// The reference's: `spire-server`.
    pub reference: &'static str,
    /// The reference's version.
    pub compatible: &'static str,
}

/// The program as it was called.
pub struct Program {
    names: Names,
    name: String,
}

impl Program {
    /// By the first argument, of which only the file name counts.
    pub fn called(names: Names, argument: Option<OsString>) -> Self {
        let argument = argument.unwrap_or_default();
        let name = Path::new(&argument).file_name().map(|name| name.to_string_lossy().into_owned());
        Self { names, name: name.unwrap_or_else(|| names.own.to_owned()) }
    }

    /// The file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether scripts that were written for the reference call it, so that it says nothing more than that.
    pub fn is_the_reference(&self) -> bool {
        self.name == self.names.reference
    }

    /// The reference prints its version to standard error.
    pub fn print_version(&self) {
        let compatible = self.names.compatible;
        if self.is_the_reference() {
            print::err(&format!("{compatible}\n"));
        } else {
            print::out(&format!("steeple {} (SPIRE {compatible})\n", env!("CARGO_PKG_VERSION")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_reference_by_its_file_name_alone() {
        let names = Names { own: "steeple-server", reference: "spire-server", compatible: "1.15.3" };
        let called = |argument: &str| Program::called(names, Some(argument.into()));
        for (argument, name, is_the_reference) in [
            ("/opt/spire/bin/spire-server", "spire-server", true),
            ("spire-server", "spire-server", true),
            ("./steeple-server", "steeple-server", false),
            ("/spire-server/steeple-server", "steeple-server", false),
            ("", "steeple-server", false),
        ] {
            let program = called(argument);
            assert_eq!((program.name(), program.is_the_reference()), (name, is_the_reference), "{argument}");
        }
    }
}
