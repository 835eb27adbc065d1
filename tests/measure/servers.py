#!/usr/bin/env python3
"""Several servers on one PostgreSQL whose commits take 5 ms: attestations and renewals a second at one server and at ten, as
many as they can and at a pace that both keep, agents that return at once, and writes with and without somebody who listens.
Tables on the standard output.

    tests/measure/servers.py DIRECTORY [-seconds 15] [-agents 2000]

`commit_delay` makes each flush of PostgreSQL's log take 5 ms longer, as a slower disk would: commits that come meanwhile
share the next flush. The load runs on the same machine, as do all servers; the shares of a core tell who had how much.
"""

import argparse
import contextlib
import shutil
import statistics
import subprocess
from pathlib import Path

from daemons import PgBouncer, Postgres, Server, say, start, tool

SLOW = ["commit_delay=5000", "commit_siblings=0"]
# Calls under way at once.
AT_ONCE = 64
# Calls a second, whether or not others have ended.
PACE = 300


@contextlib.contextmanager
def several(count, postgres, directory, way=None):
    """So many servers on one database, by a way that may be another one."""
    postgres.drop("shared")
    shutil.rmtree(directory, ignore_errors=True)
    database = (way or postgres).database("shared")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Server(directory / str(number), database)) for number in range(count)]


def load(servers, postgres, operation, *flags):
    """Over all servers; the first one prepares."""
    others = [server.pid for server in servers[1:]] + postgres.pids()
    spread = [part for server in servers for part in ("-serverAddress", server.address)]
    return servers[0].load(operation, *spread, *(part for pid in others for part in ("-other", pid)), *flags)


def row(what, count, told):
    shares = {other["name"]: other["share_of_a_core"] for other in told["others"]}
    servers = told["cpu"]["share_of_a_core"] + shares.get("steeple-server", 0)
    each = servers / told["operations_per_second"] * 1e6
    latency = told["latency_ms"]
    return (f"| {what} | {count} | {told['operations_per_second']:.0f} | {each:.0f} us | {latency['p50']:.1f} ms | "
            f"{latency['p99']:.1f} ms | {servers * 100:.0f} % | {shares.get('postgres', 0) * 100:.0f} % | "
            f"{shares.get('steeple', 0) * 100:.0f} % |")


def calls(postgres, directory, seconds, agents):
    lines = ["| Work | Servers | A second | CPU of the servers, each | p50 | p99 | Servers | PostgreSQL | Load |",
             "|---|---|---|---|---|---|---|---|---|"]
    returned = ["| Servers | Agents | All had their entries after | p50 | p99 |", "|---|---|---|---|---|"]
    for count in (1, 10):
        with several(count, postgres, directory / "servers") as servers:
            at_once = ["-concurrency", AT_ONCE]
            # Tokens are made before; of those that are left nothing is told.
            attest = ["-count", 500 * seconds, "-duration", f"{seconds}s", *at_once]
            renew = ["-size", 500, "-duration", f"{seconds}s", *at_once]
            for what, pace in (("", []), (f", {PACE} a second", ["-rate", PACE])):
                for name, flags in (("attestation", ["attest", *attest]), ("renewal", ["renew", *renew])):
                    lines.append(row(name + what, count, load(servers, postgres, *flags, *pace)))
                    say(lines[-1])
            flags = ["-count", agents, "-concurrency", agents, "-size", 100, "-duration", "1ms"]
            latency = load(servers, postgres, "agents", *flags)["latency_ms"]
            returned.append(f"| {count} | {agents:,} | {latency['max'] / 1e3:.2f} s | {latency['p50'] / 1e3:.2f} s | "
                            f"{latency['p99'] / 1e3:.2f} s |")
            say(returned[-1])
    return "\n".join([*lines, "", *returned])


def listened(postgres, directory, seconds, rounds=5):
    """Entries created one a call, with and without a session that has said LISTEN, in turns. The server itself has none: it is
    behind a PgBouncer."""
    found = {False: [], True: []}
    with PgBouncer(postgres, directory / "pgbouncer") as way, several(1, postgres, directory / "servers", way) as (server,):
        _, address = postgres.database("shared")
        for _ in range(rounds):
            for is_heard in found:
                with listener(address) if is_heard else contextlib.nullcontext():
                    flags = ["-size", 1, "-count", 0, "-duration", f"{seconds}s", "-concurrency", AT_ONCE]
                    found[is_heard].append(server.load("entries", *flags)["operations_per_second"])
    lines = ["| Somebody listens | Writes a second, the middle of five | least | most |", "|---|---|---|---|"]
    for is_heard, rates in found.items():
        lines.append(f"| {'yes' if is_heard else 'no'} | {statistics.median(rates):.0f} | {min(rates):.0f} | {max(rates):.0f} |")
    return "\n".join(lines)


@contextlib.contextmanager
def listener(address):
    process = start([tool("psql"), "-XAtq", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write("LISTEN steeple_changes; SELECT 'heard';\n")
    process.stdin.flush()
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("-seconds", type=int, default=15)
    parser.add_argument("-agents", type=int, default=2000)
    options = parser.parse_args()
    for settings, measure in ((SLOW, lambda postgres: calls(postgres, options.directory, options.seconds, options.agents)),
                              ([], lambda postgres: listened(postgres, options.directory, options.seconds // 3))):
        postgres = Postgres(options.directory / "postgres", *settings)
        try:
            print(measure(postgres), end="\n\n", flush=True)
        finally:
            postgres.stop()


if __name__ == "__main__":
    main()
