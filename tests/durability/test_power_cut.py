"""The power goes, anywhere: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import random

import pytest

from dicom.errors import DicomError
from dicom.faults import POINTS
from tests.durability import power
from tests.durability.power import Disk, cut, draw, record


@pytest.mark.parametrize("seed", [1])
async def test_a_seeded_sample_of_power_cuts_over_packs_and_index_together(tmp_path, seed):
    assert await cut(tmp_path, points=60, seed=seed) == 60


async def test_a_disk_that_lies_about_its_sync_is_noticed(tmp_path, monkeypatch):
    honest = power.synced
    monkeypatch.setattr(
        power, "synced", lambda point, files: (set(), False) if point == "pack.fsync" else honest(point, files)
    )
    with pytest.raises((AssertionError, DicomError)):
        await cut(tmp_path, points=60, seed=1)


async def test_the_recorded_history_passes_every_fault_point_and_the_images_differ(tmp_path):
    history = await record(tmp_path, uploads=40, seed=3)
    passed = {moment.point for moment in history.moments}
    assert set(POINTS) <= passed
    disk = Disk(history)
    images = {repr(sorted(disk.image(n, random.Random(n)).items())) for n in range(len(disk))}
    assert len(images) > len(disk) // 2


def test_a_drawn_file_never_loses_what_was_durable():
    for seed in range(200):
        chance = random.Random(seed)
        durable, tail = chance.randbytes(1500), chance.randbytes(900)
        drawn = draw(chance, durable, durable + tail)
        assert drawn[:1500] == durable
        assert len(drawn) <= 2400
