#!/usr/bin/env bash
# How long an entry that is created at one server takes to the open stream of a workload, whose agent has another one: on
# PostgreSQL (also without LISTEN, and through PgBouncer), MariaDB and SQLite. One case after the other.
#
#   [STEEPLE_BIN=target/release] [STEEPLE_PEER_BIN=/opt/spire/bin] tests/measure/latency.sh [TRIES]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tries=${1:-1000}
ours=${STEEPLE_BIN:-${CARGO_TARGET_DIR:-target}/release}

measure() {
    echo "# $1: $3 tries"
    STEEPLE_BIN=$(realpath "$2") STEEPLE_TRIES=$3 cargo test -q -p steeple-tests --test whole servers::latency:: \
        -- --nocapture --test-threads=1 2>&1 | grep "^bench:\|^test result\|FAILED\|^Error"
}

measure Steeple "$ours" "$tries"
# Each of its tries takes some ten seconds.
[ -z "${STEEPLE_PEER_BIN-}" ] || measure SPIRE "$STEEPLE_PEER_BIN" 12
