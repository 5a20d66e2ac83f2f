"""Janus' WebSocket API as a client: one session that outlives its socket, its handles, requests and events.

https://janus.conf.meetecho.com/docs/rest.html: a request bears a transaction; `success`, `error` or `event` answers it
(a plugin's message is acknowledged first); what bears none is an event of a handle.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import msgspec

from server.media.backend import MediaError

ANSWER_SECONDS = 5.0
KEEPALIVE_SECONDS = 20.0
NO_SESSION = 458
NAME_TAKEN = 436                # JANUS_VIDEOROOM_ERROR_ID_EXISTS
LEAVING, LEAVING_SECONDS = 10, 0.2
PLUGIN = "janus.plugin.videoroom"
Told = dict[str, Any]


class JanusError(MediaError):
    """Janus refused; `code` is its own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"janus {code}: {text}")
        self.code = code


class JanusClient:
    """`told(handle, event)` is called on the loop for what nobody asked for."""

    def __init__(self, url: str, secret: str, *, told: Callable[[int, Told], None]) -> None:
        self.url, self._secret, self._told = url, secret, told
        self.session = 0
        self._numbers = itertools.count(1)
        self._waiting: dict[str, tuple[asyncio.Future[Told], bool]] = {}     # and whether an acknowledgement will do
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._socket is not None and not self._socket.closed

    async def connect(self, session: int = 0) -> bool:
        """Open a socket and claim `session`; where that is gone, or 0, a new one is made. Whether it was claimed.

        MediaError or OSError when Janus cannot be reached or refuses the secret.
        """
        await self._end_socket()
        if self._http is None:
            self._http = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._socket = await self._http.ws_connect(self.url, protocols=("janus-protocol",), heartbeat=10)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise MediaError("janus cannot be reached") from error
        self._reading = asyncio.create_task(self._read(self._socket))
        if session:
            self.session = session
            try:
                await self.request("claim")
            except JanusError as error:
                if error.code != NO_SESSION:
                    raise
            else:
                return True
        self.session = 0
        self.session = int((await self.request("create"))["data"]["id"])
        return False

    async def serve(self) -> None:
        """Keep the session alive until the socket ends."""
        while self._reading is not None and not self._reading.done():
            await asyncio.wait({self._reading}, timeout=KEEPALIVE_SECONDS)
            if not self._reading.done():
                try:
                    await self.request("keepalive")
                except MediaError:
                    break                       # also where the session has gone: the next connection finds out
        await self._end_socket()

    async def request(self, kind: str, *, handle: int = 0, **fields: Any) -> Told:
        """Janus' answer; for a plugin's message the event that completes it. MediaError."""
        socket = self._socket
        if socket is None or socket.closed:
            raise MediaError("no janus")
        number = str(next(self._numbers))
        frame: Told = {"janus": kind, "transaction": number, "apisecret": self._secret, **fields}
        if self.session:
            frame["session_id"] = self.session
        if handle:
            frame["handle_id"] = handle
        waiting: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting, kind != "message"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await socket.send_str(msgspec.json.encode(frame).decode())
                reply = await waiting
        except TimeoutError as error:
            raise MediaError("janus does not answer") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise MediaError("janus has gone") from error
        finally:
            self._waiting.pop(number, None)
        if reply["janus"] == "error":
            raise JanusError(reply["error"]["code"], reply["error"]["reason"])
        return reply

    async def attach(self) -> int:
        """A new handle of the videoroom plugin."""
        return int((await self.request("attach", plugin=PLUGIN))["data"]["id"])

    async def message(self, handle: int, body: Mapping[str, Any], jsep: Mapping[str, Any] | None = None) -> Told:
        """What the plugin says to `body`: its data, and under `jsep` a description where there is one. MediaError."""
        fields: Told = {"body": dict(body)} if jsep is None else {"body": dict(body), "jsep": dict(jsep)}
        reply = await self.request("message", handle=handle, **fields)
        data: Told = reply["plugindata"]["data"]
        if "error_code" in data:
            raise JanusError(data["error_code"], data["error"])
        return {**data, "jsep": reply["jsep"]} if "jsep" in reply else data

    async def join(self, body: Mapping[str, Any], jsep: Mapping[str, Any]) -> tuple[int, Told]:
        """A new handle, and what the plugin says to its `body` and description. While a former handle of the same name,
        which has been detached, is not quite gone, another one is taken: a handle reads one description only.
        """
        for left in reversed(range(LEAVING)):
            handle = await self.attach()
            try:
                return handle, await self.message(handle, body, jsep)
            except MediaError as error:
                with contextlib.suppress(MediaError):
                    await self.request("detach", handle=handle)
                if not (isinstance(error, JanusError) and error.code == NAME_TAKEN and left):
                    raise
            await asyncio.sleep(LEAVING_SECONDS)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """The socket ends; the session stays to be claimed."""
        await self._end_socket()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _end_socket(self) -> None:
        socket, self._socket = self._socket, None
        reading, self._reading = self._reading, None
        if socket is not None:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                await socket.close()
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    self._take(msgspec.json.decode(frame.data))
        finally:
            for waiting, _ in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(MediaError("janus has gone"))

    def _take(self, message: Told) -> None:
        waiting, acknowledged = self._waiting.get(message.get("transaction", ""), (None, False))
        if message.get("janus") == "ack" and not acknowledged:
            return                              # the plugin's event follows
        if waiting is not None and not waiting.done():
            waiting.set_result(message)
        else:
            self._told(message.get("sender", 0), message)
