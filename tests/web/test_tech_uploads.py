"""What a technician sends: whole, in pieces, cut, again, broken, too large; and what each file's answer says."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import zipfile
from datetime import date, datetime

import pytest

from consult import model as m
from dicom.model import Scope
from dicom.specimens import Identity, new_uid, rewrite, shipped
from server import keys
from server.dicomweb.ports import ARCHIVE
from server.pieces import FEED_BYTES
from server.settings import Settings, Uploads
from server.uploading import CHUNK_BYTES
from tests.archive.files import make
from tests.browser.seeds import put_patient
from tests.conftest import sign_in

HAN_SENTENCE = "。"


@pytest.fixture
async def technician(client, city):
    await sign_in(client, city.technician.login)
    return client


def ct(*, accession: str = "", study: str | None = None, name: str = "Zhou^XiaoYu=周^小雨", born=date(1968, 3, 12)) -> bytes:
    identity = Identity(
        name=name, patient_id="P77", birth_date=born, sex="F", accession=accession, study_at=datetime(2026, 11, 22, 9, 0),
        study_description="胸部 CT",
    )
    return rewrite(shipped("CT_small.dcm"), identity, study_uid=study or new_uid(), series_uid=new_uid())


async def whole(client, data, *, lang: str = "zh") -> tuple[int, dict]:
    async with client.post("/api/uploads/whole", data=data, headers={"Cookie-Language": lang, "Accept-Language": lang}) as answer:
        return answer.status, await answer.json()


async def start(client, size: int) -> dict:
    async with client.post("/api/uploads", json={"size": size}) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()


async def put(client, upload: str, offset: int, data) -> tuple[int, dict]:
    async with client.put(f"/api/uploads/{upload}?offset={offset}", data=data) as answer:
        return answer.status, await answer.json()


async def finish(client, upload: str) -> tuple[int, dict]:
    async with client.post(f"/api/uploads/{upload}/finish", json={}) as answer:
        return answer.status, await answer.json()


async def send(client, data: bytes) -> dict:
    """A file in pieces of the greatest size."""
    upload = (await start(client, len(data)))["id"]
    for offset in range(0, len(data), CHUNK_BYTES):
        status, value = await put(client, upload, offset, data[offset : offset + CHUNK_BYTES])
        assert status == 200, value
    status, value = await finish(client, upload)
    assert status == 200, value
    return value["result"]


def only(value: dict) -> dict:
    (one,) = value["instances"]
    return one


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


async def order_for(app, city, technician) -> tuple[m.ExamOrder, str]:
    patient = await app[keys.WORK].run(put_patient, city)
    given = {"patient": patient.id, "procedure": "胸部 CT 平扫", "modality": "CT", "performing": city.clinic}
    async with technician.post("/api/orders", json=given) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json(), patient.id


async def test_a_small_file_is_stored_in_one_request_and_matched_by_its_accession_number(app, city, technician):
    order, patient = await order_for(app, city, technician)
    status, value = await whole(technician, ct(accession=order["accession"]))
    assert status == 200
    assert only(value["result"])["outcome"] == "stored"
    (study,) = value["result"]["studies"]
    assert study["match"] == "accession"
    match = await app[keys.WORK].read(lambda uow: uow.studies.match(study["study"], city.clinic))
    assert match.patient == patient
    assert match.order == order["id"]


async def test_another_birth_date_under_a_right_accession_number_waits_for_a_person(app, city, technician):
    order, _ = await order_for(app, city, technician)
    _, value = await whole(technician, ct(accession=order["accession"], born=date(1970, 1, 1)))
    assert value["result"]["studies"][0]["match"] == ""
    async with technician.get("/api/studies?waiting=1") as answer:
        (row,) = (await answer.json())["studies"]
    async with technician.get(f"/api/studies/{row['study']}/candidates") as answer:
        first = (await answer.json())["candidates"][0]
    assert first["order"]["accession"] == order["accession"]
    assert first["differences"] == ["birth_date"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"this is a letter, not an image\n" * 20, "not_dicom"),
        (make()[:300], "truncated"),
        (make(StudyInstanceUID=None), "missing_uid"),
    ],
    ids=["a text file named .dcm", "a truncated file", "no study number"],
)
async def test_what_is_no_whole_image_is_refused_with_a_sentence_in_both_languages(technician, data, reason):
    status, value = await whole(technician, data)
    assert status == 200
    refused = only(value["result"])
    assert (refused["outcome"], refused["reason"]) == ("refused", reason)
    assert refused["text"].endswith(HAN_SENTENCE)
    _, english = await whole(technician, data, lang="en")
    assert only(english["result"])["text"].isascii()


async def test_the_same_file_twice_is_already_there_and_other_bytes_go_to_quarantine(technician):
    _, first = await whole(technician, make())
    assert only(first["result"])["outcome"] == "stored"
    _, second = await whole(technician, make())
    assert only(second["result"])["outcome"] == "duplicate"
    _, other = await whole(technician, make(pixels=b"\x09\x09\x09\x09"))
    conflict = only(other["result"])
    assert conflict["outcome"] == "conflict"
    assert "隔离" in conflict["text"]
    async with technician.get("/api/quarantine") as answer:
        (item,) = (await answer.json())["items"]
    assert item["study"] == "1.2.3"


async def test_an_empty_file_and_one_over_the_limit_are_refused_before_anything_is_sent(technician, app):
    async with technician.post("/api/uploads", json={"size": 0}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (422, "upload_empty")
    limit = app[keys.SETTINGS].uploads.instance_mb << 20
    async with technician.post("/api/uploads", json={"size": limit + 1}) as answer:
        problem = await answer.json()
    assert (answer.status, problem["code"]) == (413, "too_large")
    assert f"{app[keys.SETTINGS].uploads.instance_mb} MB" in problem["detail"]
    async with technician.post("/api/uploads/whole", data=io.BytesIO(b"x" * (CHUNK_BYTES + 1))) as answer:
        assert answer.status == 413
    async with technician.post("/api/uploads/whole", data=b"") as answer:
        assert (await answer.json())["code"] == "upload_empty"


async def test_cuts_repeats_and_pieces_of_any_size_give_the_same_bytes_stored_once(technician, app, city):
    for seed in range(6):
        rolled = random.Random(seed)
        data = make(sop=f"1.2.9.{seed}", study=f"1.2.{seed + 70}", pixels=rolled.randbytes(4) + bytes(rolled.randrange(40_000, 90_000) * 2))
        upload = (await start(technician, len(data)))["id"]
        sent = 0
        while sent < len(data):
            piece = data[sent : sent + rolled.randrange(1, 30_000)]
            roll = rolled.random()
            if roll < 0.2:
                status, value = await put(technician, upload, sent + rolled.randrange(1, 50), piece)
                assert (status, value["code"]) == (409, "upload_offset")
            elif roll < 0.4 and sent:
                status, value = await put(technician, upload, rolled.randrange(sent), piece)
                assert (status, value["code"]) == (409, "upload_offset")
            elif roll < 0.5:
                status, value = await finish(technician, upload)
                assert (status, value["code"]) == (409, "upload_incomplete")
            else:
                status, value = await put(technician, upload, sent, piece)
                assert status == 200
            async with technician.get(f"/api/uploads/{upload}") as answer:
                sent = (await answer.json())["received"]
        first, again = await finish(technician, upload), await finish(technician, upload)
        assert first == again
        assert only(first[1]["result"])["outcome"] == "stored"
        archive = app[ARCHIVE]
        scope = Scope(organisations=frozenset({city.clinic}))
        (row,) = archive.instances(scope, f"1.2.{seed + 70}")
        assert archive.read_file(row) == data
        assert not app[keys.UPLOADING].path(upload).exists()


async def test_a_line_cut_in_the_middle_of_a_piece_keeps_what_came_and_goes_on_from_there(technician, app):
    data = make(pixels=bytes(400_000))
    upload = (await start(technician, len(data)))["id"]

    async def halting():
        yield data[:100_000]
        raise ConnectionResetError("the cable was pulled")

    with pytest.raises(ConnectionError):
        await app[keys.UPLOADING].append(
            await an_actor(app, technician), upload, 0, halting()
        )
    async with technician.get(f"/api/uploads/{upload}") as answer:
        assert (await answer.json())["received"] == 100_000
    status, value = await put(technician, upload, 100_000, data[100_000:])
    assert (status, value["received"]) == (200, len(data))
    assert only((await finish(technician, upload))[1]["result"])["outcome"] == "stored"


async def an_actor(app, client):
    async with client.get("/api/session") as answer:
        me = (await answer.json())["me"]

    def read(uow):
        membership = uow.people.membership(me["membership"])
        from server.auth.people import actor_of

        return actor_of(uow.people.staff(membership.staff), membership)

    return await app[keys.WORK].read(read)


async def test_more_bytes_than_were_announced_are_refused(technician):
    upload = (await start(technician, 10))["id"]
    status, value = await put(technician, upload, 0, b"x" * 11)
    assert (status, value["code"]) == (422, "upload_size")


async def test_a_full_disk_is_said_with_507_nothing_is_half_there_and_the_same_upload_goes_on_later(
    technician, app, monkeypatch
):
    data = make(pixels=bytes(200_000))
    upload = (await start(technician, len(data)))["id"]
    assert (await put(technician, upload, 0, data[:1000]))[0] == 200
    real = os.pwrite

    def full(descriptor, view, offset):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("server.uploading.os.pwrite", full)
    status, value = await put(technician, upload, 1000, data[1000:])
    assert (status, value["code"]) == (507, "disk_full")
    assert value["detail"].endswith(HAN_SENTENCE)
    monkeypatch.setattr("server.uploading.os.pwrite", real)
    async with technician.get(f"/api/uploads/{upload}") as answer:
        assert (await answer.json())["received"] == 1000
    assert (await put(technician, upload, 1000, data[1000:]))[0] == 200

    async def refused(*_, **__):
        from dicom.model import IngestResult

        return IngestResult(outcome="refused", reason="disk_full")

    with monkeypatch.context() as patch:
        patch.setattr(app[ARCHIVE], "ingest", refused)
        status, value = await finish(technician, upload)
        assert (status, value["code"]) == (507, "disk_full")
        status, value = await whole(technician, make())
        assert (status, value["code"]) == (507, "disk_full")
    status, value = await finish(technician, upload)
    assert (status, only(value["result"])["outcome"]) == (200, "stored")


async def test_a_zip_is_opened_on_the_server_and_every_file_in_it_answered(technician, app):
    study = new_uid()
    inside = zipped(
        ("disc/IM1", ct(study=study)), ("disc/IM2", ct(study=study)), ("disc/readme.txt", b"hello " * 40),
        ("__MACOSX/disc/._IM1", b"litter"), ("disc/.DS_Store", b"litter"),
    )
    result = await send(technician, inside)
    assert [x["outcome"] for x in result["instances"]] == ["stored", "stored", "refused"]
    assert result["instances"][2]["reason"] == "not_dicom"
    assert result["studies"][0]["instances"] == 2
    status, value = await whole(technician, inside)
    assert status == 200
    assert [x["outcome"] for x in value["result"]["instances"]] == ["duplicate", "duplicate", "refused"]


async def test_a_damaged_an_encrypted_an_empty_and_a_swelling_zip_are_refused_in_words(technician, monkeypatch):
    good = zipped(("IM1", make()), ("IM2", make(sop="1.2.3.1.2")))
    broken = bytearray(good)
    broken[60:90] = bytes(30)
    locked = bytearray(zipped(("IM1", make())))
    locked[6] |= 1
    central = locked.rfind(b"PK\x01\x02")
    locked[central + 8] |= 1
    cases = {
        "zip_damaged": bytes(broken), "zip_encrypted": bytes(locked), "zip_empty": zipped(),
    }
    for reason, data in cases.items():
        result = await send(technician, data)
        assert result["instances"][-1]["reason"] == reason
        assert result["instances"][-1]["text"].endswith(HAN_SENTENCE)
    monkeypatch.setattr("server.unzipping.ZIP_BYTES", 1 << 20)
    result = await send(technician, zipped(*((f"IM{n}", bytes(600_000)) for n in range(3))))
    assert result["instances"][-1]["reason"] == "zip_too_large"
    monkeypatch.setattr("server.unzipping.ZIP_ENTRIES", 2)
    result = await send(technician, zipped(*((f"IM{n}", b"x") for n in range(3))))
    assert result["instances"][-1]["reason"] == "zip_too_many"


async def test_what_takes_long_goes_on_without_the_caller_and_tells_how_far_it_is(technician, app, monkeypatch):
    monkeypatch.setattr("server.uploading.FINISH_SECONDS", 0.0)
    data = make()
    upload = (await start(technician, len(data)))["id"]
    await put(technician, upload, 0, data)
    status, value = await finish(technician, upload)
    assert (status, value["state"], value["result"]) == (202, "complete", None)
    monkeypatch.setattr("server.uploading.FINISH_SECONDS", 20.0)
    status, value = await finish(technician, upload)
    assert (status, only(value["result"])["outcome"]) == (200, "stored")


async def test_a_complete_upload_that_a_stop_interrupted_is_taken_in_at_the_next_start(technician, app):
    data = make()
    upload = (await start(technician, len(data)))["id"]
    await put(technician, upload, 0, data)
    uploading = app[keys.UPLOADING]
    real, uploading._take_in = uploading._take_in, None
    with pytest.raises(TypeError):
        await uploading.finish(await an_actor(app, technician), upload)
    uploading._take_in = real
    assert await uploading.resume_interrupted() == 1
    async with technician.get(f"/api/uploads/{upload}") as answer:
        value = await answer.json()
    assert (value["state"], only(value["result"])["outcome"]) == ("done", "stored")


async def test_an_upload_is_its_senders_alone_and_only_technicians_send(open_browser, technician, city):
    upload = (await start(technician, 10))["id"]
    other = await open_browser()
    await sign_in(other, city.hospital_technician.login)
    async with other.get(f"/api/uploads/{upload}") as answer:
        assert answer.status == 404
    assert (await put(other, upload, 0, b"0123456789"))[0] == 404
    assert (await finish(other, upload))[0] == 404
    doctor = await open_browser()
    await sign_in(doctor, city.doctor.login)
    assert (await whole(doctor, make()))[0] == 403
    async with doctor.post("/api/uploads", json={"size": 5}) as answer:
        assert answer.status == 403


async def test_a_cancelled_upload_leaves_no_file_and_takes_nothing_more(technician, app):
    upload = (await start(technician, 10))["id"]
    await put(technician, upload, 0, b"01234")
    async with technician.delete(f"/api/uploads/{upload}") as answer:
        assert answer.status == 204
    assert not app[keys.UPLOADING].path(upload).exists()
    status, value = await put(technician, upload, 5, b"56789")
    assert (status, value["code"]) == (409, "upload_closed")


async def test_every_file_taken_in_leaves_an_audit_row_without_names(technician, app):
    await whole(technician, ct())
    await send(technician, make())
    rows = await app[keys.WORK].read(lambda uow: uow.audit.rows(limit=1000))
    stored = [x for x in rows if x.action == "study.store"]
    assert len(stored) == 2
    assert "周" not in json.dumps([dict(x.detail) for x in rows], ensure_ascii=False)


class TestLimits:
    @pytest.fixture
    def settings(self, tmp_path):
        return Settings(data=tmp_path / "data", uploads=Uploads(instance_mb=1, disk_reserve_mb=1 << 40))

    async def test_a_nearly_full_disk_refuses_before_anything_is_sent(self, technician):
        async with technician.post("/api/uploads", json={"size": 100}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (507, "disk_full")


async def test_no_file_of_the_browser_is_held_whole_outside_the_memory_that_all_doors_share(technician, app, monkeypatch):
    handed = []
    ingest = app[ARCHIVE].ingest

    async def watched(body, **more):
        async def passed():
            async for data in body:
                handed.append(len(data))
                yield data

        assert not isinstance(body, bytes)
        return await ingest(passed(), **more)

    monkeypatch.setattr(app[ARCHIVE], "ingest", watched)
    data = make(pixels=bytes(3 << 20), Rows=1024, Columns=1024, NumberOfFrames=3)
    _, value = await whole(technician, io.BytesIO(data))
    assert only(value["result"])["outcome"] == "stored"
    upload = (await start(technician, len(data)))["id"]
    await put(technician, upload, 0, io.BytesIO(data))
    _, value = await finish(technician, upload)
    assert only(value["result"])["outcome"] == "duplicate"
    assert sum(handed) == 2 * len(data)
    assert max(handed) <= FEED_BYTES


async def pieces(data: bytes):
    for at in range(0, len(data), 1000):
        yield data[at : at + 1000]


async def test_a_small_file_of_unannounced_length_is_taken_and_a_zip_too(technician, app):
    _, value = await whole(technician, pieces(make()))
    assert only(value["result"])["outcome"] == "stored"
    _, value = await whole(technician, pieces(zipped(("IM1", make()), ("IM2", make(sop="1.2.3.1.2")))))
    assert [one["outcome"] for one in value["result"]["instances"]] == ["duplicate", "stored"]


@pytest.mark.parametrize("first", [make(), zipped(("IM1", make()))], ids=["an image", "a zip"])
async def test_a_small_file_that_does_not_end_is_refused_and_leaves_nothing(technician, app, first):
    status, problem = await whole(technician, pieces(first[:1000] + bytes(CHUNK_BYTES)))
    assert (status, problem["code"]) == (413, "too_large")
    assert not [path for path in app[keys.UPLOADING].path("x").parent.iterdir() if path.is_file()]
    assert app[ARCHIVE].totals()["instance"] == 0


async def test_a_packed_small_file_is_not_unpacked(technician):
    async with technician.post("/api/uploads/whole", data=b"x", headers={"Content-Encoding": "gzip"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (415, "media_type")
