"""What the web process and the relay say to each other: msgpack with a length before it, on a local socket.

Every request has an `id` and one answer with the same; `Up` and `Down` come unasked.
"""

from __future__ import annotations

import asyncio
import struct

import msgspec
from msgspec import Struct

LONGEST = 1 << 20


class Request(Struct, frozen=True, kw_only=True, tag_field="type"):
    id: int


class Offer(Request, frozen=True, kw_only=True, tag="offer"):
    """A browser's offer. `pc` names its connection; `others` are the seats it may receive, in a lasting order."""

    room: str
    seat: str
    pc: str
    sdp: str
    others: tuple[str, ...]
    speech: bool = False            # begin with sound alone; pictures come by trial


class Heard(Request, frozen=True, kw_only=True, tag="heard"):
    """A second of what a seat receives from the relay. `heard`: made-up share of each other seat's sound."""

    room: str
    seat: str
    heard: dict[str, float]
    loss: float | None = None
    kbps: float | None = None
    wants: str = ""                 # whose picture matters most to it
    most: str = "video"             # the best rung that it wants
    cap: int = 0                    # kbit/s that it may be sent; 0: any


class Leave(Request, frozen=True, kw_only=True, tag="leave"):
    """The seat neither sends nor receives from now on."""

    room: str
    seat: str


class Close(Request, frozen=True, kw_only=True, tag="close"):
    """The room has ended."""

    room: str


class Record(Request, frozen=True, kw_only=True, tag="record"):
    """Begin a recording, or go on with it: these seats and nobody else. The key is never written down."""

    room: str
    recording: str
    folder: str
    key: bytes
    seats: tuple[str, ...]


class PauseRecording(Request, frozen=True, kw_only=True, tag="pause_recording"):
    """Answered when nothing of anybody is written any more."""

    room: str
    recording: str


class StopRecording(Request, frozen=True, kw_only=True, tag="stop_recording"):
    """Answered when the log is closed."""

    room: str
    recording: str


class Look(Request, frozen=True, kw_only=True, tag="look"):
    """What there is: answered by `Seen`."""


class Answer(Struct, frozen=True, kw_only=True, tag_field="type", tag="answer"):
    id: int
    sdp: str


class Done(Struct, frozen=True, kw_only=True, tag_field="type", tag="done"):
    id: int


class Refused(Struct, frozen=True, kw_only=True, tag_field="type", tag="refused"):
    """`reason` is for the log: it holds nothing of the description."""

    id: int
    reason: str


class RoomSeen(Struct, frozen=True, kw_only=True):
    room: str
    seats: tuple[str, ...]


class RecordingSeen(Struct, frozen=True, kw_only=True):
    """`running`: not paused. Packets count since the log's present file began."""

    room: str
    recording: str
    running: bool
    packets: int


class Seen(Struct, frozen=True, kw_only=True, tag_field="type", tag="seen"):
    """`boot` names this life of the relay process; packets and CPU seconds count since it began."""

    id: int
    boot: str
    pid: int
    rooms: tuple[RoomSeen, ...] = ()
    recordings: tuple[RecordingSeen, ...] = ()
    received: int = 0
    sent: int = 0
    cpu_seconds: float = 0.0


class Up(Struct, frozen=True, kw_only=True, tag_field="type", tag="up"):
    """A seat's connection carries media."""

    room: str
    seat: str
    pc: str


class Down(Struct, frozen=True, kw_only=True, tag_field="type", tag="down"):
    """A seat's connection has ended by itself."""

    room: str
    seat: str
    pc: str


class Passed(Struct, frozen=True, kw_only=True, tag_field="type", tag="passed"):
    """What a seat is sent of the others' pictures from now on (`rung` of ladder.py, `sees`: whose, on a low one),
    whether its own small picture is needed, whether there is no room for pictures here (`busy`), and whether it is no
    more because no more is wanted (`chosen`).
    """

    room: str
    seat: str
    rung: str
    sees: str
    thin: bool
    busy: bool
    chosen: bool = False


class RecordingEnded(Struct, frozen=True, kw_only=True, tag_field="type", tag="recording_ended"):
    """A recording came to its end unasked: 'disk' or 'slow_disk'."""

    room: str
    recording: str
    reason: str


Recorder = Record | PauseRecording | StopRecording
ToRelay = Offer | Heard | Leave | Close | Look | Recorder
FromRelay = Answer | Done | Refused | Seen | Up | Down | Passed | RecordingEnded
Reply = Answer | Done | Refused | Seen

requests: msgspec.msgpack.Decoder[ToRelay] = msgspec.msgpack.Decoder(ToRelay)
replies: msgspec.msgpack.Decoder[FromRelay] = msgspec.msgpack.Decoder(FromRelay)


def frame(message: ToRelay | FromRelay) -> bytes:
    """A message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return struct.pack("!I", len(body)) + body


async def body(reader: asyncio.StreamReader) -> bytes | None:
    """The next message's bytes; None when the other side has gone. ValueError for a length nobody sends."""
    try:
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        if size > LONGEST:
            raise ValueError("length")
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
