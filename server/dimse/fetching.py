"""Asking another archive and fetching from it: C-FIND, then C-GET, or C-MOVE to ourselves where C-GET is not offered.

The other archive is a registered device of the organisation that asks; what comes belongs to that organisation, by the
same door as everything a device sends. Jobs live in memory: after a restart one asks again, and what is here stays.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from consult.access import Action, authorize
from consult.errors import Invalid, NotFound, Wrong
from consult.people import Actor, OrganisationId
from dicom.archive import Archive
from dicom.errors import DicomError
from dicom.model import Scope
from dicom.network import fetch
from dicom.network.dimse import SUCCESS
from dicom.network.fetch import NotOfferedError, Peer, Progress
from dicom.network.records import Record
from dicom.network.terms import NetworkLimits, RejectedError
from server.auth.audit import audit
from server.dimse.backend import House, device_of
from server.settings import SettingsError
from server.storage.devices import DeviceRow
from server.storage.unit import SqlUnitOfWork, new_id
from server.tasks import Tasks
from server.work import Work

LOG = logging.getLogger("huizhen.fetch")
MOST_FOUND = 200
MOST_STUDIES = 50
MOST_JOBS = 20
PATIENT_SECONDS = 600.0  # an archive may have to bring a study from far before its first word
_DATE = re.compile(r"\d{8}(-(\d{8})?)?\Z|-\d{8}\Z")
_KEYS: Mapping[str, int] = {
    "patient_id": 0x00100020, "patient_name": 0x00100010, "accession": 0x00080050, "date": 0x00080020,
    "study_uid": 0x0020000D,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for; at least one of them. `date` is a day or a range, YYYYMMDD."""

    patient_id: str = ""
    patient_name: str = ""
    accession: str = ""
    date: str = ""
    study_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One study of the other archive. `here`: how many of its instances the asking organisation holds."""

    study_uid: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    accession: str
    date: str
    description: str
    modalities: tuple[str, ...]
    instances: int
    here: int


@dataclass(slots=True, kw_only=True)
class Piece:
    """One study of a job. `state`: waiting, running, done, partly, failed, cancelled."""

    study_uid: str
    state: str = "waiting"
    error: str = ""
    completed: int = 0
    failed: int = 0
    remaining: int = 0
    way: str = ""                # get or move


@dataclass(slots=True, kw_only=True)
class Job:
    """What one person fetches."""

    id: str
    organisation: OrganisationId
    device: str
    began: datetime
    pieces: list[Piece]
    cancelled: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def over(self) -> bool:
        """Nothing of it waits or runs."""
        return all(piece.state not in {"waiting", "running"} for piece in self.pieces)


class FetchFailedError(Exception):
    """The other archive could not be asked; `reason` is a code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def reason_of(error: BaseException) -> str:
    """A code for what went wrong between two archives."""
    if isinstance(error, RejectedError):
        return "rejected"
    if isinstance(error, NotOfferedError):
        return "not_offered"
    if isinstance(error, SettingsError):
        return "tls"
    if isinstance(error, DicomError):
        return error.reason
    return "unreachable"


def check_wanted(wanted: Wanted) -> Wanted:
    """Without outer blanks. Raises Invalid: a query for everything is none."""
    tidy = replace(wanted, **{name: getattr(wanted, name).strip() for name in _KEYS})
    wrong: list[Wrong] = []
    if not any(getattr(tidy, name).strip("*?") for name in _KEYS):
        wrong.append(("patient_id", "required"))
    if tidy.date and not _DATE.match(tidy.date):
        wrong.append(("date", "bad_date"))
    wrong += [(name, "wrong_kind") for name in _KEYS if "\\" in getattr(tidy, name) or len(getattr(tidy, name)) > 64]
    if wrong:
        raise Invalid(*wrong)
    return tidy


def list_archives(uow: SqlUnitOfWork, *, actor: Actor) -> Sequence[DeviceRow]:
    """Devices of the organisation that listen somewhere: any of them may be an archive."""
    authorize(uow, actor, Action.STUDIES_UPLOAD, actor.organisation)
    return [row for row in uow.devices.of(actor.organisation) if row.host]


def open_archive(
    uow: SqlUnitOfWork, *, actor: Actor, device: str, action: str, studies: Sequence[str] = ()
) -> DeviceRow:
    """The archive to be asked, and the audit rows of asking it. NotFound for devices of others."""
    found = next((row for row in list_archives(uow, actor=actor) if row.id == device), None)
    if found is None:
        raise NotFound(kind="device")
    note_asked(uow, actor, found, action, studies)
    return found


def note_asked(
    uow: SqlUnitOfWork, actor: Actor | None, row: DeviceRow, action: str, studies: Sequence[str]
) -> None:
    """One audit row per study, or one for a search; never what was looked for."""
    for name in [f"study:{uid}" for uid in studies] or [f"device:{row.id}"]:
        audit(uow, actor, action, name, detail={"device": row.id} | ({} if actor else {"by": "console"}))


