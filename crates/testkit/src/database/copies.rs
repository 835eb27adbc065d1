//! Databases that move back, as after a restore or a failover that lost commits: a copy of an earlier moment takes their
//! place at once, and what was written since then is gone.

use std::path::{Path, PathBuf};

use super::{Place, place::new_name};

/// A database as it was at one moment. It may be put in place several times.
pub enum Copied {
    /// A directory that holds the file alone.
    File(PathBuf),
    /// The name of a database of the same server.
    Database(String),
}

impl Place {
    /// A SQLite file that is not there yet, in a directory that can be exchanged for another one (see
    /// [`Place::replace_by`]); all of it is below `dir`.
    pub fn exchangeable_file(dir: &Path) -> Self {
        let first = dir.join(new_name());
        std::fs::create_dir(&first).unwrap();
        std::os::unix::fs::symlink(&first, dir.join(CURRENT)).unwrap();
        Self::File(dir.join(CURRENT).join(FILE))
    }

    /// Copies the database as it is now. Servers cut all connections for that.
    pub async fn copied(&self) -> Copied {
        match self {
            Self::File(path) => {
                let dir = above(path).join(new_name());
                std::fs::create_dir(&dir).unwrap();
                self.sql(&format!("VACUUM INTO '{}'", dir.join(FILE).display())).await;
                Copied::File(dir)
            }
            Self::Postgres(_) => {
                let (name, copy) = (self.database(), new_name());
                self.shut().await;
                admin_postgres(&format!("CREATE DATABASE {copy} TEMPLATE {name}")).await;
                self.open_again().await;
                Copied::Database(copy)
            }
            Self::MySql(_) => {
                // Whoever holds a transaction open would hold up the copy.
                self.cut_connections().await;
                Copied::Database(copy_mariadb(self.database()).await)
            }
        }
    }

    /// Puts a copy in the place, as a whole and at once. Connections are cut.
    pub async fn replace_by(&self, copy: &Copied) {
        match (self, copy) {
            (Self::File(path), Copied::File(copy)) => {
                // With the directory the files change that lie beside a database in use, so that nobody ever sees those of
                // one with the other.
                let dir = above(path);
                let (new, link) = (dir.join(new_name()), dir.join(new_name()));
                std::fs::create_dir(&new).unwrap();
                std::fs::copy(copy.join(FILE), new.join(FILE)).unwrap();
                std::os::unix::fs::symlink(&new, &link).unwrap();
                std::fs::rename(&link, dir.join(CURRENT)).unwrap();
            }
            (Self::Postgres(_), Copied::Database(copy)) => {
                let name = self.database();
                self.shut().await;
                admin_postgres(&format!("DROP DATABASE {name}")).await;
                admin_postgres(&format!("CREATE DATABASE {name} TEMPLATE {copy}")).await;
            }
            (Self::MySql(_), Copied::Database(copy)) => {
                // Whoever holds a transaction open would hold up the locks.
                self.cut_connections().await;
                Place::of_mariadb("mysql").sql(&exchange_mariadb(self.database(), copy).await).await;
            }
            _ => panic!("a copy of another kind of database"),
        }
    }

    /// Ends all connections to a database of PostgreSQL, and lets nobody connect.
    pub async fn shut(&self) {
        admin_postgres(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", self.database())).await;
        // Who has been told to end takes a moment.
        while !self.terminated().await.is_empty() {}
    }

    /// Tells all connections to a database of PostgreSQL to end. Returns a row for each.
    async fn terminated(&self) -> Vec<Vec<String>> {
        let end = "SELECT CAST(pg_terminate_backend(pid) AS text) FROM pg_stat_activity";
        admin_postgres(&format!("{end} WHERE datname = '{}'", self.database())).await
    }

    /// After [`Place::shut`].
    pub async fn open_again(&self) {
        admin_postgres(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.database())).await;
    }

    /// Ends the connections of everybody else. A file has none.
    pub async fn cut_connections(&self) {
        match self {
            Self::File(_) => {}
            Self::Postgres(_) => drop(self.terminated().await),
            Self::MySql(_) => {
                let list = "SELECT CAST(id AS char) FROM information_schema.processlist WHERE id <> CONNECTION_ID()";
                for row in self.sql(&format!("{list} AND db = '{}'", self.database())).await {
                    // It may have gone by itself meanwhile.
                    self.sql(&format!(
                        "BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR 1094 BEGIN END; KILL {}; END",
                        row[0]
                    ))
                    .await;
                }
            }
        }
    }
}

const CURRENT: &str = "current";
const FILE: &str = "datastore.sqlite3";

/// The directory that holds the exchangeable ones.
fn above(path: &Path) -> &Path {
    path.parent().unwrap().parent().unwrap()
}

async fn admin_postgres(text: &str) -> Vec<Vec<String>> {
    Place::of_postgres("postgres").sql(text).await
}

/// A copy of all tables, which nobody writes meanwhile.
async fn copy_mariadb(name: &str) -> String {
    let (copy, tables) = (new_name(), tables_of_mariadb(name).await);
    let each = |spell: fn(&str, &str) -> String| {
        let spelled = tables.iter().map(|table| spell(&format!("{name}.{table}"), &format!("{copy}.{table}")));
        spelled.collect::<Vec<_>>()
    };
    let locks = each(|from, to| format!("{from} READ, {to} WRITE"));
    let statements = [
        vec![format!("CREATE DATABASE {copy} CHARACTER SET utf8")],
        each(|from, to| format!("CREATE TABLE {to} LIKE {from}")),
        vec![format!("LOCK TABLES {}", locks.join(", "))],
        each(|from, to| format!("INSERT INTO {to} SELECT * FROM {from}")),
        vec!["UNLOCK TABLES".to_owned()],
    ];
    Place::of_mariadb("mysql").sql(&statements.concat().join("; ")).await;
    copy
}

/// The statements that put the rows of a copy in the place of those of a database, in one transaction: other transactions see
/// all of one or all of the other. (When tables are renamed, they may see some of each.) Ids of events that are lost are given
/// again.
async fn exchange_mariadb(name: &str, copy: &str) -> String {
    let tables = tables_of_mariadb(copy).await;
    let each = |spell: &dyn Fn(&str) -> String| tables.iter().map(|table| spell(table)).collect::<Vec<_>>();
    let locks = each(&|table| format!("{name}.{table} WRITE, {copy}.{table} READ"));
    let events: Vec<_> = tables.iter().filter(|table| table.ends_with("_events")).collect();
    let statements = [
        each(&|table| format!("CREATE TABLE IF NOT EXISTS {name}.{table} LIKE {copy}.{table}")),
        vec!["SET autocommit = 0".to_owned(), format!("LOCK TABLES {}", locks.join(", "))],
        each(&|table| format!("DELETE FROM {name}.{table}")),
        each(&|table| format!("INSERT INTO {name}.{table} SELECT * FROM {copy}.{table}")),
        vec!["COMMIT".to_owned()],
        // What is asked for is less than what the table goes on with, which is one more than it holds.
        events.iter().map(|table| format!("ALTER TABLE {name}.{table} AUTO_INCREMENT = 1")).collect(),
        vec!["UNLOCK TABLES".to_owned()],
    ];
    statements.concat().join("; ")
}

async fn tables_of_mariadb(name: &str) -> Vec<String> {
    let tables = format!("SELECT table_name FROM information_schema.tables WHERE table_schema = '{name}'");
    Place::of_mariadb("mysql").sql(&tables).await.concat()
}
