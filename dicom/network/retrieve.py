"""C-MOVE and C-GET as SCP (PS3.4 §C.4.2, §C.4.3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from dicom.errors import DicomError
from dicom.model import InstanceRow, Query, Scope
from dicom.network.association import Association
from dicom.network.dimse import CANCELLED, PENDING, SUCCESS, Command, response_to
from dicom.network.find import LEVEL, read_identifier
from dicom.network.negotiation import PATIENT_GET, PATIENT_MOVE
from dicom.network.ports import Session
from dicom.network.records import Record, record, write_record
from dicom.network.scu import context_for, open_association, proposals_for, send_instance
from dicom.network.terms import AssociationEndedError, Context

log = logging.getLogger(__name__)
_MISMATCH, _NO_DESTINATION, _ALL_FAILED, _SOME_FAILED, _CANNOT = 0xA900, 0xA801, 0xA702, 0xB000, 0xC000
_FAILED_LIST = 0x00080058
_MOST_UIDS = 1000
_PAGE = 500
_KEYS = {"PATIENT": 0x00100020, "STUDY": 0x0020000D, "SERIES": 0x0020000E, "IMAGE": 0x00080018}


@dataclass(slots=True)
class _Count:
    """Sub-operations of one retrieval."""

    total: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, status: int, uid: str) -> None:
        """The status of one C-STORE (PS3.4 §B.2.3): Bxxx are warnings."""
        if status == SUCCESS:
            self.completed += 1
        elif status & 0xF000 == 0xB000:
            self.warning += 1
        else:
            self.failed.append(uid)

    @property
    def values(self) -> dict[str, int | str]:
        return {"completed": self.completed, "failed": len(self.failed), "warning": self.warning}

    @property
    def remaining(self) -> int:
        return self.total - self.completed - self.warning - len(self.failed)


async def _wanted(session: Session, command: Command) -> list[InstanceRow] | None:
    """The instances the identifier names within the scope; None when the request was answered with a failure."""
    identifier = await read_identifier(session, command)
    if identifier is None:
        return None
    send, device = session.association.send, session.device
    level = identifier.text(LEVEL).upper()
    patient_root = session.association.contexts[command.context].abstract in {PATIENT_MOVE, PATIENT_GET}
    values = [one for one in identifier.text(_KEYS.get(level, 0)).split("\\") if one]
    readable = (level == "PATIENT" and patient_root and len(values) == 1 and not set(values[0]) & set("*?")) or (
        level in {"STUDY", "SERIES", "IMAGE"} and 0 < len(values) <= _MOST_UIDS and all(map(_is_uid, values))
    )
    studies = [one for one in identifier.text(_KEYS["STUDY"]).split("\\") if one]
    if not readable or not all(map(_is_uid, studies)):
        await send(command.context, response_to(command, _MISMATCH, comment="identifier"))
        return None
    # What it is about is written down before anything leaves; where the request does not name studies, they are
    # looked for first.
    scope = await session.backend.allow(device, "retrieve" if studies else "find", studies)
    rows = await asyncio.to_thread(_look, session, scope, level, values, identifier)
    if not studies and rows:
        await session.backend.allow(device, "retrieve", sorted({row.study_uid for row in rows}))
    return rows


def _look(session: Session, scope: Scope, level: str, values: Sequence[str], identifier: Record) -> list[InstanceRow]:
    archive = session.archive
    if level == "PATIENT":
        studies: list[str] = []
        while True:
            query = Query(matches={"PatientID": values[0]}, limit=_PAGE, offset=len(studies))
            found = archive.studies(scope, query)
            studies += [row.study_uid for row in found]
            if len(found) < _PAGE:
                break
        return [row for uid in studies for row in archive.instances(scope, uid)]
    if level == "STUDY":
        return [row for uid in values for row in archive.instances(scope, uid)]
    study = identifier.text(_KEYS["STUDY"]) or None
    if level == "SERIES":
        return [row for uid in values for row in archive.instances(scope, study, uid)]
    out: list[InstanceRow] = []
    series = identifier.text(_KEYS["SERIES"])
    for start in range(0, len(values), _PAGE):
        matches = {"SOPInstanceUID": "\\".join(values[start : start + _PAGE])}
        if series:
            matches["SeriesInstanceUID"] = series
        out += archive.instances(scope, study, None, Query(matches=matches))
    return out


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= 64 and not text.strip("0123456789.")


async def get(session: Session, command: Command) -> None:
    """C-GET: the instances come back on the contexts for which the peer took the role of SCP."""
    rows = await _wanted(session, command)
    if rows is None:
        return
    count = _Count(len(rows))
    contexts = [context for context in session.association.contexts.values() if context.peer_is_scp]
    for row in rows:
        if command.message in session.association.cancelled:
            break
        await _one(session, session.association, contexts, row, count, {})
        await _tell(session, command, count)
    await _final(session, command, count)


async def move(session: Session, command: Command) -> None:
    """C-MOVE: the instances go to a registered device of the same organisation."""
    rows = await _wanted(session, command)
    if rows is None:
        return
    address = await session.backend.destination(session.device, command.text("destination"))
    if address is None:
        await session.association.send(
            command.context, response_to(command, _NO_DESTINATION, comment="Move Destination unknown")
        )
        return
    count = _Count(len(rows))
    originator: dict[str, int | str] = {
        "originator": session.device.calling, "originator_message": command.message,
    }  # fmt: skip
    for proposals, part in proposals_for(rows):
        target: Association | None = None
        handled = 0
        try:
            target = await open_association(address, session.device.called, proposals, session.association.limits)
            contexts = list(target.contexts.values())
            for row in part:
                if command.message in session.association.cancelled:
                    break
                await _one(session, target, contexts, row, count, originator)
                handled += 1
                await _tell(session, command, count)
            await target.release()
        except (OSError, TimeoutError, DicomError) as error:
            if session.association.ended:
                raise
            log.warning("move failed", extra={"error": getattr(error, "reason", type(error).__name__)})
            count.failed += [row.sop_uid for row in part[handled:]]
        finally:
            if target is not None:
                target.drop()
    await _final(session, command, count)


async def _one(
    session: Session,
    target: Association,
    contexts: Sequence[Context],
    row: InstanceRow,
    count: _Count,
    originator: dict[str, int | str],
) -> None:
    context = context_for(contexts, row)
    if context is None:
        count.failed.append(row.sop_uid)
        return
    try:
        count.add(await send_instance(target, session.archive, row, context, originator), row.sop_uid)
    except AssociationEndedError:
        raise
    except DicomError as error:
        log.warning("instance not sent", extra={"error": error.reason})
        count.failed.append(row.sop_uid)


async def _tell(session: Session, command: Command, count: _Count) -> None:
    if count.remaining:
        more = {**count.values, "remaining": count.remaining}
        await session.association.send(command.context, response_to(command, PENDING, more=more))


async def _final(session: Session, command: Command, count: _Count) -> None:
    more = dict(count.values)
    if count.remaining:
        status = CANCELLED
        more["remaining"] = count.remaining
    elif not count.failed:
        status = SUCCESS
    else:
        status = _SOME_FAILED if count.completed or count.warning else _ALL_FAILED
    data = None
    if count.failed:
        transfer = session.association.contexts[command.context].transfer
        data = write_record(record({_FAILED_LIST: "\\".join(count.failed[:_MOST_UIDS])}), transfer)
    await session.association.send(
        command.context, response_to(command, status, dataset=data is not None, more=more), data
    )
