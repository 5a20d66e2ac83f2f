"""Runs units of work off the event loop, commits them, and then tells the browsers.

`run` writes: on the one writer thread (SQLite; units that wait together share one transaction and its fsync, each in a
savepoint of its own) or one of a few (PostgreSQL, repeated up to three times when it cannot serialise). On either a
function may run more than once and must touch nothing but its unit. `read` runs beside it on a read-only snapshot.
Nothing is published that is not committed, and a commit is published even if the caller has left.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from consult.rules import Rules
from server.hub import Hub
from server.storage.engine import Database
from server.storage.errors import DatabaseBusy, Retry, StorageUnavailable, translate
from server.storage.faults import fault
from server.storage.unit import SqlUnitOfWork

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 3
TOGETHER = 32
"""Units that share a commit at the most."""
CHECKPOINT_ABOVE = 4 << 20  # bytes of SQLite's log
_POSTGRES_WRITERS = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Waiting:
    """A unit on its way to the writer thread."""

    fn: Callable[..., Any]
    args: Any
    kwargs: Any
    future: "Future[Any]" = field(default_factory=Future)


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
        self._waiting: deque[_Waiting] = deque()
        self._inside = threading.local()
        self._checkpoint_queued = threading.Event()

    async def run(
        self, fn: Callable[Concatenate[SqlUnitOfWork, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`fn(uow, *args, **kwargs)` in one transaction; returns after the commit.

        Raises what `fn` raises (nothing is written then) and StorageUnavailable with its kinds.
        """
        return await asyncio.wrap_future(self._submit_write(fn, args, kwargs))

    async def read(
        self, fn: Callable[Concatenate[SqlUnitOfWork, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`fn(uow, *args, **kwargs)` on a read-only snapshot; a write inside raises."""
        return await asyncio.wrap_future(self._submit(self._reader, self._read, fn, args, kwargs))

    def run_sync(
        self, fn: Callable[Concatenate[SqlUnitOfWork, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`run` for command line and background threads; never call it on the event loop."""
        return self._submit_write(fn, args, kwargs).result()

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

    def _submit_write(self, fn: Callable[..., T], args: Any, kwargs: Any) -> "Future[T]":
        if self.database.postgres:
            return self._submit(self._writer, self._write, fn, args, kwargs)
        unit = _Waiting(fn=fn, args=args, kwargs=kwargs)
        self._waiting.append(unit)
        try:
            self._submit(self._writer, self._drain, fn, (), {})
        except Exception:
            with suppress(ValueError):  # else the thread has it already, and will settle it
                self._waiting.remove(unit)
                raise
        return unit.future

    def _drain(self, _fn: Any, _args: Any, _kwargs: Any) -> None:
        """Everything that waits now, up to TOGETHER, in one commit. A later call finds what came since, or nothing."""
        units: list[_Waiting] = []
        while self._waiting and len(units) < TOGETHER:
            unit = self._waiting.popleft()
            if unit.future.set_running_or_notify_cancel():
                units.append(unit)
        self._inside.unit = True
        try:
            if len(units) < 2 or not self._write_together(units):
                for unit in units:
                    self._settle(unit)
        except BaseException as error:  # not one of ours; whoever waits must not wait for ever
            for unit in units:
                if not unit.future.done():
                    unit.future.set_exception(error)
            raise
        finally:
            self._inside.unit = False

    def _settle(self, unit: _Waiting) -> None:
        """In a transaction of its own."""
        try:
            result = self._write(unit.fn, unit.args, unit.kwargs)
        except BaseException as error:
            unit.future.set_exception(error)
        else:
            unit.future.set_result(result)

    def _write_together(self, units: list[_Waiting]) -> bool:
        """False: storage trouble before the commit, nothing is written, and each had better be tried alone."""
        fate: list[tuple[_Waiting, SqlUnitOfWork, Any, Exception | None]] = []
        failed: Exception | None = None
        try:
            with self.database.write() as connection:
                for waiting in units:
                    fault("unit_begun")
                    savepoint = connection.begin_nested()
                    unit = SqlUnitOfWork(connection, self.clock(), self.rules)
                    try:
                        result = waiting.fn(unit, *waiting.args, **waiting.kwargs)
                        unit.finish()
                    except Exception as error:
                        if translate(error) is not error:
                            raise
                        savepoint.rollback()
                        fate.append((waiting, unit, None, error))
                    else:
                        savepoint.commit()
                        fate.append((waiting, unit, result, None))
                fault("before_commit")
                try:
                    connection.commit()
                except Exception as error:
                    failed = error  # who knows what reached the disk: said, never tried again
        except Exception:
            if failed is None:
                return False
        if failed is not None:
            for waiting in units:
                waiting.future.set_exception(translate(failed))
            return True
        fault("after_commit_before_publish")
        for _waiting, unit, _result, wrong in fate:
            if wrong is None:
                self._tell(unit)
        fault("after_commit_before_ack")
        self._queue_checkpoint()
        for waiting, _unit, result, wrong in fate:
            if wrong is None:
                waiting.future.set_result(result)
            else:
                waiting.future.set_exception(wrong)
        return True

    def _tell(self, unit: SqlUnitOfWork) -> None:
        for topic, payload in unit.published:
            self.hub.publish(topic, payload)
        for memberships, consultation in unit.revoked:
            self.hub.revoke(memberships, consultation)

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
        self._tell(unit)
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
