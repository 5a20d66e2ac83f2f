"""What benchmarks share: rows, the table, the one JSON line at the end."""

import json
import os
import platform
import statistics
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. `ours` and `peer` in `unit`; `goal` bounds the ratio where there is a peer, else ours."""

    name: str
    unit: str
    ours: float
    peer: float | None = None
    goal: float | None = None
    note: str = ""
    floor: bool = False  # a rate: the goal is what the ratio must reach, not what it must stay below

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer if self.peer else None

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        reached = self.ours if self.peer is None else self.ratio
        return reached >= self.goal if self.floor else reached <= self.goal


def machine() -> str:
    """Processor, cores and system; whatever else runs on it is not known."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}"


def versions() -> dict[str, str]:
    """Of what decides the figures."""
    found = {name: version(name) for name in ("aiohttp", "SQLAlchemy", "typst", "pyHanko", "playwright")}
    found["python"] = platform.python_version()
    chromium = subprocess.run(["/usr/bin/chromium", "--version"], capture_output=True, text=True, check=False)
    found["chromium"] = chromium.stdout.strip().split(" built")[0]
    return found


def p(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def median(values: list[float]) -> float:
    return statistics.median(values)


def show(bench: str, rows: list[Row], *, more: dict[str, str] | None = None) -> None:
    """The table for people and, last, one JSON line for programs."""
    said = {**versions(), **(more or {})}
    print(f"\n{bench} on {machine()}")
    print(", ".join(f"{k} {v}" for k, v in sorted(said.items())))
    print(f"\n{'figure':58} {'unit':>5} {'ours':>9} {'peer':>9} {'ratio':>6} {'goal':>6}  met")
    for row in rows:
        peer = "" if row.peer is None else f"{row.peer:.1f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        goal = "" if row.goal is None else f"{row.goal:g}"
        met = {True: "yes", False: "NO", None: ""}[row.met]
        print(f"{row.name:58} {row.unit:>5} {row.ours:9.1f} {peer:>9} {ratio:>6} {goal:>6}  {met} {row.note}")
    print()
    print(
        json.dumps(
            {
                "bench": bench,
                "machine": machine(),
                "versions": said,
                "rows": [
                    {
                        "name": x.name, "unit": x.unit, "ours": round(x.ours, 2),
                        "peer": None if x.peer is None else round(x.peer, 2),
                        "ratio": None if x.ratio is None else round(x.ratio, 3), "goal": x.goal, "met": x.met,
                    }
                    for x in rows
                ],
            },
            ensure_ascii=False,
        )
    )  # fmt: skip
