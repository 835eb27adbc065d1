//! The commands, and how each of them ends.

mod agent;
mod bundle;
mod client;
mod config;
mod entry;
mod healthcheck;
mod id;
mod json;
mod run;
mod token;
mod validate;

use std::ffi::OsString;
use std::process::ExitCode;

use steeple_config::commands::{Command, Commands};

use steeple_console as console;
use steeple_console::program::{self, Names, Program, Run};
use steeple_console::{output, usage};

/// What the program is called.
const NAMES: Names = Names { own: "steeple-server", reference: "spire-server" };

/// Does what a command line says; its arguments begin with the name of the program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::main(NAMES, args, commands)
}

fn commands(program: &Program) -> Commands<Run> {
    let agent = vec![
        asking("ban", "agent ban", "Shuts an agent out", agent::ban),
        asking("count", "agent count", "Counts attested agents", agent::count),
        asking("evict", "agent evict", "Makes an agent attest itself again", agent::evict),
        asking("list", "agent list", "Lists attested agents", agent::list),
        asking("show", "agent show", "Prints an attested agent", agent::show),
    ];
    let bundle = vec![asking("show", "bundle show", "Prints the server's own bundle", bundle::show)];
    let entry = vec![
        asking("count", "entry count", "Counts registration entries", entry::count),
        asking("create", "entry create", "Creates registration entries", entry::create),
        asking("delete", "entry delete", "Deletes registration entries", entry::delete),
        asking("show", "entry show", "Prints registration entries", entry::show),
    ];
    let token = vec![asking("generate", "generate", "Makes a join token", token::generate)];
    Commands::new(
        program.name(),
        vec![
            Command::group("agent", agent),
            Command::group("bundle", bundle),
            Command::group("entry", entry),
            asking("healthcheck", "healthcheck", "Tells whether the server is healthy", healthcheck::run),
            Command::new("run", "run", "Runs the server", Box::new(run::run)),
            Command::group("token", token),
            Command::new("validate", "validate", "Checks a configuration file", Box::new(validate::run)),
        ],
    )
}

/// A command that asks a server.
fn asking(
    name: &'static str,
    usage_name: &'static str,
    synopsis: &'static str,
    command: impl AsyncFn(&[String]) -> anyhow::Result<()> + 'static,
) -> Command<Run> {
    Command::new(name, usage_name, synopsis, Box::new(move |_, args| ask(command(args))))
}

/// Runs a command that asks a server, and tells why it failed.
fn ask(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let Err(error) = program::block_on(command) else { return ExitCode::SUCCESS };
    match error.downcast::<usage::Misused>() {
        Ok(misused) => misused.tell(),
        Err(error) => {
            console::err(&format!("Error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}
