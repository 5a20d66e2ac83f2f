"""Rows that are remembered for the next request never outlive what they say, and bytes at hand are the stored ones."""

from __future__ import annotations

import os

import pytest

from dicom.corrections import Person
from dicom.errors import IntegrityError, NotFoundError
from dicom.packs import read
from dicom.retrieve import Retriever
from tests.archive.conftest import seen_by
from tests.archive.files import make
from tests.archive.test_corrections import correction, store

STUDY, SERIES = "1.2.3", "1.2.3.1"
LI = Person(patient_id="P9", patient_name="Li^Si=李^四", birth_date="19800101", sex="F")


@pytest.fixture
def asked(working_archive, monkeypatch):
    """What the index itself is asked from now on."""
    found = []
    for name in ("instance", "within"):
        original = getattr(working_archive._reader, name)

        def counted(*given, original=original, name=name, **more):
            found.append(name)
            return original(*given, **more)

        monkeypatch.setattr(working_archive._reader, name, counted)
    return found


async def series_of(archive, count):
    files = [make(f"{SERIES}.{n + 1}", pixels=bytes([n, 0, 0, 0]), InstanceNumber=n + 1) for n in range(count)]
    await store(archive, *files)
    await archive.metadata_settled()


async def test_a_series_read_instance_by_instance_is_looked_up_twice_and_by_nobody_else_for_nothing(
    working_archive, asked
):
    recent, clinic = working_archive.recent, seen_by("clinic")
    await series_of(working_archive, 6)
    for n in range(1, 7):
        row = await recent.instance(clinic, STUDY, SERIES, f"{SERIES}.{n}")
        assert row == working_archive.instance(clinic, STUDY, SERIES, f"{SERIES}.{n}")
        asked.pop()  # the comparison's own
    assert asked == ["instance", "instance", "within"]
    for stranger in (seen_by("county"), seen_by("clinic", hidden=[STUDY]), seen_by(studies=["9.9"])):
        with pytest.raises(NotFoundError):
            await recent.instance(stranger, STUDY, SERIES, f"{SERIES}.1")
        assert await recent.instances(stranger, STUDY, SERIES) == []
    with pytest.raises(NotFoundError):
        await recent.instance(clinic, STUDY, "1.2.9", f"{SERIES}.1")


async def test_what_arrives_is_in_the_next_list_and_a_correction_or_its_undoing_in_the_next_answer(
    working_archive, asked
):
    recent, clinic = working_archive.recent, seen_by("clinic")
    await series_of(working_archive, 2)
    assert len(await recent.instances(clinic, STUDY, SERIES)) == 2
    assert len(await recent.instances(clinic, STUDY, SERIES)) == 2
    assert asked == ["within"]
    first = await recent.instance(clinic, STUDY, SERIES, f"{SERIES}.1")
    await store(working_archive, make(f"{SERIES}.9", pixels=b"new!", InstanceNumber=9))
    assert [row.number for row in await recent.instances(clinic, STUDY, SERIES)] == [1, 2, 9]
    await store(working_archive, make(f"{SERIES}.1", pixels=b"else"))  # to quarantine: the original stays
    assert await recent.instance(clinic, STUDY, SERIES, f"{SERIES}.1") == first
    await working_archive.settling.correct(correction("c1", "patient", STUDY, person=LI))
    for row in (
        await recent.instance(clinic, STUDY, SERIES, f"{SERIES}.1"),
        (await recent.instances(clinic, STUDY, SERIES))[0],
    ):
        assert row.overlay is not None
        assert row.version != first.version
    await working_archive.settling.undo("clinic", "c1", by="m1")
    assert (await recent.instance(clinic, STUDY, SERIES, f"{SERIES}.1")).version == first.version
    await store(working_archive, make("9.9.9.1.1", study="9.9.9", series="9.9.9.1"))
    await working_archive.settling.correct(correction("c2", "merge", STUDY, "9.9.9"))
    with pytest.raises(NotFoundError):
        await recent.instance(clinic, STUDY, SERIES, f"{SERIES}.1")
    assert await recent.instances(clinic, STUDY, SERIES) == []


async def test_bytes_at_hand_are_the_stored_ones_and_what_would_wait_is_left_to_a_thread(working_archive, monkeypatch):
    await series_of(working_archive, 1)
    retriever = working_archive.retriever
    row = working_archive.instance(seen_by("clinic"), STUDY, SERIES, f"{SERIES}.1")
    span = Retriever.file_range(row)
    stored = working_archive.read(span)  # opens the pack, and the system now has it in memory
    assert retriever.read_now([b"head", span, b"tail"]) == b"head" + stored + b"tail"

    def would_wait(*_given):
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", would_wait)
    assert retriever.read_now([span]) is None
    monkeypatch.undo()
    monkeypatch.setattr(read, "_NOWAIT", None)  # another system
    assert retriever.read_now([span]) is None
    working_archive._packs.refuse({span.pack: [(span.offset, span.offset + 1)]})
    with pytest.raises(IntegrityError):
        retriever.read_now([span])
