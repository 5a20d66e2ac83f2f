"""A study is removed wholly or not at all, and never while anything of it is too young or waits to be settled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dicom.archive import Archive
from dicom.errors import CorrectionError
from tests.archive.conftest import seen_by
from tests.archive.test_life_compaction import Clock, fill, holdings, opened, remove, send


async def test_a_removal_that_does_not_fit_is_refused_with_its_reason_and_changes_nothing(tmp_path):
    clock = Clock()
    archive = await opened(tmp_path, clock)
    await fill(archive)
    await send(archive, "1.2.1.1.3", "1.2.1", pixels=b"\x55" * 400)  # other bytes: they wait in quarantine
    before = holdings(archive)
    for study, organisation, cutoff, reason in (
        ("1.2.0", "A", clock(), "retention"),  # stored at this very moment
        ("1.2.1", "A", clock() + timedelta(days=1), "quarantine_waits"),
        ("1.2.9", "A", clock() + timedelta(days=1), "no_such_study"),
        ("1.2.0", "C", clock() + timedelta(days=1), "no_such_study"),
    ):
        with pytest.raises(CorrectionError, match=reason):
            await remove(archive, study, organisation, before=cutoff)
    assert holdings(archive) == before
    await archive.close()


async def test_a_removal_asked_for_twice_spares_what_came_in_between(tmp_path):
    clock = Clock()
    archive = await opened(tmp_path, clock)
    await fill(archive)
    await remove(archive, "1.2.0", id="once")
    assert archive.study(seen_by("A"), "1.2.0") is None
    assert archive.study(seen_by("B"), "1.2.0").instance_count == 1
    await send(archive, "1.2.0.1.4", "1.2.0", pixels=b"\x04" * 400)
    await remove(archive, "1.2.0", id="once")
    before = holdings(archive)
    assert archive.study(seen_by("A"), "1.2.0").instance_count == 1
    await archive.close()
    Archive.rescan(tmp_path)
    archive = await opened(tmp_path, clock)
    assert holdings(archive) == before
    await archive.close()
