//! The database goes on at another place, or wants another password.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use steeple_testkit::database::{USER, WITH_PASSWORD, own_mariadb, own_postgres, standby_of};
use steeple_tests::{Database, Domain, Toxiproxy};

use super::super::{at_mariadb, mysql_url};
use super::{Site, end_connections, mariadb_does, postgres_does, row};

#[test]
fn a_server_follows_its_postgresql_to_the_standby_that_is_promoted() -> Result<()> {
    row(async |scratch| {
        let primary = own_postgres();
        postgres_does(primary.port, "postgres", &["CREATE DATABASE site"]).await?;
        let standby = standby_of(&primary);
        let connection_string = format!(
            "host=127.0.0.1,127.0.0.1 port={},{} user={USER} dbname=site sslmode=disable target_session_attrs=read-write",
            primary.port, standby.port
        );
        let mut site = Site::on(scratch, Database { kind: "postgres", connection_string }).await?;
        // An orderly stop waits until the standby has everything.
        primary.stop();
        site.workloads_go_on("failover").await?;
        site.writes_are_put_off().await?;
        site.is_ready(false).await?;
        postgres_does(standby.port, "postgres", &["SELECT pg_promote()"]).await?;
        site.goes_on_by_itself().await
    })
}

#[test]
fn a_server_follows_its_mariadb_to_the_replica_that_takes_over() -> Result<()> {
    row(async |scratch| {
        let (primary, replica) = (own_mariadb(), own_mariadb());
        let start = position(primary.port).await?;
        let follow = format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = '{USER}', \
             MASTER_USE_GTID = slave_pos",
            primary.port
        );
        let statements =
            [&format!("SET GLOBAL gtid_slave_pos = '{start}'"), &follow, "START SLAVE", "SET GLOBAL read_only = 1"];
        mariadb_does(replica.port, "mysql", &statements).await?;
        mariadb_does(primary.port, "mysql", &["CREATE DATABASE site CHARACTER SET utf8"]).await?;
        let Some(wire) = Toxiproxy::before(primary.port, "a replica that takes over", scratch).await? else {
            return Ok(());
        };
        let mut site = Site::on(scratch, at_mariadb(wire.port, "site")).await?;
        wire.let_through(false).await?;
        let end = position(primary.port).await?;
        primary.stop();
        site.workloads_go_on("failover").await?;
        site.writes_are_put_off().await?;
        site.is_ready(false).await?;
        let wait = format!("SELECT MASTER_GTID_WAIT('{end}', 60)");
        let promoted = [&*wait, "STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0"];
        mariadb_does(replica.port, "mysql", &promoted).await?;
        wire.lead_to(replica.port).await?;
        wire.let_through(true).await?;
        site.goes_on_by_itself().await
    })
}

/// How far a MariaDB has written.
async fn position(port: u16) -> Result<String> {
    let mut db = MySqlConnection::connect(&mysql_url(port, "mysql")).await?;
    let query = AssertSqlSafe("SELECT @@gtid_binlog_pos".to_owned());
    Ok(sqlx::raw_sql(query).fetch_one(&mut db).await?.try_get_unchecked(0)?)
}

#[test]
fn a_server_takes_the_new_password_of_postgresql_from_its_file() -> Result<()> {
    row(async |scratch| {
        let server = own_postgres();
        let role = format!("CREATE ROLE {WITH_PASSWORD}");
        let account = format!("CREATE ROLE site LOGIN PASSWORD 'first' IN ROLE {WITH_PASSWORD}");
        postgres_does(server.port, "postgres", &[&role, &account, "CREATE DATABASE site OWNER site"]).await?;
        let file = scratch.path().join("passwords");
        let store = |password: &str| {
            fs::write(&file, format!("*:*:*:site:{password}\n"))?;
            fs::set_permissions(&file, Permissions::from_mode(0o600))
        };
        store("first")?;
        let connection_string = format!(
            "host=127.0.0.1 port={} user=site dbname=site sslmode=disable passfile={}",
            server.port,
            file.to_str().context("a path that is no text")?
        );
        let mut site = Site::on(scratch, Database { kind: "postgres", connection_string }).await?;
        // Whoever is in stays in, so that this is the worst case.
        let change = ["ALTER ROLE site PASSWORD 'second'", &end_connections("site")];
        postgres_does(server.port, "postgres", &change).await?;
        site.workloads_go_on("password").await?;
        site.writes_are_put_off().await?;
        site.is_ready(false).await?;
        store("second")?;
        site.goes_on_by_itself().await
    })
}

#[test]
fn a_server_takes_the_new_password_of_mariadb_from_its_file() -> Result<()> {
    row(async |scratch| {
        let server = own_mariadb();
        let statements = [
            "CREATE DATABASE site CHARACTER SET utf8",
            "CREATE USER site@127.0.0.1 IDENTIFIED BY 'first'",
            "GRANT ALL ON site.* TO site@127.0.0.1",
        ];
        mariadb_does(server.port, "mysql", &statements).await?;
        let Database { kind, connection_string } = at_mariadb(server.port, "site");
        let connection_string = connection_string.replacen(USER, "site", 1);
        let domain = Domain::builder().database(Database { kind, connection_string }).write(scratch)?;
        let file = scratch.path().join("password");
        fs::write(&file, "first\n")?;
        domain.server.reconfigure(|conf| {
            let named = format!("experimental {{ steeple {{ password_path = \"{}\" }} }}", file.display());
            conf.replacen("database_type", &format!("{named}\n            database_type"), 1)
        })?;
        let mut site = Site::begun(domain).await?;
        let change = ["ALTER USER site@127.0.0.1 IDENTIFIED BY 'second'", "KILL USER site"];
        mariadb_does(server.port, "mysql", &change).await?;
        site.workloads_go_on("password").await?;
        site.writes_are_put_off().await?;
        site.is_ready(false).await?;
        fs::write(&file, "second\n")?;
        site.goes_on_by_itself().await
    })
}
