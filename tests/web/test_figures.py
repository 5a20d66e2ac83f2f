"""/metrics moves with what happens: rooms, sockets, instances, streams, disk."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime

from dicom.specimens import Identity, new_uid, rewrite, shipped
from server import keys
from tests.conftest import sign_in
from tests.realtime.stage import build_case


async def figures(client) -> dict[str, float]:
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}


async def test_an_open_room_and_its_socket_are_counted_and_forgotten(client, city, app):
    case = await app[keys.WORK].run(build_case, city)
    await sign_in(client, city.doctor.login)
    assert (await figures(client))["huizhen_rooms"] == 0
    async with client.post(f"/api/consultations/{case}/session", json={}) as answer:
        session = (await answer.json())["session"]
    socket = await client.ws_connect("/socket", headers={"Origin": client.origin})
    await socket.send_json({"type": "hello", "v": 1, "token": client.csrf, "session": session, "tab": "t1"})
    await socket.receive_json(timeout=45)
    now = await figures(client)
    assert (now["huizhen_rooms"], now["huizhen_room_sockets"]) == (1, 1)
    await socket.close()
    async with asyncio.timeout(5):
        while (now := await figures(client))["huizhen_room_sockets"]:  # noqa: ASYNC110 - over HTTP there is no event
            await asyncio.sleep(0.01)
    assert now["huizhen_rooms"] == 0


async def test_received_instances_are_counted_by_what_became_of_them(client, city, app):
    await app[keys.ARCHIVE_STARTED].wait()
    await sign_in(client, city.technician.login)
    who = Identity(name="Li^Na", patient_id="P1", birth_date=None, sex="F", study_at=datetime(2026, 11, 22, 9, 0))
    image = rewrite(shipped("CT_small.dcm"), who, study_uid=new_uid(), series_uid=new_uid())
    for data in (image, image, b"no DICOM"):
        async with client.post("/api/uploads/whole", data=data) as answer:
            await answer.read()
    now = await figures(client)
    for outcome in ("stored", "duplicate", "refused"):
        assert now[f'huizhen_instances_total{{outcome="{outcome}"}}'] == 1
    assert now["huizhen_disk_free_bytes"] > 0
