"""Every story is told twice: on the fakes, and on the real store (SQLite), so that neither drifts from the other."""

import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consult.rules import Rules
from server.storage import engine, migrations
from server.storage.unit import SqlUnitOfWork
from tests.domain.fakes import NOON
from tests.domain.world import World


class StoryUnit(SqlUnitOfWork):
    """One transaction for a whole story, with a clock that the story moves; it is rolled back at the end."""

    def __init__(self, connection: Any, now: datetime = NOON, rules: Rules | None = None) -> None:
        super().__init__(connection, now, rules or Rules())
        plain = self.consultations.worklist

        def worklist(query: Any, *, viewer: Any) -> Sequence[Any]:
            self.finish()              # what a commit does: the derived rows of the list
            return plain(query, viewer=viewer)

        self.consultations.worklist = worklist

    def advance(self, step: timedelta) -> None:
        self._now += step


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stories") / "empty.db"
    database = engine.open(f"sqlite:///{path}")
    migrations.apply(database)
    database.close()
    return path


@pytest.fixture(params=["fakes", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "fakes":
        yield World()
        return
    path = tmp_path / "story.db"
    shutil.copy(request.getfixturevalue("empty_database"), path)
    database = engine.open(f"sqlite:///{path}")
    try:
        with pytest.raises(_Over), database.write() as connection:
            yield World(uow=StoryUnit(connection))
            raise _Over
    finally:
        database.close()


class _Over(Exception):
    """The story is told; nothing of it is kept."""
