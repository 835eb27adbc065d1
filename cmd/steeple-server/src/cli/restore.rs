//! `restore`

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::json;
use steeple_config::flags::FlagSet;
use steeple_console::daemon::FileFlags;
use steeple_console::dialling::answered;
use steeple_console::program::Program;
use steeple_console::progress::Progress;
use steeple_datastore::archive::{Header, Watcher, check, restore};
use steeple_runtime::Clock;
use steeple_runtime::os::files::replace_private;
use steeple_runtime::os::{reason, restrict_umask};
use steeple_server::config::Config;
use steeple_spiffe::SpiffeId;
use steeple_spiffe::x509::Certificate;
use steeple_transport::dial::{self, Proxy};
use steeple_transport::tls::{Expect, client_config};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::backup::host_and_port;
use super::offline::{CONFIG_HELP, UMASK, config, counted, keys_file, make_data_dir, shown};
use super::output::{Format, Output, print_json};
use super::{console, usage};

/// Whoever has not answered by then is not there.
const ANSWER: Duration = Duration::from_secs(5);

/// Fills an empty database from an archive.
pub(crate) async fn run(program: &Program, args: &[String]) -> anyhow::Result<()> {
    let (mut file, mut output, mut input) = (FileFlags::default(), Output::default(), String::new());
    let (mut force, mut new_authority) = (false, false);
    let flags = file
        .add_to(FlagSet::new("restore"), CONFIG_HELP)
        .flag("in", &mut input, "The archive, a `file`; - is standard input")
        .flag("force", &mut force, "Restore though a server of the archive still answers")
        .flag("newAuthority", &mut new_authority, "Have servers make new authorities; the old ones stay in the bundle")
        .flag("output", &mut output, Output::HELP);
    usage::parse(flags, args)?;
    ensure!(!input.is_empty(), "an archive (-in) must be set");

    let config = config(program, file)?;
    restrict_umask(UMASK);
    let mut meter = Progress::new();
    let watcher = &mut |progress| meter.tell(&shown(progress));
    let archive = open(&input, watcher, |keys| {
        // Told now rather than when everything else is written.
        if keys && !new_authority { place_for_keys(&config).map(drop) } else { Ok(()) }
    })?;
    let clock = Clock::system();
    let admit = async |header: &Header| {
        let (theirs, ours) = (&header.trust_domain, &config.trust_domain);
        ensure!(theirs == ours, "the archive is of trust domain {theirs}, and the configuration of {ours}");
        if !force {
            refuse_servers(header, &clock).await?;
        }
        make_data_dir(&config)
    };
    let mut keys = false;
    let place = |content: &[u8]| {
        if !new_authority {
            let path = place_for_keys(&config)?;
            let written = replace_private(&path, content);
            written.map_err(|error| anyhow!("unable to write {}: {}", path.display(), reason(&error)))?;
            keys = true;
        }
        Ok(())
    };
    let restored = restore(config.datastore.clone(), &clock, archive, !new_authority, admit, place, watcher).await;
    drop(meter);
    if restored.is_err() && keys {
        // They were placed a moment ago, where nothing was before.
        let _ = std::fs::remove_file(keys_file(&config)?);
    }
    let restored = restored?;
    match output.format() {
        Format::Json => {
            let created_at = jiff::Timestamp::try_from(restored.header.created_at)?.to_string();
            print_json(&json!({"created_at": created_at, "keys": keys, "rows": restored.rows}));
        }
        Format::Pretty => {
            let keys = if keys { " and the server's keys" } else { "" };
            console::out(&format!("Restored {}{keys}.\n", counted(restored.rows)));
            if new_authority {
                console::out("Servers make new authorities when they start.\n");
            }
        }
    }
    Ok(())
}

/// Opens an archive. A file is read to its end first, and `look` is told whether it has keys; what comes through a pipe is
/// found out on the way, and nothing of it is committed before.
fn open(
    input: &str,
    watcher: Watcher<'_>,
    look: impl FnOnce(bool) -> anyhow::Result<()>,
) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if input == "-" {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = || File::open(input).map_err(|error| anyhow!("open {input}: {}", reason(&error)));
    let file = opened()?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(Box::new(BufReader::new(file)));
    }
    look(check(BufReader::new(file), watcher)?.keys)?;
    Ok(Box::new(BufReader::new(opened()?)))
}

/// The file for the keys, which is not there yet: keys that a server has are not overwritten.
fn place_for_keys(config: &Config) -> anyhow::Result<PathBuf> {
    let path = keys_file(config).context("the archive has keys")?;
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path),
        Err(error) => Err(anyhow!("unable to look at {}: {}", path.display(), reason(&error))),
        Ok(_) => bail!("the archive has keys, and {} is there already: move it away first", path.display()),
    }
}

/// Refuses to make a second set of servers beside one that goes on: both would sign as the same authorities, and know
/// nothing of each other's entries and bans.
async fn refuse_servers(header: &Header, clock: &Clock) -> anyhow::Result<()> {
    let authorities = header.authorities.iter().map(|der| Certificate::from_der(der));
    let authorities: Arc<[Certificate]> =
        authorities.collect::<Result<_, _>>().context("an authority of the archive")?;
    let id = SpiffeId::new(&header.trust_domain, "/spire/server")?;
    let (_unchanged, authorities) = watch::channel(authorities);
    let expect = Expect::Verified { id, authorities };
    let tls = Arc::new(client_config(None, expect, clock.clone())?);
    let mut asked = JoinSet::new();
    for address in &header.addresses {
        let (host, port) = host_and_port(address)?;
        // Behind a name may be a server that hangs, and one that does not.
        let found = clock.within(ANSWER, lookup_host((host, port))).await;
        for at in found.and_then(Result::ok).into_iter().flatten() {
            let channel = dial::server(&at.ip().to_string(), at.port(), Arc::clone(&tls), Proxy::none(), clock.clone());
            let (address, clock) = (address.clone(), clock.clone());
            asked.spawn(async move { is_there(channel, &clock).await.then_some(address) });
        }
    }
    while let Some(answer) = asked.join_next().await {
        if let Some(address) = answer? {
            bail!(
                "a server of the archive still runs at {address}: stop it, or restore with -force, and with -newAuthority \
                 if it is to stay"
            );
        }
    }
    Ok(())
}

/// Whether a server that the channel's end believes is at the other one.
async fn is_there(channel: Channel, clock: &Clock) -> bool {
    let mut server = HealthClient::new(channel);
    let asked = clock.within(ANSWER, server.check(HealthCheckRequest::default())).await;
    // Whatever is said behind the handshake: it was made with an SVID of one of the authorities.
    asked.is_some_and(|answer| answer.err().is_none_or(|status| answered(&status)))
}
