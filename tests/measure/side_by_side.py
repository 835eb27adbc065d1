#!/usr/bin/env python3
"""Both kinds of daemon in one run, their loads taking turns: the table of docs/performance.md, on the standard output.

    STEEPLE_PEER_BIN=/opt/spire/bin tests/measure/side_by_side.py DIRECTORY [-rounds 3]

Figures at a pace are the middle ones of the rounds. Without STEEPLE_PEER_BIN, ours alone are measured.
"""

import argparse
import shutil
import statistics
import subprocess
from pathlib import Path

from daemons import PEER_BIN, Agent, Server, Sqlite, load, programs_of, resident, say, us

SERVER, ADDRESSED, AGENT = "server", "addressed", "agent"
# Of calls at a pace: the row, the operation, its flags, and whom it asks.
CALLS = [
    ("mint", "mint", [], SERVER),
    ("mint-jwt", "mint-jwt", [], SERVER),
    ("batch", "batch", [], ADDRESSED),
    ("jwt", "jwt", [], ADDRESSED),
    ("fetch", "fetch", [], AGENT),
    ("fetch-held", "fetch-held", [], AGENT),
    ("fetch-jwt", "fetch-jwt", [], AGENT),
    ("authorized", "authorized", ["-concurrency", 1], ADDRESSED),
    ("authorized-10k", "authorized", ["-concurrency", 1, "-size", 10_000], ADDRESSED),
]
# Rows of the table: name, heading, command, unit, budget.
ROWS = [
    ("mint", "MintX509SVID, CPU of the server", "mint", "us", 110),
    ("mint-jwt", "MintJWTSVID, CPU of the server", "mint-jwt", "us", 50),
    ("batch", "BatchNewX509SVID of 10 over mTLS, CPU an SVID", "batch", "us", 85),
    ("jwt", "NewJWTSVID over mTLS, CPU of the server", "jwt", "us", 60),
    ("fetch", "FetchX509SVID, a new connection each, CPU of the agent", "fetch", "us", 120),
    ("fetch-held", "FetchX509SVID, one connection, CPU of the agent", "fetch-held", "us", None),
    ("fetch-jwt", "FetchJWTSVID, a new audience each, CPU of the agent", "fetch-jwt", "us", 120),
    ("arrival-p50", "An entry's way to the open stream, p50", "arrival", "ms", None),
    ("arrival-p99", "the same, p99", "arrival", "ms", 100),
    ("authorized", "GetAuthorizedEntries of 1,000, CPU of the server", "authorized -concurrency 1", "us", 500),
    ("authorized-10k", "GetAuthorizedEntries of 10,000", "authorized -size 10000 -concurrency 1", "us", 5000),
    ("idle-100k", "Idle server with 100,000 entries", "idle -duration 15s", "% of a core", 0.1),
    ("resident-server", "Resident server after start", "idle", "MB", 20),
    ("resident-100k", "Resident server with 100,000 entries", "idle", "MB", 140),
    ("resident-agent", "Resident agent after start", "idle -pid AGENT", "MB", 12),
    ("held", "A held Workload API stream", "held -count 500", "KB", 40),
    ("agents", "A connected agent's stream on the server", "agents -count 200", "KB", 60),
    ("create", "Entries in batches of 500, from none to 100,000", "entries -concurrency 1", "a second", 5000),
    ("start-server", "Start until healthy, server", None, "ms", 100),
    ("start-server-cpu", "its CPU", None, "ms", None),
    ("start-agent", "Start until healthy, agent", None, "ms", 100),
    ("start-agent-cpu", "its CPU", None, "ms", None),
    ("start-100k", "Start of a server with 100,000 entries", None, "ms", None),
    ("size-server", "Stripped release binary, server", None, "MB", 40),
    ("size-agent", "Stripped release binary, agent", None, "MB", 15),
]
MORE_IS_BETTER = ["create"]
STARTS = 15
MANY = 100_000
# SPIRE's own way to as many takes the better part of an hour; it becomes slower with each batch.
MANY_OF_SPIRE = 5000


