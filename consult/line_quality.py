"""How good the line of every seat was in a session, read for those who may read what was said in it.

Losing the line is a gap in the attendance, never a departure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from consult import model as m
from consult.access import Action, open_consultation
from consult.line_sums import SeatLine
from consult.people import Actor
from consult.ports import UnitOfWork

FAIR, POOR = 0.01, 0.05          # of the speech made up


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """How often and how long a seat was lost and waited for."""

    times: int = 0
    seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatQuality:
    """One seat with the words others see; `line` is None while nothing has been counted of it."""

    seat: m.Seat
    name: str
    organisation: str
    present: int                     # seconds in the room
    gaps: Gaps
    line: SeatLine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What it comes to. `speech`: good, fair, poor, or unmeasured, by the seat that fared worst; `breaks` and
    `silent` (seconds) of the seat that was without the others for longest.
    """

    speech: str
    falls: int
    breaks: int
    silent: int
    telephone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuality:
    session: m.Session
    seconds: int                     # from the opening to the end, or until now
    seats: tuple[SeatQuality, ...]
    verdict: Verdict

    @property
    def counted(self) -> bool:
        """Whether anything is known of its lines."""
        return any(x.line is not None or x.gaps.times for x in self.seats)


def add_lines(uow: UnitOfWork, lines: Iterable[SeatLine]) -> None:
    """Add to what the rows hold of these seats."""
    for line in lines:
        before = uow.meetings.line(line.seat)
        uow.meetings.put_line(line if before is None else before.plus(line))


def gaps_of(stays: Sequence[m.Attendance], end: datetime) -> Gaps:
    """The times between a lost line and the return (or `end`), of one seat's attendance, oldest first."""
    lost = [
        (stay.left_at, back)
        for stay, back in zip(stays, [*(x.entered_at for x in stays[1:]), end], strict=True)
        if stay.reason == "lost" and stay.left_at is not None
    ]
    away = sum((max(back - left, timedelta(0)) for left, back in lost), timedelta(0))
    return Gaps(times=len(lost), seconds=round(away.total_seconds()))


def judge(session: m.Session, seconds: int, lines: Iterable[SeatLine]) -> Verdict:
    """The worst of all seats: a consultation is as good as it was for whoever heard least."""
    found = list(lines)
    shares = [x.concealed for x in found if x.concealed is not None]
    worst = max(shares, default=None)
    silent = max(found, key=lambda x: (x.silent_ms, x.breaks), default=None)
    return Verdict(
        speech="unmeasured" if worst is None else "good" if worst < FAIR else "fair" if worst < POOR else "poor",
        falls=max((x.falls for x in found), default=0),
        breaks=silent.breaks if silent else 0,
        silent=min(seconds, round(silent.silent_ms / 1000)) if silent else 0,
        telephone=session.kind == "telephone",
    )


def session_qualities(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId
) -> tuple[SessionQuality, ...]:
    """Every session in which somebody sat, the newest first; for those who may read what was said in them."""
    open_consultation(uow, actor, consultation, Action.ROOM_HISTORY)
    found = [_quality(uow, x) for x in uow.meetings.sessions(consultation)]
    return tuple(x for x in reversed(found) if x.seats)


def _quality(uow: UnitOfWork, session: m.Session) -> SessionQuality:
    end = session.ended_at or uow.now
    seconds = max(0, round((end - session.opened_at).total_seconds()))
    lines = {x.seat: x for x in uow.meetings.lines(session.id)}
    attendances = uow.meetings.attendances(session.id)
    seats = []
    for seat in uow.meetings.seats(session.id):
        stays = [x for x in attendances if x.seat == seat.id]
        if not stays:
            continue                 # never beyond the lobby
        member = uow.people.membership(seat.membership)
        inside = sum((max((x.left_at or end) - x.entered_at, timedelta(0)) for x in stays), timedelta(0))
        seats.append(SeatQuality(
            seat=seat, name=uow.people.staff(member.staff).name,
            organisation=uow.people.organisation(member.organisation).short_name,
            present=round(inside.total_seconds()), gaps=gaps_of(stays, end), line=lines.get(seat.id),
        ))
    seats.sort(key=lambda x: (list(m.Part).index(x.seat.part), x.name))
    return SessionQuality(
        session=session, seconds=seconds, seats=tuple(seats), verdict=judge(session, seconds, lines.values()),
    )
