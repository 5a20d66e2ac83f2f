"""What the searches share: options, progress, memory, and cases kept so that they can be run again."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SEED = 20261122


@dataclass
class Findings:
    """What one search did and found; `failures` are one line each."""

    name: str
    ran: int = 0
    seen: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    pss: dict[str, int] = field(default_factory=dict)  # MB, the most that was seen

    def measure(self, **pids: int) -> None:
        """Note the memory of processes by what they are called here."""
        for what, pid in pids.items():
            self.pss[what] = max(self.pss.get(what, 0), pss_mb(pid))

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


def options(description: str, count: int) -> argparse.ArgumentParser:
    """`--count`, `--seed` and `--first`: case `n` of a seed is always the same."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0, help="number of the first case; with --count 1 it runs alone")
    return parser


def keep(name: str, data: bytes) -> Path:
    """Save a case that failed, outside the project."""
    folder = Path(tempfile.gettempdir()) / "huizhen-fuzz"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return path


def progress(findings: Findings, count: int) -> None:
    """One line that is written over, for a person who waits."""
    print(f"\r{findings.name}: {findings.ran} of {count}, failures {len(findings.failures)} ", end="", file=sys.stderr, flush=True)


def ended(findings: Findings) -> int:
    """Print what was found; the program's status."""
    print("\n" + findings.told(), flush=True)
    return 1 if findings.failures else 0
