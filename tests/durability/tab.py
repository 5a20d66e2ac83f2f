"""What a browser does with the server: each yes it hears is remembered as acknowledged."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydicom
from aiohttp import ClientConnectionError, ClientSession, MultipartWriter, WSMsgType

from consult import model as m

if TYPE_CHECKING:
    from tests.durability.house import House


class Cut(Exception):
    """The server died before it answered: nothing was acknowledged."""


def dataset_digest(data: bytes) -> str:
    """SHA-256 of everything behind the file meta group, which the archive writes anew."""
    file = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    start = 144 + file.file_meta.FileMetaInformationGroupLength
    return hashlib.sha256(data[start:]).hexdigest()


@dataclass
class Tab:
    """One signed-in page."""

    house: House
    session: ClientSession
    csrf: str

    async def call(self, method: str, path: str, *, wanted=(200, 201), **kwargs):
        """The JSON of a good answer; Cut when the server died instead."""
        headers = {"Origin": self.house.url, "X-CSRF-Token": self.csrf, **kwargs.pop("headers", {})}
        try:
            async with self.session.request(method, self.house.url + path, headers=headers, **kwargs) as answer:
                raw = await answer.read()
                assert answer.status in wanted, (answer.status, raw[:400])
                return await answer.json(content_type=None) if raw else None
        except (ClientConnectionError, ConnectionError) as error:
            raise Cut from error

    async def call_bytes(self, path: str) -> bytes:
        """The body of a good answer to GET."""
        async with self.session.get(self.house.url + path) as answer:
            assert answer.status == 200
            return await answer.read()

    async def stow(self, *files: bytes) -> None:
        """STOW-RS; the instances count as acknowledged when the answer names them."""
        with MultipartWriter("related") as writer:
            for data in files:
                writer.append(io.BytesIO(data), {"Content-Type": "application/dicom"})
            kind = f'multipart/related; type="application/dicom"; boundary={writer.boundary}'
            answer = await self.call("POST", "/dicom-web/studies", data=writer, headers={"Content-Type": kind})
        stored = {x["00081155"]["Value"][0] for x in answer["00081199"]["Value"]}
        self._keep(stored, files)

    async def upload(self, data: bytes, *, piece: int) -> None:
        """The browser's way: start, pieces, finish; goes on with an upload after `resume`."""
        upload = await self.call("POST", "/api/uploads", json={"size": len(data)})
        await self.resume(upload["id"], data, piece=piece)

    async def resume(self, upload: str, data: bytes, *, piece: int) -> None:
        """From where the server says it stands."""
        at = (await self.call("GET", f"/api/uploads/{upload}"))["received"]
        while at < len(data):
            at = (await self.call("PUT", f"/api/uploads/{upload}?offset={at}", data=io.BytesIO(data[at : at + piece])))["received"]
        done = await self.call("POST", f"/api/uploads/{upload}/finish", json={}, wanted=(200, 202))
        assert done["state"] == "done", done
        self._keep({x["sop"] for x in done["result"]["instances"] if x["outcome"] in {"stored", "duplicate"}}, [data])

    def _keep(self, stored: set[str], files) -> None:
        for data in files:
            sop = str(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True).SOPInstanceUID)
            assert sop in stored
            self.house.acknowledged.instances[sop] = dataset_digest(data)

    async def open_session(self, case: str) -> str:
        session = (await self.call("POST", f"/api/consultations/{case}/session", json={}))["session"]
        self.house.acknowledged.states[case] = m.State.IN_SESSION
        return session

    async def chat(self, case: str, text: str) -> None:
        client_id = os.urandom(8).hex()
        given = {"client_id": client_id, "text": text}
        message = await self.call("POST", f"/api/consultations/{case}/messages", json=given)
        self.house.acknowledged.chats[message["id"]] = (case, client_id)


class Room:
    """The socket of one tab in a session."""

    def __init__(self, tab: Tab, case: str, session: str) -> None:
        self.tab, self.case, self.session = tab, case, session
        self.ws = None
        self.n = 0
        self.seat = ""

    async def connect(self) -> Room:
        try:
            self.ws = await self.tab.session.ws_connect(
                self.tab.house.url.replace("http", "ws") + "/socket", headers={"Origin": self.tab.house.url}
            )
        except (ClientConnectionError, ConnectionError) as error:
            raise Cut from error
        return self

    async def hello(self) -> None:
        await self._send({"type": "hello", "v": 1, "token": self.tab.csrf, "session": self.session, "seat": self.seat,
                          "tab": os.urandom(6).hex()})
        self.seat = (await self._until("welcome"))["seat"]

    async def step(self, type: str, **fields) -> dict:
        """A reliable message; returns when it is acknowledged."""
        self.n += 1
        await self._send({"type": type, "n": self.n, **fields})
        while (ack := await self._until("ack"))["n"] < self.n:
            pass
        return ack

    async def enter(self) -> None:
        await self.step("enter")
        self.tab.house.acknowledged.seats.add(self.seat)

    async def chat(self, text: str) -> None:
        client_id = os.urandom(8).hex()
        ack = await self.step("chat", client_id=client_id, text=text)
        self.tab.house.acknowledged.chats[ack["id"]] = (self.case, client_id)

    async def finish(self) -> None:
        await self.step("finish")
        self.tab.house.acknowledged.states[self.case] = m.State.REPORTING

    async def undo_finish(self) -> None:
        await self.step("undo_finish")
        self.tab.house.acknowledged.states[self.case] = m.State.IN_SESSION

    async def _send(self, value) -> None:
        try:
            await self.ws.send_json(value)
        except (ClientConnectionError, ConnectionError) as error:
            raise Cut from error

    async def _until(self, type: str) -> dict:
        while True:
            message = await self.ws.receive(timeout=30)
            if message.type is not WSMsgType.TEXT:
                raise Cut
            value = message.json()
            assert value["type"] not in {"refused", "closed"}, value
            if value["type"] == type:
                return value

    async def close(self) -> None:
        with suppress(Exception):
            await self.ws.close()
