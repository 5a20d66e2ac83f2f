"""The two servers under test, what they are given to keep, and how they are asked in turn."""

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, urlsplit

import numpy as np
import pydicom
from pydicom.data import get_testdata_file

from bench.archive_clients import Call, timed
from bench.common import Row, p
from bench.signing import Person
from bench.wire import Wire

call_of = partial  # of a function and what it is given
BOUNDARY = "0f8fad5bd9cb469fa16570867728950e"  # as long as those of the usual clients (a UUID)


def busy(pids: list[int]) -> float:
    """Seconds of processor time that these processes have taken (proc(5), stat: utime and stime)."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class Side:
    """One server under test, asked over plain sockets."""

    def __init__(self, name: str, url: str, headers: dict[str, str], pids: list[int]) -> None:
        parts = urlsplit(url)
        self.name, self.base, self.headers, self.pids = name, parts.path, headers, pids
        self.address = parts.hostname, parts.port
        self.own = threading.local()

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, memoryview]:
        """Status and body; each thread of each process keeps one connection."""
        owner, wire = getattr(self.own, "wire", (0, None))
        if wire is None or owner != os.getpid():
            wire = Wire(*self.address, self.headers)
            self.own.wire = os.getpid(), wire
        return wire.ask(method, self.base + quote(path, safe="/?&=*%,"), body, headers)

    def get(self, path: str, accept: str) -> bytes:
        """The body, copied for those who look at it."""
        return bytes(self.fetch(path, accept))

    def fetch(self, path: str, accept: str) -> memoryview:
        """The body, valid until this thread asks again."""
        status, body = self.ask("GET", path, b"", {"Accept": accept})
        assert status in {200, 204}, (self.name, path, status, bytes(body[:200]))
        return body

    @staticmethod
    def together(files: list[bytes]) -> bytes:
        """The body of a request that stores these."""
        line = f"--{BOUNDARY}".encode()
        head = line + b"\r\nContent-Type: application/dicom\r\n\r\n"
        return b"".join(part for data in files for part in (head, data, b"\r\n")) + line + b"--\r\n"

    def store(self, body: bytes) -> None:
        """Store what is `together`."""
        kind = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
            "Accept": "application/dicom+json",
        }
        status, text = self.ask("POST", "/studies", body, kind)
        assert status == 200, (self.name, status, bytes(text[:300]))

    def rest(self, *, patience: float = 120) -> None:
        """Until its processes have nothing more to do."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            before = self.busy()
            time.sleep(1)
            if self.busy() - before < 0.1:
                return

    def busy(self) -> float:
        """Seconds of processor time that its processes have taken."""
        return busy(self.pids)

    def memory(self) -> list[float]:
        """PSS in MB of each process."""
        found = []
        for pid in self.pids:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    found.append(int(line.split()[1]) / 1024)
        return found


class Ours:
    """Our server in a process of its own (`bench.archive_server`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def start(self) -> "Ours":
        self.child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.archive_server", str(self.folder),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        said = json.loads(await self.child.stdout.readline())
        person = await Person(said["url"]).sign_in(said["login"])
        cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in person.session.cookie_jar)
        await person.session.close()
        own = {"Origin": said["url"], "X-CSRF-Token": person.csrf, "Cookie": cookies}
        self.side = Side("ours", f"{said['url']}/dicom-web", own, said["pids"])
        return self

    async def do(self, what: str, **more: int) -> dict[str, Any]:
        """See `bench.archive_server`."""
        self.child.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self.child.stdout.readline())
        return answer

    async def stop(self) -> None:
        self.child.stdin.close()
        await self.child.wait()


class Phantom:
    """CT slices with a real header, each with UIDs and noise of its own."""

    def __init__(self, *, side: int) -> None:
        self.ds = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
        self.side = side
        rng = np.random.default_rng(7)
        y, x = np.mgrid[0:side, 0:side]
        body = 1000 + 300 * np.cos(x / 40) * np.cos(y / 50)
        self.slices = [(body + rng.normal(0, 20, body.shape)).astype("<i2").tobytes() for _ in range(4)]

    def file(self, study: int, n: int, **attributes: Any) -> bytes:
        ds = self.ds
        ds.Rows = ds.Columns = self.side
        ds.PixelData = self.slices[n % 4]
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"2.25.9{study}", f"2.25.9{study}.1"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.9{study}.1.{n + 1}"
        ds.InstanceNumber, ds.AccessionNumber, ds.PatientID = n + 1, f"ACC{study}", f"P{study}"
        ds.StudyDate = f"20{20 + study % 6}{1 + study % 12:02}{1 + study % 28:02}"
        for name, value in attributes.items():
            setattr(ds, name, value)
        out = io.BytesIO()
        ds.save_as(out, enforce_file_format=True)
        return out.getvalue()


def asks(path: Callable[[Side, int], str], accept: str) -> Callable[[Side, int], Call]:
    """The question that asks a side for the n-th path."""
    return lambda side, n: partial(side.fetch, path(side, n), accept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Calls per second, the milliseconds of each, and the processor milliseconds of the server for each."""

    rate: float
    times: list[float]
    cpu: float


