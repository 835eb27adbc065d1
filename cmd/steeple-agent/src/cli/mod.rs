//! The commands, and how each of them ends.

mod api;
mod client;
mod config;
mod debug;
mod healthcheck;
mod logger;
mod run;
mod validate;

use std::ffi::OsString;
use std::process::ExitCode;

use steeple_config::commands::{Command, Commands};

use steeple_console as console;
use steeple_console::program::{self, Names, Program, Run, block_on};
use steeple_console::{completion, output, usage};

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
    let info = administering("getinfo", "debug getinfo", "Tells how the agent is, in figures", debug::get_info);
    let logger = vec![
        administering("get", "logger get", "Tells how much the agent logs", logger::get),
        administering("reset", "logger reset", "Has the agent log as much as when it was started", logger::reset),
        administering("set", "logger set", "Has the agent log more or less", logger::set),
    ];
    let validate = vec![asking("jwt", "validate jwt", "Has the Workload API validate a JWT-SVID", api::validate_jwt)];
    let watch = told("watch", "watch", "Prints X509-SVIDs whenever the Workload API has new ones", "", api::watch);
    // The reference's list of commands is its own.
    let completion = (!program.is_the_reference()).then(|| {
        let what = "Prints what a shell completes command lines with: bash, zsh or fish";
        Command::new("completion", "completion", what, Box::new(completed) as Run)
    });
    let always = vec![
        Command::group("api", vec![fetch, Command::group("validate", validate), watch]),
        Command::group("debug", vec![info]),
        Command::new("healthcheck", "health", "Tells whether the agent is healthy", Box::new(healthcheck::run)),
        Command::group("logger", logger),
        Command::new("run", "run", "Runs the agent", Box::new(run::run)),
        Command::new("validate", "validate", "Checks a configuration file", Box::new(validate::run)),
    ];
    Commands::new(program.name(), always.into_iter().chain(completion).collect())
}

fn completed(program: &Program, args: &[String]) -> ExitCode {
    completion::run(program, args, &commands(program))
}

/// A command that asks an agent.
fn asking(
    name: &'static str,
    usage_name: &'static str,
    synopsis: &'static str,
    command: impl AsyncFn(&[String]) -> anyhow::Result<()> + 'static,
) -> Command<Run> {
    told(name, usage_name, synopsis, "", async move |_: &Program, args: &[String]| command(args).await)
}

/// A command that asks an agent over its administrative socket. Its errors say that they are.
fn administering(
    name: &'static str,
    usage_name: &'static str,
    synopsis: &'static str,
    command: impl AsyncFn(&[String]) -> anyhow::Result<()> + 'static,
) -> Command<Run> {
    told(name, usage_name, synopsis, "Error: ", async move |_: &Program, args: &[String]| command(args).await)
}

fn told(
    name: &'static str,
    usage_name: &'static str,
    synopsis: &'static str,
    error_begins: &'static str,
    command: impl AsyncFn(&Program, &[String]) -> anyhow::Result<()> + 'static,
) -> Command<Run> {
    let run = move |program: &Program, args: &[String]| match block_on(command(program, args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast::<usage::Misused>() {
            Ok(misused) => misused.tell_twice(),
            Err(error) => {
                console::err(&format!("{error_begins}{error:#}\n"));
                ExitCode::FAILURE
            }
        },
    };
    Command::new(name, usage_name, synopsis, Box::new(run))
}
