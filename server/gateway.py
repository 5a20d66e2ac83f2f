"""`huizhen gateway`: the box of a clinic with a thin link. Devices store here, the queue carries it to the city.

The same program without its web side: DICOM ports, archive, forward queue. What it knows of devices and of the city
stands in the settings (`[gateway]`) and is brought into the database at every start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from aiohttp import web

from consult.errors import Invalid, NotFound
from consult.people import Organisation, OrganisationId, OrganisationKind, Tier
from server import keys, logs
from server.app import create_app
from server.dicomweb.ports import ARCHIVE
from server.dimse.registry import DeviceEntry, check_entry
from server.dimse.running import DIMSE_PORTS, outgoing_context
from server.forward_stow import may_go_to
from server.forwards import COMPRESSIONS
from server.letting_go import LETTING_GO, LettingGo
from server.sealing import seal
from server.serving import make_data_folder, open_control, started, stop_signal
from server.settings import Gateway, Settings, SettingsError
from server.storage.devices import DeviceRow
from server.storage.forwards import Destination, Rule
from server.storage.unit import SqlUnitOfWork

NAME = "gateway"
PLACE = OrganisationId(NAME)
Say = Callable[[str], None]


def run_gateway(settings: Settings, say: Say) -> int:
    """Run until SIGINT or SIGTERM. Raises SettingsError with what is missing."""
    check(settings)
    logs.configure(settings.logs.level, settings.logs.format)
    make_data_folder(settings)
    return asyncio.run(_serve(settings, say))


def check(settings: Settings) -> None:
    """What a gateway cannot do without. Raises SettingsError."""
    given = settings.gateway
    if not may_go_to(given.url):
        raise SettingsError("gateway.url: the https address of the city's DICOMweb is needed")
    if not given.token:
        raise SettingsError("gateway.token: the city's access token is needed")
    if not given.devices:
        raise SettingsError("gateway.devices: at least one device that may store is needed")
    if not settings.dimse.port and not settings.dimse.tls_port:
        raise SettingsError("dimse.port or dimse.tls_port: a gateway needs a DICOM port")
    if given.compression not in COMPRESSIONS:
        raise SettingsError("gateway.compression: empty, jpeg-ls or htj2k")
    for entry in entries(settings):
        try:
            tidy = check_entry(entry, settings.dimse.titles)
        except Invalid as error:
            raise SettingsError(f"gateway.devices: {entry.calling}: {error.fields[0][0]} cannot be used") from error
        if tidy.tls:
            outgoing_context(settings.dimse)


def entries(settings: Settings) -> list[DeviceEntry]:
    """The devices of the settings."""
    return [
        DeviceEntry(
            name=one.title, calling=one.title, address=one.address, certificate=one.certificate, host=one.host,
            port=one.port, tls=one.tls, coding=one.coding, conflict_status=one.conflict_status,
        )
        for one in settings.gateway.devices
    ]  # fmt: skip


async def _serve(settings: Settings, say: Say) -> int:
    stop = stop_signal()
    app = create_app(settings)
    await open_gateway(app)
    async with AsyncExitStack() as ending:
        await started(app, ending)      # no address is opened for browsers
        await open_control(app, ending)
        for number in app[DIMSE_PORTS]:
            say(f"  DICOM    {settings.dimse.host}:{number}   called AE title {settings.dimse.titles[0]}")
        waiting = await app[keys.WORK].read(lambda uow: uow.forwards.waiting())
        say(f"  to       {settings.gateway.url}   {waiting} images wait")
        say("  stop with Ctrl-C")
        await stop.wait()
        return 0


async def open_gateway(app: web.Application) -> None:
    """Bring the settings into the database: devices, the city, the one rule. Raises SettingsError."""
    settings = app[keys.SETTINGS]
    given = settings.gateway
    try:
        ca = await asyncio.to_thread(Path(given.ca).read_text, encoding="ascii") if given.ca else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"gateway.ca: {given.ca} cannot be read") from error
    sealed = await asyncio.to_thread(seal, settings.key_folder, given.token, owner=NAME)
    wanted = [check_entry(entry, settings.dimse.titles) for entry in entries(settings)]
    await app[keys.WORK].run(_write, given, wanted, ca, sealed)
    if given.keep_days:
        app[LETTING_GO] = LettingGo(
            app[keys.WORK], app[ARCHIVE], organisation=PLACE, keep=timedelta(days=given.keep_days)
        )


def _write(uow: SqlUnitOfWork, given: Gateway, wanted: list[DeviceEntry], ca: str, sealed: str) -> None:
    if uow.accounts.any():
        raise SettingsError("this data folder is a server's with accounts; a gateway needs a folder of its own")
    try:
        uow.people.organisation(PLACE)
    except NotFound:
        uow.people.add_organisation(Organisation(
            id=PLACE, name="Gateway", short_name="Gateway", tier=Tier.CLINIC, kind=OrganisationKind.COMMUNITY_CENTRE
        ))  # fmt: skip
    _write_devices(uow, wanted)
    city = Destination(
        id=NAME, organisation=PLACE, name=given.url, url=given.url, token=sealed, ca=ca,
        compression=given.compression, created_at=uow.now, next_at=uow.now,
    )  # fmt: skip
    try:
        held = uow.forwards.destination(NAME)
    except NotFound:
        uow.forwards.add_destination(city)
        uow.forwards.add_rule(
            Rule(id=NAME, organisation=PLACE, destination=NAME, earlier=True, created_at=uow.now)
        )
    else:
        uow.forwards.save_destination(replace(city, created_at=held.created_at, version=held.version))


def _write_devices(uow: SqlUnitOfWork, wanted: list[DeviceEntry]) -> None:
    """Those of the settings are in force, no others. Who calls makes a device another one; where it listens and what
    it is answered do not: commitments that wait for it still find their way.
    """
    def mark(one: DeviceEntry | DeviceRow) -> tuple[str, str, str, str]:
        return one.called, one.calling, one.address, one.certificate

    held = {mark(row): row for row in uow.devices.of(PLACE)}
    for entry in wanted:
        row = held.pop(mark(entry), None)
        if row is None:
            uow.devices.add(DeviceRow(
                id=uow.new_id(), organisation=PLACE, name=entry.name, called=entry.called, calling=entry.calling,
                address=entry.address, certificate=entry.certificate, host=entry.host, port=entry.port, tls=entry.tls,
                coding=entry.coding, conflict_status=entry.conflict_status, created_at=uow.now,
            ))  # fmt: skip
            continue
        now = replace(
            row, host=entry.host, port=entry.port, tls=entry.tls, coding=entry.coding,
            conflict_status=entry.conflict_status,
        )  # fmt: skip
        if now != row:
            uow.devices.save(now)
    for row in held.values():
        uow.devices.save(replace(row, ended_at=uow.now))
