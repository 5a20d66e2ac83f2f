"""What each message does. Rules (state, part, host, rate) come from schema.RULES and are checked on every message."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from consult import attending, chairing, inviting
from consult.errors import ConsultError
from consult.model import SeatId, SeatState
from consult.people import Actor, MembershipId
from server.media.backend import MediaError
from server.settings import Settings
from server.signalling import schema as s
from server.signalling import sdp
from server.signalling.ice import ice_servers
from server.signalling.recording import RecordingMessages
from server.signalling.room import PRESENT, Live, Room

LOG = logging.getLogger("huizhen.room")

_CODES: dict[str, s.Refusal] = {
    "not_found": s.Refusal.NOT_FOUND,
    "not_allowed": s.Refusal.NOT_ALLOWED,
    "wrong_state": s.Refusal.WRONG_STATE,
    "room_locked": s.Refusal.LOCKED,
    "room_full": s.Refusal.FULL,
    "not_invitable": s.Refusal.NOT_INVITABLE,
    "recording_off": s.Refusal.RECORDING_OFF,
    "stale": s.Refusal.STALE,
    "conflict": s.Refusal.STALE,
    "invalid": s.Refusal.MALFORMED,
}


class Refuse(Exception):
    """The message has no effect; the sender is told the code."""

    def __init__(self, code: s.Refusal, *, retry_ms: int = 0) -> None:
        super().__init__(code)
        self.code, self.retry_ms = code, retry_ms


class Handler:
    """Handles the messages of all rooms; holds no state of its own."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self.settings, self.clock = settings, clock
        self.stepped: Callable[[str], None] = lambda _rung: None       # set by setup.py: counts the rungs
        self.relay: Callable[..., Awaitable[str]] | None = None        # set by setup.py: Seating.offer
        self.reply: Callable[..., Awaitable[None]] | None = None       # set by setup.py for Janus: Seating.reply
        self.renew: Callable[[Room, Live], Awaitable[None]] | None = None          # and Seating.restart
        self.heard: Callable[[Room, Live, s.Quality], None] = lambda *_: None       # set by setup.py: Seating.heard
        self.noticed: Callable[[Room, Live, s.ClientMessage], None] = lambda *_: None     # set by setup.py: Book
        self.recordings = RecordingMessages()
        self._effects: dict[type[s.ClientMessage], Callable[[Room, Live, Any], Awaitable[s.ServerMessage | None]]] = {
            s.ClientAck: self._ack, s.Ping: self._ping, s.IceRequest: self._ice,
            s.Offer: self._describe, s.Answer: self._describe, s.Candidate: self._candidate,
            s.Restart: self._addressed, s.Path: self._addressed, s.Quality: self._quality,
            s.MediaState: self._state, s.Hand: self._hand, s.Tally: self._tally,
            s.View: self._view, s.Cursor: self._broadcast, s.Annotation: self._broadcast, s.Snapshot: self._view,
            s.Chat: self._chat, s.Precheck: self._precheck, s.Enter: self._enter, s.Leave: self._leave,
            s.Admit: self._admit, s.Remove: self._remove, s.Lock: self._lock,
            s.Invite: self._invite, s.Uninvite: self._uninvite, s.HandOver: self._hand_over, s.Waiting: self._waiting,
            s.Finish: self._finish, s.UndoFinish: self._undo, s.Phone: self._phone,
            **self.recordings.effects,
        }

    async def take(self, room: Room, live: Live, message: s.ClientMessage, *, seconds: float) -> None:
        """One message of a seat, in order: duplicate, rate, rule, effect, acknowledgement or refusal with a code."""
        number = message.n if isinstance(message, s.Reliable) else 0
        kind = s.name(type(message))
        rule = s.RULES[type(message)]
        if number and number <= live.received and self.again(room, live, message, number, seconds=seconds):
            return
        if live.limiter is not None and not live.limiter.take(rule.family, seconds):
            if live.limiter.refused(seconds) and live.connection is not None:
                live.connection.end(s.Close.FLOOD)
                return
            self.refuse(room, live, kind, number, s.Refusal.RATE, retry_ms=live.limiter.retry_ms(rule.family))
            return
        try:
            self.check(live, rule)
            effect = self._effects.get(type(message))
            if effect is None:
                raise Refuse(s.Refusal.HELLO_TWICE)
            reply = await effect(room, live, message)
        except Refuse as refusal:
            self.refuse(room, live, kind, number, refusal.code, retry_ms=refusal.retry_ms)
        except ConsultError as error:
            self.refuse(room, live, kind, number, _CODES.get(error.code, s.Refusal.WRONG_STATE))
        except Exception as error:
            # The room outlives a store that does not answer; the browser may send the message again.
            LOG.error("room message failed", exc_info=error, extra={"kind": kind, "session": room.session})
            self.refuse(room, live, kind, number, s.Refusal.UNAVAILABLE)
        else:
            self.noticed(room, live, message)
            if reply is not None and not isinstance(reply, s.ServerAck):
                room.answer(live, reply)
            if number:
                acknowledged = reply if isinstance(reply, s.ServerAck) else s.ServerAck(n=number)
                live.answered(number, acknowledged)
                room.answer(live, acknowledged)

    @staticmethod
    def again(room: Room, live: Live, message: s.ClientMessage, number: int, *, seconds: float) -> bool:
        """A number that was taken is answered as it was, without a second effect. An answer that is not remembered is
        an acknowledgement; only for a chat line the rows are asked anew (False).
        """
        answer = live.answers.get(number)
        if answer is None and isinstance(message, s.Chat):
            return False
        if live.limiter is not None and live.limiter.refused(seconds) and live.connection is not None:
            live.connection.end(s.Close.FLOOD)
        else:
            room.answer(live, answer or s.ServerAck(n=number))
        return True

    def refuse(self, room: Room, live: Live, kind: str, number: int, code: s.Refusal, *, retry_ms: int = 0) -> None:
        """A refused number is used up: the browser sends anew under a new one if it wants to."""
        refused = s.Refused(n=number, kind=kind, code=code, retry_ms=retry_ms)
        if number:
            live.answered(number, refused)
        room.answer(live, refused)

    @staticmethod
    def check(live: Live, rule: s.Rule) -> None:
        seat = live.info.seat
        if not live.info.active:
            raise Refuse(s.Refusal.NOT_FOUND)
        if seat.state not in rule.states and not (seat.state is SeatState.LOST and SeatState.IN in rule.states):
            raise Refuse(s.Refusal.NOT_IN)
        if seat.part not in rule.parts or (rule.host and not live.info.host):
            raise Refuse(s.Refusal.NOT_ALLOWED)

    @staticmethod
    def actor(live: Live) -> Actor:
        if live.actor is None:
            raise Refuse(s.Refusal.NOT_FOUND)
        return live.actor

    @staticmethod
    def target(room: Room, live: Live, to: str) -> Live:
        other = room.seats.get(SeatId(to))
        if other is None or other is live or other.info.seat.state not in PRESENT or not other.info.active:
            raise Refuse(s.Refusal.NOT_FOUND)
        return other

    # -- passing on ------------------------------------------------------------------------------------------------

    async def _ack(self, room: Room, live: Live, message: s.ClientAck) -> None:
        room.acknowledge(live, message.seq)

    async def _ping(self, _room: Room, _live: Live, message: s.Ping) -> s.ServerMessage:
        return s.Pong(at=message.at)

    async def _ice(self, _room: Room, live: Live, _message: s.IceRequest) -> s.ServerMessage:
        return s.IceServers(
            servers=ice_servers(self.settings.ice, holder=live.info.seat.id, now=self.clock())
        )

    async def _describe(self, room: Room, live: Live, message: s.Offer | s.Answer) -> None:
        if message.to == s.RELAY:
            await self._offer_relay(room, live, message)
            return
        target = self.target(room, live, message.to)
        try:
            text = sdp.clean(message.sdp)
        except sdp.BadDescription as error:
            raise Refuse(s.Refusal.BAD_DESCRIPTION) from error
        room.relay(live, type(message)(n=message.n, to=message.to, pc=message.pc, sdp=text), target)

    async def _offer_relay(self, room: Room, live: Live, message: s.Offer | s.Answer) -> None:
        """The relay answers at once, with all of its candidates; it needs none of the browser's."""
        if self.relay is None or (isinstance(message, s.Answer) and self.reply is None):
            raise Refuse(s.Refusal.NOT_FOUND)
        try:
            text = sdp.clean(message.sdp, most=s.RELAY_LINES)
            if isinstance(message, s.Answer):
                if self.reply is not None:
                    await self.reply(room, live, pc=message.pc, sdp=text)
                return
            answer = await self.relay(room, live, pc=message.pc, sdp=text, speech=message.speech)
        except sdp.BadDescription as error:
            raise Refuse(s.Refusal.BAD_DESCRIPTION) from error
        except MediaError as error:
            LOG.warning("media relay", exc_info=error, extra={"session": room.session})
            raise Refuse(s.Refusal.UNAVAILABLE) from error
        room.tell(live, s.RelayAnswer(pc=message.pc, sdp=answer))

    async def _candidate(self, room: Room, live: Live, message: s.Candidate) -> None:
        target = self.target(room, live, message.to)
        rule = self.settings.room.private_candidates
        try:
            if not sdp.passes(message.candidate, rule=rule, remote=live.remote):
                return                           # withheld by the site's rule, which is no fault of the browser
        except sdp.BadDescription as error:
            raise Refuse(s.Refusal.BAD_DESCRIPTION) from error
        room.relay(live, message, target)

    async def _addressed(self, room: Room, live: Live, message: s.Restart | s.Path) -> None:
        if message.to == s.RELAY and isinstance(message, s.Restart) and self.renew is not None:
            await self.renew(room, live)
            return
        target = self.target(room, live, message.to)
        if isinstance(message, s.Path):
            LOG.info("media path", extra={"session": room.session, "path": message.path})
        room.relay(live, message, target)

    async def _quality(self, room: Room, live: Live, message: s.Quality) -> None:
        if message.of == s.RELAY:
            self.heard(room, live, message)
            return
        other = room.seats.get(SeatId(message.of))
        if other is not None and other is not live and other.info.seat.state in PRESENT:
            room.relay(live, message, other)

    async def _state(self, room: Room, live: Live, message: s.MediaState) -> None:
        if live.state is None or live.state.rung != message.rung:
            LOG.info(
                "room rung", extra={"session": room.session, "seat": live.info.seat.id, "rung": message.rung}
            )
            self.stepped(message.rung)
        live.state = message
        room.announce(live)

    async def _tally(self, _room: Room, _live: Live, _message: s.Tally) -> None:
        """Nobody else's business: `noticed` counts it."""

    async def _hand(self, room: Room, live: Live, message: s.Hand) -> None:
        live.hand = message.up
        room.announce(live)

    async def _view(self, room: Room, live: Live, message: s.View | s.Snapshot) -> None:
        live.view = message.body
        await self._broadcast(room, live, message)

    async def _broadcast(self, room: Room, live: Live, message: s.ClientMessage) -> None:
        for other in room.others(live):
            room.relay(live, message, other)

    # -- rows --------------------------------------------------------------------------------------------------------

    async def _chat(self, room: Room, live: Live, message: s.Chat) -> s.ServerMessage:
        actor = self.actor(live)
        stored = await room.services.run(
            attending.send_message, actor=actor, consultation=room.view.session.consultation, session=room.session,
            client_id=message.client_id, text=message.text,
        )
        room.say(stored, actor.name)
        return s.ServerAck(n=message.n, id=stored.id, at=stored.at.isoformat())

    async def _precheck(self, room: Room, live: Live, message: s.Precheck) -> None:
        await room.services.run(
            attending.save_precheck, actor=self.actor(live), seat=live.info.seat.id, result=message.result
        )

    async def _enter(self, room: Room, live: Live, _message: s.Enter) -> None:
        if live.info.seat.state is SeatState.LOBBY and live.info.seat.part in s.PRINCIPALS:
            await room.services.run(attending.admit, actor=self.actor(live), seat=live.info.seat.id)
            await room.refresh()
        else:
            room.announce(live)                  # a guest waits; whoever may admit sees it

    async def _leave(self, room: Room, live: Live, _message: s.Leave) -> None:
        await room.services.run(attending.leave_seat, actor=self.actor(live), seat=live.info.seat.id)
        await room.refresh()

    async def _admit(self, room: Room, live: Live, message: s.Admit) -> None:
        self._known(room, message.seat)
        await room.services.run(attending.admit, actor=self.actor(live), seat=SeatId(message.seat))
        await room.refresh()

    async def _remove(self, room: Room, live: Live, message: s.Remove) -> None:
        self._known(room, message.seat)
        await room.services.run(
            attending.remove_seat, actor=self.actor(live), seat=SeatId(message.seat), reason=message.reason
        )
        await room.refresh()

    async def _lock(self, room: Room, live: Live, message: s.Lock) -> None:
        await room.services.run(
            attending.lock_session, actor=self.actor(live), session=room.session, locked=message.locked
        )
        await room.refresh()

    async def _invite(self, room: Room, live: Live, message: s.Invite) -> None:
        await room.services.run(
            inviting.invite_guest, actor=self.actor(live), session=room.session,
            membership=MembershipId(message.membership),
        )
        await room.refresh()

    async def _uninvite(self, room: Room, live: Live, message: s.Uninvite) -> None:
        await room.services.run(
            inviting.withdraw_invitation, actor=self.actor(live), session=room.session,
            membership=MembershipId(message.membership),
        )
        await room.refresh()

    async def _hand_over(self, room: Room, live: Live, message: s.HandOver) -> None:
        self._known(room, message.seat)
        await room.services.run(
            chairing.hand_over_chair, actor=self.actor(live), session=room.session, seat=SeatId(message.seat)
        )
        await room.refresh()

    async def _waiting(self, room: Room, live: Live, message: s.Waiting) -> None:
        await room.services.run(
            chairing.set_waiting, actor=self.actor(live), session=room.session, minutes=message.minutes,
            text=message.text,
        )
        await room.refresh()

    async def _finish(self, room: Room, live: Live, _message: s.Finish) -> None:
        await room.services.run(attending.finish_session, actor=self.actor(live), session=room.session)
        await room.refresh()

    async def _undo(self, room: Room, live: Live, _message: s.UndoFinish) -> None:
        await room.services.run(attending.undo_finish, actor=self.actor(live), session=room.session)
        await room.refresh()

    async def _phone(self, room: Room, live: Live, _message: s.Phone) -> None:
        await room.services.run(attending.start_telephone, actor=self.actor(live), session=room.session)
        await room.refresh()

    @staticmethod
    def _known(room: Room, seat: str) -> None:
        if SeatId(seat) not in room.seats:
            raise Refuse(s.Refusal.NOT_FOUND)
