"""The calling side: opening an association, C-ECHO, C-STORE of what is stored, N-EVENT-REPORT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from dicom.archive import Archive
from dicom.convertible import why_not
from dicom.elements import Window
from dicom.errors import DicomError, UnsupportedError
from dicom.model import InstanceRow, PixelKind
from dicom.network import dimse, pdu
from dicom.network.association import Association
from dicom.network.dimse import DATASET, NO_DATASET
from dicom.network.implicit import Later, Piece, Source, check, to_implicit
from dicom.network.negotiation import STORAGE_COMMITMENT, VERIFICATION
from dicom.network.ports import Address
from dicom.network.records import Record, write_record
from dicom.network.terms import AssociationEndedError, Context, NetworkLimits
from dicom.part10 import IMPLEMENTATION_NAME, IMPLEMENTATION_UID, split_file
from dicom.retrieve import ByteRange
from dicom.syntaxes import ENCODED, EXPLICIT_LE, IMPLICIT_LE

CHUNK = 1 << 20
_PLAIN = (EXPLICIT_LE, IMPLICIT_LE)


async def open_association(
    address: Address,
    calling: str,
    proposals: Sequence[pdu.Proposal],
    limits: NetworkLimits,
    *,
    roles: Sequence[pdu.Role] = (),
) -> Association:
    """Connect and associate. Raises OSError, RejectedError, AssociationEndedError (both DicomError)."""
    request = pdu.Associate(
        called=address.title, calling=calling, proposals=tuple(proposals), roles=tuple(roles),
        max_length=limits.max_pdu, implementation_uid=IMPLEMENTATION_UID, implementation_name=IMPLEMENTATION_NAME,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(limits.artim_seconds):
        _, association = await loop.create_connection(
            lambda: Association(limits, request=request), address.host, address.port, ssl=address.tls
        )
        try:
            await association.opened
        except asyncio.CancelledError:
            association.drop()
            raise
    return association


async def echo(address: Address, calling: str, limits: NetworkLimits) -> int:
    """C-ECHO; the status. Raises as `open_association`."""
    proposal = pdu.Proposal(id=1, abstract=VERIFICATION, transfers=(IMPLICIT_LE,))
    association = await open_association(address, calling, [proposal], limits)
    try:
        if not association.contexts:
            raise DicomError(code="context_refused")
        message = association.next_message()
        await association.send(1, {
            "field": dimse.C_ECHO, "message": message, "dataset": NO_DATASET, "affected_class": VERIFICATION,
        })  # fmt: skip
        answer, _ = await association.reply(message)
        await association.release()
        return answer.number("status")
    finally:
        association.drop()


async def report_commitment(
    address: Address, calling: str, limits: NetworkLimits, *, event: int, information: Record, instance: str
) -> int:
    """N-EVENT-REPORT of a storage commitment (PS3.4 §J.3.3) on an association of our own; the status.

    Raises as `open_association`, and DicomError where the device takes no such report.
    """
    proposal = pdu.Proposal(id=1, abstract=STORAGE_COMMITMENT, transfers=_PLAIN)
    # We are the SCP of the service although we ask for the association (PS3.7 §D.3.3.4).
    role = pdu.Role(abstract=STORAGE_COMMITMENT, scu=False, scp=True)
    association = await open_association(address, calling, [proposal], limits, roles=[role])
    try:
        if not association.contexts:
            raise DicomError(code="context_refused")
        data = write_record(information, association.contexts[1].transfer)
        status = await send_event(association, 1, event=event, data=data, instance=instance)
        await association.release()
        return status
    finally:
        association.drop()


async def send_event(association: Association, context: int, *, event: int, data: bytes, instance: str) -> int:
    """N-EVENT-REPORT on an open association; the status of its answer."""
    message = association.next_message()
    await association.send(context, {
        "field": dimse.N_EVENT_REPORT, "message": message, "dataset": DATASET, "event_type": event,
        "affected_class": STORAGE_COMMITMENT, "affected_instance": instance,
    }, data)  # fmt: skip
    answer, _ = await association.reply(message)
    return answer.number("status")


def packs(row: InstanceRow, coding: str) -> bool:
    """Whether an instance can be packed without loss: it has plain pixels, and the coding can carry them."""
    return bool(coding) and row.pixels.kind is PixelKind.NATIVE and not why_not(row, coding)


def context_for(contexts: Sequence[Context], row: InstanceRow, coding: str = "") -> Context | None:
    """The context an instance goes through: packed where that is wanted, agreed and possible, else as it is stored if
    that was agreed, else plain if it can be made so.
    """
    mine = [context for context in contexts if context.abstract == row.sop_class]
    if packs(row, coding):
        for context in mine:
            if context.transfer == coding:
                return context
    for context in mine:
        if context.transfer == row.transfer_syntax:
            return context
    for wanted in _PLAIN:
        for context in mine:
            if context.transfer == wanted and not why_not(row, EXPLICIT_LE):
                return context
    return None


async def send_instance(
    association: Association,
    archive: Archive,
    row: InstanceRow,
    context: Context,
    originator: Mapping[str, int | str],
) -> int:
    """C-STORE one stored instance; the status. Raises AssociationEndedError; other DicomErrors before any byte left."""
    archive.retriever.check_sound(row)
    if context.transfer == row.transfer_syntax:
        dataset = await stored_file(archive, row, meta=False)
    elif context.transfer == EXPLICIT_LE or context.transfer in ENCODED:
        dataset = await converted_file(archive, row, context.transfer, meta=False)
    else:
        dataset = await _implicit(archive, row)
    message = association.next_message()
    values: dict[str, int | str] = {
        "field": dimse.C_STORE, "message": message, "priority": 0, "dataset": DATASET,
        "affected_class": row.sop_class, "affected_instance": row.sop_uid, **originator,
    }  # fmt: skip
    try:
        await association.send(context.id, values, dataset)
    except AssociationEndedError:
        raise
    except DicomError as error:
        association.abort("failed")  # half an instance has left
        raise AssociationEndedError(code=error.reason) from error
    answer, _ = await association.reply(message)
    return answer.number("status")


async def _range(archive: Archive, span: ByteRange) -> AsyncIterator[bytes]:
    done = 0
    while done < span.length:
        size = min(CHUNK, span.length - done)
        part = ByteRange(pack=span.pack, offset=span.offset + done, length=size)
        yield await asyncio.to_thread(archive.read, part)
        done += size


async def _streamed(archive: Archive, pieces: Sequence[Piece]) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        elif isinstance(piece, Later):
            yield await piece.make()
        else:
            async for chunk in _range(archive, piece):
                yield chunk


async def stored_file(archive: Archive, row: InstanceRow, *, meta: bool = True) -> AsyncIterator[bytes]:
    """The instance in its stored transfer syntax as it is shown, chunk by chunk; without `meta` its dataset alone.

    What a correction shows otherwise is worked out before the first chunk. Raises UnsupportedError, WorkerError.
    """
    return _streamed(archive, await _stored(archive, row, meta=meta))


async def _stored(archive: Archive, row: InstanceRow, *, meta: bool) -> Sequence[Piece]:
    if row.overlay is not None:
        return await (archive.retriever.file(row) if meta else archive.retriever.corrected(row))
    if meta:
        return [archive.retriever.file_range(row)]
    return [ByteRange(pack=row.place.pack, offset=row.place.body_offset, length=row.place.body_length)]


async def converted_file(
    archive: Archive, row: InstanceRow, target: str, *, meta: bool = True
) -> AsyncIterator[bytes]:
    """The instance in another transfer syntax, chunk by chunk; without `meta` its dataset alone.

    Raises UnsupportedError, WorkerError before the first chunk.
    """
    return _streamed(archive, await _converted(archive, row, target, meta=meta))


async def _converted(archive: Archive, row: InstanceRow, target: str, *, meta: bool) -> Sequence[Piece]:
    made = await archive.retriever.converted(row, target)
    start = 0 if meta else split_file(Window.of(made.head)).dataset_start
    more = [Later(make=one.make, length=one.length) for one in made.more]
    return [made.head[start:], made.first, *more, made.tail]


async def _implicit(archive: Archive, row: InstanceRow) -> AsyncIterator[bytes]:
    """For a receiver that takes the default syntax alone: headers are rewritten on the way, pixels pass as they lie.

    Raises UnsupportedError, WorkerError, RefusedError before the first chunk.
    """
    if row.transfer_syntax == EXPLICIT_LE:
        pieces = await _stored(archive, row, meta=False)
    else:
        pieces = await _converted(archive, row, EXPLICIT_LE, meta=False)
    source = Source(pieces, archive.read)
    await asyncio.to_thread(check, source)

    async def rewritten() -> AsyncIterator[bytes]:
        steps = to_implicit(source)
        while (step := await asyncio.to_thread(next, steps, None)) is not None:
            if isinstance(step, bytes):
                yield step
                continue
            for piece, start, length in source.parts(step):
                if isinstance(piece, bytes):
                    yield piece[start : start + length]
                elif isinstance(piece, Later):
                    data = await piece.make()
                    if len(data) != piece.length:
                        raise UnsupportedError(code="size_differs")
                    yield data[start : start + length]
                else:
                    span = ByteRange(pack=piece.pack, offset=piece.offset + start, length=length)
                    async for chunk in _range(archive, span):
                        yield chunk

    return rewritten()


def proposals_for(
    rows: Sequence[InstanceRow], coding: str = ""
) -> list[tuple[list[pdu.Proposal], list[InstanceRow]]]:
    """Presentation contexts for sending, and the instances they serve: several lists where 128 contexts are too few.

    Each class is offered as stored, and plain beside it; and packed, where `coding` is wanted and possible.
    """
    out: list[tuple[list[pdu.Proposal], list[InstanceRow]]] = []
    keys: dict[tuple[str, str], None] = {}
    part: list[InstanceRow] = []
    for row in rows:
        wanted = {(row.sop_class, row.transfer_syntax), (row.sop_class, "")}
        if packs(row, coding):
            wanted.add((row.sop_class, coding))
        new = wanted - set(keys)
        if len(keys) + len(new) > pdu.MAX_CONTEXTS:
            out.append((_proposals(keys), part))
            keys, part = {}, []
            new = wanted
        keys.update(dict.fromkeys(sorted(new)))
        part.append(row)
    if part:
        out.append((_proposals(keys), part))
    return out


def _proposals(keys: Mapping[tuple[str, str], None]) -> list[pdu.Proposal]:
    return [
        pdu.Proposal(id=2 * n + 1, abstract=abstract, transfers=(transfer,) if transfer else _PLAIN)
        for n, (abstract, transfer) in enumerate(keys)
    ]
