"""Protocol data units as values, and their bytes (PS3.8 §9.3). Nothing here reads a socket or trusts a length.

Decoding raises PduError for anything else than a well-formed unit, whatever the bytes are; its `reason` is that of
the A-ABORT which answers it (PS3.8 Table 9-26).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
HEADER = 6
REQUEST, ACCEPT, REJECT, DATA, RELEASE_REQUEST, RELEASE_RESPONSE, ABORT = range(1, 8)
MAX_CONTEXTS = 128  # odd numbers of one byte
_MAX_TRANSFERS = 128
_MAX_UID = 64
_HEAD = struct.Struct(">BxI")
_ITEM = struct.Struct(">BxH")
_PDV = struct.Struct(">IBB")
# Reasons of a provider's abort.
UNRECOGNISED, UNEXPECTED, BAD_PARAMETER = 1, 2, 6


class PduError(ValueError):
    """The bytes are no PDU we take."""

    def __init__(self, text: str, reason: int = BAD_PARAMETER) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A proposed presentation context."""

    id: int
    abstract: str
    transfers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one: result 0 accepted, 1 user, 2 no reason, 3 abstract syntax, 4 transfer syntaxes."""

    id: int
    result: int
    transfer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """SCP/SCU role selection (PS3.7 §D.3.3.4) for one SOP class."""

    abstract: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Associate:
    """A-ASSOCIATE-RQ (with `proposals`) or -AC (with `answers`). `max_length` 0: no limit."""

    called: str
    calling: str
    proposals: tuple[Proposal, ...] = ()
    answers: tuple[Answer, ...] = ()
    roles: tuple[Role, ...] = ()
    max_length: int = 0
    implementation_uid: str = ""
    implementation_name: str = ""
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A-ASSOCIATE-RJ (PS3.8 Table 9-21): result 1 permanent, 2 transient."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """A-ABORT: source 0 service user, 2 service provider."""

    source: int = 0
    reason: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """One presentation data value (PS3.8 §9.3.5.1, Annex E)."""

    context: int
    command: bool
    last: bool
    data: bytes = field(repr=False)


def parse_header(data: bytes | bytearray | memoryview) -> tuple[int, int]:
    """Type and claimed length of the body from the first six bytes."""
    kind, length = _HEAD.unpack_from(data)
    return kind, length


def _unit(kind: int, body: bytes) -> bytes:
    return _HEAD.pack(kind, len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def title(text: str) -> bytes:
    """An AE title, padded to 16 bytes."""
    return text.encode("ascii", "replace")[:16].ljust(16)


def encode_associate(value: Associate) -> bytes:
    """The bytes of A-ASSOCIATE-RQ, or of -AC where there are answers."""
    kind = ACCEPT if value.answers else REQUEST
    items = [_item(0x10, value.application_context.encode("ascii"))]
    for proposal in value.proposals:
        inner = _item(0x30, proposal.abstract.encode("ascii"))
        inner += b"".join(_item(0x40, uid.encode("ascii")) for uid in proposal.transfers)
        items.append(_item(0x20, bytes((proposal.id, 0, 0, 0)) + inner))
    for answer in value.answers:
        # A refused context still carries a transfer syntax item, which is not tested (PS3.8 §9.3.3.2).
        inner = _item(0x40, (answer.transfer or "1.2.840.10008.1.2").encode("ascii"))
        items.append(_item(0x21, bytes((answer.id, 0, answer.result, 0)) + inner))
    user = _item(0x51, struct.pack(">I", value.max_length))
    if value.implementation_uid:
        user += _item(0x52, value.implementation_uid.encode("ascii"))
    for role in value.roles:
        uid = role.abstract.encode("ascii")
        user += _item(0x54, struct.pack(">H", len(uid)) + uid + bytes((role.scu, role.scp)))
    if value.implementation_name:
        user += _item(0x55, value.implementation_name.encode("ascii"))
    items.append(_item(0x50, user))
    head = struct.pack(">Hxx", value.protocol_version) + title(value.called) + title(value.calling) + bytes(32)
    return _unit(kind, head + b"".join(items))


def encode_reject(value: Reject) -> bytes:
    """The bytes of A-ASSOCIATE-RJ."""
    return _unit(REJECT, bytes((0, value.result, value.source, value.reason)))


def encode_abort(value: Abort) -> bytes:
    """The bytes of A-ABORT."""
    return _unit(ABORT, bytes((0, 0, value.source, value.reason)))


def encode_release(*, response: bool) -> bytes:
    """The bytes of A-RELEASE-RQ or -RP."""
    return _unit(RELEASE_RESPONSE if response else RELEASE_REQUEST, bytes(4))


def data_head(context: int, length: int, *, command: bool, last: bool) -> bytes:
    """What stands before `length` bytes in a P-DATA-TF with this one value."""
    return _HEAD.pack(DATA, length + 6) + _PDV.pack(length + 2, context, command | last << 1)


def encode_data(fragments: Iterable[Fragment]) -> bytes:
    """The bytes of one P-DATA-TF."""
    return _unit(
        DATA,
        b"".join(_PDV.pack(len(f.data) + 2, f.context, f.command | f.last << 1) + f.data for f in fragments),
    )


def decode_data(body: memoryview) -> Iterator[Fragment]:
    """The values of a P-DATA-TF. Raises PduError."""
    position, end = 0, len(body)
    if not end:
        raise PduError("P-DATA without a value")
    while position < end:
        if end - position < 6:
            raise PduError("a value is cut")
        length, context, control = _PDV.unpack_from(body, position)
        if length < 2 or length > end - position - 4:
            raise PduError("a value's length leaves its unit")
        data = bytes(body[position + 6 : position + 4 + length])
        yield Fragment(context=context, command=bool(control & 1), last=bool(control & 2), data=data)
        position += 4 + length


def decode_reject(body: memoryview) -> Reject:
    """Raises PduError."""
    _fixed(body)
    return Reject(result=body[1], source=body[2], reason=body[3])


def decode_abort(body: memoryview) -> Abort:
    """Raises PduError."""
    _fixed(body)
    return Abort(source=body[2], reason=body[3])


def check_release(body: memoryview) -> None:
    """Raises PduError."""
    _fixed(body)


def _fixed(body: memoryview) -> None:
    if len(body) != 4:
        raise PduError("the unit must have four bytes")


def decode_associate(body: memoryview, *, request: bool) -> Associate:
    """An A-ASSOCIATE-RQ or -AC. Unknown items and sub-items are skipped (PS3.8 §9.3.1). Raises PduError."""
    if len(body) < 68:
        raise PduError("the fixed part is cut")
    context = ""
    proposals: list[Proposal] = []
    answers: list[Answer] = []
    user: dict[str, object] = {}
    roles: list[Role] = []
    for kind, value in _items(body[68:]):
        if kind == 0x10:
            context = _uid(value)
        elif kind == 0x20 and request:
            proposals.append(_proposal(value))
        elif kind == 0x21 and not request:
            answers.append(_answer(value))
        elif kind == 0x50:
            _user_items(value, user, roles)
        if len(proposals) > MAX_CONTEXTS or len(answers) > MAX_CONTEXTS or len(roles) > 2 * MAX_CONTEXTS:
            raise PduError("too many presentation contexts")
    ids = [item.id for item in proposals] + [item.id for item in answers]
    if len(set(ids)) != len(ids) or not all(number & 1 for number in ids):
        raise PduError("a presentation context's number is even or used twice")
    return Associate(
        called=_title(body[4:20]),
        calling=_title(body[20:36]),
        proposals=tuple(proposals),
        answers=tuple(answers),
        roles=tuple(roles),
        max_length=int(str(user.get("max_length", 0))),
        implementation_uid=str(user.get("uid", "")),
        implementation_name=str(user.get("name", "")),
        application_context=context,
        protocol_version=int.from_bytes(body[:2], "big"),
    )


def _items(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    position, end = 0, len(body)
    while position < end:
        if end - position < 4:
            raise PduError("an item is cut")
        kind, length = _ITEM.unpack_from(body, position)
        if length > end - position - 4:
            raise PduError("an item's length leaves its unit")
        yield kind, body[position + 4 : position + 4 + length]
        position += 4 + length


def _proposal(value: memoryview) -> Proposal:
    if len(value) < 4:
        raise PduError("a presentation context is cut")
    abstract, transfers = "", []
    for kind, inner in _items(value[4:]):
        if kind == 0x30:
            abstract = _uid(inner)
        elif kind == 0x40:
            transfers.append(_uid(inner))
    if not abstract or not transfers or len(transfers) > _MAX_TRANSFERS:
        raise PduError("a presentation context lacks its syntaxes")
    return Proposal(id=value[0], abstract=abstract, transfers=tuple(transfers))


def _answer(value: memoryview) -> Answer:
    if len(value) < 4:
        raise PduError("a presentation context is cut")
    transfer = ""
    if value[2] == 0:
        transfer = next((_uid(inner) for kind, inner in _items(value[4:]) if kind == 0x40), "")
        if not transfer:
            raise PduError("an accepted context lacks its transfer syntax")
    return Answer(id=value[0], result=value[2], transfer=transfer)


def _user_items(value: memoryview, user: dict[str, object], roles: list[Role]) -> None:
    for kind, inner in _items(value):
        if kind == 0x51:
            if len(inner) != 4:
                raise PduError("the maximum length must have four bytes")
            user["max_length"] = int.from_bytes(inner, "big")
        elif kind == 0x52:
            user["uid"] = _text(inner)
        elif kind == 0x55:
            user["name"] = _text(inner)
        elif kind == 0x54:
            length = int.from_bytes(inner[:2], "big")
            if len(inner) < 4 or length != len(inner) - 4:
                raise PduError("a role selection is cut")
            roles.append(Role(abstract=_uid(inner[2:-2]), scu=bool(inner[-2]), scp=bool(inner[-1])))


def _text(value: memoryview) -> str:
    return bytes(value[:_MAX_UID]).rstrip(b"\x00 ").decode("ascii", "replace")


def _uid(value: memoryview) -> str:
    text = bytes(value).rstrip(b"\x00 ")
    if not text or len(text) > _MAX_UID or not text.isascii() or text.strip(b"0123456789."):
        raise PduError("no UID")
    return text.decode("ascii")


def _title(value: memoryview) -> str:
    return bytes(value).decode("ascii", "replace").strip(" \x00")
