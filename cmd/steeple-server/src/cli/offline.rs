//! What the commands share that work on the database themselves: the configuration, a server's file of keys, progress.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use steeple_catalog::{Configuration, Host};
use steeple_console::daemon::FileFlags;
use steeple_console::program::Program;
use steeple_datastore::archive::{Progress, Step};
use steeple_plugins::key_manager::disk;
use steeple_runtime::Clock;
use steeple_runtime::os::reason;
use steeple_server::config::{Config, Flags};

use super::config::{parse, told};

/// What the usage says of `-config`.
pub(crate) const CONFIG_HELP: &str = "The server's configuration `file`; conf/server/server.conf if there is none";

/// The configuration of the server whose database it is.
pub(crate) fn config(program: &Program, file: FileFlags) -> anyhow::Result<Config> {
    let file = file.read("conf/server/server.conf")?;
    parse(&file, &Flags::default()).map_err(|error| anyhow!(told(program, &file, &error)))
}

/// Databases and keys that are made are for others no more than those that a server makes.
pub(crate) const UMASK: u32 = 0o027;

/// Makes the server's `data_dir`, as its start does: database and keys may be meant to be there.
pub(crate) fn make_data_dir(config: &Config) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&config.data_dir);
    made.map_err(|error| anyhow!("unable to make {}: {}", config.data_dir.display(), reason(&error)))
}

/// The file in which a server keeps its keys, which have been looked at if it is there.
pub(crate) fn keys_file(config: &Config) -> anyhow::Result<PathBuf> {
    let managers = config.plugins.iter().filter(|block| block.kind == "KeyManager" && block.enabled);
    let Some(block) = managers.clone().find(|block| block.name == "disk" && block.cmd.is_none()) else {
        let names: Vec<_> = managers.map(|block| block.name.as_str()).collect();
        bail!("only KeyManager \"disk\" has keys in a file, and the configuration has {:?}", names.join(", "))
    };
    let (trust_domain, data) = (config.trust_domain.clone(), block.data.clone());
    let configuration = Configuration { trust_domain, data, host: Host::new(Clock::system()) };
    let told = || "KeyManager \"disk\"";
    disk::server(&configuration).map_err(|error| anyhow!(error.message)).with_context(told)?;
    disk::server_file(&configuration).map_err(|error| anyhow!(error.message)).with_context(told)
}

/// How many rows, for people.
pub(crate) fn counted(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

/// How far a table has come, for people.
pub(crate) fn shown(progress: Progress) -> String {
    let Progress { step, table, rows, of } = progress;
    let done = match step {
        Step::Check => " checked",
        Step::Write => "",
        Step::Compare => " compared",
    };
    format!("{table}: {rows} of {of} rows{done}")
}
