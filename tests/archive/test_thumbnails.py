"""Thumbnails on disk: the usual size alone, by the present renderer, within a limit that holds while the server runs."""

from __future__ import annotations

import os
from dataclasses import replace

from dicom import cache
from dicom.archive import Archive
from dicom.cache import Memory, trim_cache
from dicom.retrieve import THUMBNAIL, Picture
from server import keys
from server.jobs import plan
from tests.archive.conftest import seen_by
from tests.archive.files import real


def kept(archive: Archive) -> list:
    return sorted(archive.root.glob("cache/*/*"))


async def ct(archive: Archive):
    assert (await archive.ingest(real("CT_small.dcm"), organisation="A", source="test")).outcome == "stored"
    (row,) = archive.instances(seen_by("A"))
    return row


async def test_only_the_usual_size_stays_on_disk_whatever_is_asked_for(working_archive):
    row = await ct(working_archive)
    usual = await working_archive.thumbnail(row)
    await working_archive.retriever.thumbnails.settled()
    assert len(kept(working_archive)) == 1
    for viewport in ((640.0, 480.0), (64.0, 64.0), (127.0, 128.0)):
        assert await working_archive.thumbnail(row, 1, replace(THUMBNAIL, viewport=viewport)) != usual
    await working_archive.thumbnail(row, 1, Picture(viewport=(128.0, 128.0), quality=80, format="png"))
    assert len(kept(working_archive)) == 1
    # As the web service asks for it: what lies there is what it gets.
    kept(working_archive)[0].write_bytes(b"from disk")
    assert await working_archive.thumbnail(row, 1, Picture(viewport=(128.0, 128.0), quality=80)) == b"from disk"


async def test_what_another_release_drew_is_drawn_anew_and_cleared_away(working_archive, monkeypatch):
    row = await ct(working_archive)
    fresh = await working_archive.thumbnail(row)
    await working_archive.retriever.thumbnails.settled()
    (old,) = kept(working_archive)
    assert old.name.endswith(f"-{cache.MADE_BY}")
    old.write_bytes(b"as it was drawn once")
    monkeypatch.setattr(cache, "_OWN", "-next")
    working_archive.retriever.memory = Memory(1 << 20)
    assert await working_archive.thumbnail(row) == fresh
    await working_archive.retriever.thumbnails.settled()
    assert len(kept(working_archive)) == 2
    await working_archive.trim_thumbnails()
    assert [path.name.endswith("-next") for path in kept(working_archive)] == [True]


async def test_the_oldest_go_while_the_archive_is_open(archive):
    archive.limits = replace(archive.limits, thumbnail_cache_bytes=2500)
    for n in range(5):
        path = cache.path_of(archive.root, f"{n:064x}", 1)
        cache.keep(path, bytes(1000))
        os.utime(path, (1_000_000 + n, 1_000_000 + n))
    await archive.trim_thumbnails()
    assert kept(archive) == [cache.path_of(archive.root, f"{n:064x}", 1) for n in (3, 4)]


def test_a_picture_that_vanishes_meanwhile_is_no_failure(tmp_path):
    (tmp_path / "cache/aa").mkdir(parents=True)
    (tmp_path / "cache/aa/gone").symlink_to("nowhere")
    trim_cache(tmp_path, 0)


async def test_the_server_trims_them_by_the_clock(app, client):
    plan(app)
    assert "trim_thumbnails" in app[keys.TASKS].names
