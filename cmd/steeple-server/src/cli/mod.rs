//! The commands, and how each of them ends.

mod agent;
mod backup;
mod bundle;
mod client;
mod config;
mod debug;
mod entry;
mod federation;
mod go_json;
mod healthcheck;
mod id;
mod inventory;
mod json;
mod jwt;
mod localauthority;
mod logger;
mod migrate;
mod mint;
mod offline;
mod refusal;
mod reload;
mod restore;
mod run;
mod store;
mod token;
mod upstreamauthority;
mod validate;
mod wit;
mod x509;

#[cfg(fuzzing)]
pub use self::agent::check_date;
#[cfg(fuzzing)]
pub use self::entry::{read_entries, read_entry_ids};
#[cfg(fuzzing)]
pub use self::federation::read_relationships;

use std::ffi::OsString;
use std::process::ExitCode;

use steeple_config::commands::{Command, Commands};

use localauthority::{Change, Of};
use steeple_console as console;
use steeple_console::program::{self, Names, Program, Run};
use steeple_console::{completion, output, usage};

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
        asking("purge", "agent purge", "Makes agents that are long over attest themselves again", agent::purge),
        asking("show", "agent show", "Prints an attested agent", agent::show),
    ];
    let bundle = vec![
        asking("count", "bundle count", "Counts bundles", bundle::count),
        asking("delete", "bundle delete", "Deletes the bundle of another trust domain", bundle::delete),
        asking("list", "bundle list", "Prints the bundles of other trust domains", bundle::list),
        asking("set", "bundle set", "Brings the bundle of another trust domain", bundle::set),
        asking("show", "bundle show", "Prints the server's own bundle", bundle::show),
    ];
    let debug = vec![asking("getinfo", "debug getinfo", "Tells how much the server has to do with", debug::get_info)];
    let explain = (!program.is_the_reference())
        .then(|| asking("explain", "entry explain", "Tells which entries a workload matches", entry::explain));
    let entry = vec![
        asking("count", "entry count", "Counts registration entries", entry::count),
        asking("create", "entry create", "Creates registration entries", entry::create),
        asking("delete", "entry delete", "Deletes registration entries", entry::delete),
        asking("show", "entry show", "Prints registration entries", entry::show),
        asking("update", "entry update", "Replaces registration entries", entry::update),
    ];
    let federation = vec![
        asking("create", "federation create", "Tells where bundles of other trust domains are", federation::create),
        asking("delete", "federation delete", "Forgets where a trust domain's bundle is", federation::delete),
        asking("list", "federation list", "Prints where bundles of other trust domains are", federation::list),
        asking("refresh", "federation refresh", "Fetches a trust domain's bundle", federation::refresh),
        asking("show", "federation show", "Prints where a trust domain's bundle is", federation::show),
        asking("update", "federation update", "Changes where bundles of other trust domains are", federation::update),
    ];
    let jwt = vec![asking("mint", "jwt mint", "Makes a JWT-SVID", jwt::mint)];
    let local = vec![
        Command::group("jwt", localauthority(Of::Jwt, JWT_AUTHORITIES)),
        Command::group("x509", localauthority(Of::X509, X509_AUTHORITIES)),
    ];
    let logger = vec![
        asking("get", "logger get", "Tells how much the server logs", logger::get),
        asking("reset", "logger reset", "Has the server log as much as when it was started", logger::reset),
        asking("set", "logger set", "Has the server log more or less", logger::set),
    ];
    let upstream = vec![
        asking(
            "revoke",
            "upstreamauthority revoke",
            "Takes a tainted authority above the server's own out of the bundle",
            upstreamauthority::revoke,
        ),
        asking(
            "taint",
            "upstreamauthority taint",
            "Has replaced what is signed below an authority above the server's own",
            upstreamauthority::taint,
        ),
    ];
    let x509 = vec![asking("mint", "x509 mint", "Makes an X509-SVID", x509::mint)];
    let token = vec![asking("generate", "generate", "Makes a join token", token::generate)];
    let wit =
        wit::is_on().then(|| Command::group("wit", vec![asking("mint", "wit mint", "Makes a WIT-SVID", wit::mint)]));
    // The reference's list of commands is its own.
    let own = (!program.is_the_reference()).then(|| {
        let status =
            asking("status", "store status", "Tells how far the server is in reading its database", store::status);
        let inventory = vec![
            by_name("count", "inventory count", "Counts SVIDs that were signed", inventory::count),
            by_name("list", "inventory list", "Prints SVIDs that were signed", inventory::list),
            by_name(
                "verify",
                "inventory verify",
                "Tells whether records were changed or taken away",
                inventory::verify,
            ),
        ];
        let reload = asking("reload", "reload", "Has the server read its configuration again", reload::run);
        let completion = Command::new("completion", "completion", COMPLETION, Box::new(completed) as Run);
        [completion, Command::group("inventory", inventory), reload, Command::group("store", vec![status])]
    });
    let always = vec![
        Command::group("agent", agent),
        by_name("backup", "backup", "Writes the database to an archive", backup::run),
        Command::group("bundle", bundle),
        Command::group("debug", debug),
        Command::group("entry", entry.into_iter().chain(explain).collect()),
        Command::group("federation", federation),
        by_name("healthcheck", "healthcheck", "Tells whether the server is healthy", healthcheck::run),
        Command::group("jwt", jwt),
        Command::group("localauthority", local),
        Command::group("logger", logger),
        by_name("migrate", "migrate", "Copies the database into another one", migrate::run),
        by_name("restore", "restore", "Fills an empty database from an archive", restore::run),
        Command::new("run", "run", "Runs the server", Box::new(run::run)),
        Command::group("token", token),
        Command::group("upstreamauthority", upstream),
        Command::new("validate", "validate", "Checks a configuration file", Box::new(validate::run)),
        Command::group("x509", x509),
    ];
    let own = own.into_iter().flatten();
    Commands::new(program.name(), always.into_iter().chain(own).chain(wit).collect())
}

