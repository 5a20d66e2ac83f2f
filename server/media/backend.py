"""What relays media between more than two seats. The packet relay is one; another server can stand behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol


class MediaError(Exception):
    """The relay did not do it; the text is for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What a seat is sent of the others' pictures: `rung` video (all), small (one), stills or audio; `sees`: whose, on
    a low rung; `thin`: its own small picture is needed; `busy`: the relay has no room for pictures at present;
    `chosen`: it is no more because no more is wanted.
    """

    rung: str
    sees: str
    thin: bool
    busy: bool
    chosen: bool = False


class MediaBackend(Protocol):
    """Rooms are sessions by id, seats by id. Browsers offer what they send, and are answered.

    `topology` `relay`: what a seat receives has lines in its own offer. `janus`: it is offered to the browser by
    `on_offer(room, seat, pc, sdp)` on a connection of its own, and comes back by `answered`.
    `generation` names one life of the relay: connections of another one are gone. `on_change` is called, on the event
    loop, when the generation has changed; the browsers then begin anew. `on_recording_ended(room, recording, reason)`
    is called there when a recording has ended unasked: 'disk', 'slow_disk', or 'relay' where that has died.
    `on_passed(room, seat, passed)` is called there when a seat is sent something else than before.
    """

    on_change: Callable[[], None]
    on_offer: Callable[[str, str, str, str], None]
    on_recording_ended: Callable[[str, str, str], None]
    on_passed: Callable[[str, str, Passed], None]

    @property
    def topology(self) -> Literal["relay", "janus"]: ...
    @property
    def generation(self) -> str: ...

    async def open_room(self, room: str) -> None:
        """Be ready for a room; MediaError when there is no relay at present."""

    def seats(self, room: str) -> frozenset[str] | None:
        """Who is on the relay; None where it does not carry the room."""

    async def answer(
        self, room: str, seat: str, *, pc: str, sdp: str, others: Sequence[str], speech: bool = False
    ) -> str:
        """The answer to a seat's offer: what it publishes is taken, and `others` are given to its lines. `speech`: a
        seat that is new begins with sound alone.
        """

    def heard(
        self, room: str, seat: str, *, heard: Mapping[str, float], loss: float | None, kbps: float | None, wants: str,
        most: str = "video", cap: int = 0,
    ) -> None:
        """A second of what a seat receives: made-up share (0 to 1) of each other seat's sound, share of packets lost,
        kbit/s, and the seat whose picture matters most to it. `most`: the best rung that it wants; `cap`: kbit/s that
        it may be sent, 0: any.
        """

    async def answered(self, room: str, seat: str, *, pc: str, sdp: str) -> None:
        """A seat's answer to what it was offered; MediaError where nothing was."""

    async def restart(self, room: str, seat: str) -> None:
        """What a seat is offered does not arrive: the path to it begins anew."""

    def tiles(self, room: str, seat: str, heights: Mapping[str, int]) -> None:
        """How high a seat's browser shows each other seat, in pixels of its screen."""

    async def leave(self, room: str, seat: str) -> None:
        """The seat's media ends now, both ways."""

    async def close_room(self, room: str) -> None:
        """The media of everyone in the room ends now."""

    async def record(self, room: str, *, recording: str, folder: Path, key: bytes, seats: Sequence[str]) -> None:
        """Begin a recording or go on with it; MediaError. Only these seats are written, whenever they come.

        recording: a UUID; folder: its own; key: 32 bytes, nowhere written.
        """

    async def pause_recording(self, room: str, recording: str) -> None:
        """When this returns nothing of anybody is written; a relay that loses this process pauses by itself."""

    async def stop_recording(self, room: str, recording: str) -> None:
        """When this returns the log is closed."""

    def recorded(self, room: str) -> str | None:
        """The room's recording, running or paused."""

    async def close(self) -> None:
        """The web process ends; calls may go on until the next one asks."""
