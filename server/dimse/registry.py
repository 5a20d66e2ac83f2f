"""The registry of devices. Services: one unit of work each. An organisation's administrator keeps its own devices."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from consult.access import Action, authorize
from consult.errors import Invalid, NotFound, Wrong
from consult.people import Actor, OrganisationId
from server.auth.audit import audit
from server.storage.devices import DeviceRow
from server.storage.unit import SqlUnitOfWork

CODINGS = ("utf-8", "gb18030", "gbk", "iso58", "pinyin")
CONFLICT_STATUSES = (0xB000, 0x0000, 0x0110, 0xA700)
_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?\Z")  # PS3.5 §6.2, AE: no backslash, no outer blanks
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,250}[A-Za-z0-9])?\Z")
_MODALITY = re.compile(r"[A-Z0-9_]{1,16}\Z")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")
_MOST_MODALITIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEntry:
    """What an administrator writes about a device."""

    name: str
    calling: str
    called: str = ""
    address: str = ""
    certificate: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False
    coding: str = "utf-8"
    conflict_status: int = 0xB000
    modalities: tuple[str, ...] = ()


def check_entry(entry: DeviceEntry, titles: Sequence[str]) -> DeviceEntry:
    """The entry in its stored form. Raises Invalid with every wrong field."""
    wrong: list[Wrong] = []
    tidy = replace(
        entry,
        name=entry.name.strip(),
        calling=entry.calling.strip(),
        called=entry.called.strip() or titles[0],
        address=entry.address.strip(),
        certificate=entry.certificate.replace(":", "").strip().lower(),
        host=entry.host.strip(),
        modalities=tuple(dict.fromkeys(one.strip().upper() for one in entry.modalities if one.strip())),
    )
    if not tidy.name:
        wrong.append(("name", "required"))
    elif len(tidy.name) > 100:
        wrong.append(("name", "too_long", {"max": 100}))
    if not tidy.calling:
        wrong.append(("calling", "required"))
    elif not _TITLE.match(tidy.calling):
        wrong.append(("calling", "type"))
    if tidy.called not in titles:
        wrong.append(("called", "choice"))
    if tidy.address:
        try:
            tidy = replace(tidy, address=_network(tidy.address))
        except ValueError:
            wrong.append(("address", "type"))
    if tidy.certificate and not _FINGERPRINT.match(tidy.certificate):
        wrong.append(("certificate", "type"))
    if not tidy.address and not tidy.certificate:
        # Titles are known to everybody who has seen one image: alone they prove nothing.
        wrong.append(("address", "required"))
    if tidy.host and not _HOST.match(tidy.host):
        wrong.append(("host", "type"))
    if tidy.host and not 1 <= tidy.port <= 65535:
        wrong.append(("port", "required"))
    if tidy.coding not in CODINGS:
        wrong.append(("coding", "choice"))
    if tidy.conflict_status not in CONFLICT_STATUSES:
        wrong.append(("conflict_status", "choice"))
    if len(tidy.modalities) > _MOST_MODALITIES or not all(_MODALITY.match(one) for one in tidy.modalities):
        wrong.append(("modalities", "type"))
    if wrong:
        raise Invalid(*wrong)
    return tidy if tidy.host else replace(tidy, port=0, tls=False)


def _network(text: str) -> str:
    """An address as such, a network with its length. Raises ValueError."""
    if "/" in text:
        return str(ipaddress.ip_network(text, strict=False))
    return str(ipaddress.ip_address(text))


def list_devices(uow: SqlUnitOfWork, *, actor: Actor) -> Sequence[DeviceRow]:
    """Devices of the administrator's organisation, by name."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    return uow.devices.of(actor.organisation)


def add_device(uow: SqlUnitOfWork, *, actor: Actor, entry: DeviceEntry, titles: Sequence[str]) -> DeviceRow:
    """Raises Invalid, also where another device has the same titles and address."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    tidy = check_entry(entry, titles)
    _check_alone(uow, tidy, None)
    row = DeviceRow(
        id=uow.new_id(), organisation=actor.organisation, created_at=uow.now, **_values(tidy)
    )  # fmt: skip
    uow.devices.add(row)
    audit(uow, actor, "device.add", f"device:{row.id}")
    return row


def change_device(
    uow: SqlUnitOfWork, *, actor: Actor, id: str, version: int, entry: DeviceEntry, titles: Sequence[str]
) -> DeviceRow:
    """Raises NotFound, Invalid, Stale."""
    found = open_device(uow, actor=actor, id=id)
    tidy = check_entry(entry, titles)
    _check_alone(uow, tidy, found.id)
    saved = uow.devices.save(replace(found, version=version, **_values(tidy)))
    audit(uow, actor, "device.change", f"device:{id}")
    return saved


def end_device(uow: SqlUnitOfWork, *, actor: Actor, id: str) -> DeviceRow:
    """The device is known no more; its images stay."""
    found = open_device(uow, actor=actor, id=id)
    saved = uow.devices.save(replace(found, ended_at=uow.now))
    audit(uow, actor, "device.end", f"device:{id}")
    return saved


def open_device(uow: SqlUnitOfWork, *, actor: Actor, id: str) -> DeviceRow:
    """A device in force of the administrator's organisation. NotFound for all others."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    found = uow.devices.get(id)
    if found.organisation != actor.organisation or found.ended_at is not None:
        raise NotFound(kind="device")
    return found


def _values(entry: DeviceEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}


def _check_alone(uow: SqlUnitOfWork, entry: DeviceEntry, own: str | None) -> None:
    """Two devices that one caller could be would leave open whose images those are."""
    for other in uow.devices.calling(entry.called, entry.calling):
        if other.id == own or bool(other.certificate) != bool(entry.certificate):
            continue
        if entry.certificate:
            clash = other.certificate == entry.certificate
        else:
            one, two = ipaddress.ip_network(other.address), ipaddress.ip_network(entry.address)
            clash = one.version == two.version and one.overlaps(two)
        if clash:
            raise Invalid(("calling", "taken"))


def find_device(
    uow: SqlUnitOfWork, *, called: str, calling: str, address: str, fingerprint: str
) -> DeviceRow | None:
    """Who calls. A device with a certificate is known by it alone; one without by its address."""
    rows = uow.devices.calling(called, calling)
    if fingerprint:
        for row in rows:
            if row.certificate == fingerprint and (not row.address or _within(address, row.address)):
                return row
    for row in rows:
        if not row.certificate and _within(address, row.address):
            return row
    return None


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False


def destination_of(uow: SqlUnitOfWork, *, organisation: OrganisationId, title: str) -> DeviceRow | None:
    """The device of this organisation that listens under `title`. Never another organisation's: a C-MOVE must not
    carry images out of the house.
    """
    return next((row for row in uow.devices.of(organisation) if row.calling == title and row.host), None)
