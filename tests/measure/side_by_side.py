#!/usr/bin/env python3
"""Both kinds of daemon in one run, their loads taking turns: the table of docs/performance.md, on the standard output.

    STEEPLE_PEER_BIN=/opt/spire/bin tests/measure/side_by_side.py DIRECTORY [-rounds 3]

Figures at a pace are the middle ones of the rounds. Without STEEPLE_PEER_BIN, ours alone are measured.
"""

import argparse
import json
import shutil
import statistics
from pathlib import Path

from daemons import BIN, PEER_BIN, Agent, Server, Sqlite, resident, say, us

SERVER, ADDRESSED, AGENT = "server", "addressed", "agent"
# Of calls at a pace: the operation, its flags, whom it asks, and what the row is called.
CALLS = [
    ("mint", [], SERVER, "MintX509SVID, CPU of the server"),
    ("mint-jwt", [], SERVER, "MintJWTSVID, CPU of the server"),
    ("batch", [], ADDRESSED, "BatchNewX509SVID of 10 over mTLS, CPU an SVID"),
    ("jwt", [], ADDRESSED, "NewJWTSVID over mTLS, CPU of the server"),
    ("fetch", [], AGENT, "FetchX509SVID, a new connection each, CPU of the agent"),
    ("fetch-held", [], AGENT, "FetchX509SVID, one connection, CPU of the agent"),
    ("fetch-jwt", [], AGENT, "FetchJWTSVID, a new audience each, CPU of the agent"),
    ("authorized", ["-concurrency", 1], ADDRESSED, "GetAuthorizedEntries of 1,000, CPU of the server"),
    ("authorized", ["-concurrency", 1, "-size", 10_000], ADDRESSED, "GetAuthorizedEntries of 10,000"),
]
STARTS = 15
MANY = 100_000


class Kind:
    """A server and an agent of one kind."""

    def __init__(self, name, directory, programs):
        self.name, self.dir, self.programs = name, directory / name, programs
        self.rows = {}
        self.server = self.new_server("daemons").start()
        self.rows["Resident server after start (MB)"] = resident(self.server.load("idle", "-duration", "5s"))
        self.agent = Agent(self.dir / "daemons", self.server, programs).start()
        idle = self.agent.load("idle", "-duration", "5s", "-pid", self.agent.pid)
        self.rows["Resident agent after start (MB)"] = resident(idle)
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
        self.rows["A held Workload API stream (KB)"] = held["bytes_per_stream"] / 1e3
        if self.server.is_ours:
            agents = self.server.load("agents", "-count", 200, as_agent=True)
            self.rows["A connected agent's stream on the server (KB)"] = agents["bytes_per_stream"] / 1e3

    def arrival(self):
        # SPIRE looks every five seconds; the pause meets it at any moment of its round.
        flags = ["-count", 500] if self.server.is_ours else ["-count", 15, "-pause", "5s"]
        flags += ["-agentSocketPath", self.agent.socket, "-parentID", self.agent.id]
        latency = self.server.load("arrival", *flags)["latency_ms"]
        for name in ("p50", "p99"):
            self.rows[f"An entry's way to the open stream, {name} (ms)"] = latency[name]

    def starts(self):
        """The middle start of several, wall and CPU."""
        for name, start in (("server", self.start_server), ("agent", self.start_agent)):
            started = sorted((start(number) for number in range(STARTS)), key=lambda daemon: daemon.start_seconds)
            middle = started[STARTS // 2]
            self.rows[f"Start until healthy, {name} (ms)"] = middle.start_seconds * 1e3
            self.rows[f"its CPU, {name} (ms)"] = middle.start_cpu * 1e3

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
        self.rows["Idle server with 100,000 entries (% of a core)"] = told["cpu"]["share_of_a_core"] * 100
        self.rows["Resident server with 100,000 entries (MB)"] = resident(told)
        self.rows["Start until healthy with 100,000 entries (ms)"] = server.start_seconds * 1e3

    def sizes(self):
        for name in ("server", "agent"):
            program = BIN / f"steeple-{name}" if self.programs is None else Path(self.programs) / f"spire-{name}"
            self.rows[f"Binary, {name} (MB)"] = program.stat().st_size / 1e6

    def stop(self):
        self.agent.stop()
        self.server.stop()


def paced(kinds, rounds):
    found = {}
    for _ in range(rounds):
        for operation, flags, whom, heading in CALLS:
            for kind in kinds:
                told = kind.call(operation, flags, whom, "-duration", "2s")
                each = told["cpu"]["us_per_item"] if operation == "batch" else us(told)
                found.setdefault((kind.name, heading), []).append(each)
                say(f"{kind.name}, {heading}: {each:.1f} us")
    for kind in kinds:
        for *_, heading in CALLS:
            kind.rows[f"{heading} (us)"] = statistics.median(found[kind.name, heading])


def filled(directory):
    """A database with 100,000 entries, and how many of them a second were created."""
    home = directory / "filling"
    databases = Sqlite(directory / "filled")
    databases.drop("many")
    with Server(home, databases.database("many")) as server:
        told = server.load("entries", "-count", MANY, "-concurrency", 1, "-keep")
    return databases.database("many")[1], told["items"]["per_second"]


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
    database, rate = filled(options.directory)
    kinds[0].rows["Entries in batches of 500, from none to 100,000 (a second)"] = rate
    for kind in kinds:
        say(f"{kind.name}: 100,000 entries")
        kind.many(database)
    (options.directory / "rows.json").write_text(json.dumps({kind.name: kind.rows for kind in kinds}, indent=1))
    print("| Work | " + " | ".join(kind.name for kind in kinds) + " |\n|---|" + "---|" * len(kinds))
    for heading in kinds[0].rows:
        cells = [f"{kind.rows[heading]:,.2f}" if heading in kind.rows else "-" for kind in kinds]
        print(f"| {heading} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
