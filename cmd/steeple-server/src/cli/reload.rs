//! `reload`

use std::fmt::Write;

use anyhow::anyhow;
use serde_json::{Value, json};
use steeple_config::flags::FlagSet;
use steeple_proto::steeple::server::configuration::v1::configuration_client::ConfigurationClient;
use steeple_proto::steeple::server::configuration::v1::{Change, ReloadRequest};

use super::client::ServerFlags;
use super::output::{Format, Output, print_json};
use super::{console, usage};

/// Has the server read its configuration again, and prints what came of it.
pub(crate) async fn run(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut dry_run) = (ServerFlags::default(), Output::default(), false);
    let flags = FlagSet::new("reload").flag("output", &mut output, Output::HELP).flag(
        "dryRun",
        &mut dry_run,
        "Tell what would change, and change nothing",
    );
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let response = ConfigurationClient::new(server.channel()).reload(ReloadRequest { dry_run }).await;
    let response = response.map_err(|status| anyhow!("error reloading configuration: {}", server.failed(&status)))?;
    let changes = response.into_inner().changes;
    match output.format() {
        Format::Json => print_json(&as_json(&changes)),
        Format::Pretty => console::out(&pretty(&changes, dry_run)),
    }
    Ok(())
}

fn pretty(changes: &[Change], dry_run: bool) -> String {
    if changes.is_empty() {
        return "The server runs with what its configuration says.\n".to_owned();
    }
    let changed = if dry_run { "would change" } else { "changed" };
    changes.iter().fold(String::new(), |mut text, Change { setting, needs_restart }| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{setting}: {}", if *needs_restart { "needs a restart" } else { changed });
        text
    })
}

fn as_json(changes: &[Change]) -> Value {
    let change =
        |Change { setting, needs_restart }: &Change| json!({ "setting": setting, "needs_restart": needs_restart });
    json!({ "changes": changes.iter().map(change).collect::<Vec<_>>() })
}
