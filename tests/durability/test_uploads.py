"""kill -9 of the real server at every named point of an upload, by STOW-RS and from the browser, and while it stops."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys

import pytest

from dicom import faults as dicom_faults
from dicom.archive import Archive
from server.storage import faults
from tests.archive.files import make
from tests.archive.test_durability import everything_in
from tests.durability.house import House
from tests.durability.life import ROOT
from tests.durability.tab import Cut

NEW_PACK = ("pack.create", "pack.create.fsync", "pack.create.dirsync")
STAGED = tuple(p for p in dicom_faults.POINTS if p.startswith("stage."))
STOPPING = ("archive.checkpoint", "checkpoint")
APPENDED = tuple(
    p for p in dicom_faults.POINTS if p not in {*NEW_PACK, *STAGED} and f"archive.{p}" not in STOPPING
)
UNIT = ("unit_begun", "before_commit", "after_commit_before_publish", "after_commit_before_ack")
STAGED_BYTES = 9_000_000           # more than dicom.model.Limits.inline_bytes
PIECE = 3 << 20


@pytest.fixture(scope="module")
async def house(tmp_path_factory, launcher):
    """One city whose server dies again and again."""
    house = House(tmp_path_factory.mktemp("uploads"), launcher)
    house.build(cases={})
    house.start()
    await house.browser("technician")
    yield house
    await house.close()


class Sent:
    """New files with UIDs of their own."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, size: int = 4) -> bytes:
        self.n += 1
        return make(
            f"1.2.3.{self.n}", study=f"1.2.{self.n % 5}", series=f"1.2.{self.n % 5}.1", Rows=max(1, size // 4000), Columns=min(1000, size // 4 or 1),
            pixels=self.n.to_bytes(4, "little") + bytes(size - 4),
        )


new_file = Sent()


async def send(tab, way: str, data: bytes) -> None:
    if way == "stow":
        await tab.stow(data)
    else:
        await tab.upload(data, piece=PIECE)


async def send_and_die(house: House, way: str, point: str, data: bytes) -> None:
    """Nothing is acknowledged at the armed point; after the restart all is well, and sending again succeeds."""
    tab = await house.browser("technician")
    house.arm(point)
    with pytest.raises(Cut):
        await send(tab, way, data)
    house.wait_dead()
    house.start()
    house.inspect()
    await send(tab, way, data)
    house.inspect()


@pytest.mark.parametrize("way", ["stow", "browser"])
@pytest.mark.parametrize("point", APPENDED)
async def test_killed_while_a_small_file_is_stored(house, way, point):
    await send_and_die(house, way, f"archive.{point}", new_file())


@pytest.mark.parametrize("way", ["stow", "browser"])
@pytest.mark.parametrize("point", STAGED)
async def test_killed_while_a_large_file_is_stored(house, way, point):
    await send_and_die(house, way, f"archive.{point}", new_file(STAGED_BYTES))


@pytest.mark.parametrize("point", NEW_PACK)
async def test_killed_while_the_first_pack_is_made(house, tmp_path, launcher, point):
    house.kill()
    empty = House(tmp_path, launcher)
    empty.build(cases={})
    try:
        empty.start()
        await send_and_die(empty, "stow", f"archive.{point}", new_file())
    finally:
        await empty.close()
        house.start()


@pytest.mark.parametrize("point", UNIT)
async def test_killed_while_an_upload_is_announced(house, point):
    tab = await house.browser("technician")
    house.arm(point)
    with pytest.raises(Cut):
        await tab.call("POST", "/api/uploads", json={"size": 100})
    house.wait_dead()
    house.start()
    house.inspect()


async def test_killed_between_pieces_the_upload_goes_on_from_what_was_acknowledged(house):
    tab = await house.browser("technician")
    data = new_file(2 * PIECE + 1000)
    upload = (await tab.call("POST", "/api/uploads", json={"size": len(data)}))["id"]
    first = await tab.call("PUT", f"/api/uploads/{upload}?offset=0", data=io.BytesIO(data[:PIECE]))
    assert first["received"] == PIECE
    house.arm("upload_before_fsync")
    with pytest.raises(Cut):
        await tab.call("PUT", f"/api/uploads/{upload}?offset={PIECE}", data=io.BytesIO(data[PIECE : 2 * PIECE]))
    house.wait_dead()
    house.start()
    stands = (await tab.call("GET", f"/api/uploads/{upload}"))["received"]
    assert PIECE <= stands <= 2 * PIECE
    await tab.resume(upload, data, piece=PIECE)
    house.inspect()


@pytest.mark.parametrize("point", ["upload_before_result", *UNIT])
async def test_killed_while_a_whole_upload_is_taken_in_it_is_finished_after_the_restart(house, point):
    tab = await house.browser("technician")
    data = new_file()
    upload = (await tab.call("POST", "/api/uploads", json={"size": len(data)}))["id"]
    await tab.call("PUT", f"/api/uploads/{upload}?offset=0", data=data)
    house.arm(point)
    with pytest.raises(Cut):
        await tab.call("POST", f"/api/uploads/{upload}/finish", json={})
    house.wait_dead()
    house.start()
    house.inspect()
    await tab.resume(upload, data, piece=PIECE)
    house.inspect()
    assert not (house.data / "uploads" / upload).exists()


@pytest.mark.parametrize("point", STOPPING)
async def test_killed_while_stopping(house, point):
    tab = await house.browser("technician")
    await tab.stow(new_file())
    house.arm(point)
    house.terminate()
    house.wait_dead()
    house.start()
    house.inspect()


def test_killed_at_the_first_start_the_next_one_begins_anew(tmp_path):
    """Through `python -m server serve`, as a person starts it."""
    command = [sys.executable, "-m", "server", "serve", "--data", str(tmp_path / "data"), "--port", "0"]
    environment = os.environ | {"HUIZHEN_FAULT": "migration_before_commit"}
    killed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    again = subprocess.run(
        command, env=environment | {"HUIZHEN_FAULT": "unit_begun"}, cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert again.returncode == -signal.SIGKILL      # it came further, to its first unit of work
    check = [sys.executable, "-m", "server", "check", "--data", str(tmp_path / "data")]
    whole = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "ok  database" in whole.stdout, whole.stdout + whole.stderr


async def test_after_all_these_deaths_nothing_came_twice_and_a_rescan_of_the_packs_agrees(house, tmp_path):
    tab = await house.browser("technician")
    await tab.stow(new_file())
    assert set(house.archived()) == set(house.acknowledged.instances)
    house.terminate()
    assert await asyncio.to_thread(house.life.code, 30) == 0
    shutil.copytree(house.data / "archive", tmp_path / "archive")
    before = everything_in(tmp_path / "archive")
    assert not Archive.rescan(tmp_path / "archive").missing
    assert everything_in(tmp_path / "archive") == before
    house.start()
    house.inspect()


def test_every_point_of_the_archive_and_of_uploads_is_tried_here():
    tried = {*APPENDED, *STAGED, *NEW_PACK, *(x.removeprefix("archive.") for x in STOPPING if "." in x)}
    assert tried == set(dicom_faults.POINTS)
    uploads = {p for p in faults.POINTS if p.startswith("upload_")}
    assert uploads == {"upload_before_fsync", "upload_before_result"}
