"""The room's protocol: every message, who may send it when, how large and how often. One file, nothing beside it.

docs/protocol.md and static/js/room/messages.js are compared with this file by tests/realtime/test_schema.py.
Frames are JSON objects in text frames, told apart by `type`. Numbers: `n` counts one page load's reliable messages to
the server, `seq` counts the room's reliable messages to one seat under an epoch. A reliable message is resent by its
sender until acknowledged and dropped by its receiver when already seen.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from consult.model import Part, SeatState

VERSION = 1
FRAME_LIMIT = 64 * 1024          # a larger text frame is refused with a code
SOCKET_LIMIT = 256 * 1024        # a larger one ends the socket (RFC 6455 §7.4.1, 1009)
REPLAY_LIMIT = 64 * 1024         # bytes kept per seat for a reconnect
HELLO_SECONDS = 60               # a socket without hello is closed after this long
SESSION_DESCRIPTION_LINES = 8    # m-lines of one SDP

Id = Annotated[str, Meta(min_length=1, max_length=64)]
OptionalId = Annotated[str, Meta(max_length=64)]
Number = Annotated[int, Meta(ge=1, le=2**53)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=0, le=2**31)]
SmallMap = Annotated[dict[str, Any], Meta(max_length=64)]


class Refusal(StrEnum):
    """Why a message was refused. The code is public; the page has a sentence for each."""

    MALFORMED = "malformed"            # no JSON object, or not of this type's form
    UNKNOWN_TYPE = "unknown_type"
    TOO_LARGE = "too_large"
    RATE = "rate"
    HELLO_FIRST = "hello_first"
    HELLO_TWICE = "hello_twice"
    NOT_IN = "not_in"                  # the seat's state does not allow this message
    NOT_ALLOWED = "not_allowed"        # the seat's part does not allow it
    LOCKED = "locked"
    NOT_FOUND = "not_found"            # no such session or seat, or not yours
    WRONG_STATE = "wrong_state"        # the consultation is not where this step can be taken
    BAD_DESCRIPTION = "bad_description"  # an SDP or candidate that the room does not pass on
    STALE = "stale"
    UNAVAILABLE = "unavailable"        # storage did not answer; resend


class Close(StrEnum):
    """Why a socket was ended for good or for a while; the number is the WebSocket close code."""

    TAKEN_OVER = "taken_over"          # a newer tab has the seat
    VERSION = "version"
    NOT_FOUND = "not_found"
    REMOVED = "removed"
    REVOKED = "revoked"                # login, membership or assignment ended
    LOCKED = "locked"
    FLOOD = "flood"
    SLOW = "slow"                      # the reader fell behind; reconnect and replay
    HELLO_LATE = "hello_late"
    LEFT = "left"
    RESTART = "restart"                # the server stops; reconnect


CLOSE_CODES: dict[Close, int] = {
    Close.TAKEN_OVER: 4001,
    Close.VERSION: 4002,
    Close.NOT_FOUND: 4004,
    Close.REMOVED: 4005,
    Close.REVOKED: 4006,
    Close.LOCKED: 4007,
    Close.FLOOD: 4008,
    Close.SLOW: 4009,
    Close.HELLO_LATE: 4010,
    Close.LEFT: 4011,
    Close.RESTART: 1012,
}
# The browser reconnects by itself after any other ending.
FINAL_CLOSES = frozenset({
    Close.TAKEN_OVER, Close.VERSION, Close.NOT_FOUND, Close.REMOVED, Close.REVOKED, Close.LOCKED, Close.LEFT,
})


class ClientMessage(Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What a browser sends."""


class Reliable(ClientMessage, kw_only=True, frozen=True):
    """Numbered; acknowledged after its effect is complete (for chat and rows: after the commit)."""

    n: Number


class Hello(ClientMessage, tag="hello", kw_only=True, frozen=True):
    """First message. `tab` is new for every page load; `epoch` and `last_seq` say what was already received."""

    v: int
    token: Annotated[str, Meta(max_length=128)]    # the login's CSRF token, as on every mutation
    session: Id
    seat: OptionalId = ""                          # a pointer that is checked, never a right
    tab: Id
    epoch: OptionalId = ""
    last_seq: Count = 0


class Ping(ClientMessage, tag="ping", kw_only=True, frozen=True):
    """Measures the socket's round trip; the only message allowed before hello."""

    at: Amount


class ClientAck(ClientMessage, tag="ack", kw_only=True, frozen=True):
    """Everything up to `seq` has arrived."""

    seq: Count


class Precheck(Reliable, tag="precheck", kw_only=True, frozen=True):
    """Result of the device and path test, kept with the seat."""

    result: SmallMap


class Enter(Reliable, tag="enter", kw_only=True, frozen=True):
    """From the lobby into the room; a guest waits until admitted."""


class Leave(Reliable, tag="leave", kw_only=True, frozen=True):
    """Leaves the seat; the session goes on."""