class Fetcher:
    """Asks and fetches for one server."""

    def __init__(self, work: Work, archive: Archive, house: House, tasks: Tasks, limits: NetworkLimits) -> None:
        self._work, self._archive, self._house, self._tasks = work, archive, house, tasks
        self._limits = replace(limits, idle_seconds=max(limits.idle_seconds, PATIENT_SECONDS))
        self._jobs: dict[str, Job] = {}

    def _peer(self, row: DeviceRow) -> Peer:
        return Peer(address=self._house.address_of(row), calling=row.called, limits=self._limits)

    async def search(self, row: DeviceRow, wanted: Wanted) -> list[Found]:
        """Studies of another archive, at most MOST_FOUND. Raises FetchFailedError. The caller has asked permission."""
        keys = dict.fromkeys(fetch.RETURNED, "") | {
            tag: value for name, tag in _KEYS.items() if (value := getattr(wanted, name))
        }
        try:
            records = await fetch.find(self._peer(row), keys, most=MOST_FOUND)
        except (OSError, TimeoutError, DicomError, SettingsError) as error:
            LOG.info("archive not asked", extra={"device": row.id, "error": reason_of(error)})
            raise FetchFailedError(reason_of(error)) from error
        scope = Scope(organisations=frozenset({row.organisation}))
        return await asyncio.to_thread(lambda: [self._found(scope, one) for one in records if one.text(fetch.STUDY)])

    def _found(self, scope: Scope, one: Record) -> Found:
        uid = one.text(fetch.STUDY)
        held = self._archive.study(scope, uid)
        count = one.text(0x00201208)
        return Found(
            study_uid=uid, patient_id=one.text(0x00100020), patient_name=one.text(0x00100010),
            birth_date=one.text(0x00100030), sex=one.text(0x00100040), accession=one.text(0x00080050),
            date=one.text(0x00080020), description=one.text(0x00081030),
            modalities=tuple(filter(None, one.text(0x00080061).split("\\"))),
            instances=int(count) if count.isascii() and count.isdigit() else 0,
            here=held.instance_count if held else 0,
        )  # fmt: skip

    def start(self, row: DeviceRow, studies: Sequence[str]) -> Job:
        """Begin to fetch. The caller has asked permission and written it down."""
        for old in [job.id for job in self._jobs.values() if job.over][: -MOST_JOBS or None]:
            self._jobs.pop(old)
        job = Job(
            id=new_id(), organisation=row.organisation, device=row.id, began=self._work.clock(),
            pieces=[Piece(study_uid=uid) for uid in dict.fromkeys(studies)],
        )  # fmt: skip
        self._jobs[job.id] = job
        self._tasks.once("fetch", self.run(job, row))
        return job

    def job(self, organisation: str, id: str) -> Job:
        """A job of this organisation. NotFound for all others."""
        found = self._jobs.get(id)
        if found is None or found.organisation != organisation:
            raise NotFound(kind="fetch")
        return found

    def cancel(self, job: Job) -> None:
        """What has come stays; what is under way is cut off."""
        job.cancelled = True
        if job.task is not None:
            job.task.cancel()

    async def run(self, job: Job, row: DeviceRow) -> None:
        """Fetch one study after the other."""
        for piece in job.pieces:
            if job.cancelled:
                piece.state = "cancelled"
                continue
            piece.state = "running"
            job.task = asyncio.ensure_future(self._one(row, piece))
            try:
                await job.task
            except asyncio.CancelledError:
                piece.state = "cancelled"
                if not job.cancelled:
                    job.task.cancel()
                    raise

    async def _one(self, row: DeviceRow, piece: Piece) -> None:
        def told(progress: Progress) -> None:
            piece.completed = progress.completed + progress.warning
            piece.failed, piece.remaining = progress.failed, progress.remaining

        try:
            end = await self._by_any_way(row, piece, told)
        except (OSError, TimeoutError, DicomError, SettingsError) as error:
            piece.state, piece.error = "failed", reason_of(error)
            LOG.info("study not fetched", extra={"device": row.id, "error": piece.error})
            return
        piece.remaining = 0
        if end.status == SUCCESS:
            piece.state = "done"
        else:
            piece.state, piece.error = "partly" if piece.completed else "failed", f"status_{end.status or 0:04x}"

    async def _by_any_way(self, row: DeviceRow, piece: Piece, told: fetch.Told) -> Progress:
        peer = self._peer(row)
        piece.way = "get"
        with_classes = await fetch.classes_of(peer, piece.study_uid)
        try:
            end = await fetch.get(
                peer, piece.study_uid, archive=self._archive, backend=self._house, device=device_of(row),
                classes=with_classes, told=told,
            )  # fmt: skip
            if end.status == SUCCESS or end.completed or end.warning:
                return end
        except NotOfferedError:
            LOG.info("no C-GET, asking for C-MOVE", extra={"device": row.id})
        piece.way = "move"
        return await fetch.move(peer, piece.study_uid, row.called, told=told)
