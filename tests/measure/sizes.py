#!/usr/bin/env python3
"""What a server costs at 1,000 to 1,000,000 entries, on SQLite and PostgreSQL: docs/sizes.csv, docs/sizes.svg, and a
table for docs/performance.md on the standard output.

    tests/measure/sizes.py DIRECTORY [-sizes 1000,10000] [-databases sqlite,postgres] [-docs docs]

Filled databases stay in DIRECTORY, so that the next run begins with copies of them; remove it to fill them again.
"""

import argparse
import csv
import os
import shutil
import time
from pathlib import Path

import curves
from daemons import ROOT, Postgres, Server, Sqlite, resident, say, us

# An agent has so many entries.
SHARE = 100
# Name, heading, unit, budget, and whether more is better; of each, a column of the CSV and of the table.
FIGURES = [
    ("create", "Created in batches of 500, the last tenth", "a second", None, True),
    ("start", "Start until healthy", "s", 15, False),
    ("start_cpu", "its CPU", "s", None, False),
    ("resident", "Resident, with an agent's row for each 100 entries", "MB", 1200, False),
    ("resident_streams", "with as many streams", "MB", 1800, False),
    ("idle", "Idle CPU", "% of a core", 0.1, False),
    ("authorized", "GetAuthorizedEntries of 100", "us", 100, False),
    ("change", "An entry's update until the agent's stream has it", "us", 1000, False),
    ("change_streams", "with all streams open", "us", 1000, False),
    ("applied", "the part of it that a server has which others write for", "us", 1000, False),
    ("change_p99", "its way, p99", "ms", None, False),
    ("page", "ListEntries, a page of 500", "us", None, False),
    ("parent", "by parent, 100", "us", None, False),
    ("id", "by SPIFFE ID", "us", None, False),
    ("selector", "by selector", "us", None, False),
]


def fill(databases, size, directory):
    """A database with so many entries, and an agent for each 100; returns how fast its last tenth was created."""
    name, rate = f"filled_{size}", directory / f"rate_{databases.name}_{size}"
    if databases.has(name) and rate.exists():
        return float(rate.read_text())
    databases.drop(name)
    home = directory / "filling"
    shutil.rmtree(home, ignore_errors=True)
    with Server(home, databases.database(name)) as server:
        last = size // 10
        for count in (size - last, last):
            flags = ["-count", count, "-parents", max(1, count // SHARE), "-concurrency", 1, "-keep"]
            told = server.load("entries", *flags)
            say(f"{databases.name}, {size}: {told['items']['per_second']:.0f} entries a second ({count})")
        server.load("agents", "-count", size // SHARE, "-keep", "-duration", "1ms", as_agent=True)
    rate.write_text(str(told["items"]["per_second"]))
    return told["items"]["per_second"]


def measure(databases, size, directory):
    row = {"database": databases.name, "entries": size, "create": fill(databases, size, directory)}
    home = directory / "measuring"
    shutil.rmtree(home, ignore_errors=True)
    with Server(home, databases.copy(f"filled_{size}", "measured")) as server:
        row["start"], row["start_cpu"] = server.start_seconds, server.start_cpu
        time.sleep(databases.quiet_after)
        told = server.load("idle", "-duration", "15s")
        row["resident"], row["idle"] = resident(told), told["cpu"]["share_of_a_core"] * 100
        said(row, "start", "start_cpu", "resident", "idle")
        one = ["-concurrency", 1, "-duration", "3s"]
        row["authorized"] = us(server.load("authorized", "-size", SHARE, *one, as_agent=True))
        told = server.load("change", "-size", SHARE, "-count", 500, "-duration", "1m", as_agent=True)
        row["change"], row["change_p99"] = us(told), told["latency_ms"]["p99"]
        row["page"] = us(server.load("list", "-size", 500, *one))
        for by in ("parent", "id", "selector"):
            row[by] = us(server.load("list", "-by", by, "-size", SHARE, *one))
        said(row, "authorized", "change", "page", "parent", "id", "selector")
        row["resident_streams"], row["change_streams"] = with_streams(server, size // SHARE)
        row["applied"] = applied(server, home / "other")
        said(row, "resident_streams", "change_streams", "applied")
    databases.drop("measured")
    return row


def with_streams(server, agents):
    """Resident memory while so many agents hold their streams, and what a change costs then."""
    with server.holding("agents", "-count", agents, "-keep") as is_held:
        # Each stream has a connection.
        is_held(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) > agents)
        told = server.load("idle", "-duration", "5s")
        return resident(told), us(server.load("change", "-size", SHARE, "-count", 500, "-duration", "1m", as_agent=True))


def applied(server, home):
    """What a change costs another server on the same database, whose agent it concerns."""
    with Server(home, server.database) as other:
        flags = ["-serverAddress", other.address, "-pid", other.pid, "-size", SHARE, "-count", 500, "-duration", "1m"]
        return us(server.load("change", *flags))


def said(row, *names):
    say(f"{row['database']}, {row['entries']}: " + ", ".join(f"{name} {row[name]:.2f}" for name in names))


def table(rows):
    """In Markdown, a line for each figure."""
    head = [f"{row['database']}, {row['entries']:,}" for row in rows]
    lines = ["| | Budget | " + " | ".join(head) + " |", "|---|---|" + "---|" * len(rows)]
    for name, heading, unit, budget, _ in FIGURES:
        cells = [f"{row[name]:,.{0 if row[name] >= 100 else 2}f}" for row in rows]
        lines.append(f"| {heading} ({unit}) | {budget or ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("-sizes", default="1000,10000,100000,1000000")
    parser.add_argument("-databases", default="sqlite,postgres")
    parser.add_argument("-docs", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    rows = []
    for kind in options.databases.split(","):
        databases = {"sqlite": Sqlite, "postgres": Postgres}[kind](options.directory / kind)
        try:
            for size in map(int, options.sizes.split(",")):
                rows.append(measure(databases, size, options.directory))
                write(rows, options.docs)
        finally:
            databases.stop()
    print(f"{table(rows)}\n\n![The same as curves](sizes.svg)")


def write(rows, docs):
    """What there is so far."""
    with open(docs / "sizes.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["database", "entries", *(name for name, *_ in FIGURES)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
                         for row in rows)
    (docs / "sizes.svg").write_text(curves.draw(rows, FIGURES))


if __name__ == "__main__":
    main()
