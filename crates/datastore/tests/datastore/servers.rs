//! The suite on PostgreSQL, directly and by way of PgBouncer, and on MariaDB, which the tests start: each case in a database of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "cases are called by tests: a panic is their report"
)]

#[macro_use]
mod cases;

mod accounts;
mod archive;
mod begun;
mod bundles;
mod connections;
mod entries;
mod everything;
mod federation;
mod feed;
mod fixtures;
mod formats;
mod gaps;
mod housekeeping;
mod ids;
mod inventory;
mod isolation;
mod journals;
mod limits;
mod lists;
mod nodes;
mod opened;
mod pruning;
mod recorded;
mod schema;
mod standby;
mod statements;
mod times;
mod tokens;
mod torn;
mod trips;
mod unasked;
mod unopened;
mod waits;
mod writes;

suite! { on_postgres }
suite! { on_mariadb }
suite! { on_pgbouncer }

pairs! {
    sqlite_to_postgres: new_sqlite to new_postgres
    sqlite_to_mariadb: new_sqlite to new_mariadb
    postgres_to_sqlite: new_postgres to new_sqlite
    postgres_to_postgres: new_postgres to new_postgres
    postgres_to_mariadb: new_postgres to new_mariadb
    mariadb_to_sqlite: new_mariadb to new_sqlite
    mariadb_to_postgres: new_mariadb to new_postgres
    mariadb_to_mariadb: new_mariadb to new_mariadb
}

#[tokio::test]
async fn what_mysql_takes_for_the_same_is_told() {
    archive::what_a_database_takes_for_the_same_is_told(opened::new_mariadb().await).await;
}

#[tokio::test]
async fn a_database_of_the_reference_goes_around() {
    archive::goes_around().await;
}

/// Cases of databases with several writers.
macro_rules! of_servers {
    ($name:ident on $opened:ident) => {
        suite! { $name on $opened:
            gaps {
                what_commits_late_comes_late
                a_feed_that_begins_in_the_middle_misses_nothing
                a_feed_that_begins_before_the_oldest_event_misses_nothing
                an_older_event_that_is_gone_is_noticed
                an_id_is_asked_for_as_long_as_somebody_holds_it
            }
            pruning {
                ten_servers_that_prune_at_once_are_in_nobodys_way
                an_agent_that_is_banned_while_somebody_prunes_stays
                an_entry_that_is_prolonged_while_somebody_prunes_stays
            }
            isolation {
                what_is_written_at_once_is_right_at_each_level
                changes_come_at_each_level
            }
            times {
                a_zone_changes_no_moment
                the_zone_of_the_database_changes_no_moment_that_the_reference_wrote
            }
            recorded {
                what_the_reference_writes_is_followed
            }
            accounts {
                an_account_that_may_not_change_the_schema_uses_it_as_it_is
            }
        }
    };
}

of_servers! { only_postgres on on_postgres }
of_servers! { only_mariadb on on_mariadb }
of_servers! { only_pgbouncer on on_pgbouncer }

/// What a pool between would hide.
macro_rules! of_sessions {
    ($name:ident on $opened:ident) => {
        suite! { $name on $opened:
            limits {
                there_are_no_more_sessions_than_max_open_conns
                agents_that_come_all_at_once_leave_a_session_to_others
                who_waits_for_long_for_a_session_is_told_so
                no_more_sessions_are_kept_than_max_idle_conns
                a_session_is_another_one_after_conn_max_lifetime
                a_session_that_nobody_used_for_half_a_minute_is_closed
            }
        }
    };
}

of_sessions! { sessions_of_postgres on on_postgres }
of_sessions! { sessions_of_mariadb on on_mariadb }

suite! { alone_on_mariadb on on_mariadb:
    begun {
        a_schema_that_was_begun_is_finished
        what_no_unfinished_start_has_left_is_left_alone
        a_migration_that_was_begun_is_finished
    }
    gaps {
        an_id_is_asked_for_among_any_number_of_gaps
    }
    waits {
        a_lock_that_is_not_given_back_is_not_waited_for_again
    }
}

suite! { alone_on_postgres on on_postgres:
    waits {
        a_lock_is_waited_for_as_long_as_the_database_says_or_50_seconds
    }
}
