"""The index finds no room: SQLite itself fails, inside COMMIT and in a checkpoint, and nothing is lost or falsely told."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from dicom.archive import Archive
from tests.archive.dying import LIMITS
from tests.archive.test_durability import assert_whole

HERE = Path(__file__).resolve().parent.parent.parent
MOUNT = 'mount -t tmpfs -o size=3m none "$1" && shift && exec "$@"'
FULL, BROKEN = ("SQLITE_FULL", "COMMIT"), ("SQLITE_IOERR_WRITE", "COMMIT")
CHECKPOINT = ("OperationalError", "a_checkpoint")


@cache
def mountable() -> bool:
    """A tmpfs of one's own needs user namespaces, or root."""
    try:
        done = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def fill(command: list[str]) -> list[list[str]]:
    """The words of every line that tests/archive/filling.py said."""
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("kind", "kilobytes", "checkpoints", "expected"), [
    ("disk", 40, 0, {FULL}),
    ("disk", 100, 1, {FULL}),
    ("file", 400, 0, {BROKEN}),
    ("file", 200, 1, {BROKEN, CHECKPOINT}),
])  # fmt: skip
async def test_an_index_that_cannot_grow_refuses_and_goes_on_when_there_is_room(tmp_path, kind, kilobytes, checkpoints, expected):
    root, copies = tmp_path / "archive", tmp_path / "copies"
    root.mkdir()
    copies.mkdir()
    before = []
    if kind == "disk":
        if not mountable():
            pytest.skip("needs a tmpfs of its own: unshare -rm (util-linux), where user namespaces are allowed")
        before = ["unshare", "-rm", "sh", "-c", MOUNT, "sh", str(root)]
    lines = fill([*before, sys.executable, "-m", "tests.archive.filling", str(root), kind, str(kilobytes), str(checkpoints), str(copies)])
    assert expected <= {tuple(line[1:]) for line in lines if line[0] == "failed"}
    refused = [line for line in lines if line[0] == "refused"]
    # A full disk is told as such; a file that may not grow is to SQLite a write that failed.
    assert {line[4] for line in refused} == {"disk_full" if kind == "disk" else "io_error"}
    full = [line[0] for line in lines].index("copied")
    for copy, said in (("full", lines[:full]), ("end", lines)):
        held = [line[:4] for line in said if line[0] == "stored"]
        for rebuilt in (False, True):
            if rebuilt:
                Archive.rescan(copies / copy)
            archive = Archive.open(copies / copy, worker_count=0, limits=LIMITS)
            assert_whole(archive, held)
            await archive.close()
