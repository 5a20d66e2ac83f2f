"""What the searches share: options, progress, memory, and cases kept so that they can be run again."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SEED = 20261122
MEMORY = "/dev/shm"


@dataclass
class Findings:
    """What one search did and found; `failures` are one line each."""

    name: str
    ran: int = 0
    seen: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    pss: dict[str, int] = field(default_factory=dict)  # MB, the most that was seen
    after: dict[str, int] = field(default_factory=dict)  # how many had run then

    def measure(self, **pids: int) -> None:
        """Note the memory of processes by what they are called here."""
        for what, pid in pids.items():
            if (taken := pss_mb(pid)) > self.pss.get(what, 0):
                self.pss[what], self.after[what] = taken, self.ran

    def fail(self, what: str) -> None:
        """Note one, and show it at once."""
        self.failures.append(what)
        print("\n" + what, file=sys.stderr, flush=True)

    def told(self) -> str:
        """One paragraph for a person."""
        what = ", ".join(f"{key} {count}" for key, count in sorted(self.seen.items()))
        memory = ", ".join(f"{key} {mb} MB" for key, mb in sorted(self.pss.items()))
        lines = [f"{self.name}: {self.ran}, failures {len(self.failures)}", f"  {what}"]
        return "\n".join(lines + ([f"  most PSS: {memory}"] if memory else []) + [f"  {x}" for x in self.failures[:50]])


class Errors(logging.Handler):
    """What was logged as an error: nothing that is sent may cause one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record) -> None:
        self.lines.append(self.format(record).replace("\n", " ⏎ ")[-600:])


def scratch() -> tempfile.TemporaryDirectory:
    """A folder in memory where there is one: for searches that do not ask whether a commit is durable."""
    return tempfile.TemporaryDirectory(prefix="huizhen-fuzz-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)


def pss_mb(pid: int) -> int:
    """Proportional set size of a process in MB; 0 where it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) >> 10 for line in text.splitlines() if line.startswith("Pss:")), 0)


def cpu_seconds(pids) -> float:
    """What these processes have used of the processor: it says more than the clock of a busy machine."""
    used = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")


def main(description: str, count: int, *searches) -> int:
    """Run the searches, each `search(count, seed=, first=, tell=)`, over what the command line says.

    Case `n` of a seed is always the same. Returns the program's status: 1 where anything failed.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0, help="number of the first case; with --count 1 it runs alone")
    given = parser.parse_args()
    # Errors must reach the handlers of those that look for them, and nobody's screen.
    logging.basicConfig(level=logging.ERROR, handlers=[logging.NullHandler()])

    def tell(found: Findings) -> None:
        print(f"\r{found.name}: {found.ran} of {given.count}, failures {len(found.failures)} ", end="", file=sys.stderr, flush=True)

    async def every() -> list[Findings]:
        return [await search(given.count, seed=given.seed, first=given.first, tell=tell) for search in searches]

    everything = asyncio.run(every())
    for found in everything:
        print("\n" + found.told(), flush=True)
    return 1 if any(found.failures for found in everything) else 0


def keep(name: str, data: bytes) -> Path:
    """Save a case that failed, outside the project."""
    folder = Path(tempfile.gettempdir()) / "huizhen-fuzz"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return path
