"""Storage commitment, push model, as SCP (PS3.4 Annex J): success is said of bytes that were read and hashed again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from dicom.archive import Archive
from dicom.errors import DicomError, NotFoundError, RefusedError
from dicom.model import InstanceRow, Query, Scope
from dicom.network.dimse import SUCCESS, Command, response_to
from dicom.network.negotiation import STORAGE_COMMITMENT_INSTANCE
from dicom.network.ports import Session
from dicom.network.records import IDENTIFIER_LIMIT, Record, parse_record, record, write_record
from dicom.network.scu import send_event
from dicom.retrieve import ByteRange

TRANSACTION, REFERENCED, FAILED, REASON = 0x00081195, 0x00081199, 0x00081198, 0x00081197
SOP_CLASS, SOP_INSTANCE = 0x00081150, 0x00081155
ALL_GOOD, SOME_FAILED = 1, 2  # event types (PS3.4 Table J.3-3)
# Failure reasons (PS3.3 §C.14.1.1).
_PROCESSING, _NO_SUCH_OBJECT, _CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
_NO_SUCH_ACTION, _INVALID_ARGUMENT = 0x0123, 0x0115
_LIMIT = 64 * IDENTIFIER_LIMIT
_MOST = 20_000
_CHUNK = 4 << 20
_PAGE = 500


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= 64 and not text.strip("0123456789.")


def pairs_of(request: Record) -> list[tuple[str, str]] | None:
    """(SOP class, instance) of the Referenced SOP Sequence; None where there are none or too many, or one is no UID."""
    pairs = [(one.text(SOP_CLASS), one.text(SOP_INSTANCE)) for one in request.items(REFERENCED)]
    readable = all(_is_uid(uid) for pair in pairs for uid in pair)
    return pairs if 0 < len(pairs) <= _MOST and readable else None


async def commit(session: Session, command: Command) -> None:
    """One N-ACTION-RQ. The report follows on a new association where the device listens, else on this one."""
    association, device = session.association, session.device
    data = await association.whole_dataset(_LIMIT)
    if command.number("action_type") != 1:
        await association.send(command.context, response_to(command, _NO_SUCH_ACTION))
        return
    transfer = association.contexts[command.context].transfer
    request = Record()
    if data:
        try:
            request = await asyncio.to_thread(parse_record, data, transfer, elements=4 * _MOST)
        except RefusedError:
            request = Record()
    pairs, transaction = pairs_of(request), request.text(TRANSACTION)
    if pairs is None or not _is_uid(transaction):
        await association.send(command.context, response_to(command, _INVALID_ARGUMENT))
        return
    # Kept before it is acknowledged: the promise of a report outlives a restart.
    kept = await session.backend.commit_requested(device, transaction, pairs)
    more = {"action_type": 1}
    await association.send(command.context, response_to(command, SUCCESS, more=more))
    if not kept:
        scope = Scope(organisations=frozenset({device.organisation}))
        outcome = await verify(session.archive, scope, pairs)
        event, information = report(transaction, pairs, outcome)
        raw = write_record(information, transfer)
        await send_event(association, command.context, event=event, data=raw, instance=STORAGE_COMMITMENT_INSTANCE)


async def verify(archive: Archive, scope: Scope, pairs: Sequence[tuple[str, str]]) -> list[int]:
    """For each pair 0, or why not: no such object, another class, or bytes that are not what was stored."""
    out: list[int] = []
    for start in range(0, len(pairs), _PAGE):
        part = pairs[start : start + _PAGE]
        query = Query(matches={"SOPInstanceUID": ",".join(dict.fromkeys(uid for _, uid in part))})
        rows = await asyncio.to_thread(archive.instances, scope, None, None, query)
        known = {row.sop_uid: row for row in rows}
        for sop_class, uid in part:
            row = known.get(uid)
            if row is None:
                out.append(_NO_SUCH_OBJECT)
            elif row.sop_class != sop_class:
                out.append(_CLASS_CONFLICT)
            else:
                out.append(await asyncio.to_thread(_check, archive, row))
    return out


def _check(archive: Archive, row: InstanceRow) -> int:
    hasher = hashlib.sha256()
    done = 0
    try:
        while done < row.place.body_length:
            size = min(_CHUNK, row.place.body_length - done)
            span = ByteRange(pack=row.place.pack, offset=row.place.body_offset + done, length=size)
            hasher.update(archive.read(span))
            done += size
    except NotFoundError:
        return _NO_SUCH_OBJECT
    except (DicomError, OSError):
        return _PROCESSING
    return SUCCESS if hasher.hexdigest() == row.digest else _PROCESSING


def report(transaction: str, pairs: Sequence[tuple[str, str]], outcome: Sequence[int]) -> tuple[int, Record]:
    """Event type and Event Information of the N-EVENT-REPORT (PS3.4 Table J.3-4)."""
    good = [
        record({SOP_CLASS: a, SOP_INSTANCE: b}) for (a, b), one in zip(pairs, outcome, strict=True) if one == SUCCESS
    ]
    failed = [
        record({SOP_CLASS: a, SOP_INSTANCE: b, REASON: one})
        for (a, b), one in zip(pairs, outcome, strict=True)
        if one != SUCCESS
    ]
    values: dict[int, object] = {TRANSACTION: transaction}
    if good:
        values[REFERENCED] = good
    if failed:
        values[FAILED] = failed
    return SOME_FAILED if failed else ALL_GOOD, record(values)
