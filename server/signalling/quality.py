"""The quality of every running session, gathered from the room's own messages and added to rows every half minute.

A crash loses what came since; a restart goes on adding. The room is not touched: this only looks and listens.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from consult import line_quality
from consult.line_sums import RUNGS, SeatLine
from consult.model import SeatId, SeatState, SessionId
from server.signalling import schema as s
from server.signalling.meter import Meter
from server.signalling.room import Live, Room, Services
from server.tasks import by_turns

LOG = logging.getLogger("huizhen.room")
EVERY = 30.0             # seconds between two additions to the rows
Told = Callable[[SeatLine], None]


@dataclass(slots=True)
class _Session:
    """One room's meters. `mark`: who was where when the rows were last added to."""

    room: Room
    meters: dict[SeatId, Meter] = field(default_factory=dict)
    paths: dict[SeatId, str] = field(default_factory=dict)
    rungs: dict[SeatId, str] = field(default_factory=dict)
    relayed: dict[SeatId, str] = field(default_factory=dict)     # the connection to the relay that was offered last
    added: float = 0.0
    mark: object = None


class Book:
    """`noticed` on every message that had its effect, `round` once a second. `told(line)`: added to the rows now;
    `set_up(seconds)`: somebody heard or saw somebody. For metrics.
    """

    def __init__(
        self, *, services: Services, clock: Callable[[], datetime], told: Told, set_up: Callable[[float], None]
    ) -> None:
        self.services, self.clock, self.told, self.set_up = services, clock, told, set_up
        self._sessions: dict[SessionId, _Session] = {}

    def noticed(self, room: Room, live: Live, message: s.ClientMessage) -> None:
        """A message of a seat has had its effect."""
        if not isinstance(message, s.Quality | s.MediaState | s.Path | s.Restart | s.Offer | s.Tally):
            return
        now = self.clock()
        at, seat, kept = now.timestamp(), live.info.seat.id, self._session(room)
        meter = self._meter(kept, seat, at)
        if isinstance(message, s.Quality):
            meter.hear(message.of, {
                "concealed": message.concealed, "loss": message.loss, "rtt_ms": message.rtt_ms,
                "freezes": message.freezes,
            }, at=at)
        elif isinstance(message, s.MediaState):
            if fallen(kept.rungs.get(seat, ""), message, room.others(live)):
                meter.count(falls=1)
            kept.rungs[seat] = message.rung if message.camera or message.pattern else ""
            self._place(kept, at)
        elif isinstance(message, s.Path):
            kept.paths[seat] = {"relay": "turn"}.get(message.path, message.path)
            self._place(kept, at)
        elif isinstance(message, s.Restart):
            meter.count(restarts=int(not message.rebuild), rebuilds=int(message.rebuild))
        elif isinstance(message, s.Offer):
            if message.to == s.RELAY:
                anew = kept.relayed.get(seat, message.pc) != message.pc
                meter.count(rebuilds=int(anew))
                kept.relayed[seat] = message.pc
        else:
            self._tally(room, meter, message, now)

    async def round(self, rooms: Mapping[SessionId, Room]) -> None:
        """Look who is where, and add to the rows what is due: after half a minute, when somebody came or went, at the
        end of a session, and of a room that memory has forgotten.
        """
        async for room in by_turns(rooms.values()):
            at = self.clock().timestamp()
            kept = self._session(room)
            self._place(kept, at)
            mark = (room.view.session.ended_at, {x: live.info.seat.state for x, live in room.seats.items()})
            ended = room.view.session.ended_at is not None         # what a browser tells last comes after the end
            if ended or mark != kept.mark or at - kept.added >= EVERY:
                kept.mark, kept.added = mark, at
                await self._add(kept)
        for session in [x for x in self._sessions if x not in rooms]:
            await self._add(self._sessions.pop(session))

    async def close(self) -> None:
        """Everything counted goes to the rows, what comes meanwhile too: a socket may have a last word."""
        at = self.clock().timestamp()
        while self._sessions:
            _, kept = self._sessions.popitem()
            self._place(kept, at)
            await self._add(kept)

    def _session(self, room: Room) -> _Session:
        kept = self._sessions.get(room.session)
        if kept is None:
            kept = self._sessions[room.session] = _Session(room=room, added=self.clock().timestamp())
        elif kept.room is not room:
            kept.room = room                     # forgotten and made again between two rounds
        return kept

    def _meter(self, kept: _Session, seat: SeatId, at: float) -> Meter:
        if seat not in kept.meters:
            kept.meters[seat] = Meter(seat, kept.room.session, at=at)
        return kept.meters[seat]

    def _place(self, kept: _Session, at: float) -> None:
        """What every seat sends now and how, as long as somebody else is there to receive it."""
        room = kept.room
        here = {seat for seat, x in room.seats.items() if x.info.active and x.info.seat.state is SeatState.IN}
        ended = room.view.session.ended_at
        talking = len(here) > 1 and ended is None
        at = at if ended is None else min(at, ended.timestamp())
        for seat, live in room.seats.items():
            if seat not in here and seat not in kept.meters:
                continue
            sends = live.state is not None and talking and seat in here
            way = "server" if room.media.topology != "direct" else kept.paths.get(seat, "")
            self._meter(kept, seat, at).be(rung=live.state.rung if sends and live.state else "", way=way, at=at)

    def _tally(self, room: Room, meter: Meter, message: s.Tally, now: datetime) -> None:
        lasted = (now - room.view.session.opened_at).total_seconds()
        meter.tell(
            setup_ms=message.setup_ms, breaks=message.breaks, silent_ms=message.silent_ms, sent=message.sent,
            received=message.received, at=now.timestamp(), lasted=lasted,
        )
        if message.setup_ms is not None:
            self.set_up(message.setup_ms / 1000)

    async def _add(self, kept: _Session) -> None:
        taken = {seat: meter.take() for seat, meter in kept.meters.items()}
        lines = [x for x in taken.values() if not x.empty]
        if not lines:
            return
        try:
            await self.services.run(line_quality.add_lines, lines=lines)
        except Exception as error:
            # A store that does not answer costs the report nothing: the next addition holds these as well.
            LOG.warning("quality of a session", exc_info=error, extra={"session": kept.room.session})
            for seat, line in taken.items():
                kept.meters[seat].put_back(line)
            return
        for line in lines:
            self.told(line)


def fallen(before: str, now: s.MediaState, others: Iterable[Live]) -> bool:
    """Whether the line, and nobody's wish, has taken from the picture. `before`: the rung of the picture until now."""
    if not before or not (now.camera or now.pattern):
        return False
    wishes = (now.most, *(x.state.most for x in others if x.state is not None))
    wished = max(RUNGS.index(x) for x in wishes)
    return RUNGS.index(now.rung) > max(RUNGS.index(before), wished)
