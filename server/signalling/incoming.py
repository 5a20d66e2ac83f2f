"""What a browser sends. Who may send it when, how large and how often stands in schema.RULES."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from server.signalling.names import Amount, Count, Fraction, Id, Number, OptionalId, SmallMap

Rung = Literal["video", "small", "stills", "audio", "telephone"]    # static/js/room/ladder.js


Milliseconds = Annotated[int, Meta(ge=0, le=24 * 3_600_000)]
Few = Annotated[int, Meta(ge=0, le=1000)]
Bytes = Annotated[int, Meta(ge=0, le=2**40)]


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
    """RFC 8829 §4.1.10; candidates inside the SDP are stripped. `speech`: from the relay sound alone at first."""

    speech: bool = False


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
    """What this seat sends (`rung` of the ladder), and what it wants to receive at most."""

    mic: bool
    camera: bool
    rung: Rung = "video"
    pattern: bool = False
    most: Rung = "video"
    kbps: Count = 0                        # 0: no limit
    original: bool = False                 # unprocessed sound, as from an electronic stethoscope
    curtain: bool = False                  # a still curtain instead of the picture, while somebody is examined
    screen: bool = False                   # the picture is a screen


class Hand(Reliable, tag="hand", kw_only=True, frozen=True):
    up: bool


class Chat(Reliable, tag="chat", kw_only=True, frozen=True):
    """Acknowledged after commit; `client_id` makes a resend harmless even across a restart of the server."""

    client_id: Id
    text: Annotated[str, Meta(min_length=1, max_length=4000)]


class Quality(ClientMessage, tag="quality", kw_only=True, frozen=True):
    """One second of reception from seat `of`, or of everybody from the relay; what is not measured is left out."""

    of: Id
    concealed: Fraction | None = None      # (concealed - silent concealed) / total samples
    loss: Fraction | None = None
    jitter_ms: Amount | None = None
    rtt_ms: Amount | None = None
    freezes: Count | None = None
    frames: Count | None = None            # decoded in this second
    kbps: Amount | None = None
    heard: Annotated[dict[Id, Fraction], Meta(max_length=16)] | None = None    # of the relay: concealed, by seat
    wants: OptionalId = ""                 # of the relay: the seat whose picture matters most
    tiles: Annotated[dict[Id, Count], Meta(max_length=16)] | None = None   # of Janus: heights shown, pixels, by seat


class Tally(Reliable, tag="tally", kw_only=True, frozen=True):
    """What the browser alone knows of its line, as what came since it was last acknowledged."""

    setup_ms: Milliseconds | None = None   # from entering to the first sound or picture of somebody else; once
    breaks: Few = 0                        # times nothing came for 3 s and more,
    silent_ms: Milliseconds = 0            # for so long
    sent: Bytes = 0
    received: Bytes = 0


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


class Invite(Reliable, tag="invite", kw_only=True, frozen=True):
    """Invites a colleague or expert by name; used once, ends by itself."""

    membership: Id


class Uninvite(Reliable, tag="uninvite", kw_only=True, frozen=True):
    """Takes an invitation back that nobody has used."""

    membership: Id


class HandOver(Reliable, tag="chair", kw_only=True, frozen=True):
    """Another expert in the room is the host from here on."""

    seat: Id


class Waiting(Reliable, tag="waiting", kw_only=True, frozen=True):
    """What those in the lobby read, and in about how many minutes they will be let in (0: not said)."""

    minutes: Annotated[int, Meta(ge=0, le=240)] = 0
    text: Annotated[str, Meta(max_length=200)] = ""


class Finish(Reliable, tag="finish", kw_only=True, frozen=True):
    """The only message that ends a session; the page has asked."""


class UndoFinish(Reliable, tag="undo_finish", kw_only=True, frozen=True):
    """Possible until a report is signed."""


class Phone(Reliable, tag="phone", kw_only=True, frozen=True):
    """The meeting goes on by telephone; it counts as a session."""


class IceRequest(Reliable, tag="ice", kw_only=True, frozen=True):
    """Asks for fresh ICE servers (TURN credentials expire)."""


class Declared(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Somebody present at this seat: what they are, never who."""

    id: Annotated[str, Meta(min_length=1, max_length=32)]
    who: Literal["patient", "family", "student", "interpreter", "staff", "other"]


class RecordAsk(Reliable, tag="record_ask", kw_only=True, frozen=True):
    """Asks that the meeting be recorded; everybody present is asked for their consent."""


class RecordDeclare(Reliable, tag="record_declare", kw_only=True, frozen=True):
    """Who is present at this seat beside the one who sits in it; replaces what was declared before."""

    people: Annotated[list[Declared], Meta(max_length=11)]


class RecordAnswer(Reliable, tag="record_answer", kw_only=True, frozen=True):
    """What somebody present at this seat says to these words; a withdrawal ends the recording at once."""

    person: Annotated[str, Meta(min_length=1, max_length=32)]
    answer: Literal["given", "refused", "withdrawn"]
    words: Annotated[str, Meta(max_length=16)]


class RecordStop(Reliable, tag="record_stop", kw_only=True, frozen=True):
    """The recording ends."""
