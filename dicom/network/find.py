"""C-FIND as SCP: patient and study root (PS3.4 Annex C), modality worklist (Annex K).

The same index, the same keys and the same scope as QIDO-RS; answers in the character set of the device.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from dicom import query as qido
from dicom.archive import Archive
from dicom.errors import BadQueryError, RefusedError
from dicom.model import Query, Scope
from dicom.network import matching
from dicom.network.dimse import CANCELLED, PENDING, PENDING_WARNING, SUCCESS, Command, response_to
from dicom.network.negotiation import PATIENT_FIND
from dicom.network.ports import Device, Session
from dicom.network.records import CHARSET, IDENTIFIER_LIMIT, Item, Record, parse_record, record, vr_of, write_record
from dicom.web import instance_json, series_json, study_json

LEVEL, RETRIEVE_TITLE = 0x00080052, 0x00080054
_PATIENT_KEYS = (0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040)
_OUT_OF_RESOURCES, _MISMATCH, _CANNOT_PROCESS = 0xA700, 0xA900, 0xC000
_PAGE = 500
_MOST = 10_000  # answers to one query; a longer list is refused at its end, so that no one takes it for whole
_BY_TAG = {int(key.tag, 16): name for name, key in qido.KEYS.items()}
_NOT_KEYS = frozenset({CHARSET, LEVEL, 0x00080053, RETRIEVE_TITLE, 0x00080056, 0x00080201})
_LEVELS: Mapping[str, int] = {"PATIENT": 0, "STUDY": 1, "SERIES": 2, "IMAGE": 3}


async def read_identifier(session: Session, command: Command) -> Record | None:
    """The identifier of the request, or None when it was answered with a failure."""
    association = session.association
    data = await association.whole_dataset(IDENTIFIER_LIMIT)
    comment = "identifier missing or too long"
    if data:
        try:
            return parse_record(data, association.contexts[command.context].transfer)
        except RefusedError as error:
            comment = error.reason
    await association.send(command.context, response_to(command, _CANNOT_PROCESS, comment=comment))
    return None


async def find(session: Session, command: Command) -> None:
    """One C-FIND-RQ of the patient or study root: pending answers, then the final status."""
    identifier = await read_identifier(session, command)
    if identifier is None:
        return
    patient_root = session.association.contexts[command.context].abstract == PATIENT_FIND
    level = identifier.text(LEVEL).upper()
    send = session.association.send
    if level not in _LEVELS or (level == "PATIENT" and not patient_root):
        await send(command.context, response_to(command, _MISMATCH, comment="Query/Retrieve Level"))
        return
    try:
        query, unsupported = query_of(identifier)
    except BadQueryError as error:
        await send(command.context, response_to(command, _MISMATCH, comment=error.reason))
        return
    scope = await session.backend.allow(session.device, "find")
    status = PENDING_WARNING if unsupported else PENDING
    count = 0
    async for row in _rows(session.archive, scope, query, level, identifier):
        if command.message in session.association.cancelled:
            await send(command.context, response_to(command, CANCELLED))
            return
        if count == _MOST:
            await send(command.context, response_to(command, _OUT_OF_RESOURCES, comment="too many matches"))
            return
        count += 1
        await _pending(session, command, status, _answer(identifier, row, level, session.device))
    await send(command.context, response_to(command, SUCCESS))


def query_of(identifier: Record) -> tuple[Query, bool]:
    """The identifier as the index understands it; and whether it has keys that cannot be matched.

    Raises BadQueryError.
    """
    matches: dict[str, str] = {}
    unsupported = False
    for tag, item in identifier.values.items():
        if tag in _NOT_KEYS or not tag & 0xFFFF:
            continue
        name = _BY_TAG.get(tag)
        value = item.text
        if name is None:
            unsupported = unsupported or bool(value.strip("*")) or any(one.values for one in item.items)
        elif value and value.strip("*"):
            qido.check(name, value)
            matches[name] = value
    return Query(matches=matches), unsupported


async def _rows(archive: Archive, scope: Scope, query: Query, level: str, identifier: Record) -> AsyncIterator[Record]:
    offset = 0
    patients: set[tuple[str, str]] = set()
    studies: dict[str, dict[int, Item]] = {}
    while True:
        page = Query(matches=query.matches, limit=_PAGE, offset=offset)
        found = await asyncio.to_thread(_page, archive, scope, page, level, identifier, studies)
        for row in found:
            if level == "PATIENT":
                # One answer per patient number and issuer: the newest study tells the name.
                patient = (row.text(0x00100020), row.text(0x00100021))
                if patient in patients:
                    continue
                patients.add(patient)
            yield row
        offset += _PAGE
        if len(found) < _PAGE:
            return


def _page(
    archive: Archive, scope: Scope, query: Query, level: str, identifier: Record, studies: dict[str, dict[int, Item]]
) -> list[Record]:
    if level == "PATIENT":
        rows = [items_of(study_json(row, "")) for row in archive.studies(scope, query)]
        return [Record(values={tag: row[tag] for tag in _PATIENT_KEYS if tag in row}) for row in rows]
    if level == "STUDY":
        return [Record(values=items_of(study_json(row, ""))) for row in archive.studies(scope, query)]
    found: Iterator[tuple[str, dict[str, Any]]]
    if level == "SERIES":
        found = ((row.study_uid, series_json(row, "")) for row in archive.series(scope, None, query))
    else:
        found = ((row.study_uid, instance_json(row, "")) for row in archive.instances(scope, None, None, query))
    out = []
    for uid, value in found:
        values = items_of(value)
        if any(tag not in values for tag in identifier.values if tag in _BY_TAG):
            values = {**_study(archive, scope, uid, studies), **values}
        out.append(Record(values=values))
    return out


def _study(archive: Archive, scope: Scope, uid: str, known: dict[str, dict[int, Item]]) -> dict[int, Item]:
    """Attributes of the study, for devices that ask for them at lower levels too."""
    if uid not in known:
        row = archive.study(scope, uid)
        known[uid] = items_of(study_json(row, "")) if row is not None else {}
    return known[uid]


def items_of(value: Mapping[str, Mapping[str, Any]]) -> dict[int, Item]:
    """DICOM JSON of a row as attributes."""
    return {
        int(tag, 16): Item(vr=attribute["vr"], text="\\".join(_text(one) for one in attribute.get("Value", ())))
        for tag, attribute in value.items()
    }


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        groups = [str(value.get(name, "")) for name in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    return str(value)


def _answer(identifier: Record, row: Record, level: str, device: Device) -> Record:
    values = dict(matching.project(identifier, row).values)
    values.update(record({LEVEL: level, RETRIEVE_TITLE: device.called}).values)
    for tag in (0x0020000D, 0x0020000E, 0x00080018, 0x00100020):
        if tag in identifier.values and tag in row.values:
            values[tag] = row.values[tag]
    return Record(values={tag: Item(vr=vr_of(tag), text=x.text, items=x.items) for tag, x in values.items()})


async def _pending(session: Session, command: Command, status: int, answer: Record) -> None:
    transfer = session.association.contexts[command.context].transfer
    data = write_record(answer, transfer, coding=session.device.coding, romanise=session.backend.romanise)
    await session.association.send(command.context, response_to(command, status, dataset=True), data)


async def find_worklist(session: Session, command: Command) -> None:
    """One C-FIND-RQ of the modality worklist."""
    query = await read_identifier(session, command)
    if query is None:
        return
    send = session.association.send
    try:
        matching.check(query)
    except BadQueryError as error:
        await send(command.context, response_to(command, _MISMATCH, comment=error.reason))
        return
    await session.backend.allow(session.device, "worklist")
    for item in await session.backend.worklist(session.device):
        if command.message in session.association.cancelled:
            await send(command.context, response_to(command, CANCELLED))
            return
        if matching.matches(query, item):
            await _pending(session, command, PENDING, matching.project(query, item))
    await send(command.context, response_to(command, SUCCESS))