class Description(Reliable, kw_only=True, frozen=True):
    """`pc` names one peer connection of both sides; the first offer coins it. `to` is a seat."""

    to: Id
    pc: Id
    sdp: Annotated[str, Meta(min_length=1, max_length=40_000)]


class Offer(Description, tag="offer", kw_only=True, frozen=True):
    """RFC 8829 §4.1.10; candidates inside the SDP are stripped."""


class Answer(Description, tag="answer", kw_only=True, frozen=True):
    """Answers the newest offer of `pc`."""


class Candidate(Reliable, tag="candidate", kw_only=True, frozen=True):
    """One trickled ICE candidate (RFC 8840); an empty text ends the candidates."""

    to: Id
    pc: Id
    candidate: Annotated[str, Meta(max_length=512)]
    mid: Annotated[str, Meta(max_length=32)] | None = None
    line: Annotated[int, Meta(ge=0, le=32)] | None = None
    ufrag: Annotated[str, Meta(max_length=256)] | None = None


class Restart(Reliable, tag="restart", kw_only=True, frozen=True):
    """The path is silent and is being restarted; with `rebuild` the connection is made anew."""

    to: Id
    pc: Id
    attempt: Annotated[int, Meta(ge=1, le=1000)]
    rebuild: bool = False


class Path(Reliable, tag="path", kw_only=True, frozen=True):
    """What kind of path media takes now; `none` after 15 s without any: both sides are shown the phone numbers."""

    to: Id
    pc: OptionalId = ""
    path: Literal["direct", "relay", "none"]


class MediaState(Reliable, tag="state", kw_only=True, frozen=True):
    """What this seat sends. `rung` belongs to the ladder: video, small, stills, audio, telephone."""

    mic: bool
    camera: bool
    rung: Literal["video", "small", "stills", "audio", "telephone"] = "video"
    pattern: bool = False


class Hand(Reliable, tag="hand", kw_only=True, frozen=True):
    up: bool


class Chat(Reliable, tag="chat", kw_only=True, frozen=True):
    """Acknowledged after commit; `client_id` makes a resend harmless even across a restart of the server."""

    client_id: Id
    text: Annotated[str, Meta(min_length=1, max_length=4000)]


class Quality(ClientMessage, tag="quality", kw_only=True, frozen=True):
    """One second of reception from seat `of`; a figure the browser does not give is left out."""

    of: Id
    concealed: Fraction | None = None      # (concealed - silent concealed) / total samples
    loss: Fraction | None = None
    jitter_ms: Amount | None = None
    rtt_ms: Amount | None = None
    freezes: Count | None = None
    frames: Count | None = None            # decoded in this second
    kbps: Amount | None = None


class Newest(ClientMessage, kw_only=True, frozen=True):
    """Newest wins: unnumbered, an unsent older one of the same seat and kind is dropped."""


class View(Newest, tag="view", kw_only=True, frozen=True):
    """The shown image, its presentation and window, in image or patient coordinates."""

    body: SmallMap


class Cursor(Newest, tag="cursor", kw_only=True, frozen=True):
    body: SmallMap


class Annotation(Reliable, tag="annotation", kw_only=True, frozen=True):
    body: SmallMap


class Snapshot(Reliable, tag="snapshot", kw_only=True, frozen=True):
    """The whole shared view of this seat, for newcomers."""

    body: SmallMap


class Admit(Reliable, tag="admit", kw_only=True, frozen=True):
    seat: Id


class Remove(Reliable, tag="remove", kw_only=True, frozen=True):
    seat: Id
    reason: Annotated[str, Meta(max_length=200)] = ""


class Lock(Reliable, tag="lock", kw_only=True, frozen=True):
    locked: bool


class Finish(Reliable, tag="finish", kw_only=True, frozen=True):
    """The only message that ends a session; the page has asked."""


class UndoFinish(Reliable, tag="undo_finish", kw_only=True, frozen=True):
    """Possible until a report is signed."""


class Phone(Reliable, tag="phone", kw_only=True, frozen=True):
    """The meeting goes on by telephone; it counts as a session."""


class IceRequest(Reliable, tag="ice", kw_only=True, frozen=True):
    """Asks for fresh ICE servers (TURN credentials expire)."""


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
    Ping: Rule(family=Family.CONTROL, size=256, states=SEATED),
    ClientAck: Rule(family=Family.ACK, size=256, states=SEATED),
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
    Quality: Rule(family=Family.QUALITY, size=1024),
    View: Rule(family=Family.NEWEST, size=4096),
    Cursor: Rule(family=Family.NEWEST, size=1024),
    Annotation: Rule(family=Family.ANNOTATION, size=16 * 1024),
    Snapshot: Rule(family=Family.SNAPSHOT, size=32 * 1024),
    Admit: Rule(family=Family.CONTROL, size=512, host=True),
    Remove: Rule(family=Family.CONTROL, size=1024, host=True),
    Lock: Rule(family=Family.CONTROL, size=256, host=True),
    Finish: Rule(family=Family.CONTROL, size=256, parts=PRINCIPALS),
    UndoFinish: Rule(family=Family.CONTROL, size=256, parts=PRINCIPALS, states=IN | {SeatState.LEFT}),
    Phone: Rule(family=Family.CONTROL, size=256, parts=PRINCIPALS),
    IceRequest: Rule(family=Family.CONTROL, size=256, states=SEATED),
}


