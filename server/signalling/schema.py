"""The room's protocol: every message (incoming.py, outgoing.py, names.py), who may send it when, how large, how often.

This module is the protocol's one name; docs/protocol.md and static/js/room/messages.js are compared with it by
tests/realtime/test_schema.py.
Frames are JSON objects in text frames, told apart by `type`. Numbers: `n` counts one page load's reliable messages to
the server, `seq` counts the room's reliable messages to one seat under an epoch. A reliable message is resent by its
sender until acknowledged and dropped by its receiver when already seen.
"""

import functools
import operator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from consult.model import Part, SeatState
from server.signalling.incoming import (
    Admit,
    Annotation,
    Answer,
    Candidate,
    Chat,
    ClientAck,
    ClientMessage,
    Cursor,
    Enter,
    Finish,
    Hand,
    HandOver,
    Hello,
    IceRequest,
    Invite,
    Leave,
    Lock,
    MediaState,
    Newest,
    Offer,
    Path,
    Phone,
    Ping,
    Precheck,
    Quality,
    RecordAnswer,
    RecordAsk,
    RecordDeclare,
    RecordStop,
    Reliable,
    Remove,
    Restart,
    Snapshot,
    Tally,
    UndoFinish,
    Uninvite,
    View,
    Waiting,
)
from server.signalling.names import (
    CLOSE_CODES,
    FINAL_CLOSES,
    FRAME_LIMIT,
    HELLO_SECONDS,
    RELAY,
    RELAY_LINES,
    REPLAY_LIMIT,
    SESSION_DESCRIPTION_LINES,
    SOCKET_LIMIT,
    VERSION,
    Close,
    Refusal,
)
from server.signalling.outgoing import (
    ByTelephone,
    ChatLine,
    ChatView,
    Closed,
    ContactView,
    Delivered,
    Finished,
    IceServers,
    InvitedView,
    Lobby,
    LobbyView,
    Locked,
    Media,
    MediaView,
    Pong,
    Presence,
    RecordedPerson,
    RecordedSeat,
    Recording,
    RecordingView,
    Refused,
    RelayAnswer,
    RelayLine,
    RelayOffer,
    Reopened,
    SeatView,
    ServerAck,
    ServerMessage,
    Welcome,
    Whole,
)

__all__ = [
    "CLOSE_CODES", "EVERYONE", "FINAL_CLOSES", "FRAME_LIMIT", "HELLO_SECONDS", "IN", "LOBBY", "PRINCIPALS", "RATES",
    "RELAY", "RELAYED", "RELAY_LINES", "REPLAY_LIMIT", "RULES", "SEATED", "SERVER_MESSAGES",
    "SESSION_DESCRIPTION_LINES", "SOCKET_LIMIT", "VERSION", "Admit", "Annotation", "Answer", "BadFrame",
    "ByTelephone", "Candidate", "Chat", "ChatLine", "ChatView", "ClientAck", "ClientMessage", "Close", "Closed",
    "ContactView", "Cursor", "Delivered", "Enter", "Family", "Finish", "Finished", "Hand", "HandOver", "Hello",
    "IceRequest", "IceServers", "Invite", "InvitedView", "Leave", "Lobby", "LobbyView", "Lock", "Locked", "Media",
    "MediaState", "MediaView", "Newest", "Offer", "Path", "Phone", "Ping", "Pong", "Precheck", "Presence", "Quality",
    "Rate", "RecordAnswer", "RecordAsk", "RecordDeclare", "RecordStop", "RecordedPerson", "RecordedSeat",
    "Recording", "RecordingView", "Refusal", "Refused", "RelayAnswer", "RelayLine", "RelayOffer", "Reliable", "Remove",
    "Reopened", "Restart", "Rule", "SeatView",
    "ServerAck", "ServerMessage", "Snapshot", "Tally", "UndoFinish", "Uninvite", "View", "Waiting", "Welcome", "Whole",
    "decode", "encode", "name",
]  # fmt: skip


class Family(StrEnum):
    """A family shares one rate."""

    CONTROL = "control"
    SIGNAL = "signal"
    CANDIDATE = "candidate"
    STATE = "state"
    CHAT = "chat"
    QUALITY = "quality"
    NEWEST = "newest"
    ANNOTATION = "annotation"
    SNAPSHOT = "snapshot"
    ACK = "ack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    per_second: float
    burst: int


RATES: dict[Family, Rate] = {
    Family.CONTROL: Rate(per_second=2, burst=10),
    Family.SIGNAL: Rate(per_second=10, burst=60),
    Family.CANDIDATE: Rate(per_second=30, burst=200),
    Family.STATE: Rate(per_second=5, burst=20),
    Family.CHAT: Rate(per_second=2, burst=10),
    Family.QUALITY: Rate(per_second=8, burst=24),
    Family.NEWEST: Rate(per_second=60, burst=120),
    Family.ANNOTATION: Rate(per_second=10, burst=40),
    Family.SNAPSHOT: Rate(per_second=1, burst=4),
    Family.ACK: Rate(per_second=50, burst=300),
}

