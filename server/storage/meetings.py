"""Sessions, seats, attendance and chat (ports.Meetings)."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update

from consult import model as m
from consult import people as o
from consult.errors import Conflict
from consult.line_sums import SeatLine
from server.storage import rows
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables import attendance, message, seat, session
from server.storage.tables_quality import line_quality

_LINE = Mapper(SeatLine, line_quality)


class Meetings(Repository):
    def session(self, id: m.SessionId) -> m.Session:
        return self._get(rows.session, id)

    def sessions(self, consultation: m.ConsultationId) -> Sequence[m.Session]:
        """By number."""
        return self._list_by(rows.session, ("n",), consultation=consultation)

    def running(self, consultation: m.ConsultationId) -> m.Session | None:
        return self._find_by(rows.session, consultation=consultation, ended_at=None)

    def running_for(self, membership: o.MembershipId) -> Sequence[m.Session]:
        """Running sessions in which the membership has a seat, oldest first."""
        mine = select(seat.c.session).where(seat.c.membership == membership)
        c = session.c
        return self._list(
            rows.session, c.ended_at.is_(None), c.id.in_(mine), order=(c.opened_at, c.id)
        )

    def add_session(self, session: m.Session) -> None:
        self._add(rows.session, session)

    def save_session(self, session: m.Session) -> m.Session:
        return self._save(rows.session, session)

    def seat(self, id: m.SeatId) -> m.Seat:
        return self._get(rows.seat, id)

    def seats(self, session: m.SessionId) -> Sequence[m.Seat]:
        """The longest seated first."""
        return self._list_by(rows.seat, ("since", "id"), session=session)

    def seat_of(self, session: m.SessionId, membership: o.MembershipId) -> m.Seat | None:
        return self._find_by(rows.seat, session=session, membership=membership)

    def add_seat(self, seat: m.Seat) -> None:
        self._add(rows.seat, seat)

    def save_seat(self, seat: m.Seat) -> m.Seat:
        return self._save(rows.seat, seat)

    def attendances(self, session: m.SessionId) -> Sequence[m.Attendance]:
        """Oldest first."""
        inside = select(seat.c.id).where(seat.c.session == session)
        c = attendance.c
        return self._list(rows.attendance, c.seat.in_(inside), order=(c.entered_at, c.seat))

    def enter(self, attendance: m.Attendance) -> None:
        """Conflict when the seat is already inside."""
        self._add(rows.attendance, attendance)

    def leave(self, seat: m.SeatId, *, at: datetime, reason: str) -> None:
        c = attendance.c
        self.link.execute(
            update(attendance).where(c.seat == seat, c.left_at.is_(None)).values(left_at=at, reason=reason)
        )

    def line(self, seat: m.SeatId) -> SeatLine | None:
        return self._find_by(_LINE, seat=seat)

    def lines(self, session: m.SessionId) -> Sequence[SeatLine]:
        return self._list_by(_LINE, ("seat",), session=session)

    def put_line(self, line: SeatLine) -> None:
        values = _LINE.values(line)
        if not self.link.insert_new(line_quality, values):
            self.link.execute(update(line_quality).where(line_quality.c.seat == line.seat).values(values))

    def add_message(self, message: m.Message) -> m.Message:
        stored = self._same(message)
        if stored is not None:
            return stored
        if not self.link.insert_new(rows.message.table, rows.message.values(message)):
            raise Conflict(kind="message")
        return message

    def _same(self, sent: m.Message) -> m.Message | None:
        return self._find_by(
            rows.message, consultation=sent.consultation, membership=sent.membership, client_id=sent.client_id
        )

    def messages(
        self, consultation: m.ConsultationId, *, after: datetime | None = None
    ) -> Sequence[m.Message]:
        """Oldest first; with `after` only later ones."""
        c = message.c
        where = [c.consultation == consultation]
        if after is not None:
            where.append(c.at > after)
        return self._list(rows.message, *where, order=(c.at, c.id))
