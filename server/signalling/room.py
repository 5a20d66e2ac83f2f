"""One room: live seats of one session in memory, under an epoch. Rows are the truth; this relays and remembers briefly.

Everything here runs on the event loop; services run through `Services` on worker threads. What changes rows is
followed by `refresh`, which reads them and tells every seat what is different: one path, whoever made the change.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from consult import attending, meeting_view
from consult.model import Message, SeatId, SeatState, SessionId
from consult.people import Actor, MembershipId
from server.signalling import schema as s
from server.signalling.connection import Connection
from server.signalling.limits import Limiter
from server.signalling.replay import Replay

T = TypeVar("T")
CHAT_HISTORY = 100
CHAT_BYTES = 64 * 1024     # of text in a snapshot: eight seconds of a 64 kbit/s line
ANSWERS = 64              # refusals and ids kept per page load, so that a resent number is answered as it was
PRESENT = frozenset({SeatState.IN, SeatState.LOST})


class Services(Protocol):
    """The part of server.work.Work that the room uses."""

    async def run(self, service: Callable[..., T], /, *args: Any, **kwargs: Any) -> T: ...
    async def read(self, service: Callable[..., T], /, *args: Any, **kwargs: Any) -> T: ...


@dataclass(slots=True)
class Live:
    """What memory holds of a seat. `tab` is the page load that has it now, `received` that tab's highest `n`."""

    info: meeting_view.SeatInfo
    replay: Replay = field(default_factory=Replay)
    connection: Connection | None = None
    actor: Actor | None = None
    login: str = ""
    remote: str | None = None
    limiter: Limiter | None = None
    tab: str = ""
    received: int = 0
    answers: dict[int, s.ServerAck | s.Refused] = field(default_factory=dict)
    state: s.MediaState | None = None
    hand: bool = False
    view: dict[str, Any] | None = None
    lost_at: datetime | None = None
    written_lost: bool = False
    undelivered: list[tuple[int, str, SeatId]] = field(default_factory=list)     # (seq, message, author's seat)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def connected(self) -> bool:
        return self.connection is not None and not self.connection.closed

    def answered(self, number: int, answer: s.ServerAck | s.Refused) -> None:
        """The number is used up, whether the message had its effect or was refused."""
        self.received = max(self.received, number)
        if isinstance(answer, s.Refused) or answer.id:       # what is not remembered was simply acknowledged
            self.answers[number] = answer
            if len(self.answers) > ANSWERS:
                del self.answers[next(iter(self.answers))]

    def hears_chat(self) -> bool:
        """In the room, or a principal at its door: what is said before they enter is theirs to read."""
        seat = self.info.seat
        return seat.state in PRESENT or (seat.state is SeatState.LOBBY and seat.part in s.PRINCIPALS)

    def take_connection(self) -> Connection | None:
        """Forget the socket and hand it back, if there is one."""
        connection, self.connection = self.connection, None
        return connection