class Kind:
    """A server and an agent of one kind."""

    def __init__(self, name, directory, programs):
        self.name, self.dir, self.programs = name, directory / name, programs
        self.rows = {}
        self.server = self.new_server("daemons").start()
        self.rows["resident-server"] = resident(self.server.load("idle", "-duration", "5s"))
        self.agent = Agent(self.dir / "daemons", self.server, programs).start()
        idle = load("idle", "-duration", "5s", "-pid", self.agent.pid)
        self.rows["resident-agent"] = resident(idle)
        self.agent.provide()

    def new_server(self, name):
        directory = self.dir / name
        return Server(directory, Sqlite(directory).database("datastore"), self.programs)

    def call(self, operation, flags, whom, *more):
        if whom == AGENT:
            return self.agent.load(operation, *flags, *more)
        return self.server.load(operation, *flags, *more, as_agent=whom == ADDRESSED)

    def streams(self):
        held = self.agent.load("held", "-count", 500)
        self.rows["held"] = held["bytes_per_stream"] / 1e3
        if self.server.is_ours:
            agents = self.server.load("agents", "-count", 200, as_agent=True)
            self.rows["agents"] = agents["bytes_per_stream"] / 1e3

    def arrival(self):
        # SPIRE looks every five seconds; the pause meets it at any moment of its round.
        flags = ["-count", 500] if self.server.is_ours else ["-count", 15, "-pause", "5s"]
        flags += ["-agentSocketPath", self.agent.socket, "-parentID", self.agent.id]
        latency = self.server.load("arrival", *flags)["latency_ms"]
        for name in ("p50", "p99"):
            self.rows[f"arrival-{name}"] = latency[name]

    def starts(self):
        """The middle start of several, wall and CPU."""
        for name, start in (("server", self.start_server), ("agent", self.start_agent)):
            started = sorted((start(number) for number in range(STARTS)), key=lambda daemon: daemon.start_seconds)
            middle = started[STARTS // 2]
            self.rows[f"start-{name}"] = middle.start_seconds * 1e3
            self.rows[f"start-{name}-cpu"] = middle.start_cpu * 1e3

    def start_server(self, number):
        with self.new_server(f"server-{number}") as server:
            return server

    def start_agent(self, number):
        with Agent(self.dir / f"agent-{number}", self.server, self.programs) as agent:
            return agent

    def many(self, database):
        """With the rows of a database of 100,000 entries."""
        directory = self.dir / "many"
        shutil.rmtree(directory, ignore_errors=True)
        server = self.new_server("many")
        shutil.copyfile(database, directory / "datastore.sqlite3")
        with server:
            told = server.load("idle", "-duration", "15s")
        self.rows["idle-100k"] = told["cpu"]["share_of_a_core"] * 100
        self.rows["resident-100k"] = resident(told)
        self.rows["start-100k"] = server.start_seconds * 1e3

    def sizes(self):
        for name in ("server", "agent"):
            program, stripped = programs_of(self.programs, name)[0], self.dir / name
            subprocess.run(["strip", "-o", stripped, program], check=True)
            self.rows[f"size-{name}"] = stripped.stat().st_size / 1e6

    def stop(self):
        self.agent.stop()
        self.server.stop()


def paced(kinds, rounds):
    found = {}
    for _ in range(rounds):
        for row, operation, flags, whom in CALLS:
            for kind in kinds:
                told = kind.call(operation, flags, whom, "-duration", "2s")
                each = told["cpu"]["us_per_item"] if operation == "batch" else us(told)
                found.setdefault((kind.name, row), []).append(each)
                say(f"{kind.name}, {row}: {each:.1f} us")
    for kind in kinds:
        for row, *_ in CALLS:
            kind.rows[row] = statistics.median(found[kind.name, row])


def created(kind, count):
    """A database with so many entries, and how many of them a second were created."""
    with kind.new_server("filling") as server:
        told = server.load("entries", "-count", count, "-concurrency", 1, "-keep")
    return kind.dir / "filling" / "datastore.sqlite3", told["items"]["per_second"]


def table(kinds):
    """In Markdown. The first kind is ours."""
    names = [kind.name for kind in kinds]
    lines = ["| Work | Command | " + " | ".join(names) + " | Budget | |", "|---" * (len(names) + 4) + "|"]
    for row, heading, command, unit, budget in ROWS:
        cells = [figure(kind.rows[row], unit) if row in kind.rows else "-" for kind in kinds]
        is_met = budget and (kinds[0].rows[row] >= budget) == (row in MORE_IS_BETTER)
        end = [figure(budget, unit), "met" if is_met else "missed"] if budget else ["-", ""]
        command = f"`{command}`" if command else "[below](#how-to-measure-again)"
        lines.append("| " + " | ".join([heading, command, *cells, *end]) + " |")
    return "\n".join(lines)


def figure(value, unit):
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 1 else 2
    return f"{value:,.{digits}f} {unit}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("-rounds", type=int, default=3)
    options = parser.parse_args()
    shutil.rmtree(options.directory, ignore_errors=True)
    options.directory.mkdir(parents=True)
    names = [("Steeple", None)] + ([("SPIRE", PEER_BIN)] if PEER_BIN else [])
    kinds = [Kind(name, options.directory, programs) for name, programs in names]
    for kind in kinds:
        say(f"{kind.name}: streams")
        kind.streams()
    paced(kinds, options.rounds)
    for kind in kinds:
        say(f"{kind.name}: arrival, starts")
        kind.arrival()
        kind.starts()
        kind.stop()
        kind.sizes()
    for kind in kinds:
        say(f"{kind.name}: entries")
        database, kind.rows["create"] = created(kind, MANY if kind is kinds[0] else MANY_OF_SPIRE)
        if kind is kinds[0]:
            many = database
    for kind in kinds:
        say(f"{kind.name}: 100,000 entries")
        kind.many(many)
    print(table(kinds))


if __name__ == "__main__":
    main()
