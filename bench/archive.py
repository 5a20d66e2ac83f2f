"""The archive beside Debian's Orthanc, in one run: `python -m bench.archive [--quick] [--instances N] [--studies N]
[--big N] [--without-orthanc] [--raw FILE]`.

Both keep what they acknowledge on disk and ask for a login; ours has its scope, audit, digests, metadata and study rows
on. The same clients, each a process of its own, ask both, turn by turn, and for another instance each time, as a ward
does in the morning: who asks for the same again and again measures a cache, which the rows named "again" show. Without
Orthanc only our column is printed. Every single time goes to FILE (default build/bench-archive.jsonl), one line of JSON
per row, side and round.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

from bench import archive_big, archive_peer, archive_stall, dimse
from bench.archive_clients import timed
from bench.archive_sides import Ours, Phantom, Run, Side, asks, call_of
from bench.common import Row, p, show

OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"
FIRST, FOURFOLD = 1000, 1500  # numbers of the studies that one client stores, and four


def durable_rate(folder: Path, megabytes: int) -> float:
    """MB/s of writing 32 MB at a time, each on disk before the next."""
    data = os.urandom(32 << 20)
    fd = os.open(folder / "rate", os.O_WRONLY | os.O_CREAT)
    begun = time.perf_counter()
    for _ in range(max(1, megabytes // 32)):
        os.write(fd, data)
        os.fdatasync(fd)
    taken = time.perf_counter() - begun
    os.close(fd)
    (folder / "rate").unlink()
    return max(1, megabytes // 32) * 32 / taken


def ingest(run: Run, phantom: Phantom, total: int, disk: float) -> list[Row]:
    found = []
    for clients, base in ((1, FIRST), (4, FOURFOLD)):
        size = len(phantom.file(base, 0))
        bodies = [
            Side.together([phantom.file(base + n // 100, n % 100) for n in range(first, min(first + 10, total))])
            for first in range(0, total, 10)
        ]
        rates, p99, cpu = [], [], []
        name = f"STOW ×10, {clients} client{'s' if clients > 1 else ''}"
        for side in run.sides:
            before = side.busy()
            measured = run.measure(name, side, 0, clients, [call_of(side.store, body) for body in bodies])
            side.rest()  # ours makes metadata after the acknowledgement: its processor time counts, too
            rates.append(measured.rate * 10)
            p99.append(p(measured.times, 0.99))
            cpu.append((side.busy() - before) * 1000 / total)
        share = rates[0] * size / 1e6 / disk
        note = f"{share:.0%} of the disk's own durable rate ({disk:.0f} MB/s), CPU of the server "
        note += " / ".join(f"{one:.2f}" for one in cpu) + " ms an instance"
        if share > 0.8:
            note += ": the disk is the limit"
        elif len(rates) > 1:
            note += f"; three times Orthanc would be {3 * rates[1] * size / 1e6 / disk:.0%} of the disk"
        found.append(run.row(name, "/s", rates, 3, note))
        peer = p99[1] if len(p99) > 1 else None
        found.append(Row(name=f"{name}, P99", unit="ms", ours=p99[0], peer=peer, goal=0.75 if peer else None))
    return found


def retrieval(run: Run, total: int, *, scale: int) -> list[Row]:
    many = max(1, total // 100)
    held = [*range(FIRST, FIRST + many), *range(FOURFOLD, FOURFOLD + many)]

    def series(n: int) -> str:
        study = held[n % len(held)]
        return f"/studies/2.25.9{study}/series/2.25.9{study}.1"

    def instance(n: int) -> str:
        return f"{series(n // 100)}/instances/2.25.9{held[n // 100 % len(held)]}.1.{n % 100 + 1}"

    thumb = {"ours": "thumbnail", "orthanc": "rendered?viewport=128,128"}
    shift = iter(range(1_000_000))  # never the same picture twice: nobody's cache answers
    frame, looks = asks(lambda _, n: f"{instance(n)}/frames/1", OCTETS), "viewport=512,512&quality=90"
    some, often = max(2, scale // 2), 20 * scale

    def picture(n: int) -> str:
        return f"{instance(n)}/rendered?window={next(shift) / 1000 - 20:.3f},800,linear&{looks}"

    # A series that was never asked for before, as long as there are such; then one that was.
    fresh = iter([*held, *held] * len(run.sides))
    first = sorted(next(fresh) for _ in range(min(many, scale) * 2 * len(run.sides)))
    order = {side.name: iter(first[i :: len(run.sides)]) for i, side in enumerate(run.sides)}
    # Asked first: opening a study is audited, and part of what the first question for it costs.
    new = asks(lambda s, _: "/studies/2.25.9{0}/series/2.25.9{0}.1/metadata".format(next(order[s.name])), JSON)
    questions = [
        ("metadata of 100 instances, another series each time", new, min(many, scale), 1, 30),
        ("metadata of 100 instances, again", asks(lambda *_: f"{series(0)}/metadata", JSON), scale, 1, None),
        ("WADO-RS frame, 1 client", frame, 2 * often, 1, 6),
        ("WADO-RS frame, 4 clients", frame, 4 * often, 4, 6),
        (
            "WADO-RS frame, the same 100 again",
            asks(lambda _, n: f"{instance(n % 100)}/frames/1", OCTETS), often, 1, None,
        ),
        ("whole series, 100 instances", asks(lambda _, n: series(n), FILES), some, 1, 2),
        ("whole series, the same again", asks(lambda *_: series(0), FILES), some, 1, None),
        ("instance", asks(lambda _, n: instance(n), FILES), often, 1, 3),
        ("instance, the same 100 again", asks(lambda _, n: instance(n % 100), FILES), often, 1, None),
        ("rendered JPEG, 512×512", asks(lambda _, n: picture(n), "image/jpeg"), often, 1, 3),
        ("rendered JPEG, of the same 100 again", asks(lambda _, n: picture(n % 100), "image/jpeg"), often, 1, None),
        ("thumbnail, 128 px", asks(lambda s, n: f"{instance(n)}/{thumb[s.name]}", "image/jpeg"), often, 1, 3),
        (
            "thumbnail, 128 px, again (ours is kept)",
            asks(lambda s, n: f"{instance(n % often)}/{thumb[s.name]}", "image/jpeg"), often, 1, None,
        ),
    ]  # fmt: skip
    return [run.compare(name, make, count=n, clients=clients, goal=goal) for name, make, n, clients, goal in questions]


SEARCHES = {
    "name*": "PatientName=BENCH*",
    "date range": "StudyDate=20230101-20231231",
    "paging": "offset={offset}",
    "modalities + counts": "ModalitiesInStudy=CT&includefield=00080061,00201206,00201208",
    "inner wildcard": "PatientName=*CH?P19*",  # Orthanc finds nothing where a pattern holds a caret
    "accession": "AccessionNumber=ACC{n}",
}


def searching(run: Run, first: int, studies: int, *, scale: int) -> list[Row]:
    tiny = Phantom(side=16)
    files = [tiny.file(first + n, 0, PatientName=f"BENCH^P{n}") for n in range(studies)]
    for side in run.sides:
        timed(4, [call_of(side.store, Side.together(files[i : i + 20])) for i in range(0, studies, 20)])
        side.rest()
    found = []
    for name, query in SEARCHES.items():

        def path(_: Side, n: int, query: str = query) -> str:
            return f"/studies?limit=50&{query.format(n=first + n % studies, offset=n * 37 % max(studies - 50, 1))}"

        counts = [len(json.loads(side.get(path(side, 0), JSON) or b"[]")) for side in run.sides]
        note = "" if len(set(counts)) == 1 else f"; answers differ: {counts} studies"
        many = 10 if name == "accession" else 2
        row, times = run.compared(
            f"QIDO {name}, {studies} studies{note}", asks(path, JSON), count=many * scale, clients=1, goal=10
        )
        slow = len(times) > 1 and p(times[1], 0.5) > 20
        found.append(row if slow else run.without_goal(row))
        if name == "accession":
            note = f"Orthanc {p(times[1], 0.99):.1f}" if len(times) > 1 else ""
            found.append(Row(name="QIDO accession, P99", unit="ms", ours=p(times[0], 0.99), goal=5, note=note))
    return found


async def rows(folder: Path, given: argparse.Namespace, run: Run) -> tuple[list[Row], dict[str, str]]:
    scale = 3 if given.quick else 10
    ours = await Ours(folder / "ours").start()
    run.sides.append(ours.side)
    peer, versions = None, {"orthanc": "not installed"}
    if given.without_orthanc:
        versions = {"orthanc": "left out"}
    elif archive_peer.find() is not None:
        peer = await archive_peer.Orthanc(folder / "orthanc").start()
        versions = {"orthanc": peer.version}
        run.sides.append(Side("orthanc", peer.url, archive_peer.LOGIN, peer.pids))
    try:
        disk = durable_rate(folder, 64 if given.quick else 512)
        phantom = await asyncio.to_thread(Phantom, side=512)
        found = await asyncio.to_thread(ingest, run, phantom, given.instances, disk)
        found += await asyncio.to_thread(retrieval, run, given.instances, scale=scale)
        found += await asyncio.to_thread(searching, run, 3000, given.studies, scale=scale)
        run.sides[1:] = []
        found += await archive_stall.rows(run, ours, phantom, FIRST, seconds=2 if given.quick else 10)
    finally:
        if peer is not None:
            await peer.stop()
        await ours.stop()
    found += await archive_big.rows(folder, run, studies=given.big, count=20 * scale)
    if dimse.ready():
        more, said = await dimse.measure(folder / "dimse", 120 if given.quick else 1000, orthanc=peer is not None)
        found += more
        versions = said | versions
    return [*found, *run.memory_rows()], versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a coarser answer within two minutes")
    parser.add_argument("--instances", type=int, help="of 530 kB, for each number of clients (2000; quick: 100)")
    parser.add_argument("--studies", type=int, help="in the searches beside Orthanc (2020; quick: 200)")
    parser.add_argument("--big", type=int, help="studies of ten instances in the big index (100000; quick: 2000)")
    parser.add_argument("--without-orthanc", action="store_true", help="our column alone")
    parser.add_argument("--raw", type=Path, default=Path("build/bench-archive.jsonl"), help="where single times go")
    given = parser.parse_args()
    for name, full, quick in (("instances", 2000, 100), ("studies", 2020, 200), ("big", 100_000, 2000)):
        if getattr(given, name) is None:
            setattr(given, name, quick if given.quick else full)
    given.raw.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="huizhen-bench-") as folder, given.raw.open("w") as raw:
        found, versions = asyncio.run(rows(Path(folder), given, Run(raw=raw)))
    show("archive", found, more=versions)


if __name__ == "__main__":
    main()
