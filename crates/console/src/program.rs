//! A program as it was called: its name, and the command that its arguments name.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use steeple_config::commands::{Commands, Resolution};
use steeple_runtime::COMPATIBLE;

use crate::print;

/// What a program is called by us and by the reference.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Ours: `steeple-server`.
    pub own: &'static str,
    /// The reference's: `spire-server`.
    pub reference: &'static str,
}

/// What a command does with the arguments behind its name.
pub type Run = Box<dyn Fn(&Program, &[String]) -> ExitCode>;

/// Does what a command line says. The arguments begin with the name of the program, which decides whether it answers as
/// the reference or under our own name.
pub fn main(
    names: Names,
    args: impl IntoIterator<Item = OsString>,
    commands: impl FnOnce(&Program) -> Commands<Run>,
) -> ExitCode {
    let mut args = args.into_iter();
    let program = Program::called(names, args.next());
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    match commands(&program).resolve(&args) {
        Resolution::Run(run, args) => run(&program, &args),
        Resolution::Version => {
            program.print_version();
            ExitCode::SUCCESS
        }
        Resolution::Answer { text, exit_code } => {
            print::err(&text);
            exit_code.into()
        }
    }
}

/// Waits for a command that asks a daemon.
///
/// # Errors
/// The command's.
pub fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // On the heap: the futures of some calls are large.
    runtime.block_on(Box::pin(command))
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
        if self.is_the_reference() {
            print::err(&format!("{COMPATIBLE}\n"));
        } else {
            print::out(&format!("steeple {} (SPIRE {COMPATIBLE})\n", env!("CARGO_PKG_VERSION")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_reference_by_its_file_name_alone() {
        let names = Names { own: "steeple-server", reference: "spire-server" };
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