class ServerMessage(Struct, tag_field="type", kw_only=True, frozen=True, omit_defaults=False):
    """What the room sends. Those carried reliably get `seq` (and `from`, the sending seat) in the envelope."""

    reliable: ClassVar[bool] = True


class SeatView(Struct, kw_only=True, frozen=True):
    """A seat as the others see it."""

    seat: str
    membership: str
    part: str
    name: str
    title: str
    organisation: str
    state: str
    connected: bool
    tab: str
    mic: bool
    camera: bool
    pattern: bool
    rung: str
    hand: bool
    since: str
    host: bool


class ChatView(Struct, kw_only=True, frozen=True):
    id: str
    client_id: str
    membership: str
    name: str
    text: str
    at: str


class ContactView(Struct, kw_only=True, frozen=True):
    """Whom to ring when there is no media path."""

    part: str
    organisation: str
    organisation_phone: str
    name: str
    phone: str


class Whole(Struct, kw_only=True, frozen=True):
    """The room as this seat may see it: sent after a new epoch, or when the replay buffer no longer reaches back."""

    session: str
    consultation: str
    kind: str
    opened_at: str
    ended_at: str | None
    locked: bool
    seats: list[SeatView]
    chat: list[ChatView]
    contacts: list[ContactView]
    views: dict[str, dict[str, Any]]           # seat → newest view


class Welcome(ServerMessage, tag="welcome", kw_only=True, frozen=True):
    """Answer to hello. `seq` is the number before the first message that follows; `snapshot` is absent on a resume."""

    reliable: ClassVar[bool] = False
    v: int
    epoch: str
    seat: str
    seq: int
    received: int                              # the highest `n` of this tab already taken
    resumed: bool
    now: str
    ice: list[dict[str, Any]]
    snapshot: Whole | None


class ServerAck(ServerMessage, tag="ack", kw_only=True, frozen=True):
    """The effect of message `n` is complete."""

    reliable: ClassVar[bool] = False
    n: int
    id: str = ""                               # chat: the stored message
    at: str = ""


class Refused(ServerMessage, tag="refused", kw_only=True, frozen=True):
    """Message `n` (0: unnumbered) had no effect."""

    reliable: ClassVar[bool] = False
    n: int
    kind: str
    code: str
    retry_ms: int = 0


class Pong(ServerMessage, tag="pong", kw_only=True, frozen=True):
    reliable: ClassVar[bool] = False
    at: float


class IceServers(ServerMessage, tag="ice", kw_only=True, frozen=True):
    reliable: ClassVar[bool] = False
    servers: list[dict[str, Any]]


class Closed(ServerMessage, tag="closed", kw_only=True, frozen=True):
    """Last message before the socket ends. The browser closes its peer connections unless it may reconnect."""

    reliable: ClassVar[bool] = False
    code: str


class Presence(ServerMessage, tag="presence", kw_only=True, frozen=True):
    """A seat changed. `gone`: close the peer connection to it (removed, left, revoked)."""

    seat: SeatView
    gone: bool = False
    reason: str = ""


class Delivered(ServerMessage, tag="delivered", kw_only=True, frozen=True):
    """Chat message `id` has reached seat `by`."""

    id: str
    by: str


class ChatLine(ServerMessage, tag="chat", kw_only=True, frozen=True):
    message: ChatView


class Locked(ServerMessage, tag="locked", kw_only=True, frozen=True):
    locked: bool


class Finished(ServerMessage, tag="finished", kw_only=True, frozen=True):
    """Finish was pressed; peer connections close. `undo` until a report is signed."""

    by: str
    at: str


class Reopened(ServerMessage, tag="reopened", kw_only=True, frozen=True):
    by: str


class ByTelephone(ServerMessage, tag="telephone", kw_only=True, frozen=True):
    by: str
    contacts: list[ContactView]


# Client messages that are passed to other seats under their own name and fields, with `from` and `tab` of the sender.
RELAYED: tuple[type[ClientMessage], ...] = (
    Offer, Answer, Candidate, Restart, Path, Hand, Quality, View, Cursor, Annotation, Snapshot,
)
SERVER_MESSAGES: tuple[type[ServerMessage], ...] = (
    Welcome, ServerAck, Refused, Pong, IceServers, Closed, Presence, Delivered, ChatLine, Locked, Finished, Reopened,
    ByTelephone,
)

_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(
    Hello | Ping | ClientAck | Precheck | Enter | Leave | Offer | Answer | Candidate | Restart | Path | MediaState
    | Hand | Chat | Quality | View | Cursor | Annotation | Snapshot | Admit | Remove | Lock | Finish | UndoFinish
    | Phone | IceRequest
)
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
    fields = msgspec.to_builtins(message)
    fields.update(envelope)
    return msgspec.json.encode(fields)
