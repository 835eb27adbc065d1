//! `migrate`

use anyhow::{anyhow, ensure};
use serde_json::json;
use steeple_config::flags::FlagSet;
use steeple_config::{hcl, plugins};
use steeple_console::daemon::{ConfigFile, FileFlags};
use steeple_console::program::Program;
use steeple_console::progress::Progress;
use steeple_datastore::archive::migrate;
use steeple_datastore::{Options, SqlConfig};
use steeple_runtime::Clock;
use steeple_runtime::os::restrict_umask;
use steeple_server::config::{Config, Flags};

use super::config::{parse, told};
use super::offline::{CONFIG_HELP, UMASK, config, counted, shown};
use super::output::{Format, Output, print_json};
use super::{console, usage};

/// Copies the database into an empty one, of any kind.
pub(crate) async fn run(program: &Program, args: &[String]) -> anyhow::Result<()> {
    let (mut file, mut output, mut to) = (FileFlags::default(), Output::default(), String::new());
    let flags = file
        .add_to(FlagSet::new("migrate"), CONFIG_HELP)
        .flag(
            "to",
            &mut to,
            "The `file` that names the empty database: a server's configuration, or what stands in plugin_data of \
             DataStore \"sql\"",
        )
        .flag("output", &mut output, Output::HELP);
    usage::parse(flags, args)?;
    ensure!(!to.is_empty(), "a file (-to) must be set");

    restrict_umask(UMASK);
    let from = config(program, file)?;
    let to = target(program, &from, &to)?;
    let mut meter = Progress::new();
    let rows = migrate(from.datastore, to, &Clock::system(), &mut |progress| meter.tell(&shown(progress))).await;
    drop(meter);
    let rows = rows?;
    match output.format() {
        Format::Json => print_json(&json!({"rows": rows})),
        Format::Pretty => console::out(&format!("Copied {}, and compared them.\n", counted(rows))),
    }
    Ok(())
}

/// The database that a file names.
fn target(program: &Program, from: &Config, path: &str) -> anyhow::Result<Options> {
    let text = String::from_utf8(console::read(path)?).map_err(|_| anyhow!("{path} is no text"))?;
    let file = ConfigFile { path: path.to_owned(), text };
    let body = hcl::parse(&file.text).map_err(|error| anyhow!("{path}: {error}"))?;
    if plugins::read(&body).map_err(|error| anyhow!("{path}: {error}"))?.is_none() {
        return SqlConfig::read(&body).and_then(Options::try_from).map_err(|error| anyhow!("{path}: {error}"));
    }
    let config =
        parse(&file, &Flags::default()).map_err(|error| anyhow!("{path}: {}", told(program, &file, &error)))?;
    let (theirs, ours) = (&config.trust_domain, &from.trust_domain);
    ensure!(theirs == ours, "{path} is of trust domain {theirs}, and the other configuration of {ours}");
    Ok(config.datastore)
}