class Room:
    """`view` is the room as rows told it last."""

    def __init__(self, view: meeting_view.RoomView, *, services: Services, clock: Callable[[], datetime]) -> None:
        self.epoch = secrets.token_hex(8)
        self.services, self.clock = services, clock
        self.view = view
        self.seats: dict[SeatId, Live] = {}
        self.said: set[str] = set()              # chat messages already passed on in this epoch
        self.heard = clock()                     # when the rows were asked for chat
        self.refreshing = asyncio.Lock()
        self.empty_since: datetime | None = None
        self.media = s.MediaView()
        self.recording = s.RecordingView()       # set by server/recording/conducting.py
        self.settled: Callable[[Room], None] = lambda _room: None          # set by server/media/seating.py
        self.expelled: Callable[[Room, Live], None] = lambda _room, _live: None
        self.checked = now = clock()             # when the rows were read though nobody said that they changed
        for info in view.seats:
            self.seats[info.seat.id] = Live(info=info, lost_at=now, written_lost=info.seat.state is SeatState.LOST)

    @property
    def session(self) -> SessionId:
        return self.view.session.id

    # -- telling -------------------------------------------------------------------------------------------------

    def tell(self, live: Live, message: s.ServerMessage) -> int:
        """Reliable: numbered, kept until acknowledged, sent now if the seat is connected. The number."""
        frame = s.encode(message, seq=live.replay.next())
        return self.keep(live, frame)

    def keep(self, live: Live, frame: bytes) -> int:
        number = live.replay.put(frame)
        if live.connection is not None:
            live.connection.send(frame)
        return number

    def answer(self, live: Live, message: s.ServerMessage) -> None:
        """Unnumbered, to the present socket only."""
        if live.connection is not None:
            live.connection.send(s.encode(message))

    def others(self, live: Live) -> list[Live]:
        """Seats that hear this one: in the room, or lost and expected back."""
        return [other for other in self.seats.values() if other is not live and other.info.seat.state in PRESENT]

    def tell_all(self, message: s.ServerMessage, *, but: Live | None = None) -> None:
        """To every seat that may still come back; those without a socket get it by replay."""
        for other in self.seats.values():
            if other is not but and other.info.active and other.info.seat.state is not SeatState.REMOVED:
                self.tell(other, message)

    def relay(self, sender: Live, message: s.ClientMessage, target: Live) -> None:
        """Pass a client message on under its own name. Newest-wins kinds are neither numbered nor kept."""
        fields = msgspec.to_builtins(message)
        for private in ("n", "to"):
            fields.pop(private, None)
        fields["from"], fields["tab"] = sender.info.seat.id, sender.tab
        if isinstance(message, s.Newest | s.Quality):
            if target.connection is not None:
                key = (sender.info.seat.id, str(fields["type"]))
                target.connection.send_newest(key, msgspec.json.encode(fields))
            return
        fields["seq"] = target.replay.next()
        self.keep(target, msgspec.json.encode(fields))

    # -- views ---------------------------------------------------------------------------------------------------

    def seat_view(self, live: Live) -> s.SeatView:
        seat, state = live.info.seat, live.state
        return s.SeatView(
            seat=seat.id, membership=seat.membership, part=seat.part.value, name=live.info.name,
            title=live.info.title, organisation=live.info.organisation, state=seat.state.value,
            connected=live.connected, tab=live.tab, mic=bool(state and state.mic), camera=bool(state and state.camera),
            pattern=bool(state and state.pattern), rung=state.rung if state else "video",
            most=state.most if state else "video", kbps=state.kbps if state else 0,
            original=bool(state and state.original), curtain=bool(state and state.curtain),
            screen=bool(state and state.screen), hand=live.hand,
            since=(live.lost_at or seat.since).isoformat(), host=live.info.host,
        )

    def contacts(self) -> list[s.ContactView]:
        return [
            s.ContactView(
                part=contact.part.value, organisation=contact.organisation,
                organisation_phone=contact.organisation_phone, name=contact.name, phone=contact.phone,
            )
            for contact in self.view.contacts
        ]

    def lobby(self, live: Live) -> s.LobbyView:
        """What one seat may know of it."""
        session = self.view.session
        seen = self.view.invited if live.info.seat.state in PRESENT else ()
        return s.LobbyView(
            text=session.wait_text, until=session.wait_until.isoformat() if session.wait_until else None,
            invited=[
                s.InvitedView(
                    membership=x.membership, name=x.name, title=x.title, organisation=x.organisation,
                    expires_at=x.expires_at.isoformat(),
                )
                for x in seen
            ],
        )

    def recording_for(self, live: Live) -> s.RecordingView:
        """What one seat may know of it: the lobby that it runs, not who is present where."""
        if live.info.seat.state in PRESENT:
            return self.recording
        return msgspec.structs.replace(self.recording, seats=[])

    def views_for(self, live: Live) -> dict[str, dict[str, Any]]:
        """What each seat looks at; nobody in the lobby is shown it."""
        if live.info.seat.state not in PRESENT:
            return {}
        return {other.info.seat.id: other.view for other in self.seats.values() if other.view is not None}

    async def whole(self, live: Live, actor: Actor) -> s.Whole:
        """The snapshot for one seat. A guest in the lobby sees no chat."""
        lines, more = [], False
        if live.info.seat.state is not SeatState.LOBBY or live.hears_chat():
            found = await self.services.read(
                attending.messages, actor=actor, consultation=self.view.session.consultation
            )
            newest = _newest(found)
            lines, more = [self.chat_view(line.message, line.name) for line in newest], len(newest) < len(found)
        session = self.view.session
        return s.Whole(
            session=session.id, consultation=session.consultation, kind=session.kind,
            opened_at=session.opened_at.isoformat(),
            ended_at=session.ended_at.isoformat() if session.ended_at else None, locked=session.locked,
            lobby=self.lobby(live),
            media=self.media, recording=self.recording_for(live),
            seats=[self.seat_view(other) for other in self.seats.values()], chat=lines, chat_more=more,
            contacts=self.contacts(), views=self.views_for(live),
        )

    @staticmethod
    def chat_view(message: Message, name: str) -> s.ChatView:
        return s.ChatView(
            id=message.id, client_id=message.client_id, membership=message.membership, name=name, text=message.text,
            at=message.at.isoformat(),
        )

    # -- coming and going ------------------------------------------------------------------------------------------

    def attach(self, live: Live, connection: Connection, hello: s.Hello, *, whole: s.Whole, mark: int,
               ice: list[dict[str, Any]], limiter: Limiter) -> None:
        """Give the seat to a socket: the former one ends, the browser gets replay or snapshot, the others are told.

        `mark`: the newest number before `whole` was read; what came later is sent after it.
        """
        old = live.take_connection()
        if old is not None:
            if hello.tab != live.tab:
                old.end(s.Close.TAKEN_OVER)
            else:
                old.end(s.Close.SLOW)            # the same page came back over a new socket
        missed = live.replay.after(hello.last_seq) if hello.epoch == self.epoch and hello.tab == live.tab else None
        if hello.tab != live.tab:
            live.received = 0
            live.answers.clear()
        changed = hello.tab != live.tab or live.lost_at is not None
        live.connection, live.tab, live.limiter = connection, hello.tab, limiter
        live.lost_at, live.written_lost = None, False
        self.empty_since = None
        resumed = missed is not None
        if missed is None:
            live.replay.acknowledge(mark)
            missed = live.replay.after(mark)
        connection.welcome(s.encode(s.Welcome(
            v=s.VERSION, epoch=self.epoch, seat=live.info.seat.id, received=live.received,
            seq=hello.last_seq if resumed else mark, resumed=resumed,
            now=self.clock().isoformat(), ice=ice, snapshot=None if resumed else whole,
        )))
        for frame in missed or ():
            connection.send(frame)
        if changed:
            self.announce(live)

    def detach(self, live: Live, connection: Connection) -> None:
        """The socket is gone. The seat stays; only the others learn that it is being waited for."""
        if live.connection is not connection:
            return                               # a newer one has the seat
        live.connection = None
        live.lost_at = self.clock()
        self.announce(live)

    def announce(self, live: Live, *, gone: bool = False, reason: str = "") -> None:
        self.tell_all(s.Presence(seat=self.seat_view(live), gone=gone, reason=reason), but=live)

    def acknowledge(self, live: Live, seq: int) -> None:
        """The browser has everything up to `seq`: forget it, and tell authors that their lines arrived."""
        live.replay.acknowledge(min(seq, live.replay.seq))
        while live.undelivered and live.undelivered[0][0] <= seq:
            _, message, author = live.undelivered.pop(0)
            if (writer := self.seats.get(author)) is not None:
                self.tell(writer, s.Delivered(id=message, by=live.info.seat.id))

    def say(self, message: Message, name: str, *, author_too: bool = False) -> None:
        """Pass a stored chat line on, once per epoch. Its author's seat has the acknowledgement already, unless the
        line was written on another page (`author_too`); the browser knows it by its client_id.
        """
        if message.id in self.said:
            return
        self.said.add(message.id)
        author = next((x for x in self.seats.values() if x.info.seat.membership == message.membership), None)
        for live in self.seats.values():
            if not live.hears_chat() or (live is author and not author_too):
                continue
            number = self.tell(live, s.ChatLine(message=self.chat_view(message, name)))
            if author is not None and author is not live:
                live.undelivered.append((number, message.id, author.info.seat.id))

    # -- rows changed ----------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read the rows again and tell everyone what is different. A seat whose socket is here is not lost."""
        async with self.refreshing:
            self.apply(await self.services.read(meeting_view.room_rows, session=self.session))
            back = [
                live.info.seat.id for live in self.seats.values()
                if live.connected and live.info.seat.state is SeatState.LOST and self.view.session.ended_at is None
            ]
            for seat in back:
                await self.services.run(attending.seat_back, seat=seat)
            if back:
                self.apply(await self.services.read(meeting_view.room_rows, session=self.session))

    def apply(self, view: meeting_view.RoomView) -> None:
        former, self.view = self.view, view
        before, after = former.session, view.session
        for info in view.seats:
            live = self.seats.get(info.seat.id)
            if live is None:
                self.seats[info.seat.id] = live = Live(info=info, lost_at=self.clock())
                self.announce(live)
                continue
            was, live.info = live.info, info
            if (info.seat.state, info.active, info.host) == (was.seat.state, was.active, was.host):
                continue
            if info.seat.state is SeatState.REMOVED:
                self.put_out(live, s.Close.REMOVED)
            elif not info.active:
                self.put_out(live, s.Close.REVOKED)
            elif info.seat.state is SeatState.LEFT and after.ended_at is None:
                self.announce(live, gone=True, reason="left")
            else:
                self.announce(live)
                self.tell(live, s.Presence(seat=self.seat_view(live)))
        if _lobby(view) != _lobby(former):
            for live in self.seats.values():
                if live.info.active and live.info.seat.state is not SeatState.REMOVED:
                    self.tell(live, s.Lobby(lobby=self.lobby(live)))
        if after.locked != before.locked:
            self.tell_all(s.Locked(locked=after.locked))
        if after.ended_at is not None and before.ended_at is None:
            self.tell_all(s.Finished(by=after.ended_by or "", at=after.ended_at.isoformat()))
        if after.ended_at is None and before.ended_at is not None:
            self.tell_all(s.Reopened(by=""))
        if after.kind != before.kind and after.kind == "telephone":
            self.tell_all(s.ByTelephone(by="", contacts=self.contacts()))
        self.settled(self)

    def put_out(self, live: Live, why: s.Close) -> None:
        """Removed or revoked: the socket ends with the reason, and the others close their peer connections to it."""
        if (connection := live.take_connection()) is not None:
            connection.end(why)
        live.lost_at = self.clock()
        live.tab = ""
        live.replay = Replay()
        live.undelivered.clear()                 # numbers of the former replay
        self.announce(live, gone=True, reason=why.value)
        self.expelled(self, live)

    def of_membership(self, membership: MembershipId) -> Live | None:
        return next((live for live in self.seats.values() if live.info.seat.membership == membership), None)


def _newest(lines: Sequence[meeting_view.Line]) -> Sequence[meeting_view.Line]:
    """The last of them, as many as a snapshot holds; at least one."""
    size = 0
    for at, line in enumerate(reversed(lines)):
        size += len(line.message.text.encode())
        if at and (at == CHAT_HISTORY or size > CHAT_BYTES):
            return lines[len(lines) - at:]
    return lines


def _lobby(view: meeting_view.RoomView) -> tuple[Any, ...]:
    return view.invited, view.session.wait_text, view.session.wait_until
