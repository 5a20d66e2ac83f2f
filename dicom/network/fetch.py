"""Another archive's studies as SCU: C-FIND (study root), C-GET, and C-MOVE to ourselves (PS3.4 §C.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicom.archive import Archive
from dicom.errors import DicomError, RefusedError
from dicom.network import dimse, pdu
from dicom.network.association import Association
from dicom.network.dimse import CANCELLED, DATASET, PENDING, PENDING_WARNING, SUCCESS, response_to
from dicom.network.negotiation import STUDY_FIND, STUDY_GET, STUDY_MOVE, is_storage
from dicom.network.ports import Address, Backend, Device, Session
from dicom.network.records import Record, parse_record, record, write_record
from dicom.network.scu import open_association
from dicom.network.store import store
from dicom.network.terms import NetworkLimits
from dicom.syntaxes import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K,
    IMPLICIT_LE,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_ANY,
    JPEG_LS,
    JPEG_LS_NEAR,
    RLE,
    VIDEO,
)

LEVEL, STUDY, SOP_CLASS = 0x00080052, 0x0020000D, 0x00080016
# What is asked back of a study (PS3.4 Table C.6-5).
RETURNED = (
    0x00080020, 0x00080030, 0x00080050, 0x00080061, 0x00081030, 0x00100010, 0x00100020, 0x00100030, 0x00100040,
    STUDY, 0x00200010, 0x00201206, 0x00201208,
)  # fmt: skip
_PLAIN = (EXPLICIT_LE, IMPLICIT_LE)
# Where the other side does not say which classes a study holds: the commonest.
COMMON = tuple(
    f"1.2.840.10008.5.1.4.1.1.{end}"
    for end in (
        "2", "2.1", "4", "4.1", "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "6.1", "3.1", "7", "7.1", "7.2", "7.3",
        "7.4", "12.1", "12.1.1", "12.2", "12.2.1", "13.1.3", "20", "128", "130", "9.1.1", "9.1.2", "9.1.3", "9.1.4",
        "9.2.1", "11.1", "88.11", "88.22", "88.33", "88.59", "88.67", "104.1", "104.2", "77.1.1", "77.1.1.1",
        "77.1.2", "77.1.4", "77.1.4.1", "77.1.5.1", "77.1.5.4", "481.1", "481.2", "481.3", "481.5", "66", "66.4",
    )
)  # fmt: skip
# As they lie in archives, each in a context of its own: the other side then sends without recoding.
_CODINGS = (
    JPEG_LOSSLESS, JPEG_2000_LOSSLESS, JPEG_LS, JPEG_BASELINE, RLE, JPEG_2000, JPEG_EXTENDED, JPEG_LOSSLESS_ANY,
    JPEG_LS_NEAR, *HTJ2K, EXPLICIT_BE, *VIDEO,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Sub-operations so far. `remaining` 0 with `status` None: the other side has not said."""

    completed: int = 0
    failed: int = 0
    warning: int = 0
    remaining: int = 0
    status: int | None = None  # of the last response, once it is over


Told = Callable[[Progress], None]


