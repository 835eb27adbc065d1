//! Keys of `DataStore "sql"` whose effect is seen in the log.

use anyhow::{Result, ensure};
use steeple_tests::{Domain, Scratch, case};

use super::{Shared, is_ours};

#[test]
fn statements_on_sqlite_are_logged_if_that_is_wanted_and_a_replica_is_told_to_be_none() -> Result<()> {
    case(async |scratch| {
        let none = "Read-only connection is not applicable for sqlite3. Falling back to primary connection";
        logged(scratch, &Shared::on_sqlite(scratch), none).await
    })
}

#[test]
fn statements_on_postgresql_are_logged_if_that_is_wanted_and_a_replica_is_told_to_be_unused() -> Result<()> {
    case(async |scratch| logged(scratch, &Shared::on_postgres(scratch).await?, UNUSED).await)
}

#[test]
fn statements_on_mariadb_are_logged_if_that_is_wanted_and_a_replica_is_told_to_be_unused() -> Result<()> {
    case(async |scratch| logged(scratch, &Shared::on_mariadb(scratch).await?, UNUSED).await)
}

const UNUSED: &str = "Read-only connection is not used: changes are read from the primary alone";
const STATEMENT: &str = "INSERT INTO join_tokens";

async fn logged(scratch: &Scratch, shared: &Shared, told_of_replica: &str) -> Result<()> {
    if !is_ours("log_sql")? {
        return Ok(());
    }
    let mut domain = Domain::builder().database(shared.database.clone()).start(scratch).await?;
    domain.server.token(&[]).await?;
    let log = domain.server.process()?.log()?;
    ensure!(!log.contains(STATEMENT) && !log.contains(told_of_replica), "nobody asked for it: {log}");
    domain.server.stop().await?;

    // Nobody is there, which nobody finds out.
    let replica = shared.database.connection_string.replace("127.0.0.1", "127.0.0.9");
    let keys = format!("log_sql = true\n            ro_connection_string = \"{replica}\"\n            database_type");
    domain.server.reconfigure(|conf| conf.replacen("database_type", &keys, 1))?;
    domain.server.start().await?;
    let token = domain.server.token(&[]).await?;
    domain.server.process()?.line(STATEMENT).await?;
    let log = domain.server.process()?.log()?;
    ensure!(!log.contains(&token), "values are logged: {log}");
    ensure!(log.matches(told_of_replica).count() == 1, "{log}");
    Ok(())
}
