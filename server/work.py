"""Runs units of work off the event loop, commits them, and then tells the browsers.

`run` writes: on the one writer thread (SQLite) or one of a few (PostgreSQL, repeated up to three times when it cannot
serialise, so a function may run more than once and must touch nothing but its unit). `read` runs beside it on a
read-only snapshot. Nothing is published that is not committed, and a commit is published even if the caller has left.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from consult import model as m
from consult import people as o
from consult.rules import Rules
from server.storage.engine import Database
from server.storage.errors import DatabaseBusy, Retry, StorageUnavailable, translate
from server.storage.faults import fault
from server.storage.unit import SqlUnitOfWork

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 3
CHECKPOINT_ABOVE = 4 << 20  # bytes of SQLite's log
_POSTGRES_WRITERS = 4

log = logging.getLogger(__name__)

OnRevoke = Callable[[frozenset[o.MembershipId], m.ConsultationId], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a subscriber gets: ids, never patient data."""

    topic: str
    payload: Mapping[str, Any]


SNAPSHOT = Note(topic="snapshot", payload={})
"""Some notes were dropped because the subscriber was slow: fetch everything shown anew."""


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

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._on_revoke: list[OnRevoke] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver on this loop (the first `subscribe` binds the running one by itself)."""
        self._loop = loop

    def subscribe(self, topics: Iterable[str], *, size: int = 64) -> Subscription:
        """Call on the event loop; close it (or leave its `with`) when the tab has gone."""
        if self._loop is None:
            self.bind(asyncio.get_running_loop())
        subscription = Subscription(self, topics, size)
        self._subscriptions.add(subscription)
        return subscription

    def on_revoke(self, callback: OnRevoke) -> Callable[[], None]:
        """`callback(memberships, consultation)` after the commit that took their access; returns the undo."""
        self._on_revoke.append(callback)
        return lambda: self._on_revoke.remove(callback)

    def publish(self, topic: str, payload: Mapping[str, Any]) -> None:
        self._soon(partial(self._deliver, Note(topic=topic, payload=payload)))

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

    def _deliver(self, note: Note) -> None:
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


class Work:
    """One per process. `clock` gives the moment of each unit (UTC), `rules` the site's clinical settings."""

    def __init__(
        self,
        database: Database,
        hub: Hub | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        rules: Rules | None = None,
        readers: int = 4,
    ) -> None:
        self.database = database
        self.hub = Hub() if hub is None else hub
        self.clock = clock
        self.rules = Rules() if rules is None else rules
        writers = _POSTGRES_WRITERS if database.postgres else 1
        self._writer = ThreadPoolExecutor(writers, thread_name_prefix="unit-write")
        self._reader = ThreadPoolExecutor(readers, thread_name_prefix="unit-read")
        self._inside = threading.local()
        self._checkpoint_queued = threading.Event()

    async def run(
        self, fn: Callable[Concatenate[SqlUnitOfWork, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`fn(uow, *args, **kwargs)` in one transaction; returns after the commit.

        Raises what `fn` raises (nothing is written then) and StorageUnavailable with its kinds.
        """
        return await asyncio.wrap_future(self._submit(self._writer, self._write, fn, args, kwargs))

    async def read(
        self, fn: Callable[Concatenate[SqlUnitOfWork, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`fn(uow, *args, **kwargs)` on a read-only snapshot; a write inside raises."""
        return await asyncio.wrap_future(self._submit(self._reader, self._read, fn, args, kwargs))

    def run_sync(
        self, fn: Callable[Concatenate[SqlUnitOfWork, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`run` for command line and background threads; never call it on the event loop."""
        return self._submit(self._writer, self._write, fn, args, kwargs).result()

    def read_sync(
        self, fn: Callable[Concatenate[SqlUnitOfWork, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`read` for command line and background threads; never call it on the event loop."""
        return self._submit(self._reader, self._read, fn, args, kwargs).result()

    def close(self) -> None:
        """Finish what is queued, then close the database. Not on the event loop while units are running."""
        self._reader.shutdown(wait=True)
        self._writer.shutdown(wait=True)
        self.database.close()

    def _submit(
        self, pool: ThreadPoolExecutor, how: Callable[..., Any], fn: Callable[..., T], args: Any, kwargs: Any
    ) -> "Future[T]":
        if getattr(self._inside, "unit", False):
            msg = "a unit of work inside a unit of work would wait for itself"
            raise RuntimeError(msg)
        try:
            return pool.submit(how, fn, args, kwargs)
        except RuntimeError as error:  # the pool is shut down
            raise StorageUnavailable from error

    def _write(self, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
        self._inside.unit = True
        try:
            for attempt in range(TRIES):
                with suppress(Retry):
                    return self._write_once(fn, args, kwargs, alone=attempt > 0)
            raise DatabaseBusy
        finally:
            self._inside.unit = False

    def _write_once(self, fn: Callable[..., T], args: Any, kwargs: Any, *, alone: bool) -> T:
        try:
            with self.database.write(alone=alone) as connection:
                fault("unit_begun")
                unit = SqlUnitOfWork(connection, self.clock(), self.rules)
                result = fn(unit, *args, **kwargs)
                unit.finish()
                fault("before_commit")
                connection.commit()
        except Exception as error:
            found = translate(error)
            if found is error:
                raise
            raise found from None
        fault("after_commit_before_publish")
        for topic, payload in unit.published:
            self.hub.publish(topic, payload)
        for memberships, consultation in unit.revoked:
            self.hub.revoke(memberships, consultation)
        fault("after_commit_before_ack")
        self._queue_checkpoint()
        return result

    def _queue_checkpoint(self) -> None:
        """Behind the units already waiting, so that no acknowledgement waits for it."""
        if self.database.path is None or self._checkpoint_queued.is_set():
            return
        self._checkpoint_queued.set()
        with suppress(RuntimeError):
            self._writer.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        self._checkpoint_queued.clear()
        try:
            self.database.checkpoint(above=CHECKPOINT_ABOVE)
        except Exception:
            # The log only grows until the next one succeeds; what is committed stays so.
            log.exception("checkpoint failed")

    def _read(self, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
        self._inside.unit = True
        try:
            with self.database.read() as connection:
                return fn(SqlUnitOfWork(connection, self.clock(), self.rules), *args, **kwargs)
        except Exception as error:
            found = translate(error)
            if isinstance(found, Retry):
                raise DatabaseBusy from None
            if found is error:
                raise
            raise found from None
        finally:
            self._inside.unit = False
