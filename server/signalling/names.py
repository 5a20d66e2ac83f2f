"""Names and limits of the room's protocol: version, sizes, why a message is refused, why a socket ends."""

from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta

VERSION = 1
FRAME_LIMIT = 64 * 1024          # a larger text frame is refused with a code
SOCKET_LIMIT = 256 * 1024        # a larger one ends the socket (RFC 6455 §7.4.1, 1009)
REPLAY_LIMIT = 64 * 1024         # bytes kept per seat for a reconnect
HELLO_SECONDS = 60               # a socket without hello is closed after this long
SESSION_DESCRIPTION_LINES = 8    # m-lines of one SDP
RELAY = "relay"                  # the seat that is nobody's: the media relay answers offers to it
RELAY_LINES = 34                 # m-lines of such an offer: three of one's own, two for each other seat

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
    FULL = "full"                      # as many as the relay takes are in the room
    NOT_FOUND = "not_found"            # no such session or seat, or not yours
    WRONG_STATE = "wrong_state"        # the consultation is not where this step can be taken
    BAD_DESCRIPTION = "bad_description"  # an SDP or candidate that the room does not pass on
    NOT_INVITABLE = "not_invitable"    # of neither side, without agreement, or in the session (once) already
    RECORDING_OFF = "recording_off"    # this installation does not record
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
