"""What is shown and done in a room while it is recorded: shared views, shared screens, hands, rungs, for the timeline.

Nothing is remembered of a seat that is not being written at that moment; a screen or a hand that was there before is
told when its seat is written first. Once a second what came is sealed with the recording's key and stored, if the rows
still allow it: of a shared view the newest, of everything else a few. What a recording loses by a kill, or by a pause
that follows, is that second.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from consult.model import SeatId, SessionId
from consult.ports import UnitOfWork
from consult.recording_moments import keep_moments
from consult.recording_state import Moment, RecordingId, Sign
from server.recording.conducting import open_key
from server.sealing import SealError
from server.signalling import schema as s
from server.signalling.room import Live, Room
from server.tasks import by_turns

LOG = logging.getLogger("huizhen.recording")
A_SECOND = 8                    # of one seat within a second, besides its view
UNSAVED = 256                   # kept in memory while the store does not answer
NONCE = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One moment of a seat. `kind`: view, snapshot, annotation (with their `body`), screen_on, screen_off, hand_up,
    hand_down, or rung_ and a rung.
    """

    at: datetime
    seat: SeatId
    kind: str
    body: dict[str, Any] | None = None


def seal_moment(key: bytes, recording: RecordingId, shown: Shown) -> str:
    """`shown` without its time, as only the recording's 32-byte key opens it."""
    nonce = secrets.token_bytes(NONCE)
    plain = json.dumps([shown.seat, shown.kind, shown.body], ensure_ascii=False).encode("utf-8", "surrogatepass")
    return base64.b64encode(nonce + _cipher(key, recording).encrypt(nonce, plain, None)).decode()


def open_moment(key: bytes, moment: Moment) -> Shown:
    """What `seal_moment` sealed. Raises SealError."""
    try:
        raw = base64.b64decode(moment.sealed, validate=True)
        plain = _cipher(key, moment.recording).decrypt(raw[:NONCE], raw[NONCE:], None)
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise SealError("a moment of the recording cannot be opened") from error
    seat, kind, body = json.loads(plain.decode("utf-8", "surrogatepass"))
    return Shown(at=moment.at, seat=SeatId(seat), kind=kind, body=body)


def _cipher(key: bytes, recording: RecordingId) -> AESGCM:
    info = b"huizhen recording moments" + recording.encode()
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key))


class Writing(Protocol):
    """Which recording writes a seat at this moment, if any (RecordingConductor)."""

    def writes(self, room: Room, seat: SeatId) -> RecordingId | None: ...
    def sign(self, text: str, /) -> str: ...


@dataclass(slots=True)
class Second:
    """What came since the last time of one room's recording."""

    room: Room
    recording: RecordingId
    views: dict[SeatId, Shown] = field(default_factory=dict)
    others: list[Shown] = field(default_factory=list)

    def all(self) -> list[Shown]:
        return sorted([*self.views.values(), *self.others], key=lambda x: x.at)


class Moments:
    """`keys`: the key folder. `noticed` is told every message that had its effect, `save` is called each second."""

    def __init__(self, *, writing: Writing, keys: Path, clock: Callable[[], datetime]) -> None:
        self._writing, self._keys, self._clock = writing, keys, clock
        self._since: dict[SessionId, Second] = {}
        self._told: dict[tuple[RecordingId, SeatId], tuple[bool, bool, str]] = {}       # hand, screen, rung

    def noticed(self, room: Room, live: Live, message: s.ClientMessage) -> None:
        """Remembers what `message` shows, if its seat is being written."""
        if isinstance(message, s.View | s.Snapshot | s.Annotation):
            if (recording := self._writing.writes(room, live.info.seat.id)) is not None:
                self._remember(room, recording, live, s.name(type(message)), message.body)
        elif isinstance(message, s.Hand | s.MediaState):
            self._compare(room, live)

    def _compare(self, room: Room, live: Live) -> None:
        """Remembers what of a seat is otherwise than its recording was told last."""
        seat, state = live.info.seat.id, live.state
        if (recording := self._writing.writes(room, seat)) is None:
            return
        before = self._told.get((recording, seat), (False, False, ""))
        after = self._told[recording, seat] = (live.hand, bool(state and state.screen), state.rung if state else "")
        if after[0] is not before[0]:
            self._remember(room, recording, live, "hand_up" if after[0] else "hand_down")
        if after[1] is not before[1]:
            self._remember(room, recording, live, "screen_on" if after[1] else "screen_off")
        if before[2] and after[2] != before[2]:
            self._remember(room, recording, live, f"rung_{after[2]}")

    def _remember(
        self, room: Room, recording: RecordingId, live: Live, kind: str, body: dict[str, Any] | None = None
    ) -> None:
        since = self._since.get(room.session)
        if since is None or since.recording != recording or since.room is not room:
            since = self._since[room.session] = Second(room=room, recording=recording)
        seat = live.info.seat.id
        shown = Shown(at=self._clock(), seat=seat, kind=kind, body=body)
        if kind == "view":
            since.views[seat] = shown
        elif sum(1 for x in since.others if x.seat == seat) < A_SECOND and len(since.others) < UNSAVED:
            since.others.append(shown)

    async def save(self, rooms: Mapping[SessionId, Room]) -> None:
        """Seals and stores what came, where the rows allow it; what the store does not take is tried again. Of others
        than `rooms`, those in memory, nothing is remembered.
        """
        async for room in by_turns(rooms.values()):
            for live in room.seats.values():
                self._compare(room, live)
        seats = {seat for room in rooms.values() for seat in room.seats}
        self._told = {key: told for key, told in self._told.items() if key[1] in seats}
        seconds, self._since = self._since, {}
        for session, since in seconds.items():
            try:
                await since.room.services.run(
                    _keep, session=session, recording=since.recording, shown=since.all(), keys=self._keys,
                    sign=self._writing.sign,
                )
            except SealError as error:
                LOG.error("recording moments", exc_info=error, extra={"session": session})
            except Exception as error:
                LOG.warning("recording moments", exc_info=error, extra={"session": session})
                self._again(session, since)

    def _again(self, session: SessionId, since: Second) -> None:
        newer = self._since.setdefault(session, since)
        if newer is not since and newer.recording == since.recording:
            newer.views = {**since.views, **newer.views}
            newer.others = [*since.others, *newer.others][:UNSAVED]


def _keep(
    uow: UnitOfWork, *, session: SessionId, recording: RecordingId, shown: Sequence[Shown], keys: Path, sign: Sign
) -> int:
    key = open_key(keys, uow.recordings.get(recording))
    sealed = [(x.at, seal_moment(key, recording, x)) for x in shown]
    return keep_moments(uow, session=session, recording=recording, moments=sealed, sign=sign)
