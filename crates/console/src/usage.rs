//! Arguments that a command does not take.

use std::fmt;
use std::process::ExitCode;

use steeple_config::flags::FlagSet;

use crate::print;

/// Fills the variables of the flags. What stands behind the flags is ignored, as in the reference.
///
/// # Errors
/// [`Misused`]
pub fn parse(mut flags: FlagSet<'_>, args: &[String]) -> Result<(), Misused> {
    let usage = flags.usage();
    match flags.parse(args) {
        Ok(_ignored) => Ok(()),
        Err(error) => Err(Misused { error, usage }),
    }
}

/// Why the arguments are refused, and what they may be.
#[derive(Debug)]
pub struct Misused {
    error: steeple_config::Error,
    usage: String,
}

impl Misused {
    /// Prints the usage, below the mistake if there is one: who asked for help made none.
    pub fn tell(&self) -> ExitCode {
        let Self { error, usage } = self;
        if *error == steeple_config::Error::HelpRequested {
            print::err(usage);
            return ExitCode::SUCCESS;
        }
        print::err(&format!("{error}\n{usage}"));
        ExitCode::FAILURE
    }

    /// The same with the mistake once more below the usage, as some of the reference's commands print it.
    pub fn tell_twice(&self) -> ExitCode {
        let exit_code = self.tell();
        if exit_code != ExitCode::SUCCESS {
            print::err(&format!("{self}\n"));
        }
        exit_code
    }
}

impl fmt::Display for Misused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Misused {}
