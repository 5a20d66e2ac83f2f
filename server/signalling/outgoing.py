"""What the room sends to a seat."""

from typing import Any, ClassVar, Literal

from msgspec import Struct


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
    most: str
    kbps: int
    original: bool
    curtain: bool
    screen: bool
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


class InvitedView(Struct, kw_only=True, frozen=True):
    """Somebody who was invited and has not come yet."""

    membership: str
    name: str
    title: str
    organisation: str
    expires_at: str


class LobbyView(Struct, kw_only=True, frozen=True):
    """What the lobby reads and when it may expect to be let in; who is invited stands there for those inside only."""

    text: str
    until: str | None
    invited: list[InvitedView]


class MediaView(Struct, kw_only=True, frozen=True):
    """How media goes: between the browsers, or through the relay or Janus; `generation` names one life of those."""

    topology: Literal["direct", "relay", "janus"] = "direct"
    generation: str = ""


class RecordedPerson(Struct, kw_only=True, frozen=True):
    """Somebody present: what they are, and what they said (`given`, `refused`, or nothing yet)."""

    id: str
    who: str
    answer: str


class RecordedSeat(Struct, kw_only=True, frozen=True):
    """Who is present at a seat; nobody is listed until the seat has declared."""

    seat: str
    people: list[RecordedPerson]


class RecordingView(Struct, kw_only=True, frozen=True):
    """Whether the meeting is recorded, and who has yet to consent. The lobby is told without the seats."""

    may: bool = False                          # this installation records
    phase: Literal["off", "asked", "starting", "running", "paused", "stopped"] = "off"
    reason: str = ""                           # of a pause or an end
    by: str = ""                               # the membership that asked
    words: str = ""                            # version of the words to be consented to
    seats: list[RecordedSeat] = []


class Whole(Struct, kw_only=True, frozen=True):
    """The room as this seat may see it: sent after a new epoch, or when the replay buffer no longer reaches back."""

    session: str
    consultation: str
    kind: str
    opened_at: str
    ended_at: str | None
    locked: bool
    lobby: LobbyView
    media: MediaView
    recording: RecordingView
    seats: list[SeatView]
    chat: list[ChatView]
    chat_more: bool                            # there are earlier lines
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


class Lobby(ServerMessage, tag="lobby", kw_only=True, frozen=True):
    """The host said something to those who wait, or who is invited has changed."""

    lobby: LobbyView


class Media(ServerMessage, tag="media", kw_only=True, frozen=True):
    """Media goes another way from now on; the old one stays until the new one carries sound and picture."""

    topology: str
    generation: str


class RelayAnswer(ServerMessage, tag="relay_answer", kw_only=True, frozen=True):
    """The relay's answer to the newest offer of `pc`; the stream of each line to receive bears its seat's id."""

    pc: str
    sdp: str


class RelayOffer(ServerMessage, tag="relay_offer", kw_only=True, frozen=True):
    """Janus' offer of what the others send, for a connection of its own: `answer` to `relay` under this `pc` completes
    it. The stream of each line bears its seat's id; another `pc` begins a new connection.
    """

    pc: str
    sdp: str


class RelayLine(ServerMessage, tag="relay_line", kw_only=True, frozen=True):
    """What the relay sends this seat of the others' pictures: `rung` video (all), small (one), stills or audio; `sees`:
    whose, on a low rung. `thin`: the seat's own small picture is needed. `busy`: the relay has no room for pictures.
    `chosen`: it is no more because the seat, its place or the installation wants no more.
    """

    rung: str
    sees: str
    thin: bool
    busy: bool
    chosen: bool


class Finished(ServerMessage, tag="finished", kw_only=True, frozen=True):
    """Finish was pressed; peer connections close. `undo` until a report is signed."""

    by: str
    at: str


class Reopened(ServerMessage, tag="reopened", kw_only=True, frozen=True):
    by: str


class ByTelephone(ServerMessage, tag="telephone", kw_only=True, frozen=True):
    by: str
    contacts: list[ContactView]


class Recording(ServerMessage, tag="recording", kw_only=True, frozen=True):
    """The recording was asked for, began, pauses, goes on or has ended, or somebody declared or answered."""

    recording: RecordingView