const COMPLETION: &str = "Prints what a shell completes command lines with: bash, zsh or fish";

fn completed(program: &Program, args: &[String]) -> ExitCode {
    completion::run(program, args, &commands(program))
}

/// The commands of `localauthority x509` and `localauthority jwt`, under the names that their usages have.
fn localauthority(of: Of, names: [&'static str; 5]) -> Vec<Command<Run>> {
    let change = |change| async move |args: &[String]| localauthority::change(of, change, args).await;
    let [activate, prepare, revoke, show, taint] = names;
    vec![
        asking("activate", activate, "Makes the prepared authority the one that signs", change(Change::Activate)),
        asking("prepare", prepare, "Makes the authority that is to sign next", async move |args: &[String]| {
            localauthority::prepare(of, args).await
        }),
        asking("revoke", revoke, "Takes a tainted authority out of the bundle", change(Change::Revoke)),
        asking("show", show, "Prints the server's authorities", async move |args: &[String]| {
            localauthority::show(of, args).await
        }),
        asking("taint", taint, "Has replaced what the old authority has signed", change(Change::Taint)),
    ]
}

const JWT_AUTHORITIES: [&str; 5] = [
    "localauthority jwt activate",
    "localauthority jwt prepare",
    "localauthority jwt revoke",
    "localauthority jwt show",
    "localauthority jwt taint",
];
const X509_AUTHORITIES: [&str; 5] = [
    "localauthority x509 activate",
    "localauthority x509 prepare",
    "localauthority x509 revoke",
    "localauthority x509 show",
    "localauthority x509 taint",
];

/// A command that asks a server.
fn asking(
    name: &'static str,
    usage_name: &'static str,
    synopsis: &'static str,
    command: impl AsyncFn(&[String]) -> anyhow::Result<()> + 'static,
) -> Command<Run> {
    Command::new(name, usage_name, synopsis, Box::new(move |_, args| ask(command(args))))
}

/// A command that differs by the name that the program goes by, or reads the server's configuration file.
fn by_name(
    name: &'static str,
    usage_name: &'static str,
    synopsis: &'static str,
    command: impl AsyncFn(&Program, &[String]) -> anyhow::Result<()> + 'static,
) -> Command<Run> {
    Command::new(name, usage_name, synopsis, Box::new(move |program, args| ask(command(program, args))))
}

/// Runs a command, and tells why it failed.
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
