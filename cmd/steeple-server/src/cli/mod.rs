//! The commands, and how each of them ends.

mod agent;
mod bundle;
mod client;
mod config;
mod console;
mod entry;
mod healthcheck;
mod id;
mod json;
mod output;
mod program;
mod run;
mod time;
mod token;
mod usage;
mod validate;

use std::ffi::OsString;
use std::process::ExitCode;

use steeple_config::commands::{Command, Commands, Resolution};

use program::Program;

/// Does what a command line says. The arguments begin with the name of the program, which decides whether it answers as
/// the reference or under our own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let program = Program::called(args.next());
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    match commands(&program).resolve(&args) {
        Resolution::Run(run, args) => run(&program, &args),
        Resolution::Version => {
            program.print_version();
            ExitCode::SUCCESS
        }
        Resolution::Answer { text, exit_code } => {
            console::err(&text);
            exit_code.into()
        }
    }
}

/// What a command does with the arguments behind its name.
type Run = fn(&Program, &[String]) -> ExitCode;

fn commands(program: &Program) -> Commands<Run> {
    let command = |name, usage_name, synopsis, run: Run| Command::new(name, usage_name, synopsis, run);
    Commands::new(
        program.name(),
        vec![
            Command::group("agent", vec![command("list", "agent list", "Lists attested agents", |_, args| {
                ask(agent::list(args))
            })]),
            Command::group("bundle", vec![command("show", "bundle show", "Prints the server's own bundle", |_, args| {
                ask(bundle::show(args))
            })]),
            Command::group(
                "entry",
                vec![
                    command("count", "entry count", "Counts registration entries", |_, args| ask(entry::count(args))),
                    command("create", "entry create", "Creates registration entries", |_, args| {
                        ask(entry::create(args))
                    }),
                    command("delete", "entry delete", "Deletes registration entries", |_, args| {
                        ask(entry::delete(args))
                    }),
                    command("show", "entry show", "Prints registration entries", |_, args| ask(entry::show(args))),
                ],
            ),
            command("healthcheck", "healthcheck", "Tells whether the server is healthy", |_, args| {
                ask(healthcheck::run(args))
            }),
            command("run", "run", "Runs the server", run::run),
            Command::group("token", vec![command("generate", "generate", "Makes a join token", |_, args| {
                ask(token::generate(args))
            })]),
            command("validate", "validate", "Checks a configuration file", validate::run),
        ],
    )
}

/// Runs a command that asks a server, and tells why it failed.
fn ask(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        // On the heap: the futures of some calls are large.
        Ok(runtime) => runtime.block_on(Box::pin(command)),
        Err(error) => Err(error.into()),
    };
    let Err(error) = ended else { return ExitCode::SUCCESS };
    match error.downcast::<usage::Misused>() {
        Ok(misused) => misused.tell(),
        Err(error) => {
            console::err(&format!("Error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}