@dataclass(slots=True, kw_only=True)
class Run:
    """The sides of this run, the file of single times, and the most memory that ours took in any row."""

    raw: TextIO
    sides: list[Side] = field(default_factory=list)
    server: tuple[float, str] = (0.0, "")
    worker: tuple[float, str] = (0.0, "")

    def measure(self, name: str, side: Side, round_: int, clients: int, calls: list[Call]) -> "Measured":
        """Ask, write the single times down, and look at the memory."""
        before = side.busy()
        rate, times = timed(clients, calls)
        cpu = (side.busy() - before) * 1000 / len(calls)
        self.note(name, side, round_, times, cpu_ms=round(cpu, 3))
        return Measured(rate=rate, times=times, cpu=cpu)

    def note(self, name: str, side: Side, round_: int, times: list[float], **more: float) -> None:
        """Write down the times of one row, and look at the memory."""
        memory = side.memory()
        if side.name == "ours":
            self.server = max(self.server, (memory[0], name))
            self.worker = max(self.worker, (max(memory[1:], default=0.0), name))
        line = {
            "row": name, "side": side.name, "round": round_, "ms": [round(ms, 3) for ms in times],
            "pss_mb": [round(one, 1) for one in memory], **more,
        }  # fmt: skip
        print(json.dumps(line, ensure_ascii=False), file=self.raw, flush=True)

    def row(self, name: str, unit: str, figures: list[float], goal: float | None, note: str = "") -> Row:
        """Ours first; the goal is a floor of ours ÷ Orthanc for a rate."""
        peer = figures[1] if len(figures) > 1 else None
        return Row(name=name, unit=unit, ours=figures[0], peer=peer, goal=goal if peer else None, note=note, floor=True)

    @staticmethod
    def without_goal(row: Row) -> Row:
        """The row where Orthanc is quick enough that nothing is asked of the ratio."""
        return replace(row, goal=None)

    def compared(
        self, name: str, make: Callable[[Side, int], Call], *, count: int, clients: int, goal: float | None
    ) -> tuple[Row, list[list[float]]]:
        """Calls per second of the same question, the sides in turn, the better of two rounds; and all its times.

        `make` is asked for `count` calls of each side and round, by numbers that go on from round to round.
        """
        every: list[list[Measured]] = [[] for _ in self.sides]
        for round_ in range(2):
            numbers = range(round_ * count, (round_ + 1) * count)
            for found, side in zip(every, self.sides, strict=True):
                found.append(self.measure(name, side, round_, clients, [make(side, n) for n in numbers]))
        best = [max(found, key=lambda one: one.rate) for found in every]
        cpu = [sum(one.cpu for one in found) / len(found) for found in every]
        note = "p50 " + " / ".join(f"{p(one.times, 0.5):.1f}" for one in best) + " ms"
        note += ", CPU of the server " + " / ".join(f"{one:.2f}" for one in cpu) + " ms each"
        row = self.row(name, "/s", [one.rate for one in best], goal, note)
        return row, [[ms for one in found for ms in one.times] for found in every]

    def compare(
        self, name: str, make: Callable[[Side, int], Call], *, count: int, clients: int, goal: float | None
    ) -> Row:
        """The row alone."""
        return self.compared(name, make, count=count, clients=clients, goal=goal)[0]

    def memory_rows(self) -> list[Row]:
        """The most that ours took."""
        return [
            Row(name="memory of the server (PSS), the most in any row", unit="MB", ours=self.server[0], goal=250,
                note=f"in {self.server[1]}"),
            Row(name="memory of the largest worker (PSS), the most in any row", unit="MB", ours=self.worker[0],
                goal=200, note=f"in {self.worker[1]}"),
        ]  # fmt: skip
