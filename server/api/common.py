"""What every JSON handler uses: parse a bounded body, reach the services, answer a value."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from consult.people import Actor
from server import keys
from server.auth.sessions import SignedIn
from server.problems import Refused
from server.settings import Settings
from server.work import Work

T = TypeVar("T")
BODY_SECONDS = 60.0
PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`$")
MISSING = re.compile(r"missing required field `(?P<name>[^`]+)`")
UNKNOWN = re.compile(r"contains unknown field `(?P<name>[^`]+)`")


class InvalidBody(Refused):
    """A body of the wrong shape: code `invalid` with the fields to mend."""

    def __init__(self, *fields: tuple[Any, ...]) -> None:
        super().__init__("invalid")
        self.fields = fields


async def read_bounded(request: web.Request, limit: int | None = None) -> bytes:
    """The whole body, at most `limit` bytes (default: settings.uploads.json_kb); Refused too_large or bad_request.

    `request.content` ignores aiohttp's own limit, and a compressed body could swell: neither is trusted.
    """
    most = limit if limit is not None else request.client_max_size
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused("media_type")
    text = f"{most // 1048576} MB" if most >= 1048576 else f"{most // 1024} KB"
    if (request.content_length or 0) > most:
        raise Refused("too_large", limit=text)
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                data += chunk
                if len(data) > most:
                    raise Refused("too_large", limit=text)
    except TimeoutError as error:
        raise Refused("bad_request") from error
    except (web.RequestPayloadError, ValueError) as error:
        raise Refused("bad_request") from error
    return bytes(data)


async def body(request: web.Request, shape: type[T], *, limit: int | None = None) -> T:
    """The JSON body as `shape` (a msgspec Struct or any type msgspec knows); Refused with the field that is wrong."""
    if request.content_type != "application/json":
        raise Refused("media_type")
    return decode(await read_bounded(request, limit), shape)


def decode(raw: bytes, shape: type[T]) -> T:
    """JSON bytes as `shape`; Refused `bad_json`, or `invalid` with path and reason of the first wrong field."""
    if b"\\u0000" in raw or b"\x00" in raw:
        # PostgreSQL has no such character in its text; nobody types it.
        raise Refused("bad_json")
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError as error:
        raise InvalidBody(wrong_field(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad_json") from error


def wrong_field(text: str) -> tuple[Any, ...]:
    """(path, code) from msgspec's sentence; the sentence itself may quote the input and is not shown."""
    place = PLACE.search(text)
    path = (place["path"] if place else "").lstrip(".")
    for pattern, code in ((MISSING, "required"), (UNKNOWN, "unknown")):
        if found := pattern.search(text):
            return (f"{path}.{found['name']}".lstrip("."), code)
    if "Invalid enum value" in text:
        return (path, "choice")
    if "of length >=" in text:
        return (path, "required" if "length >= 1" in text else "too_short", {"min": number_in(text)})
    if "of length <=" in text:
        return (path, "too_long", {"max": number_in(text)})
    return (path, "type")


def number_in(text: str) -> str:
    """The last bound named in msgspec's sentence."""
    found = re.findall(r"[<>]= (\d+)", text)
    return found[-1] if found else ""


def enc_hook(value: Any) -> Any:
    """Mappings that are no dict (frozen views); anything else is a programming error."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes | memoryview):
        raise TypeError("bytes do not belong in an answer")
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"cannot encode {type(value).__name__}")


ENCODER = msgspec.json.Encoder(enc_hook=enc_hook)


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Dataclasses, Structs, dates, enums and mappings as JSON, never cached."""
    answer = {"Cache-Control": "no-store"} | dict(headers or {})
    return web.Response(body=ENCODER.encode(value), status=status, content_type="application/json", headers=answer)


def no_content() -> web.Response:
    """Done, nothing to say."""
    return web.Response(status=204)


def work(request: web.Request) -> Work:
    """What runs services, each in one unit of work."""
    return request.app[keys.WORK]


def settings(request: web.Request) -> Settings:
    """The settings of this installation."""
    return request.app[keys.SETTINGS]


def now(request: web.Request) -> datetime:
    """The injected clock, UTC."""
    return request.app[keys.CLOCK]()


def actor(request: web.Request) -> Actor:
    """Who acts; Refused `signed_out` where the route's policy let anybody in."""
    login: SignedIn | None = request.get(keys.LOGIN)
    if login is None:
        raise Refused("signed_out")
    return login.actor


def request_id(request: web.Request) -> str:
    """The id in the log lines and audit rows of this request."""
    return request[keys.REQUEST_ID]


def client_address(request: web.Request) -> str:
    """The browser's address as far as a trusted proxy tells."""
    return request.remote or ""


def int_query(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    """A whole number from the query, held within bounds; Refused `bad_request` when it is none."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    if not re.fullmatch(r"-?\d{1,12}", text):
        raise Refused("bad_request")
    return max(low, min(high, int(text)))
