//! The commands, and how each of them ends.

mod api;
mod client;
mod config;
mod healthcheck;
mod run;
mod validate;

use std::ffi::OsString;
use std::process::ExitCode;

use steeple_config::commands::{Command, Commands};

use steeple_console as console;
use steeple_console::program::{self, Names, Program, Run};
use steeple_console::{output, usage};

/// What the program is called.
const NAMES: Names = Names { own: "steeple-agent", reference: "spire-agent" };

/// Does what a command line says; its arguments begin with the name of the program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::main(NAMES, args, commands)
}

fn commands(program: &Program) -> Commands<Run> {
    let x509 = "Fetches X509-SVIDs from the Workload API";
    let fetch = asking("fetch", "fetch x509", x509, api::fetch_x509).with(vec![
        asking("x509", "fetch x509", x509, api::fetch_x509),
        asking("jwt", "fetch jwt", "Fetches JWT-SVIDs from the Workload API", api::fetch_jwt),
    ]);
    let validate = vec![asking("jwt", "validate jwt", "Has the Workload API validate a JWT-SVID", api::validate_jwt)];
    let watch = asking("watch", "watch", "Prints X509-SVIDs whenever the Workload API has new ones", api::watch);
    Commands::new(
        program.name(),
        vec![
            Command::group("api", vec![fetch, Command::group("validate", validate), watch]),
            Command::new("healthcheck", "health", "Tells whether the agent is healthy", Box::new(healthcheck::run)),
            Command::new("run", "run", "Runs the agent", Box::new(run::run)),
            Command::new("validate", "validate", "Checks a configuration file", Box::new(validate::run)),
        ],
    )
}

/// A command that asks an agent.
fn asking(
    name: &'static str,
    usage_name: &'static str,
    synopsis: &'static str,
    command: impl AsyncFn(&[String]) -> anyhow::Result<()> + 'static,
) -> Command<Run> {
    let run = move |_: &Program, args: &[String]| match program::block_on(command(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast::<usage::Misused>() {
            Ok(misused) => misused.tell_twice(),
            Err(error) => {
                console::err(&format!("{error:#}\n"));
                ExitCode::FAILURE
            }
        },
    };
    Command::new(name, usage_name, synopsis, Box::new(run))
}
