"""A part of `python -m tests.fuzz.disk`: single system calls of ingest fail, and nothing is lost, half there or falsely told."""

from __future__ import annotations

import errno

import pytest
import pytest_asyncio
from aiohttp import MultipartWriter

from dicom.archive import Archive
from tests.archive.files import make
from tests.fuzz import disk, files


@pytest.mark.parametrize(
    ("call", "number", "often"),
    [("pread", errno.EIO, 1), ("open", errno.EMFILE, 10**9), ("pwrite", errno.ENOSPC, 1), ("rename", errno.EIO, 1), ("fdatasync", errno.EIO, 1)],
)
async def test_a_call_that_fails_refuses_what_it_was_for_and_nothing_else(call, number, often):
    """Reading a staging file again did raise: its sender got a 500, or in a multipart body a 200 without a word of it."""
    found = await disk.search(4, only=[(call, number, often)])
    assert found.failures == []
    assert found.ran >= 3


@pytest.mark.parametrize("call", disk.WRITES)
async def test_a_disk_that_takes_only_half_of_what_is_written_is_given_the_rest(call):
    """The head of a staged pack lost its end: the image was acknowledged, and no rescan found it."""
    found = await disk.search(2, only=[(call, disk.SHORT, 10**9)])
    assert found.failures == []


def test_the_calls_are_counted_so_that_each_is_reached():
    assert {call for call, _, _ in disk.runs()} == set(disk.CALLS)
    assert {number for _, number, _ in disk.runs()} == {errno.ENOSPC, errno.EIO, errno.EMFILE, disk.SHORT}


@pytest_asyncio.fixture
async def house(tmp_path):
    async with files.House(tmp_path) as opened:
        yield opened


async def test_a_store_that_fails_for_one_part_is_never_told_as_a_success(house, monkeypatch):
    real = Archive.ingest

    async def ingest(self, body, **more):
        result = await real(self, body, **more)
        if result.sop_uid == "1.2.3.2":
            raise RuntimeError("something unforeseen")
        return result

    monkeypatch.setattr(Archive, "ingest", ingest)
    with MultipartWriter("related") as writer:
        for n in (1, 2, 3):
            writer.append(make(f"1.2.3.{n}"), {"Content-Type": "application/dicom"})
        kind = f'multipart/related; type="application/dicom"; boundary={writer.boundary}'
        status, _, body, _ = await house.ask("POST", "/dicom-web/studies", "A", data=writer, headers={"Content-Type": kind})
    assert status == 500, body
