"""Forwarding of the administrator's organisation: destinations, rules, and what waits in the queue."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from server import forwards, keys
from server.api.common import actor, body, json_response, no_content, settings, work
from server.api.people import Version
from server.dicomweb.ports import ARCHIVE
from server.dimse.running import FORWARDER
from server.forwards import DestinationEntry, RuleEntry
from server.sealing import seal
from server.storage.forwards import Destination
from server.storage.unit import new_id

Text = Annotated[str, Meta(max_length=300)]
Uid = Annotated[str, Meta(max_length=64)]


class GivenDestination(msgspec.Struct, forbid_unknown_fields=True):
    """The form as it was sent; server/forwards.py says what is wrong with it."""

    name: Text
    device: Text = ""
    url: Text = ""
    token: Annotated[str, Meta(max_length=4096)] | None = None
    ca: Annotated[str, Meta(max_length=64 << 10)] = ""
    compression: Text = ""


class ChangedDestination(GivenDestination, forbid_unknown_fields=True, kw_only=True):
    version: Version


class GivenRule(msgspec.Struct, forbid_unknown_fields=True):
    destination: Text
    modalities: Annotated[tuple[Text, ...], Meta(max_length=50)] = ()
    source: Text = ""
    description: Text = ""
    earlier: bool = False


class GivenStudy(msgspec.Struct, forbid_unknown_fields=True):
    study: Uid = ""


def entry_of(given: GivenDestination) -> DestinationEntry:
    """The body as the services read it."""
    return DestinationEntry(
        name=given.name, device=given.device, url=given.url, token=given.token, ca=given.ca,
        compression=given.compression,
    )  # fmt: skip


async def _sealed(request: web.Request, token: str, owner: str) -> str:
    return await asyncio.to_thread(seal, settings(request).key_folder, token, owner=owner)


def shown(row: Destination) -> web.Response:
    """What an administrator sees of a destination: whether there is a token, never the token."""
    return json_response({"id": row.id, "name": row.name, "version": row.version, "token": bool(row.token)})


async def add_destination(request: web.Request) -> web.Response:
    """POST /api/forward-destinations."""
    given, name = await body(request, GivenDestination), new_id()
    sealed = await _sealed(request, given.token or "", name)
    row = await work(request).run(
        forwards.add_destination, actor=actor(request), id=name, entry=entry_of(given), sealed=sealed
    )
    return shown(row)


async def change_destination(request: web.Request) -> web.Response:
    """PATCH /api/forward-destinations/{id}: the whole entry; without `token` the token stays, '' takes it away."""
    given, name = await body(request, ChangedDestination), request.match_info["id"]
    sealed = None if given.token is None else await _sealed(request, given.token, name)
    row = await work(request).run(
        forwards.change_destination, actor=actor(request), id=name, version=given.version, entry=entry_of(given),
        sealed=sealed,
    )  # fmt: skip
    request.app[FORWARDER].look()
    return shown(row)


async def end_destination(request: web.Request) -> web.Response:
    """POST /api/forward-destinations/{id}/end."""
    await work(request).run(forwards.end_destination, actor=actor(request), id=request.match_info["id"])
    return no_content()


async def retry(request: web.Request) -> web.Response:
    """POST /api/forward-destinations/{id}/retry {"study"}: what waits (of one study) is tried now."""
    given = await body(request, GivenStudy)
    waiting = await work(request).run(
        forwards.retry, actor=actor(request), id=request.match_info["id"], study_uid=given.study
    )
    request.app[FORWARDER].look()
    return json_response({"waiting": waiting})


async def drop(request: web.Request) -> web.Response:
    """POST /api/forward-destinations/{id}/drop {"study"}: a person gives up what waits of one study."""
    given = await body(request, GivenStudy)
    dropped = await work(request).run(
        forwards.drop, actor=actor(request), id=request.match_info["id"], study_uid=given.study
    )
    return json_response({"dropped": dropped})


async def add_rule(request: web.Request) -> web.Response:
    """POST /api/forward-rules."""
    given = await body(request, GivenRule)
    entry = RuleEntry(
        destination=given.destination, modalities=given.modalities, source=given.source,
        description=given.description, earlier=given.earlier,
    )  # fmt: skip
    await request.app[keys.ARCHIVE_STARTED].wait()
    mark = await asyncio.to_thread(request.app[ARCHIVE].arrived)
    row = await work(request).run(forwards.add_rule, actor=actor(request), entry=entry, mark=mark)
    request.app[FORWARDER].look()
    return json_response({"id": row.id}, status=201)


async def end_rule(request: web.Request) -> web.Response:
    """POST /api/forward-rules/{id}/end."""
    await work(request).run(forwards.end_rule, actor=actor(request), id=request.match_info["id"])
    return no_content()
