"""The archive beside Debian's Orthanc, in one run: `python -m bench.archive [--quick] [--instances N] [--studies N]`.

Both keep what they acknowledge on disk and ask for a login; ours has its scope, audit, digests, metadata and study rows
on. The same client asks both, turn by turn. Without Orthanc only our column is printed.
"""

import argparse
import asyncio
import io
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pydicom
from pydicom.data import get_testdata_file

from bench import archive_peer
from bench.common import Row, p, show
from bench.signing import Person

OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
Call = Callable[[], object]


class Side:
    """One server under test, asked over plain sockets: a client that costs little beside what it measures."""

    def __init__(self, name: str, url: str, headers: dict[str, str], pids: list[int]) -> None:
        parts = urlsplit(url)
        self.name, self.base, self.headers, self.pids = name, parts.path, headers, pids
        self.address = parts.hostname, parts.port
        self.own = threading.local()

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body; each thread keeps one connection."""
        for again in (False, True):
            connection = getattr(self.own, "connection", None)
            if connection is None:
                connection = self.own.connection = HTTPConnection(*self.address, timeout=120)
            try:
                connection.request(method, self.base + path, body, {**self.headers, **headers})
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (RemoteDisconnected, ConnectionError):  # it was idle for too long
                self.own.connection = None
                if again:
                    raise
        raise AssertionError

    def get(self, path: str, accept: str) -> bytes:
        status, body = self.ask("GET", path, None, {"Accept": accept})
        assert status in {200, 204}, (self.name, path, status, body[:200])
        return body

    def store(self, files: list[bytes]) -> None:
        head = b"--X\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + data + b"\r\n" for data in files) + b"--X--\r\n"
        kind = {
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=X',
            "Accept": "application/dicom+json",
        }
        status, text = self.ask("POST", "/studies", body, kind)
        assert status == 200, (self.name, status, text[:300])

    def memory(self) -> list[float]:
        """PSS in MB of each process."""
        found = []
        for pid in self.pids:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    found.append(int(line.split()[1]) / 1024)
        return found


class Phantom:
    """CT slices of 512×512 with a real header, each with UIDs and noise of its own."""

    def __init__(self, *, side: int) -> None:
        self.ds = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
        self.side = side
        rng = np.random.default_rng(7)
        y, x = np.mgrid[0:side, 0:side]
        body = 1000 + 300 * np.cos(x / 40) * np.cos(y / 50)
        self.slices = [(body + rng.normal(0, 20, body.shape)).astype("<i2").tobytes() for _ in range(4)]

    def file(self, study: int, n: int, **attributes) -> bytes:
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


def timed(clients: int, calls: list[Call]) -> tuple[float, list[float]]:
    """(calls per second, milliseconds of each) with so many clients at once."""
    waiting, times = list(reversed(calls)), []

    def client() -> None:
        while True:
            try:
                call = waiting.pop()
            except IndexError:
                return
            begun = time.perf_counter()
            call()
            times.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(client) for _ in range(clients)]:
            done.result()
    return len(calls) / (time.perf_counter() - begun), times


def row(name: str, unit: str, figures: list[float], goal: float | None, note: str = "") -> Row:
    """Ours first; the goal is a floor of ours ÷ Orthanc for a rate."""
    peer = figures[1] if len(figures) > 1 else None
    return Row(name=name, unit=unit, ours=figures[0], peer=peer, goal=goal if peer else None, note=note, floor=True)


def ingest(sides: list[Side], phantom: Phantom, total: int, tag: int) -> list[Row]:
    found = []
    for clients, base in ((1, tag), (4, tag + 500)):
        rates, p99 = [], []
        for side in sides:
            files = [phantom.file(base + n // 100, n % 100) for n in range(total)]
            calls = [lambda part=files[i : i + 10], to=side: to.store(part) for i in range(0, total, 10)]
            rate, times = timed(clients, calls)
            rates.append(rate * 10)
            p99.append(p(times, 0.99))
        found.append(row(f"STOW ×10, {clients} clients", "/s", rates, 3))
        peer = p99[1] if len(p99) > 1 else None
        goal = 0.75 if peer else None
        found.append(Row(name=f"STOW ×10, {clients} clients, P99", unit="ms", ours=p99[0], peer=peer, goal=goal))
    return found


def compare(
    name: str, sides: list[Side], make: Callable[[Side, int], Call], *, count: int, clients: int, goal: float
) -> Row:
    """Calls per second of the same question, the sides in turn, the better of two rounds."""
    best = [0.0] * len(sides)
    median = [0.0] * len(sides)
    for _ in range(2):
        for i, side in enumerate(sides):
            rate, times = timed(clients, [make(side, n) for n in range(count)])
            if rate > best[i]:
                best[i], median[i] = rate, p(times, 0.5)
    return row(name, "/s", best, goal, "p50 " + " / ".join(f"{m:.1f}" for m in median) + " ms")


def retrieval(sides: list[Side], study: int, *, scale: int) -> list[Row]:
    series = f"/studies/2.25.9{study}/series/2.25.9{study}.1"

    def instance(n: int) -> str:
        return f"{series}/instances/2.25.9{study}.1.{n % 100 + 1}"

    def asks(path: Callable[[Side, int], str], accept: str) -> Callable[[Side, int], Call]:
        return lambda side, n: lambda: side.get(path(side, n), accept)

    frames = asks(lambda _, n: f"{instance(n)}/frames/1", OCTETS)
    windows = itertools.count(1000)  # never the same picture twice: nobody's cache answers

    def rendered(n: int) -> str:
        return f"{instance(n)}/rendered?window={next(windows)},800,linear&viewport=512,512&quality=90"

    thumb = {"ours": "thumbnail", "orthanc": "rendered?viewport=128,128"}
    small, dicom_json = "thumbnail, 128 px (ours is kept once made)", "application/dicom+json"
    questions = [
        ("WADO-RS frame, 1 client", frames, 40 * scale, 1, 6),
        ("WADO-RS frame, 4 clients", frames, 40 * scale, 4, 6),
        ("whole series, 100 instances", asks(lambda *_: series, FILES), max(2, scale // 2), 1, 2),
        ("instance", asks(lambda _, n: instance(n), FILES), 20 * scale, 1, 3),
        ("rendered JPEG, 512×512", asks(lambda _, n: rendered(n), "image/jpeg"), 20 * scale, 1, 3),
        (small, asks(lambda s, n: f"{instance(n)}/{thumb[s.name]}", "image/jpeg"), 20 * scale, 1, 3),
        ("series metadata, 100 instances", asks(lambda *_: f"{series}/metadata", dicom_json), max(2, scale), 1, 30),
    ]
    return [
        compare(name, sides, make, count=count, clients=clients, goal=goal)
        for name, make, count, clients, goal in questions
    ]


SEARCHES = {
    "name*": "PatientName=BENCH*",
    "date range": "StudyDate=20230101-20231231",
    "paging": "offset={offset}",
    "modalities + counts": "ModalitiesInStudy=CT&includefield=00080061,00201206,00201208",
    "inner wildcard": "PatientName=*CH^P1*",
    "accession": "AccessionNumber=ACC{n}",
}


def searching(sides: list[Side], first: int, studies: int, *, scale: int) -> list[Row]:
    tiny = Phantom(side=16)
    for side in sides:
        files = [tiny.file(first + n, 0, PatientName=f"BENCH^P{n}") for n in range(studies)]
        timed(4, [lambda part=files[i : i + 20], to=side: to.store(part) for i in range(0, studies, 20)])

    found = []
    for name, query in SEARCHES.items():

        def ask(side: Side, n: int, query: str = query) -> Call:
            text = query.format(n=first + n % studies, offset=n * 37 % max(studies - 50, 1))
            return lambda: side.get(f"/studies?limit=50&{text}", "application/dicom+json")

        counts = [len(json.loads(side.get(f"/studies?limit=50&{query.format(n=first, offset=0)}",
                  "application/dicom+json") or b"[]")) for side in sides]  # fmt: skip
        note = "" if len(set(counts)) == 1 else f"; answers differ: {counts[0]} and {counts[1]} studies"
        goal = 10 if name != "accession" else 1
        title = f"QIDO {name}, {studies} studies{note}"
        found.append(compare(title, sides, ask, count=2 * scale, clients=1, goal=goal))
    return found


def measure(sides: list[Side], instances: int, studies: int, scale: int) -> list[Row]:
    """Everything that both sides are asked, in turn."""
    return [
        *ingest(sides, Phantom(side=512), instances, 1000),
        *retrieval(sides, 1000, scale=scale),
        *searching(sides, 3000, studies, scale=scale),
    ]


async def rows(folder: Path, *, instances: int, studies: int, scale: int) -> tuple[list[Row], dict[str, str]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.archive_server", str(folder / "ours"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    said = json.loads(await child.stdout.readline())
    person = await Person(said["url"]).sign_in(said["login"])
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in person.session.cookie_jar)
    await person.session.close()
    own = {"Origin": said["url"], "X-CSRF-Token": person.csrf, "Cookie": cookies}
    sides = [Side("ours", f"{said['url']}/dicom-web", own, said["pids"])]
    peer, versions = None, {"orthanc": "not installed"}
    if archive_peer.find() is not None:
        peer = await archive_peer.Orthanc(folder / "orthanc").start()
        versions = {"orthanc": peer.version}
        sides.append(Side("orthanc", peer.url, archive_peer.LOGIN, peer.pids))
    try:
        found = await asyncio.to_thread(measure, sides, instances, studies, scale)
        for side in sides[:1]:
            server, *workers = side.memory()
            found.append(Row(name="memory of the server (PSS)", unit="MB", ours=server, goal=250))
            found.append(Row(name="memory of the largest worker (PSS)", unit="MB", ours=max(workers), goal=200))
    finally:
        if peer is not None:
            await peer.stop()
        child.stdin.close()
        await child.wait()
    return found, versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a coarser answer within a minute")
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--studies", type=int, default=2020)
    given = parser.parse_args()
    instances, studies = (100, 200) if given.quick else (given.instances, given.studies)
    with tempfile.TemporaryDirectory(prefix="huizhen-bench-") as folder:
        run = rows(Path(folder), instances=instances, studies=studies, scale=3 if given.quick else 10)
        found, versions = asyncio.run(run)
    show("archive", found, more=versions)


if __name__ == "__main__":
    main()
