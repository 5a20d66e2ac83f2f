"""The house behind the DICOM network (dicom/network/ports.py, Backend): registry, scope, audit, matching."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Literal

from consult.model import AuditRow
from consult.people import OrganisationId
from dicom.archive import Archive
from dicom.model import IngestResult, Scope
from dicom.network.ports import Address, Call, Device, NoSuchTitleError, StepChange, Use
from dicom.network.records import Record
from server.dimse.registry import destination_of, find_device
from server.dimse.scheduled import scheduled
from server.matching import match_studies
from server.romanise import romanise
from server.storage.devices import DeviceRow, PerformedStep
from server.storage.outbox import Delivery
from server.storage.unit import SqlUnitOfWork
from server.tasks import Tasks
from server.work import Work

COMMITMENT = "dimse.commitment"
ACTIONS: Mapping[Use, str] = {
    "store": "study.store", "find": "study.search", "retrieve": "study.download", "worklist": "order.list",
}  # fmt: skip
SETTLE_SECONDS = 2.0


def note(uow: SqlUnitOfWork, device: Device, action: str, object: str, **detail: Any) -> None:
    """An audit row of a device: it has no person, but an organisation."""
    uow.audit.append(AuditRow(
        n=0, at=uow.now, membership=None, staff=None, organisation=OrganisationId(device.organisation),
        action=action, object=object, outcome="ok", detail={"device": device.id, **detail},
    ))  # fmt: skip


def device_of(row: DeviceRow) -> Device:
    """A row of the registry as the network knows it."""
    return Device(
        id=row.id, organisation=row.organisation, called=row.called, calling=row.calling,
        coding=row.coding,  # type: ignore[arg-type]
        conflict_status=row.conflict_status, modalities=frozenset(row.modalities),
    )  # fmt: skip


class Matcher:
    """Asks whose each study is once its instances have come, not for each of a thousand."""

    def __init__(self, archive: Archive, work: Work, tasks: Tasks, *, seconds: float = SETTLE_SECONDS) -> None:
        self._archive, self._work, self._tasks, self._seconds = archive, work, tasks, seconds
        self._waiting: set[tuple[str, str]] = set()

    def told(self, organisation: str, study_uid: str) -> None:
        """An instance of the study was stored."""
        if (organisation, study_uid) not in self._waiting:
            self._waiting.add((organisation, study_uid))
            self._tasks.once("match_received", self._later(organisation, study_uid))

    async def _later(self, organisation: str, study_uid: str) -> None:
        await asyncio.sleep(self._seconds)
        self._waiting.discard((organisation, study_uid))
        await match_studies(self._archive, self._work, OrganisationId(organisation), [study_uid])


class House:
    """The backend over the clinical database and the archive."""

    def __init__(
        self, work: Work, archive: Archive, matcher: Matcher, *, titles: Sequence[str], zone: tzinfo,
        tls: Callable[[], ssl.SSLContext], ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._work, self._archive, self._matcher = work, archive, matcher
        self._titles = frozenset(titles)
        self._zone = zone
        self._tls = tls
        self._ready = ready

    async def admit(self, call: Call) -> Device | None:
        """See Backend.admit. The port is open before the archive's workers are: who calls early waits for them."""
        if self._ready is not None:
            await self._ready()
        if call.called not in self._titles:
            raise NoSuchTitleError
        row = await self._work.read(
            find_device, called=call.called, calling=call.calling, address=call.address, fingerprint=call.fingerprint
        )
        return device_of(row) if row is not None else None

    async def allow(self, device: Device, use: Use, studies: Sequence[str] = ()) -> Scope:
        """A device sees what its organisation holds, as that one's technicians do, and stores there."""
        await self._work.run(_noted, device, use, tuple(studies))
        return Scope(organisations=frozenset({device.organisation}), holder=device.organisation)

    async def stored(self, device: Device, result: IngestResult) -> None:
        """See Backend.stored."""
        self._matcher.told(device.organisation, result.study_uid)

    async def destination(self, device: Device, title: str) -> Address | None:
        """See Backend.destination."""
        row = await self._work.read(
            destination_of, organisation=OrganisationId(device.organisation), title=title
        )
        return self.address_of(row) if row is not None else None

    def address_of(self, row: DeviceRow) -> Address:
        """Where a device listens, and how. SettingsError where it wants TLS and the settings name no files for it."""
        return Address(title=row.calling, host=row.host, port=row.port, tls=self._tls() if row.tls else None)

    def romanise(self, text: str) -> str:
        """See Backend.romanise: the first reading, words together."""
        return "".join(word.capitalize() for word in romanise(text).partition("|")[0].split())

    async def worklist(self, device: Device) -> Sequence[Record]:
        """See Backend.worklist."""
        return await self._work.read(scheduled, device=device, zone=self._zone)

    async def commit_requested(self, device: Device, transaction: str, pairs: Sequence[tuple[str, str]]) -> bool:
        """See Backend.commit_requested. Kept in the outbox: the report outlives a restart."""
        return await self._work.run(_commitment, device, transaction, tuple(pairs))

    async def step_created(self, device: Device, change: StepChange) -> bool:
        """See Backend.step_created."""
        return await self._work.run(_step_created, device, change)

    async def step_changed(self, device: Device, change: StepChange) -> Literal["ok", "unknown", "final"]:
        """See Backend.step_changed."""
        return await self._work.run(_step_changed, device, change)


def _noted(uow: SqlUnitOfWork, device: Device, use: Use, studies: tuple[str, ...]) -> None:
    objects = [f"study:{uid}" for uid in studies] or [f"organisation:{device.organisation}"]
    for name in objects:
        note(uow, device, ACTIONS[use], name)


def _commitment(uow: SqlUnitOfWork, device: Device, transaction: str, pairs: tuple[tuple[str, str], ...]) -> bool:
    if not uow.devices.get(device.id).host:
        return False
    uow.outbox.add(Delivery(
        id=uow.new_id(), kind=COMMITMENT, target=device.id,
        payload={"transaction": transaction, "instances": [list(pair) for pair in pairs]},
        created_at=uow.now, next_at=uow.now,
    ))  # fmt: skip
    uow.publish("commitment", {"device": device.id})
    return True


def _step_created(uow: SqlUnitOfWork, device: Device, change: StepChange) -> bool:
    return uow.devices.add_step(PerformedStep(
        id=change.uid, device=device.id, organisation=OrganisationId(device.organisation), status=change.status,
        accession=change.accession, study_uid=change.study_uid, series=change.series, instances=change.instances,
        created_at=uow.now, changed_at=uow.now,
    ))  # fmt: skip


def _step_changed(uow: SqlUnitOfWork, device: Device, change: StepChange) -> Literal["ok", "unknown", "final"]:
    found = uow.devices.step(change.uid)
    if found is None or found.organisation != device.organisation:
        return "unknown"
    changed = PerformedStep(
        id=found.id, device=found.device, organisation=found.organisation, status=change.status or found.status,
        accession=found.accession, study_uid=found.study_uid, series=max(change.series, found.series),
        instances=max(change.instances, found.instances), created_at=found.created_at, changed_at=uow.now,
    )  # fmt: skip
    return "ok" if uow.devices.change_step(changed) else "final"


