//! `steeple`: tools around a trust domain. `steeple up` is a whole one that lives as long as the command does; `steeple
//! load` puts the daemons of any under load.

mod load;
mod up;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use steeple_runtime::COMPATIBLE;

const USAGE: &str = "\
Usage: steeple <command> [<args>]

Commands:
    up         Starts a throw-away trust domain and shows its identities at work
    load       Puts a server or an agent under load and tells what an operation costs it
    version    Prints the version

`steeple up -h` lists the flags of `up`, `steeple load -h` the operations of `load`.
";

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some((command, rest)) = args.split_first() else {
        print(io::stderr(), USAGE);
        return ExitCode::from(NO_SUCH_COMMAND);
    };
    match command.to_str() {
        Some("up") => up::run(rest),
        Some("load") => load::run(rest),
        Some(up::BOUND_TO) => up::run_bound_to(rest),
        Some("version" | "-v" | "-version" | "--version") => {
            print(io::stdout(), &format!("steeple {} (SPIRE {COMPATIBLE})\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Some("help" | "-h" | "-help" | "--help") => {
            print(io::stdout(), USAGE);
            ExitCode::SUCCESS
        }
        _ => {
            print(io::stderr(), &format!("steeple: there is no command {}\n\n{USAGE}", command.to_string_lossy()));
            ExitCode::from(NO_SUCH_COMMAND)
        }
    }
}

/// What the daemons' own commands answer too when the command is missing or unknown.
const NO_SUCH_COMMAND: u8 = 127;

/// Writes where nobody may listen any more: a closed pipe is no failure of the command.
fn print(mut to: impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
}
