#!/usr/bin/env bash
# How long an entry that is created at one server takes to the open stream of a workload, whose agent has another one: on
# PostgreSQL (also without LISTEN, and through PgBouncer), MariaDB and SQLite. A table on the standard output.
#
#   [STEEPLE_BIN=target/release] [STEEPLE_PEER_BIN=/opt/spire/bin] tests/measure/latency.sh [TRIES]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Whose daemons, where they are, how often each case is tried, how many cases at once. What goes wrong is told, and ends it.
measure() {
    STEEPLE_BIN=$(realpath "$2") STEEPLE_TRIES=$3 cargo test -q -p steeple-tests --test whole servers::latency:: \
        -- --nocapture --test-threads="$4" 2>&1 | tee /dev/stderr |
        sed -n "s/^\\.*bench: \(.*\): \(.*\): \(.*\) tries, p50 \(.*\), p99 \(.*\), max \(.*\)/| $1 | \1 | \2 | \3 | \4 | \5 | \6 |/p"
}

echo "| Servers | Database | | Tries | p50 | p99 | max |"
echo "|---|---|---|---|---|---|---|"
measure Steeple "${STEEPLE_BIN:-${CARGO_TARGET_DIR:-target}/release}" "${1:-1000}" 2
# Each of its tries takes some ten seconds, in which nothing is done.
[ -z "${STEEPLE_PEER_BIN-}" ] || measure SPIRE "$STEEPLE_PEER_BIN" 12 3
