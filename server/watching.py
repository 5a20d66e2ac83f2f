"""Watched folders: what a device or a person puts there goes into the archive and is then moved aside.

A file is taken when it has not changed for some seconds, and moved only after it is durable: to `done/`, or with a text
that says why to `refused/`. A restart in between takes it once more, and the archive knows the same bytes again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dicom.archive import Archive
from server.control import place_of
from server.importing import settle, store_into
from server.settings import Watch
from server.storage.unit import SqlUnitOfWork
from server.taking import Found, Taken, TryLaterError, find_files, take_file, words
from server.work import Work

LOG = logging.getLogger("huizhen.watching")
DONE, REFUSED = "done", "refused"
SOURCE = "watch"
_UNFINISHED = (".part", ".partial", ".tmp", ".filepart", ".crdownload")
_LONGEST_ROUND = 500  # files of one folder before the others have their turn


@dataclass(slots=True)
class _Seen:
    """A file as it was found, since when it is so, and whether nothing more can be done about it."""

    size: int
    changed: int
    since: float
    stuck: bool = False


@dataclass(slots=True)
class _Round:
    """One folder: what came in, to be matched at the end."""

    organisation: str
    studies: Counter[str] = field(default_factory=Counter)


class Watching:
    """All watched folders of this installation. `step` is called again and again."""

    def __init__(
        self, settings: Watch, archive: Archive, work: Work, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._work = work
        self._clock = clock
        self._seen: dict[Path, dict[Path, _Seen]] = {}
        self._told: set[str] = set()

    async def step(self) -> int:
        """Look at every folder once. Returns how many files were moved aside."""
        moved = 0
        for watched in self._settings.folders:
            folder = watched.folder
            place = await self._work.read(_organisation, watched.organisation)
            if place is None:
                self._warn(f"watched folder of an unknown organisation: {watched.organisation}")
                continue
            try:
                files = await asyncio.to_thread(_listed, folder)
            except OSError as error:
                self._warn(f"watched folder of {watched.organisation} cannot be read: {error.strerror}")
                continue
            moved += await self._take(folder, self._settled(folder, files), _Round(place))
        return moved

    def _warn(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            LOG.warning(text)

    def _settled(self, folder: Path, files: list[Found]) -> list[Found]:
        """Those that have not changed for `settle_seconds`; the memory of what is gone goes too."""
        now, before = self._clock(), self._seen.get(folder, {})
        seen: dict[Path, _Seen] = {}
        for file in files:
            known = before.get(file.path)
            if known is None or (known.size, known.changed) != (file.size, file.changed):
                known = _Seen(file.size, file.changed, now)
            seen[file.path] = known
        self._seen[folder] = seen
        least = self._settings.settle_seconds
        return [f for f in files if now - seen[f.path].since >= least and not seen[f.path].stuck]

    async def _take(self, folder: Path, files: list[Found], round_: _Round) -> int:
        store = store_into(self._archive, round_.organisation, SOURCE)
        moved = 0
        try:
            for file in files[:_LONGEST_ROUND]:
                results = await take_file(file.path, store)
                round_.studies.update(one.study for one in results if one.held)
                if await asyncio.to_thread(_move, folder, file.path, results):
                    moved += 1
                else:
                    self._seen[folder][file.path].stuck = True
                    self._warn(f"files of a watched folder cannot be moved aside: organisation {round_.organisation}")
        except TryLaterError as error:
            LOG.warning("watched folder waits", extra={"error": error.reason})
        finally:
            if round_.studies:
                await settle(self._archive, self._work, round_.organisation, round_.studies, SOURCE)
        return moved


def _organisation(uow: SqlUnitOfWork, wanted: str) -> str | None:
    place = place_of(uow, wanted)
    return str(place.id) if place is not None else None


def _listed(folder: Path) -> list[Found]:
    found = find_files(folder, leave_out=frozenset({DONE, REFUSED}))
    return [x for x in found if not x.path.name.startswith(".") and not x.path.name.lower().endswith(_UNFINISHED)]


def _move(folder: Path, path: Path, results: list[Taken]) -> bool:
    """Aside, never over another file; the reasons stand beside it before it moves. False where that cannot be."""
    wrong = [one for one in results if not one.held]
    try:
        target = _free(folder / (REFUSED if wrong else DONE) / path.relative_to(folder))
        if wrong:
            note = target.with_name(target.name + ".txt")
            with note.open("w", encoding="utf-8") as file:
                file.writelines(_line(one) for one in wrong)
                file.flush()
                os.fsync(file.fileno())
        path.rename(target)
        descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def _line(one: Taken) -> str:
    entry = f"[{one.entry}] " if one.entry else ""
    return f"{entry}{one.reason}: {words(one.reason, 'zh')} {words(one.reason, 'en')}\n"


def _free(target: Path) -> Path:
    """The path, or with a number where it is taken."""
    target.parent.mkdir(parents=True, exist_ok=True)
    found, number = target, 1
    while found.exists() or found.is_symlink():
        number += 1
        found = target.with_name(f"{target.stem} ({number}){target.suffix}")
    return found
