"""The document store: whole or not at all, named by content only."""

import hashlib
import os

import pytest

from consult.errors import NotFound
from server.storage import faults
from server.storage.blobs import Blobs


@pytest.fixture
def clock():
    return [1_800_000_000.0]


@pytest.fixture
def blobs(tmp_path, clock):
    return Blobs(tmp_path / "blobs", clock=lambda: clock[0])


def files(tmp_path):
    return sorted(p for p in (tmp_path / "blobs").rglob("*") if p.is_file())


def test_bytes_come_back_under_their_digest(blobs, tmp_path):
    digest = blobs.put(b"abc")
    assert digest == hashlib.sha256(b"abc").hexdigest()
    assert blobs.open(digest) == tmp_path / "blobs" / digest[:2] / digest
    assert blobs.read(digest) == b"abc"
    assert blobs.put(b"abc") == digest
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32, "ab" * 32 + "\n"])
def test_what_is_no_digest_or_not_here_is_not_found(blobs, name):
    with pytest.raises(NotFound):
        blobs.open(name)


def test_changed_bytes_are_noticed(blobs):
    digest = blobs.put(b"abc")
    blobs.open(digest).write_bytes(b"abd")
    with pytest.raises(ValueError, match="digest"):
        blobs.read(digest)


@pytest.mark.parametrize("point", ["blob_before_fsync", "blob_before_rename"])
def test_a_failed_write_leaves_nothing(blobs, tmp_path, point):
    def fail(name):
        if name == point:
            raise OSError(28, "disk full")

    undo = faults.add_hook(fail)
    with pytest.raises(OSError, match="disk full"):
        blobs.put(b"abc")
    undo()
    assert files(tmp_path) == []
    assert blobs.read(blobs.put(b"abc")) == b"abc"


def test_orphans_are_swept_after_a_day_and_the_rest_stays(blobs, tmp_path, clock):
    wanted, orphan, again = blobs.put(b"wanted"), blobs.put(b"orphan"), blobs.put(b"again")
    torn = blobs.open(orphan).parent / ".part-1"
    torn.write_bytes(b"x")
    clock[0] = torn.stat().st_mtime
    clock[0] += 90_000
    fresh = blobs.put(b"fresh")
    assert blobs.put(b"again") == again
    stranger = tmp_path / "blobs" / wanted[:2] / "README"
    stranger.write_text("not ours")
    os.utime(stranger, (0, 0))
    for digest in (wanted, orphan):
        os.utime(blobs.open(digest), (clock[0] - 90_000, clock[0] - 90_000))
    assert blobs.sweep({wanted}) == 2
    assert set(files(tmp_path)) == {blobs.open(wanted), blobs.open(fresh), blobs.open(again), stranger}
