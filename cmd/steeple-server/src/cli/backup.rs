//! `backup`

use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use steeple_config::flags::FlagSet;
use steeple_console::daemon::FileFlags;
use steeple_console::program::Program;
use steeple_console::progress::Progress;
use steeple_datastore::archive::{self, Backup, backup};
use steeple_runtime::Clock;
use steeple_runtime::os::files::Replacement;
use steeple_runtime::os::reason;
use steeple_server::config::Config;

use super::offline::{CONFIG_HELP, config, counted, keys_file, shown};
use super::output::{Format, Output};
use super::{console, usage};

/// The table with a row for each server that has authorities.
const JOURNALS: &str = "ca_journals";

/// Writes the database, and the server's keys if they are wanted, to an archive.
pub(crate) async fn run(program: &Program, args: &[String]) -> anyhow::Result<()> {
    let (mut file, mut output, mut out) = (FileFlags::default(), Output::default(), String::new());
    let (mut with_keys, mut addresses) = (false, Vec::<String>::new());
    let flags = file
        .add_to(FlagSet::new("backup"), CONFIG_HELP)
        .flag("out", &mut out, "The `file` that is written, for its owner alone; - is standard output")
        .flag("withKeys", &mut with_keys, "Save the keys of the server's KeyManager \"disk\" too, in the clear")
        .flag(
            "address",
            &mut addresses,
            "A `host:port` where servers of this database answer; can be given several times",
        )
        .flag("output", &mut output, Output::HELP);
    usage::parse(flags, args)?;
    ensure!(!out.is_empty(), "a file (-out) must be set");
    for address in &addresses {
        host_and_port(address)?;
    }

    let config = config(program, file)?;
    let bind_address = config.bind_address.to_string();
    addresses.retain(|address| *address != bind_address);
    addresses.insert(0, bind_address);
    let keys = if with_keys { Some(keys(&config)?) } else { None };
    let contents = Backup { trust_domain: config.trust_domain, addresses: addresses.clone(), keys };
    let mut meter = Progress::new();
    let mut journals = 0;
    let watcher = &mut |progress: archive::Progress| {
        if progress.table == JOURNALS {
            journals = progress.of;
        }
        meter.tell(&shown(progress));
    };
    let clock = Clock::system();
    let rows = if out == "-" {
        backup(config.datastore, &clock, contents, std::io::stdout(), watcher).await?
    } else {
        let written = |error: std::io::Error| format!("unable to write {out}: {}", reason(&error));
        let replacement = Replacement::begin(Path::new(&out)).map_err(|error| anyhow::anyhow!(written(error)))?;
        let mut replacement = BufWriter::new(replacement);
        let rows = backup(config.datastore, &clock, contents, &mut replacement, watcher).await?;
        replacement.flush().map_err(|error| anyhow::anyhow!(written(error)))?;
        let replacement = replacement.into_inner().map_err(|error| anyhow::anyhow!(written(error.into_error())))?;
        replacement.finish().map_err(|error| anyhow::anyhow!(written(error)))?;
        rows
    };
    drop(meter);

    // Standard output may be the archive.
    let tell = if out == "-" { console::err } else { console::out };
    match output.format() {
        Format::Json => {
            let saved = json!({
                "addresses": addresses, "ca_journals": journals, "file": out, "keys": with_keys, "rows": rows,
            });
            tell(&format!("{saved}\n"));
        }
        Format::Pretty => {
            let keys = if with_keys { " and the server's keys" } else { "" };
            tell(&format!("Saved {}{keys}.\n", counted(rows)));
            if only_this_machine(config.bind_address, &addresses) {
                tell(&format!(
                    "No other machine knows {} as the server's address: name one with -address, so that a restore can see \
                     whether the server still runs.\n",
                    config.bind_address
                ));
            }
            if let Some(warning) = unknown(journals, addresses.len()) {
                tell(&warning);
            }
        }
    }
    Ok(())
}

fn keys(config: &Config) -> anyhow::Result<Vec<u8>> {
    let path = keys_file(config)?;
    std::fs::read(&path).with_context(|| format!("unable to read the keys in {}", path.display()))
}

/// Whether nothing is known by which another machine could reach the server.
fn only_this_machine(bind_address: SocketAddr, addresses: &[String]) -> bool {
    let ip = bind_address.ip();
    addresses.len() == 1 && (ip.is_unspecified() || ip.is_loopback())
}

/// What is told when more servers have journals than addresses are known. The journal of one that is gone stays until its
/// authorities are over.
fn unknown(journals: u64, addresses: usize) -> Option<String> {
    let is_more = usize::try_from(journals).is_ok_and(|journals| journals > addresses);
    is_more.then(|| {
        format!(
            "{journals} servers have authorities in this database, and a restore would look whether they still run at {addresses} \
             of their addresses: name the others with -address.\n"
        )
    })
}

/// The parts of `host:port`; an IPv6 address stands in brackets.
pub(crate) fn host_and_port(address: &str) -> anyhow::Result<(&str, u16)> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = parts.filter(|(_, port)| *port != 0) else { bail!("{address:?} is no host:port") };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ensure!(!host.is_empty() && !host.contains(['[', ']', '/']), "{address:?} is no host:port");
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_whose_addresses_are_not_known_are_told() {
        assert_eq!(unknown(2, 2), None);
        let told = unknown(3, 2).unwrap();
        assert!(told.starts_with("3 servers have authorities") && told.contains("at 2 of their addresses"), "{told}");
    }

    #[test]
    fn reads_addresses() {
        assert_eq!(host_and_port("spire.example.org:8081").unwrap(), ("spire.example.org", 8081));
        assert_eq!(host_and_port("[::1]:8081").unwrap(), ("::1", 8081));
        for text in ["", "host", ":8081", "host:0", "host:http", "https://host:8081"] {
            assert_eq!(host_and_port(text).unwrap_err().to_string(), format!("{text:?} is no host:port"));
        }
    }
}
