//! Where the records are that a command reads.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use steeple_config::flags::FlagSet;
use steeple_console::daemon::FileFlags;
use steeple_console::program::Program;
use steeple_datastore::Options;
use steeple_runtime::Clock;
use steeple_server::inventory::{Files, InventoryConfig, Link, Place, ReadError, files_of, read_file, read_table};

use crate::cli::offline::{CONFIG_HELP, config};

/// The flags that say so.
#[derive(Default)]
pub(super) struct SourceFlags {
    config: FileFlags,
    paths: Vec<String>,
}

impl SourceFlags {
    pub(super) fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        let Self { config, paths } = self;
        config.add_to(flags, CONFIG_HELP).flag(
            "file",
            paths,
            "A `file` of records, a directory of such files, or a log that has them, in place of what the configuration \
             names; can be given several times",
        )
    }

    /// What they name.
    pub(super) fn open(self, program: &Program) -> anyhow::Result<Source> {
        let Self { config: file, paths } = self;
        let paths: Vec<PathBuf> = if paths.is_empty() {
            let Some(InventoryConfig { place, .. }) = config(program, file)?.inventory else {
                bail!("the configuration has no inventory: name files with -file")
            };
            match place {
                Place::Files(Files { directory, .. }) => vec![directory],
                Place::Table(options) => return Ok(Source::Table(options)),
                Place::Log => bail!("the inventory is in the server's log: name its files with -file"),
            }
        } else {
            paths.into_iter().map(PathBuf::from).collect()
        };
        let files: Vec<_> = paths.iter().map(|path| files_of(path)).collect::<Result<_, _>>()?;
        let files: Vec<_> = files.into_iter().flatten().collect();
        ensure!(!files.is_empty(), "there are no records in {}", paths[0].display());
        Ok(Source::Files(files))
    }
}

/// Records, those of each chain in their order.
pub(super) enum Source {
    Files(Vec<PathBuf>),
    Table(Options),
}

impl Source {
    /// Reads all records.
    ///
    /// # Errors
    /// The first one that is none; those before have been taken.
    pub(super) async fn read(self, mut take: impl FnMut(Link)) -> Result<(), ReadError> {
        match self {
            Self::Files(files) => files.iter().try_for_each(|file| read_file(file, &mut take)),
            Self::Table(options) => read_table(options, &Clock::system(), take).await,
        }
    }
}
