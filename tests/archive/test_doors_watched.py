"""Watched folders, and the two rules that hold at every door."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server import keys
from server.dicomweb.ports import ARCHIVE
from server.settings import SettingsError, Watch, WatchedFolder
from server.settings_reading import load_settings
from server.watching import Watching
from tests.archive.doors import held, refusing, serving, take, zipped
from tests.archive.files import make
from tests.conftest import sign_in

__all__ = ["serving"]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
async def watched(client, app, city, tmp_path):
    """(folder, watcher, its clock)"""
    await app[keys.ARCHIVE_STARTED].wait()
    folder = tmp_path / "watched"
    folder.mkdir()
    clock = Clock()
    settings = Watch(folders=(WatchedFolder(folder=folder, organisation=str(city.clinic)),), settle_seconds=10)
    return folder, Watching(settings, app[ARCHIVE], app[keys.WORK], clock=clock), clock


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_a_file_is_taken_when_it_has_stopped_growing_and_moved_when_it_is_durable(app, city, watched):
    folder, watching, clock = watched
    data = make("1.2.3.1.1")
    (folder / "ct").mkdir()
    (folder / "ct" / "a.dcm").write_bytes(data[:300])
    for name in ("b.dcm.part", ".hidden"):
        (folder / name).write_bytes(data)
    assert await watching.step() == 0
    clock.now = 9
    (folder / "ct" / "a.dcm").write_bytes(data)
    assert await watching.step() == 0
    clock.now = 18
    assert await watching.step() == 0  # it changed nine seconds ago
    clock.now = 19
    assert await watching.step() == 1
    assert names(folder) == {"done/ct/a.dcm", "b.dcm.part", ".hidden"}
    assert (folder / "done/ct/a.dcm").read_bytes() == data
    assert [row.sop_uid for row in held(app, city.clinic)] == ["1.2.3.1.1"]
    rows = await app[keys.WORK].read(lambda uow: [r for r in uow.audit.rows() if r.action == "study.store"])
    assert [(row.object, row.detail["instances"]) for row in rows] == [("study:1.2.3", 1)]
    (folder / "ct" / "a.dcm").write_bytes(data)
    await watching.step()
    clock.now = 40
    assert await watching.step() == 1
    assert names(folder) >= {"done/ct/a.dcm", "done/ct/a (2).dcm"}


async def test_what_is_refused_lies_aside_with_the_reason_in_both_languages(app, city, watched):
    folder, watching, clock = watched
    (folder / "note.dcm").write_bytes(b"no image")
    (folder / "z.zip").write_bytes(zipped(("a", make("1.2.3.1.1")), ("b", make("1.2.3.1.2")[:-2])))
    (folder / "out.dcm").symlink_to(folder / "note.dcm")
    await watching.step()
    clock.now = 10
    assert await watching.step() == 2
    assert names(folder) - {"out.dcm"} == {
        "refused/note.dcm", "refused/note.dcm.txt", "refused/z.zip", "refused/z.zip.txt",
    }  # fmt: skip
    text = (folder / "refused/note.dcm.txt").read_text(encoding="utf-8")
    assert text.startswith("not_dicom: 不是 DICOM 文件") and "This is not a DICOM file" in text
    assert (folder / "refused/z.zip.txt").read_text(encoding="utf-8").startswith("[2] truncated: ")
    assert [row.sop_uid for row in held(app, city.clinic)] == ["1.2.3.1.1"]


async def test_killed_before_the_move_it_is_taken_again_and_stored_once_and_a_full_disk_waits(app, city, watched, monkeypatch):
    folder, watching, clock = watched
    (folder / "a.dcm").write_bytes(make())
    await app[ARCHIVE].ingest(make(), organisation=str(city.clinic), source="watch")  # durable, and then the kill
    await watching.step()
    clock.now = 10
    with monkeypatch.context() as full:
        full.setattr(app[ARCHIVE], "ingest", refusing("disk_full"))
        assert await watching.step() == 0
    assert names(folder) == {"a.dcm"}
    assert await watching.step() == 1
    assert names(folder) == {"done/a.dcm"}
    assert app[ARCHIVE].totals()["instance"] == 1


async def test_a_folder_that_is_gone_or_of_nobody_is_said_once_and_the_others_go_on(app, city, watched, caplog):
    folder, watching, clock = watched
    settings = Watch(
        folders=(
            WatchedFolder(folder=folder / "nowhere", organisation=str(city.clinic)),
            WatchedFolder(folder=folder, organisation="nobody"),
            *watching._settings.folders,
        )
    )
    watching = Watching(settings, app[ARCHIVE], app[keys.WORK], clock=clock)
    (folder / "a.dcm").write_bytes(make())
    for clock.now in (0, 10, 20):
        await watching.step()
    assert names(folder) == {"done/a.dcm"}
    assert sum("watched folder" in record.message for record in caplog.records) == 2


def test_watched_folders_are_absolute_and_apart(tmp_path):
    def settings(*folders):
        return load_settings(environment={}, override={"watch": {"folders": [{"folder": f, "organisation": "x"} for f in folders]}})

    assert len(settings(f"{tmp_path}/a", f"{tmp_path}/b").watch.folders) == 2
    for wrong in (["a"], [f"{tmp_path}/a", f"{tmp_path}/a"], [f"{tmp_path}/a", f"{tmp_path}/a/b"]):
        with pytest.raises(SettingsError, match=r"watch\.folders"):
            settings(*wrong)


# -- the same two rules at every door


async def test_at_every_door_the_same_bytes_add_custody_and_other_bytes_go_to_quarantine(
    serving, client, settings, city, technician_of, tmp_path, watched
):
    """The image centre holds it; the clinic's copies come by STOW, upload, import and the watched folder."""
    archive, data, other = serving[ARCHIVE], make(), make(pixels=b"\x09\x09\x09\x09")
    folder, watching, clock = watched
    assert (await archive.ingest(data, organisation="elsewhere", source="test")).outcome == "stored"
    size = sum(path.stat().st_size for path in archive.root.glob("packs/*/*.pack"))
    browser = await technician_of(client)

    async def stow(body):
        async with browser.post("/dicom-web/studies", data=body, headers={"Content-Type": "application/dicom"}) as answer:
            value = await answer.json(content_type=None)
            failed = value.get("00081198", {"Value": []})["Value"]
            return "conflict" if failed and failed[0]["00081197"]["Value"] == [0x0110] else "held"

    async def upload(body):
        async with browser.post("/api/uploads/whole", data=body) as answer:
            (one,) = (await answer.json())["result"]["instances"]
            return "conflict" if one["outcome"] == "conflict" else "held"

    async def imported(body):
        place = tmp_path / "one"
        place.mkdir(exist_ok=True)
        (place / "a.dcm").write_bytes(body)
        return "conflict" if (await take(settings, place, city.clinic)).outcomes["conflict"] else "held"

    async def watch(body):
        (folder / "a.dcm").write_bytes(body)
        await watching.step()
        clock.now += 10
        await watching.step()
        return "conflict" if (folder / "refused" / "a.dcm").exists() else "held"

    for door in (watch, stow, upload, imported):
        assert await door(data) == "held", door
    (mine,) = held(serving, city.clinic)
    assert archive.totals() == {"study": 2, "series": 2, "instance": 2, "blob": 1, "quarantine": 0}
    assert sum(path.stat().st_size for path in archive.root.glob("packs/*/*.pack")) - size < 2000
    for door in (watch, stow, upload, imported):
        assert await door(other) == "conflict", door
    assert [row.digest for row in held(serving, city.clinic)] == [mine.digest]
    assert len(archive.quarantine(frozenset({str(city.clinic)}))) == 1
    assert archive.quarantine(frozenset({"elsewhere"})) == []


@pytest.fixture
def technician_of(city):
    async def sign(client):
        await sign_in(client, city.technician.login)
        return client

    return sign


async def test_what_comes_by_stow_is_matched_like_an_upload(app, client, city, technician_of):
    from server.dimse.running import HOUSE
    from tests.web.test_tech_uploads import ct, order_for

    app[HOUSE]._matcher._seconds = 0  # it waits for more of the same study
    browser = await technician_of(client)
    order, patient = await order_for(app, city, browser)
    data, headers = ct(accession=order["accession"]), {"Content-Type": "application/dicom"}
    async with browser.post("/dicom-web/studies", data=data, headers=headers) as answer:
        assert answer.status == 200
    study = held(app, city.clinic)[0].study_uid
    for _ in range(4500):
        if "match_received" not in app[keys.TASKS].names:
            break
        await asyncio.sleep(0.01)
    match = await app[keys.WORK].read(lambda uow: uow.studies.match(study, city.clinic))
    assert (match.patient, match.order) == (patient, order["id"])
