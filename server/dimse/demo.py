"""Two devices of the demo city's clinic, so that its DICOM port can be tried from this machine."""

from __future__ import annotations

from aiohttp import web

from consult.people import Role
from server import keys
from server.storage.devices import DeviceRow
from server.storage.unit import SqlUnitOfWork

CLINIC_TECHNICIAN = "sunqiang"
# name, AE title, character set, modalities of its worklist, port it listens on
DEVICES = (
    ("放射科 CT", "DEMO_CT", "gb18030", ("CT",), 0),
    ("影像工作站", "DEMO_PACS", "utf-8", (), 11113),
)


async def register_demo_devices(app: web.Application) -> None:
    """Adds them once; nothing where the demo's technician does not exist."""
    await app[keys.WORK].run(_register, app[keys.SETTINGS].dimse.titles[0])


def _register(uow: SqlUnitOfWork, called: str) -> None:
    person = uow.people.staff_by_login(CLINIC_TECHNICIAN)
    if person is None:
        return
    place = next(
        (held.organisation for held in uow.people.memberships(staff=person.id) if held.role is Role.TECHNICIAN), None
    )
    if place is None or not uow.settings.add("demo.devices", True):
        return
    for name, calling, coding, modalities, port in DEVICES:
        uow.devices.add(DeviceRow(
            id=uow.new_id(), organisation=place, name=name, called=called, calling=calling, address="127.0.0.1",
            host="127.0.0.1" if port else "", port=port, coding=coding, modalities=modalities, created_at=uow.now,
        ))  # fmt: skip
