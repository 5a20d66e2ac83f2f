"""The live room over bad networks, beside two bare pages of the same browser: `make bench-room`, or
`python -m bench.room [--quick] [--runs 3] [--only thin64,cut] [--raw FILE]`.

Both calls take coturn behind the same proxy (bench/impair.py; profiles hold end to end, per direction), speak the same
sentence, and alternate. What is measured how stands in bench/calls.py, breaks of path and server in bench/breaks.py.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from bench import breaks, rooming
from bench.calls import Diary, Heard, bare_call, our_call, over_line, speech
from bench.common import Row, median, show
from bench.impair import TcpGate, UdpProxy, bad_network
from server.settings import Ice, Media
from tests.chromium import CAMERA, Chromium
from tests.media.janus_server import running_janus
from tests.needs import need_program
from tests.realtime.stage import Stage

SECRET = "bench"
PICTURES = 15                   # a second; coding them in software must not be what is measured
LATER = 5.0                     # from here on the change must have been dealt with
WINDOW = 20.0                   # and from there so long, but half of it with --quick


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is wanted over one profile: of the share from `later` s after the change on, and of all of it."""

    goal: float
    whole: float | None = None
    later: float = LATER
    window: float = WINDOW


LINES = {
    "thin64": Line(goal=0.01, whole=0.05, window=30.0),   # long enough to climb in vain
    "loss20": Line(goal=0.04, later=15.0),      # the goal is that of the rung it comes to
    "thin250": Line(goal=0.005),
    "far": Line(goal=0.01),
    "satellite": Line(goal=0.02),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where everything is measured."""

    stage: Stage
    browser: Browser
    proxy: UdpProxy
    gate: TcpGate
    diary: Diary
    runs: int
    quick: bool


async def line_rows(bench: Bench, profile: str) -> list[Row]:
    """The share of made-up sound over one line; default Chrome first, then the room, in turns."""
    line = LINES[profile]
    ours: list[Heard] = []
    bare: list[Heard] = []
    for _ in range(bench.runs):
        for name, begin, into in (("bare", bare_call, bare), ("room", our_call, ours)):
            heard = await over_line(
                bench.stage, bench.browser, bench.proxy, profile, name=name, begin=begin, diary=bench.diary,
                seconds=line.later + line.window / (2 if bench.quick else 1), later=line.later,
            )
            if heard is not None:
                into.append(heard)
    if not ours:
        return []

    def note(of: Callable[[Heard], float]) -> str:
        return f"default Chrome {median([of(x) for x in bare]):.1%}" if bare else ""

    one, two = (median([x.ways[way] for x in ours]) for way in (0, 1))
    rows = [Row(
        name=f"{profile}: sound made up from {line.later:.0f} s after the change", unit="%",
        ours=median([x.later for x in ours]) * 100, goal=line.goal * 100,
        note=f"each way {one:.1%} and {two:.1%}; {note(lambda x: x.later)}",
    )]  # fmt: skip
    if line.whole is not None:
        rows.append(Row(
            name=f"{profile}: the change included", unit="%", ours=median([x.all for x in ours]) * 100,
            goal=line.whole * 100, note=note(lambda x: x.all),
        ))  # fmt: skip
    return rows


async def first_rows(bench: Bench, folder: Path) -> list[Row]:
    """Both calls go from browser to browser."""
    async with breaks.stage_of_its_own(folder, bench.browser) as stage:
        row = await rooming.first_frames(stage, bench.browser, runs=3 if bench.quick else 20)
    bench.diary.note(f"first: {row.ours:.0f} ms, bare {row.peer:.0f} ms", name="first", ours=row.ours, bare=row.peer)
    return [row]


async def broken_rows(bench: Bench, folder: Path, part: Callable[..., Coroutine[Any, Any, list[Row]]]) -> list[Row]:
    """A break of the server or its relay."""
    async with breaks.stage_of_its_own(folder, bench.browser) as stage:
        return await part(stage, bench.browser, bench.diary, runs=bench.runs)


async def janus_rows(bench: Bench, folder: Path) -> list[Row]:
    """The web server restarted under a room that Debian's Janus forwards."""
    async with running_janus(folder / "its") as janus:
        media = Media(backend="janus", janus_url=janus.url, janus_secret_file=str(janus.secret_file))
        async with breaks.stage_of_its_own(folder, bench.browser, media=media) as stage:
            return await breaks.restart_rows(
                stage, bench.browser, bench.diary, runs=bench.runs, calls=(("Janus", breaks.relayed_call),)
            )


def parts(bench: Bench, folder: Path) -> dict[str, Callable[[], Coroutine[Any, Any, list[Row]]]]:
    """By the name that --only takes, in the order of the table."""
    where = (bench.stage, bench.browser, bench.proxy)
    return {
        "first": lambda: first_rows(bench, folder / "first"),
        **{name: lambda name=name: line_rows(bench, name) for name in LINES},  # type: ignore[misc]
        "cut": lambda: breaks.cut_rows(*where, bench.gate, bench.diary, runs=1 if bench.quick else 10),
        "restart": lambda: broken_rows(bench, folder / "restart", breaks.restart_rows),
        "janus": lambda: janus_rows(bench, folder / "janus"),
        "moved": lambda: broken_rows(bench, folder / "moved", breaks.moved_rows),
        "killed": lambda: broken_rows(bench, folder / "killed", breaks.killed_rows),
        "revoked": lambda: broken_rows(bench, folder / "revoked", breaks.revoked_rows),
        "relay5": lambda: breaks.relay_rows(*where, bench.diary, runs=bench.runs, seconds=WINDOW),
    }


NAMES = ("first", *LINES, "cut", "restart", "janus", "moved", "killed", "revoked", "relay5")


async def measure(folder: Path, *, quick: bool, runs: int, only: frozenset[str], diary: Diary) -> list[Row]:
    wanted = only or frozenset({"thin64", "cut"} if quick else NAMES)
    chromium = Chromium(f"--use-file-for-fake-audio-capture={speech(folder)}", CAMERA.format(PICTURES))
    rows: list[Row] = []
    begun = time.monotonic()
    try:
        async with bad_network(need_program("turnserver", "coturn"), SECRET) as proxy:
            ice = Ice(
                turn_urls=(f"turn:127.0.0.1:{proxy.port}?transport=udp",), turn_secret=SECRET, relay_only=True
            )
            browser = await chromium.browser()
            async with breaks.stage_of_its_own(folder / "lines", browser, ice=ice) as stage:
                gate = await TcpGate(("127.0.0.1", stage.port)).start()
                stage.gate = gate.port
                bench = Bench(
                    stage=stage, browser=browser, proxy=proxy, gate=gate, diary=diary, runs=runs, quick=quick
                )
                for name, run in parts(bench, folder).items():
                    if name not in wanted:
                        continue
                    try:
                        found = await run()
                    except Exception as error:      # one part that fails must not cost the others' minutes
                        diary.note(f"{name}: FAILED: {type(error).__name__}: {error}", name=name, failed=True)
                        await breaks.tidy(stage, proxy, gate)
                        continue
                    passed = time.monotonic() - begun
                    for row in found:
                        print(f"{passed:5.0f} s  {row.name}: {row.ours:.2f} {row.unit} {row.note}", flush=True)
                    rows += found
                await gate.close()
    finally:
        await chromium.close()
    return rows


def peers() -> dict[str, str]:
    """Versions of what stands beside and between."""
    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    relay = said(need_program("turnserver", "coturn"), "--version").splitlines()[-1]
    return {"coturn": relay, "espeak-ng": said("espeak-ng", "--version").partition(":")[2].split("Data")[0].strip()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="thin64 and one cut, within two minutes")
    parser.add_argument("--runs", type=int, default=0, help="of each side over each line (3; with --quick 1)")
    parser.add_argument("--only", default="", help=f"of {', '.join(NAMES)}; with commas")
    parser.add_argument("--raw", type=Path, default=None, help="a file that gets a line of JSON for every run")
    given = parser.parse_args()
    only = frozenset(filter(None, given.only.split(",")))
    if only - set(NAMES):
        parser.error(f"--only takes {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory(prefix="huizhen-bench-") as folder:
        rows = asyncio.run(measure(
            Path(folder), quick=given.quick, runs=given.runs or (1 if given.quick else 3), only=only,
            diary=Diary(given.raw),
        ))  # fmt: skip
    show("room", rows, more=peers())


if __name__ == "__main__":
    main()
