"""Registered DICOM devices of the administrator's organisation."""

from __future__ import annotations

import logging
import ssl
import time
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from consult.people import Actor
from dicom.errors import DicomError
from dicom.network.scu import echo
from dicom.network.terms import RejectedError
from server.api.common import actor, body, json_response, no_content, settings, work
from server.api.people import Version
from server.auth.audit import audit
from server.dimse import registry
from server.dimse.registry import DeviceEntry
from server.dimse.running import HOUSE, limits_of
from server.settings import SettingsError
from server.storage.devices import DeviceRow
from server.storage.unit import SqlUnitOfWork

LOG = logging.getLogger("huizhen.dimse")
Text = Annotated[str, Meta(max_length=300)]


class GivenDevice(msgspec.Struct, forbid_unknown_fields=True):
    """The form as it was sent; server/dimse/registry.py says what is wrong with it."""

    name: Text
    calling: Text
    called: Text = ""
    address: Text = ""
    certificate: Text = ""
    host: Text = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    tls: bool = False
    coding: Text = "utf-8"
    conflict_status: int = 0xB000
    modalities: Annotated[tuple[Text, ...], Meta(max_length=50)] = ()


class ChangedDevice(GivenDevice, forbid_unknown_fields=True, kw_only=True):
    version: Version


def entry_of(given: GivenDevice) -> DeviceEntry:
    """The body as the registry reads it."""
    values: dict[str, Any] = msgspec.structs.asdict(given)
    values.pop("version", None)
    return DeviceEntry(**values)


async def add(request: web.Request) -> web.Response:
    """POST /api/devices."""
    given = await body(request, GivenDevice)
    row = await work(request).run(
        registry.add_device, actor=actor(request), entry=entry_of(given), titles=settings(request).dimse.titles
    )
    return json_response(row, status=201)


async def change(request: web.Request) -> web.Response:
    """PATCH /api/devices/{id}: the whole entry under the version that was shown."""
    given = await body(request, ChangedDevice)
    row = await work(request).run(
        registry.change_device, actor=actor(request), id=request.match_info["id"], version=given.version,
        entry=entry_of(given), titles=settings(request).dimse.titles,
    )  # fmt: skip
    return json_response(row)


async def end(request: web.Request) -> web.Response:
    """POST /api/devices/{id}/end."""
    await work(request).run(registry.end_device, actor=actor(request), id=request.match_info["id"])
    return no_content()


def note_echo(uow: SqlUnitOfWork, *, actor: Actor, id: str) -> DeviceRow:
    """The device to be called, and the audit row of the call."""
    row = registry.open_device(uow, actor=actor, id=id)
    audit(uow, actor, "device.echo", f"device:{id}")
    return row


# A-ASSOCIATE-RJ (PS3.8 Table 9-21): (source, reason) → what a person can mend.
_WHY = {(1, 3): "calling", (1, 7): "called", (3, 1): "busy", (3, 2): "busy"}


async def try_echo(request: web.Request) -> web.Response:
    """POST /api/devices/{id}/echo → {"outcome": answered|rejected|unreachable|no_address, "reason", "milliseconds"}.

    `reason` says which title the device does not know, that it is busy, takes no C-ECHO, or that encryption failed;
    no more is told: not which port of which machine is open.
    """
    row = await work(request).run(note_echo, actor=actor(request), id=request.match_info["id"])
    began = time.monotonic()
    outcome, reason = "no_address", ""
    if row.host:
        try:
            limits = limits_of(settings(request).dimse)
            status = await echo(request.app[HOUSE].address_of(row), row.called, limits)
            outcome, reason = ("answered", "") if status == 0 else ("rejected", "echo")
        except RejectedError as error:
            outcome, reason = "rejected", _WHY.get((error.rejection.source, error.rejection.reason), "")
        except (OSError, TimeoutError, DicomError, SettingsError) as error:
            LOG.info("echo test failed", extra={"device": row.id, "error": type(error).__name__})
            outcome = "unreachable"
            if isinstance(error, ssl.SSLError | SettingsError):
                reason = "tls"
            elif isinstance(error, DicomError) and error.reason == "context_refused":
                outcome, reason = "rejected", "echo"
    milliseconds = round((time.monotonic() - began) * 1000)
    return json_response({"outcome": outcome, "reason": reason, "milliseconds": milliseconds})
