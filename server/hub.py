"""Tells the browsers what was committed: publish and subscribe inside this process, ids only.

Every note has a place in one order, and the newest stay in memory. A page is drawn knowing how far it had heard
(`mark`), and its stream begins there: what happened between the drawing and the listening, or while the connection
was away, is told late instead of never. When it is too long ago, or another process answers, the listener is told to
look again (SNAPSHOT).
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from consult import model as m
from consult import people as o

log = logging.getLogger(__name__)

OnRevoke = Callable[[frozenset[o.MembershipId], m.ConsultationId], None]

KEPT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a subscriber gets: ids, never patient data. `id` is where its stream may go on; "" for the login's end."""

    topic: str
    payload: Mapping[str, Any]
    id: str = ""


SNAPSHOT = Note(topic="snapshot", payload={})
"""Some notes are lost (a slow reader, a gap too long): fetch everything shown anew."""


class Subscription:
    """The notes of some topics for one browser tab. Add to or take from `topics` at any time."""

    def __init__(self, hub: "Hub", topics: Iterable[str], size: int) -> None:
        self.topics = set(topics)
        self._hub = hub
        self._queue: asyncio.Queue[Note | None] = asyncio.Queue(size)

    async def get(self) -> Note | None:
        """The next note; None once the subscription is closed."""
        return await self._queue.get()

    async def __aiter__(self) -> AsyncIterator[Note]:
        while (note := await self.get()) is not None:
            yield note

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._hub._forget(self)  # noqa: SLF001 the two are one thing
        self._put(None)

    def _put(self, note: Note | None) -> None:
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()
            note = None if note is None else SNAPSHOT
        self._queue.put_nowait(note)


class Hub:
    """In-process publish and subscribe. `publish` and `revoke` may be called from any thread."""

    def __init__(self, *, kept: int = KEPT) -> None:
        self._epoch = secrets.token_hex(6)
        self._count = 0
        self._recent: deque[Note] = deque(maxlen=kept)
        self._subscriptions: set[Subscription] = set()
        self._on_revoke: list[OnRevoke] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver on this loop (the first `subscribe` binds the running one by itself)."""
        self._loop = loop

    def mark(self) -> str:
        """How far everything has been told. Take it before reading what a page shows. Call on the event loop."""
        return f"{self._epoch}.{self._count}"

    def subscribe(self, topics: Iterable[str], *, since: str = "", size: int = 64) -> Subscription:
        """Call on the event loop; close it (or leave its `with`) when the tab has gone.

        `since`: a mark, or the id of the last note heard; what came after it comes first. "" begins now.
        """
        if self._loop is None:
            self.bind(asyncio.get_running_loop())
        subscription = Subscription(self, topics, size)
        for note in self._after(since) if since else ():
            if note.topic in subscription.topics or note is SNAPSHOT:
                subscription._put(note)  # noqa: SLF001 the two are one thing
        self._subscriptions.add(subscription)
        return subscription

    def _after(self, since: str) -> Iterable[Note]:
        """The notes after that mark, or SNAPSHOT when they are not all here any more (or it is not one of ours)."""
        epoch, _, text = since.partition(".")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
        missed = self._count - number
        if epoch != self._epoch or number < 0 or not 0 <= missed <= len(self._recent):
            return (SNAPSHOT,)
        return tuple(self._recent)[len(self._recent) - missed :]

    def on_revoke(self, callback: OnRevoke) -> Callable[[], None]:
        """`callback(memberships, consultation)` after the commit that took their access; returns the undo."""
        self._on_revoke.append(callback)
        return lambda: self._on_revoke.remove(callback)

    def publish(self, topic: str, payload: Mapping[str, Any]) -> None:
        self._soon(partial(self._deliver, topic, payload))

    def revoke(self, memberships: frozenset[o.MembershipId], consultation: m.ConsultationId) -> None:
        self._soon(partial(self._tell_revoked, memberships, consultation))

    def close(self) -> None:
        """Ends every subscription, so that open streams finish at shutdown. Call on the event loop."""
        for subscription in tuple(self._subscriptions):
            subscription.close()

    def _soon(self, deliver: Callable[[], None]) -> None:
        if self._loop is None:
            deliver()
            return
        # A loop that has stopped has nobody left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(deliver)

    def _deliver(self, topic: str, payload: Mapping[str, Any]) -> None:
        self._count += 1
        note = Note(topic=topic, payload=payload, id=self.mark())
        self._recent.append(note)
        for subscription in tuple(self._subscriptions):
            if note.topic in subscription.topics:
                subscription._put(note)  # noqa: SLF001 the two are one thing

    def _tell_revoked(self, memberships: frozenset[o.MembershipId], consultation: m.ConsultationId) -> None:
        for callback in tuple(self._on_revoke):
            try:
                callback(memberships, consultation)
            except Exception:
                log.exception("a revocation callback failed")

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