IN = frozenset({SeatState.IN})
LOBBY = frozenset({SeatState.LOBBY})
SEATED = IN | LOBBY
EVERYONE = frozenset(Part)
PRINCIPALS = frozenset({Part.REFERRING, Part.EXPERT, Part.CHAIR, Part.REVIEWER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a seat may send a message. `host`: the chair, or the expert where there is no chair."""

    family: Family
    size: int                                   # largest frame in bytes
    states: frozenset[SeatState] = IN
    parts: frozenset[Part] = EVERYONE
    host: bool = False


RULES: dict[type[ClientMessage], Rule] = {
    Hello: Rule(family=Family.CONTROL, size=1024, states=SEATED),
    Ping: Rule(family=Family.CONTROL, size=256, states=SEATED | {SeatState.LEFT}),
    ClientAck: Rule(family=Family.ACK, size=256, states=SEATED | {SeatState.LEFT}),
    Precheck: Rule(family=Family.CONTROL, size=8192, states=SEATED),
    Enter: Rule(family=Family.CONTROL, size=256, states=SEATED),
    Leave: Rule(family=Family.CONTROL, size=256, states=SEATED),
    Offer: Rule(family=Family.SIGNAL, size=48 * 1024),
    Answer: Rule(family=Family.SIGNAL, size=48 * 1024),
    Candidate: Rule(family=Family.CANDIDATE, size=2048),
    Restart: Rule(family=Family.SIGNAL, size=512),
    Path: Rule(family=Family.STATE, size=512),
    MediaState: Rule(family=Family.STATE, size=512),
    Hand: Rule(family=Family.STATE, size=256),
    Chat: Rule(family=Family.CHAT, size=17 * 1024),
    Quality: Rule(family=Family.QUALITY, size=2048),
    Tally: Rule(family=Family.STATE, size=512, states=IN | {SeatState.LEFT}),
    View: Rule(family=Family.NEWEST, size=4096),
    Cursor: Rule(family=Family.NEWEST, size=1024),
    Annotation: Rule(family=Family.ANNOTATION, size=16 * 1024),
    Snapshot: Rule(family=Family.SNAPSHOT, size=32 * 1024),
    Admit: Rule(family=Family.CONTROL, size=512, host=True),
    Remove: Rule(family=Family.CONTROL, size=1024, host=True),
    Lock: Rule(family=Family.CONTROL, size=256, host=True),
    Invite: Rule(family=Family.CONTROL, size=512, parts=PRINCIPALS),
    Uninvite: Rule(family=Family.CONTROL, size=512, parts=PRINCIPALS),
    HandOver: Rule(family=Family.CONTROL, size=512, host=True),
    Waiting: Rule(family=Family.CONTROL, size=2048, host=True),
    Finish: Rule(family=Family.CONTROL, size=256, parts=PRINCIPALS),
    UndoFinish: Rule(family=Family.CONTROL, size=256, parts=PRINCIPALS, states=IN | {SeatState.LEFT}),
    Phone: Rule(family=Family.CONTROL, size=256, parts=PRINCIPALS),
    RecordAsk: Rule(family=Family.CONTROL, size=256, parts=PRINCIPALS),
    RecordDeclare: Rule(family=Family.CONTROL, size=2048),
    RecordAnswer: Rule(family=Family.STATE, size=512),
    RecordStop: Rule(family=Family.CONTROL, size=256, parts=PRINCIPALS),
    IceRequest: Rule(family=Family.CONTROL, size=256, states=SEATED),
}

# Client messages that are passed to other seats under their own name and fields, with `from` and `tab` of the sender.
RELAYED: tuple[type[ClientMessage], ...] = (
    Offer, Answer, Candidate, Restart, Path, Hand, Quality, View, Cursor, Annotation, Snapshot,
)
SERVER_MESSAGES: tuple[type[ServerMessage], ...] = (
    Welcome, ServerAck, Refused, Pong, IceServers, Closed, Presence, Delivered, ChatLine, Locked, Lobby, Media,
    RelayAnswer, RelayOffer, RelayLine, Finished, Reopened, ByTelephone, Recording,
)

_any: Any = functools.reduce(operator.or_, RULES)
_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(_any)
_types: dict[str, type[ClientMessage]] = {str(kind.__struct_config__.tag): kind for kind in RULES}


class _Head(Struct, frozen=True):
    """Enough of a frame to answer a refusal with its number."""

    type: str = ""
    n: int = 0


_head: msgspec.json.Decoder[_Head] = msgspec.json.Decoder(_Head)


class BadFrame(Exception):
    """A frame that is refused before anyone acts on it."""

    def __init__(self, code: Refusal, *, kind: str = "", n: int = 0) -> None:
        super().__init__(code)
        self.code, self.kind, self.n = code, kind, n


def name(kind: type[Struct]) -> str:
    """The `type` of a message class."""
    return str(kind.__struct_config__.tag)


def decode(frame: str) -> ClientMessage:
    """One client message from a text frame; BadFrame for anything else, with the type and number where readable."""
    size = len(frame) if frame.isascii() else len(frame.encode("utf-8", "surrogatepass"))
    if size > FRAME_LIMIT:
        raise BadFrame(Refusal.TOO_LARGE)
    try:
        head = _head.decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadFrame(Refusal.MALFORMED) from error
    kind = _types.get(head.type)
    n = head.n if 0 <= head.n <= 2**53 else 0
    if kind is None:
        raise BadFrame(Refusal.UNKNOWN_TYPE, kind=head.type[:32], n=n)
    if size > RULES[kind].size:
        raise BadFrame(Refusal.TOO_LARGE, kind=head.type, n=n)
    try:
        return _decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadFrame(Refusal.MALFORMED, kind=head.type, n=n) from error


def encode(message: ServerMessage, **envelope: Any) -> bytes:
    """JSON of a server message; `envelope` adds seq and from."""
    if not envelope:
        return msgspec.json.encode(message)
    fields = msgspec.to_builtins(message)
    fields.update(envelope)
    return msgspec.json.encode(fields)
