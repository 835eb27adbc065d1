//! Which records are compared, and why others are not.

use steeple_testkit::commands::{self, Coverage, Record};

/// What is expected of this record.
pub(crate) fn of(record: &Record) -> Coverage {
    if let Some((_, reason)) = DIFFERENT.iter().find(|(name, _)| *name == record.name) {
        return Coverage::Different(reason);
    }
    if let Some((_, work)) = LATER.iter().find(|(name, _)| *name == record.name) {
        return Coverage::Later(work);
    }
    Coverage::Equal
}

/// Each name in the lists is that of a record, and each stands in one list.
pub(crate) fn check_names(records: &[Record]) {
    let listed: Vec<_> = DIFFERENT.iter().chain(LATER).map(|(name, _)| *name).collect();
    commands::check_names(records, &listed);
}

/// Differences on purpose.
const DIFFERENT: &[(&str, &str)] = &[
    ("entry-create-data-bad-json", GO_JSON),
    ("entry-create-data-string-int", GO_JSON),
    ("entry-delete-file-bad", GO_JSON),
    ("client-check-bundle-set-bad-json", GO_JSON),
    ("federation-create-data-bad-json", GO_JSON),
    ("entry-update-attr-false", "`=false` switches an attribute off; in the reference it switches it on"),
    ("bundle-list-id-spiffe", "the order of JWT keys changes from run to run in the reference; ours is the document's"),
    ("x509-mint-bad-dns", "a name with a space is no DNS name"),
    (
        "validate-server-good-json-lists",
        "the reference reads the first of several lists of plugins alone, and finds no KeyManager",
    ),
    ("validate-server-json-plugins-first", "the reference takes plugins for unknown keys when they come first in JSON"),
    ("validate-server-two-datastores", REFUSED_BY_RUN),
    ("validate-server-bad-full-cache-interval", REFUSED_BY_RUN),
    ("validate-server-memory-with-data", REFUSED_BY_RUN),
    ("validate-server-sql-bad-type", REFUSED_BY_RUN),
    ("validate-server-sql-no-type", "we name the key, and say so once"),
    ("validate-server-sql-no-connection-string", "we say so once"),
    ("debug-getinfo", RECORDERS_ENTRIES),
    ("debug-getinfo-json", RECORDERS_ENTRIES),
    ("run-server-no-datastore", ON_STANDARD_ERROR),
    ("run-server-two-datastores", ON_STANDARD_ERROR),
    ("run-server-sql-bad-type", ON_STANDARD_ERROR),
    ("run-server-sql-no-type", ON_STANDARD_ERROR),
    ("run-server-bad-full-cache-interval", ON_STANDARD_ERROR),
    (
        "run-server-m3-single-block-two-keys",
        "the reference makes two collectors of a block with two keys, each with one",
    ),
];

const RECORDERS_ENTRIES: &str = "two entries less: those that the recorder had made for the agent are not here";
const GO_JSON: &str = "the text of Go's JSON reader; ours says the line and the column";
const ON_STANDARD_ERROR: &str = "told on standard error like all that is wrong with a file, and not in the log";
const REFUSED_BY_RUN: &str = "`run` refuses it in either program, so `validate` should say so";

/// Records that need more than is there.
const LATER: &[(&str, &str)] = &[
    ("federation-create-partner", FEDERATION),
    ("federation-refresh", FEDERATION),
    ("federation-refresh-json", FEDERATION),
    ("validate-server-plugin-bad-checksum", EXTERNAL),
    ("validate-server-plugin-short-checksum", EXTERNAL),
    ("validate-server-plugin-cmd-missing", EXTERNAL),
];

const EXTERNAL: &str = "external plugins";
const FEDERATION: &str = "federation";
