"""Registered DICOM devices and performed procedure steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update

from consult.people import OrganisationId
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_devices import device, performed_step


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """One registered device. `address`: an address or network, '' where the certificate alone proves it."""

    id: str
    organisation: OrganisationId
    name: str
    called: str                    # our title that it calls
    calling: str                   # its own title
    address: str = ""
    certificate: str = ""          # SHA-256 of its TLS certificate, hex
    host: str = ""                 # where it listens (C-MOVE, storage commitment); '' it does not
    port: int = 0
    tls: bool = False
    coding: str = "utf-8"
    conflict_status: int = 0xB000
    modalities: tuple[str, ...] = ()
    created_at: datetime
    ended_at: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformedStep:
    """What a modality told of one performed procedure step; the id is its SOP Instance UID."""

    id: str
    device: str
    organisation: OrganisationId
    status: str
    accession: str
    study_uid: str
    series: int
    instances: int
    created_at: datetime
    changed_at: datetime


_DEVICE = Mapper(DeviceRow, device)
_STEP = Mapper(PerformedStep, performed_step)


class Devices(Repository):
    def get(self, id: str) -> DeviceRow:
        return self._get(_DEVICE, id)

    def add(self, row: DeviceRow) -> None:
        """Conflict when a device in force has the same titles, address and certificate."""
        self._add(_DEVICE, row)

    def save(self, row: DeviceRow) -> DeviceRow:
        return self._save(_DEVICE, row)

    def of(self, organisation: OrganisationId) -> Sequence[DeviceRow]:
        """Those in force, by name."""
        return self._list_by(_DEVICE, ("name", "id"), organisation=organisation, ended_at=None)

    def calling(self, called: str, calling: str) -> Sequence[DeviceRow]:
        """Those in force that use these titles."""
        return self._list_by(_DEVICE, ("created_at", "id"), called=called, calling=calling, ended_at=None)

    def step(self, id: str) -> PerformedStep | None:
        return self._find_by(_STEP, id=id)

    def steps(self, organisation: OrganisationId, accession: str) -> Sequence[PerformedStep]:
        """The steps performed under one accession number."""
        return self._list_by(_STEP, ("created_at", "id"), organisation=organisation, accession=accession)

    def add_step(self, step: PerformedStep) -> bool:
        """False when the UID is taken."""
        return self.link.insert_new(performed_step, _STEP.values(step))

    def change_step(self, step: PerformedStep) -> bool:
        """False when it is over already: such a step never changes (PS3.4 §F.7.2.2.2)."""
        c = performed_step.c
        values = _STEP.values(step)
        values.pop("id")
        statement = update(performed_step).where(c.id == step.id, c.status == "IN PROGRESS").values(values)
        return self.link.execute(statement).rowcount == 1
