"""The feed of changes takes in what the archive has committed. Both are durable; the archive's mark is kept with the
rows, so nothing is left out and, but for an index made anew, nothing stands twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from aiohttp import web

from dicom.archive import Archive
from dicom.index.changes import Mark, StudyNote, since
from server.storage.unit import SqlUnitOfWork
from server.work import Work

MARK = "changes:archive"
BATCH = 5_000
"""Changes of the archive taken in by one unit of work."""


class Feed:
    """Brings the feed up to the archive's last commit before it is read."""

    def __init__(self, work: Work, archive: Archive) -> None:
        self._work = work
        self._archive = archive
        self._turn = asyncio.Lock()

    async def catch_up(self) -> None:
        """Whatever was acknowledged before this call stands in the feed afterwards."""
        async with self._turn:
            while True:
                mark = await self._work.read(mark_of)
                reached, notes = await self._archive.read_index(partial(since, mark=mark, limit=BATCH))
                if reached == mark:
                    return
                await self._work.run(take_in, mark, reached, notes)


FEED: web.AppKey[Feed] = web.AppKey("feed", Feed)


def mark_of(uow: SqlUnitOfWork) -> Mark:
    """How far the archive has been read."""
    number, name = uow.settings.get(MARK, (0, ""))
    return int(number), str(name)


def take_in(uow: SqlUnitOfWork, mark: Mark, reached: Mark, notes: Sequence[StudyNote]) -> None:
    """The notes and the new mark in one commit; nothing when somebody else has gone on from `mark` already."""
    if mark_of(uow) != mark:
        return
    for note in notes:
        uow.changes.add(note.organisation, note.study_uid, note.kind, datetime.fromisoformat(note.at))
    uow.settings.put(MARK, list(reached))
