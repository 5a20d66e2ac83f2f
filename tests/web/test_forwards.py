"""The administrator's forwarding page and the technician's fetch page, over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from dicom.archive import Archive
from dicom.network.ports import Device
from dicom.network.scp import Listener
from dicom.network.services import SERVICES
from server import keys
from server.dicomweb.ports import ARCHIVE
from tests.archive.files import make
from tests.conftest import sign_in
from tests.network.conftest import House

PAGE = {"Accept": "text/html"}
SERVICE = {"name": "市影像平台", "url": "https://pacs.example/dicom-web", "token": "very-secret"}


async def post(client, path, status, **body):
    async with client.post(path, json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json() if status != 204 else None


async def text_of(client, path, **params) -> str:
    async with client.get(path, headers=PAGE, params=params) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_a_destination_and_a_rule_are_made_changed_and_retired(client, city, app):
    await sign_in(client, city.clinic_admin.login)
    assert "还没有目的地" in await text_of(client, "/admin/forwards")
    made = await post(client, "/api/forward-destinations", 200, **SERVICE)
    assert made["token"] is True
    problem = await post(client, "/api/forward-destinations", 422, name="x", url="http://pacs.example")
    assert [field["path"] for field in problem["fields"]] == ["url"]
    path = f"/api/forward-destinations/{made['id']}"
    rule = await post(client, "/api/forward-rules", 201, destination=made["id"], modalities=["ct"], description="胸部")
    for language in ("zh", "en"):
        page = await text_of(client, "/admin/forwards", edit=made["id"], lang=language)
        assert "very-secret" not in page
        for shown in (SERVICE["name"], SERVICE["url"], "CT", "胸部"):
            assert shown in page
    changed = {**SERVICE, "name": "市平台", "version": made["version"], "compression": "htj2k"}
    changed.pop("token")
    async with client.patch(path, json=changed) as answer:
        assert (await answer.json())["token"] is True
    async with client.patch(path, json=changed) as answer:
        assert answer.status == 409
    async with client.patch(path, json=changed | {"version": 1, "token": ""}) as answer:
        assert (await answer.json())["token"] is False
    await app[keys.ARCHIVE_STARTED].wait()
    await app[ARCHIVE].ingest(make(StudyDescription="胸部CT"), organisation=city.clinic, source="stow")
    from server.dimse.running import FORWARDER

    assert await app[FORWARDER].enqueue() == 1
    assert "1.2.3" in await text_of(client, "/admin/forwards")
    assert await post(client, f"{path}/retry", 200, study="1.2.3") == {"waiting": 1}
    assert await post(client, f"{path}/drop", 200, study="1.2.3") == {"dropped": 1}
    await post(client, f"/api/forward-rules/{rule['id']}/end", 204)
    await post(client, f"/api/forward-rules/{rule['id']}/end", 404)
    await post(client, f"{path}/end", 204)
    await post(client, f"{path}/end", 404)


@pytest.fixture
async def other(tmp_path):
    """Another archive with one study: what it is asked for, and its port."""
    archive = Archive.open(tmp_path / "there", worker_count=0)
    await archive.start()
    await archive.ingest(make(), organisation="there", source="test")

    class There(House):
        async def admit(self, call):
            return Device(id="us", organisation="there", called="THERE", calling=call.calling)

    listener = Listener(There(), archive, services=SERVICES)
    yield await listener.listen("127.0.0.1", 0)
    await listener.close()
    await archive.close()


async def test_a_technician_finds_a_study_elsewhere_and_fetches_it(client, open_browser, city, app, other):
    await app[keys.ARCHIVE_STARTED].wait()
    technician = await open_browser()
    await sign_in(technician, city.technician.login)
    assert "还没有可以查询的影像系统" in await text_of(technician, "/studies/fetch")
    await sign_in(client, city.clinic_admin.login)
    device = await post(client, "/api/devices", 201, name="医院 PACS", calling="THERE", address="127.0.0.1",
                        host="127.0.0.1", port=other)  # fmt: skip
    for language in ("zh", "en"):
        assert "医院 PACS" in await text_of(technician, "/studies/fetch", lang=language)
    said = await post(technician, "/api/fetch/search", 200, device=device["id"], patient_id="P1")
    (study,) = said["studies"]
    assert (study["study_uid"], study["patient_name"], study["here"]) == ("1.2.3", "Zhang^San=张^三", 0)
    job = await post(technician, "/api/fetch", 201, device=device["id"], studies=["1.2.3"])
    async with asyncio.timeout(45):
        while not job["over"]:
            await asyncio.sleep(0.02)
            async with technician.get(f"/api/fetch/{job['id']}") as answer:
                job = await answer.json()
    assert [(x["state"], x["completed"]) for x in job["studies"]] == [("done", 1)]
    assert app[ARCHIVE].holders("1.2.3") == [city.clinic]
    await sign_in(client, city.hospital_technician.login)
    async with client.get(f"/api/fetch/{job['id']}") as answer:
        assert answer.status == 404
    rows = await app[keys.WORK].read(lambda uow: uow.audit.rows(organisation=city.clinic))
    assert {"archive.search", "archive.fetch", "study.store"} <= {row.action for row in rows}
