"""What a web server must know of its Janus to go on with it after a restart: one small file, for its own eyes only."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from server.media.relay.ladder import Ladder, Report


class Line(msgspec.Struct):
    """One line that a seat receives: whose, of which kind, and what of it Janus was told to send."""

    seat: str
    video: bool
    send: bool = True
    substream: int = 2


class Seat(msgspec.Struct):
    """A seat's handles. `pc`: the browser's name for the connection it publishes on; `up`: it carries media.
    `down`: the handle that receives, 0 before there is anybody to receive; `hears`: from whom. `offer`: what the
    browser has yet to answer. `tap`: the handle by which it is recorded, 0 while it is not.
    """

    pc: str
    publisher: int
    up: bool = False
    down: int = 0
    tap: int = 0
    hears: set[str] = msgspec.field(default_factory=set)
    lines: dict[str, Line] = msgspec.field(default_factory=dict)
    offer: str = ""


class Room(msgspec.Struct):
    """`made`: it exists in this life of Janus."""

    secret: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(24))
    pin: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(24))
    made: bool = False
    seats: dict[str, Seat] = msgspec.field(default_factory=dict)


class Held(msgspec.Struct):
    """`ending`: handles, and `closing`: rooms and their secrets, that are over without Janus knowing it yet."""

    session: int = 0
    generation: str = ""
    rooms: dict[str, Room] = msgspec.field(default_factory=dict)
    ending: list[int] = msgspec.field(default_factory=list)
    closing: dict[str, str] = msgspec.field(default_factory=dict)

    def begin(self, session: int) -> None:
        """Janus began anew: nothing of what it carried is left."""
        self.session, self.generation = session, secrets.token_hex(8)
        self.ending, self.closing = [], {}
        for room in self.rooms.values():
            room.made, room.seats = False, {}

    def seat_of(self, handle: int) -> tuple[str, str] | None:
        """Room and seat of a handle."""
        for name, room in self.rooms.items():
            for seat, held in room.seats.items():
                if handle in (held.publisher, held.down, held.tap):
                    return name, seat
        return None


class Keeper:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Held:
        """What an earlier process left; empty where nothing can be read, which costs those calls a new beginning."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(self.path.read_bytes(), type=Held)
        return Held()

    def save(self, held: Held) -> None:
        """Not synced: a machine that fails takes Janus along."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self.path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_bytes(msgspec.json.encode(held))
        fresh.replace(self.path)


class Wish(msgspec.Struct):
    """What a seat can receive and would like to: its ladder, heights of its tiles in pixels, whom it shows large."""

    ladder: Ladder
    heights: dict[str, int] = msgspec.field(default_factory=dict)
    wants: str = ""

    @property
    def rung(self) -> str:
        """As the browser knows it; there are no stills here."""
        return "audio" if self.ladder.rung == "stills" else self.ladder.rung


SPEECH, SMALL, STILLS, PICTURE = 40, 90, 60, 300        # kbit/s that a line of each kind is reckoned to need
LAYERS = ((200, 2), (110, 1), (0, 0))           # a tile higher than so many pixels gets this layer
HEAVIEST = (90, 210, 600)                       # kbit/s that a layer may come to (static/js/room/janus.js)


def layer_of(height: int) -> int:
    """The layer for a tile of so many pixels."""
    return next(layer for least, layer in LAYERS if height > least or not least)


def chosen(line: Line, wish: Wish) -> tuple[bool, int]:
    """Whether a line carries media to a seat, and which of its layers (0 the smallest)."""
    if not line.video:
        return True, line.substream
    if wish.ladder.rung == "video":
        return True, layer_of(wish.heights.get(line.seat, LAYERS[0][0]))
    return wish.ladder.rung == "small" and line.seat == sees(wish), 0


def climbed(
    wish: Wish, report: Report, others: int, now: float, *, most: str = "video", cap: int = 0
) -> bool:
    """A second's report of a seat that hears so many others, and what it wants at most (the best rung, kbit/s); True
    where something else is to be sent or said from here on.
    """
    before, voices = (wish.rung, wish.ladder.chosen), SPEECH * others
    needs = (voices + PICTURE * others, voices + SMALL, voices + STILLS, voices)
    tiles = [layer_of(x) for x in wish.heights.values()][:others]
    pictures = sum(HEAVIEST[x] for x in [*tiles, *[len(HEAVIEST) - 1] * (others - len(tiles))])
    wish.ladder.limit(most=most, cap=cap, needs=(voices + pictures, *needs[1:]))     # a limit holds at the worst
    wish.ladder.hear(report, needs, now)
    return (wish.rung, wish.ladder.chosen) != before


def lines_of(streams: Sequence[Mapping[str, Any]], before: Mapping[str, Line]) -> dict[str, Line]:
    """The lines of a seat as Janus describes them; what it was told about one holds while that is the same seat's."""
    found: dict[str, Line] = {}
    for stream in streams:
        if "feed_id" in stream:                 # else it is nobody's at present
            mid, line = str(stream["mid"]), Line(seat=str(stream["feed_id"]), video=stream["type"] == "video")
            former = before.get(mid)
            found[mid] = former if former is not None and former.seat == line.seat else line
    return found


def sees(wish: Wish) -> str:
    """Whose picture is left to a seat that receives one."""
    if wish.wants or not wish.heights:
        return wish.wants
    return max(wish.heights, key=wish.heights.__getitem__)
