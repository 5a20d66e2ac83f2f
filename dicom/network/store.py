"""C-STORE as SCP (PS3.4 Annex B): into the archive by its one door, acknowledged when it is durable."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator

from dicom.elements import LONG_VRS, UNDEFINED
from dicom.model import IngestResult
from dicom.network.association import Association
from dicom.network.dimse import SUCCESS, Command, response_to
from dicom.network.ports import Session
from dicom.part10 import build_prefix
from dicom.syntaxes import DEFLATED, is_explicit, is_little

_SOP_INSTANCE = 0x00080018
# Status by reason (PS3.4 §B.2.3): out of resources, data set does not match, cannot understand, processing failure.
_RESOURCES, _MISMATCH, _NOT_UNDERSTOOD, _PROCESSING = 0xA700, 0xA900, 0xC000, 0x0110
_STATUS = {
    "disk_full": _RESOURCES,
    "over_quota": _RESOURCES,
    "busy": _RESOURCES,
    "too_large": _RESOURCES,
    "inflates_too_large": _RESOURCES,
    "io_error": _PROCESSING,
    "unreadable": _PROCESSING,
    "wrong_study": _MISMATCH,
    "missing_sop_class": _MISMATCH,
}


def status_of(result: IngestResult, conflict_status: int) -> int:
    """The status of a C-STORE response for what became of the instance."""
    if result.outcome in {"stored", "duplicate"}:
        return SUCCESS
    if result.outcome == "conflict":
        return conflict_status
    return _STATUS.get(result.reason or "", _NOT_UNDERSTOOD)


async def store(session: Session, command: Command) -> None:
    """One C-STORE-RQ to its response."""
    association, device = session.association, session.device
    if "store" not in session.audited:
        await session.backend.allow(device, "store")
        session.audited.add("store")
    sop_class, sop_instance = command.text("affected_class"), command.text("affected_instance")
    context = association.contexts[command.context]
    if not command.has_dataset or not sop_class or not _is_uid(sop_instance) or not _is_uid(sop_class):
        await association.discard()
        await association.send(command.context, response_to(command, _NOT_UNDERSTOOD, comment="no dataset or UID"))
        return
    first = await _first(association)
    told = peek_instance(first, context.transfer)
    if told is not None and told != sop_instance:
        # Stored under the dataset's name, success would be claimed for an instance that is not here.
        await association.discard()
        await association.send(command.context, response_to(command, _MISMATCH, comment="SOP Instance UID differs"))
        return
    prefix = build_prefix(sop_class=sop_class, sop_uid=sop_instance, transfer_syntax=context.transfer)
    result = await session.archive.ingest(
        _file(prefix, first, association), organisation=device.organisation, source=f"dimse:{device.id}"
    )
    await association.discard()  # a refusal may come before the last fragment
    status = status_of(result, device.conflict_status)
    comment = "" if status == SUCCESS else result.reason or result.outcome
    await association.send(command.context, response_to(command, status, comment=comment))
    if result.outcome == "stored":
        await session.backend.stored(device, result)


async def _first(association: Association) -> bytes:
    async for chunk in association.dataset():
        return chunk
    return b""


async def _file(prefix: bytes, first: bytes, association: Association) -> AsyncIterator[bytes]:
    yield prefix + first
    async for chunk in association.dataset():
        yield chunk


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= 64 and not text.strip("0123456789.")


def peek_instance(data: bytes, syntax: str) -> str | None:
    """SOP Instance UID among the first elements of a dataset; None where it is not seen (deflated, far behind)."""
    if syntax == DEFLATED:
        return None
    order, explicit = ("<" if is_little(syntax) else ">"), is_explicit(syntax)
    position = 0
    while position + 12 <= len(data):
        group, number = struct.unpack_from(order + "HH", data, position)
        tag = group << 16 | number
        if tag > _SOP_INSTANCE:
            return None
        vr = data[position + 4 : position + 6]
        if not explicit or not vr.isalpha():
            length, size = struct.unpack_from(order + "I", data, position + 4)[0], 8
        elif vr in LONG_VRS:
            length, size = struct.unpack_from(order + "I", data, position + 8)[0], 12
        else:
            length, size = struct.unpack_from(order + "H", data, position + 6)[0], 8
        if length == UNDEFINED:
            return None
        end = position + size + length
        if tag == _SOP_INSTANCE:
            value = data[position + size : end]
            return value.rstrip(b"\x00 ").decode("ascii", "replace").strip() if len(value) == length else None
        position = end
    return None
