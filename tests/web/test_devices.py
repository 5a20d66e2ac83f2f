"""The devices page of an organisation's administrator: register, change, test, retire."""

from __future__ import annotations

import socket

from dicom.network.ports import Device, NoSuchTitleError
from dicom.network.scp import Listener
from server.dicomweb.ports import ARCHIVE
from tests.conftest import sign_in

PAGE = {"Accept": "text/html"}
CT = {"name": "放射科 CT", "calling": "CT1", "address": "192.168.1.20", "modalities": ["ct"]}


async def add(client, **more):
    async with client.post("/api/devices", json=CT | more) as answer:
        return answer.status, await answer.json()


async def test_a_device_is_registered_changed_and_retired(client, city):
    await sign_in(client, city.clinic_admin.login)
    status, row = await add(client)
    assert status == 201
    assert (row["called"], row["modalities"], row["organisation"]) == ("HUIZHEN", ["CT"], city.clinic)
    async with client.get("/admin/devices", headers=PAGE) as answer:
        text = await answer.text()
    assert CT["name"] in text
    assert "192.168.1.20" in text
    async with client.get("/admin/devices", headers=PAGE, params={"edit": row["id"], "lang": "en"}) as answer:
        text = await answer.text()
    assert 'value="CT1"' in text
    assert "Change device" in text
    changed = CT | {"version": row["version"], "name": "CT 2", "host": "192.168.1.20", "port": 104}
    async with client.patch(f"/api/devices/{row['id']}", json=changed) as answer:
        assert answer.status == 200
    async with client.patch(f"/api/devices/{row['id']}", json=changed) as answer:
        assert answer.status == 409
    async with client.post(f"/api/devices/{row['id']}/end", json={}) as answer:
        assert answer.status == 204
    async with client.post(f"/api/devices/{row['id']}/end", json={}) as answer:
        assert answer.status == 404


async def test_a_wrong_entry_is_told_at_its_field_in_both_languages(client, city):
    await sign_in(client, city.clinic_admin.login)
    status, problem = await add(client, calling="", address="")
    assert status == 422
    assert {field["path"] for field in problem["fields"]} == {"calling", "address"}
    assert (await add(client))[0] == 201
    status, problem = await add(client)
    assert [(field["path"], field["code"]) for field in problem["fields"]] == [("calling", "taken")]


class Anyone:
    """A device's own side: it takes whoever calls it by its name."""

    async def admit(self, call):
        if call.called != "CT1":
            raise NoSuchTitleError
        return Device(id="x", organisation="x", called="CT1", calling=call.calling)


async def test_the_connection_is_tested_and_little_is_told(open_browser, client, app, city):
    await sign_in(client, city.clinic_admin.login)
    device = Listener(Anyone(), app[ARCHIVE])
    port = await device.listen("127.0.0.1", 0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        rows = [
            (await add(client, host="127.0.0.1", port=port))[1],
            (await add(client, calling="CT2", host="127.0.0.1", port=port))[1],
            (await add(client, calling="CT3", host="127.0.0.1", port=closed.getsockname()[1]))[1],
            (await add(client, calling="CT4"))[1],
        ]
        outcomes = []
        for row in rows:
            async with client.post(f"/api/devices/{row['id']}/echo", json={}) as answer:
                said = await answer.json()
                outcomes.append((said["outcome"], said["reason"]))
    await device.close()
    assert outcomes == [("answered", ""), ("rejected", "called"), ("unreachable", ""), ("no_address", "")]
    other = await open_browser()
    await sign_in(other, city.hospital_admin.login)
    async with other.post(f"/api/devices/{rows[0]['id']}/echo", json={}) as answer:
        assert answer.status == 404