class NotOfferedError(DicomError):
    """The other side does not offer the service (or not for what is asked)."""

    def __init__(self) -> None:
        super().__init__(code="context_refused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another archive, and who we are towards it."""

    address: Address
    calling: str
    limits: NetworkLimits = field(default_factory=NetworkLimits)


async def find(peer: Peer, keys: Mapping[int, str], *, most: int, level: str = "STUDY") -> list[Record]:
    """At most `most` answers to a query by `keys` (tag → value, '' asks it back), the rest is cancelled.

    Raises OSError, TimeoutError, DicomError (`find_failed` for a failure the other side states).
    """
    proposal = pdu.Proposal(id=1, abstract=STUDY_FIND, transfers=_PLAIN)
    association = await open_association(peer.address, peer.calling, [proposal], peer.limits)
    try:
        context = association.contexts.get(1)
        if context is None:
            raise NotOfferedError
        message = await _ask(association, STUDY_FIND, {"field": dimse.C_FIND}, {**keys, LEVEL: level})
        found: list[Record] = []
        while True:
            answer, data = await association.reply(message)
            status = answer.number("status")
            if status not in {PENDING, PENDING_WARNING}:
                break
            if len(found) < most:
                found.append(parse_record(data, context.transfer))
                if len(found) == most:
                    await _cancel(association, 1, message)
        if status not in {SUCCESS, CANCELLED}:
            raise DicomError(code="find_failed")
        await association.release()
        return found
    finally:
        association.drop()


async def _ask(
    association: Association, service: str, command: Mapping[str, Any], keys: Mapping[int, str]
) -> int:
    """Send a request with its identifier on context 1, which is `service`'s; the message's number."""
    message = association.next_message()
    identifier = write_record(record(keys), association.contexts[1].transfer)
    await association.send(1, {
        **command, "message": message, "priority": 0, "dataset": DATASET, "affected_class": service,
    }, identifier)  # fmt: skip
    return message


async def _cancel(association: Association, context: int, message: int) -> None:
    await association.send(context, {"field": dimse.C_CANCEL, "responded": message, "dataset": dimse.NO_DATASET})


async def classes_of(peer: Peer, study_uid: str) -> tuple[str, ...]:
    """SOP classes of a study as the other side lists its instances; () where it does not."""
    try:
        rows = await find(peer, {STUDY: study_uid, SOP_CLASS: "", 0x00080018: ""}, level="IMAGE", most=2000)
    except (NotOfferedError, RefusedError):
        return ()
    except DicomError as error:
        if error.reason != "find_failed":
            raise
        return ()  # a relational query, strictly: some take it, some refuse
    return tuple(dict.fromkeys(uid for row in rows if is_storage(uid := row.text(SOP_CLASS)) and uid))


def storage_proposals(classes: Sequence[str]) -> list[pdu.Proposal]:
    """Contexts for what comes back: each class plain, and in as many codings as there is room for."""
    room = (pdu.MAX_CONTEXTS - 1) // len(classes)
    wanted: list[tuple[str, tuple[str, ...]]] = [(one, _PLAIN) for one in classes]
    wanted += [(one, (coding,)) for coding in _CODINGS[: room - 1] for one in classes]
    return [
        pdu.Proposal(id=2 * n + 3, abstract=abstract, transfers=transfers)
        for n, (abstract, transfers) in enumerate(wanted[: pdu.MAX_CONTEXTS - 1])
    ]


async def get(
    peer: Peer, study_uid: str, *, archive: Archive, backend: Backend, device: Device,
    classes: Sequence[str] = (), told: Told = lambda _: None,
) -> Progress:  # fmt: skip
    """C-GET of one study into `archive`, for the organisation of `device`; what came when it was over.

    Raises NotOfferedError before anything came; OSError, TimeoutError, DicomError.
    """
    storage = storage_proposals(tuple(classes) or COMMON)
    proposals = [pdu.Proposal(id=1, abstract=STUDY_GET, transfers=_PLAIN), *storage]
    roles = [pdu.Role(abstract=uid, scu=False, scp=True) for uid in dict.fromkeys(p.abstract for p in storage)]
    association = await open_association(peer.address, peer.calling, proposals, peer.limits, roles=roles)
    try:
        if 1 not in association.contexts or len(association.contexts) == 1:
            raise NotOfferedError
        session = Session(
            association=association, device=device, backend=backend, archive=archive, audited=set()
        )
        return await _retrieve(association, STUDY_GET, {"field": dimse.C_GET}, study_uid, told=told, session=session)
    finally:
        association.drop()


async def _take(session: Session) -> None:
    """One request of the other side while it serves our C-GET: nothing but C-STORE."""
    association = session.association
    command = await association.receive()
    if command is None:
        raise DicomError(code="association_ended")
    if command.field == dimse.C_STORE and is_storage(association.contexts[command.context].abstract):
        try:
            await store(session, command)
        finally:
            association.cancelled.discard(command.message)
        return
    await association.discard()
    await association.send(command.context, response_to(command, 0x0211))


async def move(
    peer: Peer, study_uid: str, destination: str, *, told: Told = lambda _: None
) -> Progress:
    """C-MOVE of one study to `destination`, a title of ours that the other side must know. Raises as `get`."""
    proposal = pdu.Proposal(id=1, abstract=STUDY_MOVE, transfers=_PLAIN)
    association = await open_association(peer.address, peer.calling, [proposal], peer.limits)
    try:
        if 1 not in association.contexts:
            raise NotOfferedError
        command = {"field": dimse.C_MOVE, "destination": destination}
        return await _retrieve(association, STUDY_MOVE, command, study_uid, told=told)
    finally:
        association.drop()


async def _retrieve(
    association: Association, service: str, command: Mapping[str, Any], study_uid: str, *,
    told: Told, session: Session | None = None,
) -> Progress:  # fmt: skip
    """Ask for the study and hear how it goes, to the end; with a session what comes back meanwhile is taken."""
    message = await _ask(association, service, command, {STUDY: study_uid, LEVEL: "STUDY"})
    progress = Progress()
    while progress.status is None:
        if session is not None and await association.asked():
            await _take(session)
            continue
        answer, _ = await association.reply(message)
        progress = _progress(answer)
        told(progress)
    await association.release()
    return progress


def _progress(answer: dimse.Command) -> Progress:
    status = answer.number("status")
    return Progress(
        completed=answer.number("completed"), failed=answer.number("failed"), warning=answer.number("warning"),
        remaining=answer.number("remaining"), status=None if status in {PENDING, PENDING_WARNING} else status,
    )  # fmt: skip
