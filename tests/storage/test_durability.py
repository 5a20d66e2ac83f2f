"""kill -9 at every named point: what was acknowledged is there, nothing is half there, and the database opens again."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.storage import engine, faults, migrations
from server.storage.blobs import Blobs
from server.storage.unit import verify_audit
from server.work import Work
from tests.storage import samples as s

ROOT = Path(__file__).resolve().parents[2]
BLOB_POINTS = tuple(p for p in faults.POINTS if p.startswith("blob_"))
UNIT_POINTS = (
    "unit_begun",
    "before_commit",
    "after_commit_before_publish",
    "after_commit_before_ack",
    "checkpoint",
)


def test_every_point_of_the_storage_is_tried_here():
    """Points of uploads, reports and filings belong to their own tests."""
    sources = [*Path(ROOT, "server/storage").rglob("*.py"), Path(ROOT, "server/work.py")]
    named = {name for path in sources for name in re.findall(r"\bfault\(\"(\w+)\"\)", path.read_text("utf-8"))}
    assert named == {"migration_before_commit", *UNIT_POINTS, *BLOB_POINTS}
    assert named <= set(faults.POINTS)


# Writes numbered units for ever; a line on stdout is the acknowledgement.
WRITER = """
import sys
from server import work
from server.storage import engine, migrations
work.CHECKPOINT_ABOVE = engine.CHECKPOINT_AFTER = 1
from tests.storage import samples as s

database = engine.open(sys.argv[1])
migrations.apply(database)
w = work.Work(database)
print("ready", flush=True)
if w.read_sync(lambda u: not u.people.organisations()):
    w.run_sync(s.seed)

def step(uow):
    n = uow.consultations.next_number(s.T0.date())
    s.with_consultation(uow, f"c{n}")
    uow.consultations.add_participant(s.participant(consultation=f"c{n}"))
    uow.events.append(s.event(1, f"consultation:c{n}"))
    uow.audit.append(s.audit(f"step {n}"))
    return n

for _ in range(int(sys.argv[2])):
    print(w.run_sync(step), flush=True)
w.close()
"""

BLOBBER = """
import sys
from pathlib import Path
from server.storage.blobs import Blobs
blobs = Blobs(Path(sys.argv[1]))
for n in range(3):
    print(blobs.put(f"document {n}".encode()), flush=True)
"""


def spawn(code, *arguments, fault=""):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"HUIZHEN_FAULT": fault}, cwd=os.fspath(ROOT),
    )


def acknowledged(process):
    with process.stdout:
        lines = process.stdout.read().split()
    process.wait(60)
    return [int(x) for x in lines if x != "ready"]


def inspect(url, seen):
    """Open as the next start does, and compare with what was acknowledged."""
    database = engine.open(url)
    migrations.apply(database)
    work = Work(database)
    try:

        def look(uow):
            found = [x.id for x in uow.consultations.of_patient(s.PATIENT)]
            numbers = sorted(int(x[1:]) for x in found)
            assert numbers == list(range(1, len(numbers) + 1))
            assert set(seen) <= set(numbers)
            assert len(numbers) <= len(seen) + 1
            for key in found:
                assert len(uow.events.of(f"consultation:{key}")) == 1
                assert len(uow.consultations.participants(key)) == 1
            assert len(uow.audit.rows(limit=1000)) == len(numbers)
            assert verify_audit(uow) is None
            return len(numbers)

        count = work.read_sync(look)
        work.run_sync(lambda u: u.consultations.next_number(s.T0.date()))
        return count
    finally:
        work.close()


@pytest.mark.parametrize("point", UNIT_POINTS)
@pytest.mark.parametrize("time", [3])
def test_killed_at_a_named_point_nothing_acknowledged_is_missing(address, point, time):
    if point == "checkpoint" and address.startswith("postgresql"):
        pytest.skip("PostgreSQL checkpoints by itself")
    process = spawn(WRITER, address, 8, fault=f"{point}:{time}")
    seen = acknowledged(process)
    assert process.returncode == -signal.SIGKILL
    inspect(address, seen)


def test_killed_while_migrating_the_database_is_as_before(address):
    process = spawn(WRITER, address, 1, fault="migration_before_commit")
    assert acknowledged(process) == []
    assert process.returncode == -signal.SIGKILL
    assert inspect(address, []) == 0


def test_killed_at_any_moment_nothing_acknowledged_is_missing(address):
    """Not at a named point but wherever the fifth, tenth … acknowledgement finds it; several lives of one database."""
    seen = []
    for life in range(3):
        process = spawn(WRITER, address, 1000)
        with process.stdout:
            for _ in range(4 + 3 * life):
                line = process.stdout.readline().strip()
                if line != "ready":
                    seen.append(int(line))
            process.kill()
            seen += [int(x) for x in process.stdout.read().split() if x != "ready"]
        process.wait(60)
        numbers = sorted(seen)
        assert len(set(numbers)) == len(numbers)
    database = engine.open(address)
    work = Work(database)
    try:
        stored = work.read_sync(lambda u: {int(x.id[1:]) for x in u.consultations.of_patient(s.PATIENT)})
        assert set(seen) <= stored
        assert len(stored) <= len(seen) + 3
        assert work.read_sync(verify_audit) is None
    finally:
        work.close()


@pytest.mark.parametrize("point", BLOB_POINTS)
def test_killed_while_storing_a_document_it_is_whole_or_absent(tmp_path, point):
    process = spawn(BLOBBER, tmp_path, fault=f"{point}:2")
    with process.stdout:
        seen = process.stdout.read().split()
    process.wait(60)
    assert process.returncode == -signal.SIGKILL
    assert len(seen) == 1
    blobs = Blobs(tmp_path, clock=lambda: 4_000_000_000.0)
    assert blobs.read(seen[0]) == b"document 0"
    for path in tmp_path.glob("??/*"):
        if not path.name.startswith("."):
            blobs.read(path.name)
    blobs.sweep(set(seen))
    assert [p.name for p in tmp_path.glob("??/*")] == seen
    assert blobs.read(blobs.put(b"document 1")) == b"document 1"
