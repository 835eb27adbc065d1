#!/usr/bin/env python3
"""Puts what was measured into docs/performance.md, between `<!-- NAME -->` and `<!-- /NAME -->`.

    tests/measure/publish.py DIRECTORY

DIRECTORY has NAME.md for each; what is not there stays as it was.
"""

import datetime
import os
import re
import sys
from pathlib import Path

from daemons import ROOT


def machine():
    """The machine, and the moment, as a sentence."""
    model = re.search("model name\\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search("MemTotal: *(\\d+)", Path("/proc/meminfo").read_text()).group(1)) >> 20
    kernel = ".".join(os.uname().release.split(".")[:2])
    today = datetime.date.today()
    return (f"Measured on {today.day} {today:%B %Y} on a machine with {os.cpu_count()} cores "
            f"({model.group(1) if model else os.uname().machine}), {memory + 1} GB of memory, Linux {kernel}.")


def main():
    page, measured = ROOT / "docs" / "performance.md", Path(sys.argv[1])
    text = page.read_text()
    (measured / "machine.md").write_text(machine())
    for file in sorted(measured.glob("*.md")):
        begin, end = f"<!-- {file.stem} -->", f"<!-- /{file.stem} -->"
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        content = file.read_text().strip()
        if content and found and found_end:
            text = f"{before}{begin}\n{content}\n{end}{after}"
    page.write_text(text)


if __name__ == "__main__":
    main()
