//! Several servers on one database.

mod away;
mod believed;
mod latency;
mod options;
mod outages;
mod reach;
mod start;
mod status;

use anyhow::Result;
use steeple_tests::{Binaries, Shared, at_mariadb, at_postgres, mysql_url, postgres_url, skipped_on_the_reference};

/// Whether the daemons under test know what the reference does not; says so where they do not.
fn is_ours(what: &str) -> Result<bool> {
    let Binaries { server, agent } = Binaries::find()?;
    let ours = !server.is_reference && !agent.is_reference;
    if !ours {
        skipped_on_the_reference(what, "it is ours alone");
    }
    Ok(ours)
}
