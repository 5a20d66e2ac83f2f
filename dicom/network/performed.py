"""Modality performed procedure step as SCP (PS3.4 §F.7): what a modality began, ended or gave up."""

from __future__ import annotations

from dicom.errors import RefusedError
from dicom.network.dimse import SUCCESS, Command, response_to
from dicom.network.ports import Session, StepChange
from dicom.network.records import Record, parse_record

STATUS, SCHEDULED, SERIES = 0x00400252, 0x00400270, 0x00400340
IMAGES, NON_IMAGES = 0x00081140, 0x00400220
IN_PROGRESS = "IN PROGRESS"
_STATUSES = frozenset({IN_PROGRESS, "COMPLETED", "DISCONTINUED"})
_LIMIT = 4 << 20
_ELEMENTS = 200_000
# PS3.7 §C.5 and PS3.4 §F.7.2.2.2.
_PROCESSING, _DUPLICATE, _NO_SUCH, _INVALID_VALUE = 0x0110, 0x0111, 0x0112, 0x0106
_MAY_NOT_CHANGE = 0xA710


async def _read(session: Session, command: Command) -> Record | None:
    data = await session.association.whole_dataset(_LIMIT)
    if data:
        try:
            transfer = session.association.contexts[command.context].transfer
            return parse_record(data, transfer, elements=_ELEMENTS)
        except RefusedError:
            pass
    await session.association.send(command.context, response_to(command, _PROCESSING, comment="dataset"))
    return None


def change_of(uid: str, given: Record) -> StepChange:
    """What the index keeps of it: status, order, study, and how much was made."""
    series = given.items(SERIES)
    first = (given.items(SCHEDULED) or (Record(),))[0]
    return StepChange(
        uid=uid,
        status=given.text(STATUS),
        accession=first.text(0x00080050),
        study_uid=first.text(0x0020000D),
        series=len(series),
        instances=sum(len(one.items(IMAGES)) + len(one.items(NON_IMAGES)) for one in series),
    )


async def create_step(session: Session, command: Command) -> None:
    """N-CREATE: a step begins, and only begins (PS3.4 Table F.7.2-1)."""
    given = await _read(session, command)
    if given is None:
        return
    send, uid = session.association.send, command.text("affected_instance")
    change = change_of(uid, given)
    if change.status != IN_PROGRESS or not uid:
        await send(command.context, response_to(command, _INVALID_VALUE, comment="status or instance"))
        return
    created = await session.backend.step_created(session.device, change)
    await send(command.context, response_to(command, SUCCESS if created else _DUPLICATE))


async def set_step(session: Session, command: Command) -> None:
    """N-SET: it goes on or ends; what has ended does not change."""
    given = await _read(session, command)
    if given is None:
        return
    send = session.association.send
    change = change_of(command.text("requested_instance"), given)
    if change.status and change.status not in _STATUSES:
        await send(command.context, response_to(command, _INVALID_VALUE, comment="status"))
        return
    done = await session.backend.step_changed(session.device, change)
    status = {"ok": SUCCESS, "unknown": _NO_SUCH, "final": _PROCESSING}[done]
    more = {"error": _MAY_NOT_CHANGE} if done == "final" else None
    await send(command.context, response_to(command, status, more=more))
