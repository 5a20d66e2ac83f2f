"""The three implementations of ports.UnitOfWork behind one handle, so that one test speaks to all."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from server.hub import Hub
from server.storage import engine, migrations
from server.work import Work
from tests.domain.fakes import FakeUnitOfWork

START = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **step: float) -> datetime:
        self.now += timedelta(**step)
        return self.now


class SqlStore:
    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = Clock()
        database = engine.open(url)
        migrations.apply(database)
        self.work = Work(database, Hub(), clock=self.clock)

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self.work.run_sync(fn, *args, **kwargs)

    def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self.work.read_sync(fn, *args, **kwargs)

    def close(self) -> None:
        self.work.close()


class FakeStore:
    def __init__(self) -> None:
        self.uow = FakeUnitOfWork(now=START)

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return fn(self.uow, *args, **kwargs)

    read = run

    def close(self) -> None:
        pass
