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
mod time;
mod token;
mod validate;

use std::ffi::OsString;
use std::process::ExitCode;

use steeple_config::commands::{Command, Commands, Resolution};

use steeple_console as console;
use steeple_console::program::{Names, Program};
use steeple_console::{output, usage};

/// What the program is called.
const NAMES: Names =
    Names { own: "steeple-server", reference: "spire-server", compatible: steeple_runtime::COMPATIBLE };

/// Does what a command line says. The arguments begin with the name of the program, which decides whether it answers as
/// the reference or under our own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let program = Program::called(NAMES, args.next());
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
type Run = Box<dyn Fn(&Program, &[String]) -> ExitCode>;

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
