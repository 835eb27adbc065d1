//! A server that is killed while it starts: for the first time, on the database of an older version, and when its
//! authorities are due.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use steeple_tests::{Domain, Scratch, Shim};

use super::authorities::Authorities;
use super::{Plan, SOME_WRITES, Sprung, copy, killed, leaves_nothing_bad};

/// Servers that are killed at the same time.
const AT_ONCE: usize = 4;
/// An authority lives a day: after half of it the next one is made, after five sixths that one signs. On the day of the
/// first start, both are due twenty-one hours later, and again after as much time.
const DUE: Duration = Duration::from_secs(21 * 60 * 60);
const DUE_AGAIN: Duration = Duration::from_secs(42 * 60 * 60);

#[test]
fn a_server_that_is_killed_at_its_first_start_starts_again_with_one_set_of_authorities() -> Result<()> {
    killed("the first start of a server, and its end", SOME_WRITES, async |scratch, shim, plan| {
        plan.each_point(AT_ONCE, async |at| {
            let mut domain = Domain::builder().write(scratch)?;
            let sprung = until_killed(&mut domain, shim, plan, at, Duration::ZERO).await?;
            domain.server.starter.clear();
            domain.server.start().await?;
            let found = Authorities::of(&domain.server, Duration::ZERO).await?;
            // One that was published before the journal had it has signed nothing, and never will.
            ensure!(found.published() <= 2, "{} X.509 authorities", found.published());
            remove(&mut domain)?;
            Ok(sprung)
        })
        .await
    })
}

#[test]
fn a_server_that_is_killed_while_it_migrates_its_database_goes_on_with_all_that_was_in_it() -> Result<()> {
    killed("the migration of a database", SOME_WRITES, async |scratch, shim, plan| {
        let before = Before::of_version_23(scratch).await?;
        plan.each_point(AT_ONCE, async |at| before.start(scratch, shim, plan, at).await).await
    })
}

#[test]
fn a_server_that_is_killed_while_its_authorities_change_goes_on_with_one_set_of_them() -> Result<()> {
    killed("the change of a server's authorities", SOME_WRITES, async |scratch, shim, plan| {
        let before = Before::of_authorities_that_are_due(scratch, shim).await?;
        plan.each_point(AT_ONCE, async |at| before.start(scratch, shim, plan, at).await).await
    })
}

/// A server that has run, and is started again with what it left.
struct Before {
    domain: Domain,
    /// Its authorities, and what they have issued.
    found: Authorities,
    /// What its clock shows at the next start, later than the true time.
    ahead: Duration,
    authorities_are_due: bool,
}

impl Before {
    /// The oldest version of the schema that is migrated.
    async fn of_version_23(scratch: &Scratch) -> Result<Self> {
        let mut domain = Domain::builder().write(scratch)?;
        domain.server.start().await?;
        domain.entry("spiffe://example.org/node", "/web", &[]).await?;
        let found = Authorities::of(&domain.server, Duration::ZERO).await?;
        domain.server.stop().await?;
        let database = domain.server.data_dir.join("datastore.sqlite3");
        let mut database = SqliteConnectOptions::new().filename(database).connect().await?;
        for change in [
            "ALTER TABLE registered_entries DROP COLUMN additional_attributes",
            "ALTER TABLE attested_node_entries DROP COLUMN agent_version",
            "UPDATE migrations SET version = 23, code_version = '1.13.0'",
        ] {
            sqlx::query(change).execute(&mut database).await?;
        }
        database.close().await?;
        Ok(Self { domain, found, ahead: Duration::ZERO, authorities_are_due: false })
    }

    /// They have changed once already, so that the next one takes the place of a key that has signed.
    async fn of_authorities_that_are_due(scratch: &Scratch, shim: &Shim) -> Result<Self> {
        let mut domain = Domain::builder().write(scratch)?;
        domain.server.start().await?;
        domain.entry("spiffe://example.org/node", "/web", &[]).await?;
        let first = Authorities::of(&domain.server, Duration::ZERO).await?;
        domain.server.stop().await?;
        shim.before(&mut domain.server, DUE)?;
        domain.server.start().await?;
        let found = Authorities::of(&domain.server, DUE).await?;
        ensure!(first.x509 != found.x509 && first.jwt != found.jwt, "the authorities have not changed");
        domain.server.stop().await?;
        Ok(Self { domain, found, ahead: DUE_AGAIN, authorities_are_due: true })
    }

    /// Starts a copy, and after the kill starts it again.
    async fn start(&self, scratch: &Scratch, shim: &Shim, plan: Plan, at: usize) -> Result<Sprung> {
        let Self { domain: before, found, ahead, authorities_are_due } = self;
        let mut domain = Domain::builder().write(scratch)?;
        copy(&before.server.data_dir, &domain.server.data_dir)?;
        let sprung = until_killed(&mut domain, shim, plan, at, *ahead).await?;
        shim.before(&mut domain.server, *ahead)?;
        domain.server.start().await?;
        let now = Authorities::of(&domain.server, *ahead).await?;
        now.verify(&found.issued, *ahead)?;
        ensure!((now.x509 != found.x509) == *authorities_are_due, "X.509 authority {} signs", now.x509);
        ensure!((now.jwt != found.jwt) == *authorities_are_due, "JWT authority {} signs", now.jwt);
        let entries = domain.server.entry_ids().await?;
        ensure!(entries.len() == 1, "{} entries", entries.len());
        remove(&mut domain)?;
        Ok(sprung)
    }
}

/// Starts a server and stops it in an orderly way, unless it is killed meanwhile.
async fn until_killed(domain: &mut Domain, shim: &Shim, plan: Plan, at: usize, ahead: Duration) -> Result<Sprung> {
    let trap = shim.before(&mut domain.server, ahead)?;
    trap.set(at, plan.how)?;
    let untouched = match domain.server.start().await {
        Ok(()) => domain.server.stop().await,
        Err(error) => Err(error),
    };
    domain.server.kill();
    leaves_nothing_bad(&domain.server)?;
    match (trap.sprung()?, untouched) {
        (None, Err(error)) => Err(error),
        (sprung, _) => Ok(sprung),
    }
}

/// Hundreds of databases would be left otherwise until the case ends.
fn remove(domain: &mut Domain) -> Result<()> {
    domain.server.kill();
    leaves_nothing_bad(&domain.server)?;
    let folder = domain.server.conf.parent().unwrap_or(Path::new(""));
    Ok(fs::remove_dir_all(folder)?)
}
