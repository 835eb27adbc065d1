#!/usr/bin/env python3
"""What signing costs with all of a server's guards on, beside a server that has none: a table of docs/performance.md, on
the standard output.

    tests/measure/all_on.py DIRECTORY [-rounds 3] [-seconds 2]

All are ours: one with limits and inventory off; one with limits on and an inventory in files; the same with an operator's
own policy in Rego. Who may call is looked at by all of them. The limits are for one address, and calls come from so many that
none of them is slowed down.
"""

import argparse
import contextlib
import shutil
import statistics
from pathlib import Path

from daemons import LIMITED, ROOT, UNLIMITED, Server, Sqlite, say, us

# Each of them may ask for 500 SVIDs a second.
AGENTS = ["-agents", 100]
# The heading, the operation, its flags, and the budget.
CALLS = [
    ("MintX509SVID", "mint", [], 110),
    ("MintJWTSVID", "mint-jwt", [], 50),
    ("BatchNewX509SVID of 10 over mTLS, an SVID", "batch", AGENTS, 85),
    ("NewJWTSVID over mTLS", "jwt", AGENTS, 60),
]
INVENTORY = 'steeple { inventory { sink = "file" } }'
POLICY = f"""auth_opa_policy_engine {{ local {{
    rego_path = "{ROOT}/conf/server/policy.rego"
    policy_data_path = "{ROOT}/conf/server/policy_data.json"
}} }}"""
KINDS = [
    ("limits and inventory off", UNLIMITED),
    ("all on", f"{LIMITED}\n    experimental {{ {INVENTORY} }}"),
    ("all on, policy in Rego", f"{LIMITED}\n    experimental {{ {INVENTORY}\n    {POLICY} }}"),
]


def call(server, operation, flags, seconds):
    told = server.load(operation, *flags, "-duration", f"{seconds}s", as_agent=operation in ("batch", "jwt"))
    return told["cpu"]["us_per_item"] if operation == "batch" else us(told)


def table(found):
    names = [name for name, _ in KINDS]
    lines = ["| CPU of the server | " + " | ".join(names) + " | Budget | all on |", "|---" * (len(names) + 3) + "|"]
    for heading, operation, _, budget in CALLS:
        middles = [statistics.median(found[operation, name]) for name in names]
        end = [f"{budget} us", "met" if middles[1] <= budget else "missed"]
        lines.append("| " + " | ".join([heading, *(f"{middle:.1f} us" for middle in middles), *end]) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("-rounds", type=int, default=3)
    parser.add_argument("-seconds", type=int, default=2)
    options = parser.parse_args()
    shutil.rmtree(options.directory, ignore_errors=True)
    found = {}
    with contextlib.ExitStack() as stack:
        servers = []
        for number, (name, guards) in enumerate(KINDS):
            directory = options.directory / str(number)
            database = Sqlite(directory).database("datastore")
            servers.append((name, stack.enter_context(Server(directory, database, guards=guards))))
        for _ in range(options.rounds):
            for _, operation, flags, _ in CALLS:
                for name, server in servers:
                    each = call(server, operation, flags, options.seconds)
                    found.setdefault((operation, name), []).append(each)
                    say(f"{name}, {operation}: {each:.1f} us")
    print(table(found))


if __name__ == "__main__":
    main()
