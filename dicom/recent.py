"""Rows of the index that were asked for a moment ago: a viewer that scrolls asks for one instance after the other.

Who asks is part of the key (the whole Scope), and permission is decided before anybody comes here. Nothing is told
that the index would not tell at this moment: every commit that may change what an existing row says empties the memory,
every commit at all the lists. What a correction touches is never kept, nor what still waits for its metadata.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol

from dicom.errors import NotFoundError
from dicom.index.reader import IndexReader
from dicom.model import InstanceRow, Scope

_KEPT = 8_000  # rows, and frames of compressed ones
_AHEAD = 64  # rows fetched with one, once a series is read instance by instance
_SERIES = 64
_ALL = 1_000_000
_Key = tuple[Scope, str, str | None, str | None]


class Marks(Protocol):
    """How often the index was written; see `dicom.committer.Committer`."""

    @property
    def altered(self) -> int:
        """Commits that may have changed or removed existing rows."""

    @property
    def entered(self) -> int:
        """Commits that entered or changed anything but metadata."""


class Recent:
    """Lookups by UID for the event loop, from memory where nothing has changed since."""

    def __init__(self, reader: IndexReader, marks: Marks) -> None:
        self._reader = reader
        self._marks = marks
        self._altered = marks.altered
        self._rows: OrderedDict[_Key, tuple[int, list[InstanceRow]]] = OrderedDict()
        self._weight = 0
        self._missed: OrderedDict[_Key, None] = OrderedDict()

    async def instance(self, scope: Scope, study_uid: str, series_uid: str | None, sop_uid: str) -> InstanceRow:
        """One instance. Raises NotFoundError, also where it is outside the scope."""
        found = self._known((scope, study_uid, series_uid, sop_uid))
        if found is not None:
            return found[1][0]
        mark = self._marks.altered
        ahead = _AHEAD if self._again((scope, study_uid, series_uid, None)) else 0
        rows = await asyncio.to_thread(self._look, scope, study_uid, series_uid, sop_uid, ahead)
        for row in reversed(rows):
            self._keep((scope, study_uid, series_uid, row.sop_uid), mark, 0, [row])
        return rows[0]

    async def instances(self, scope: Scope, study_uid: str, series_uid: str | None) -> list[InstanceRow]:
        """The instances of a study or series, by series and number; none where nothing is in the scope."""
        key = (scope, study_uid, series_uid, None)
        found = self._known(key)
        if found is not None and found[0] == self._marks.entered:
            return found[1]
        mark, entered = self._marks.altered, self._marks.entered
        rows = await asyncio.to_thread(self._reader.within, scope, study_uid, series_uid, _ALL)
        if rows:
            self._keep(key, mark, entered, rows)
        return rows

    def _known(self, key: _Key) -> tuple[int, list[InstanceRow]] | None:
        if self._altered != self._marks.altered:
            self._altered = self._marks.altered
            self._rows.clear()
            self._weight = 0
        found = self._rows.get(key)
        if found is not None:
            self._rows.move_to_end(key)
        return found

    def _again(self, series: _Key) -> bool:
        """Whether another instance of this series was looked up a moment ago."""
        if series in self._missed:
            self._missed.move_to_end(series)
            return True
        self._missed[series] = None
        if len(self._missed) > _SERIES:
            self._missed.popitem(last=False)
        return False

    def _look(
        self, scope: Scope, study_uid: str, series_uid: str | None, sop_uid: str, ahead: int
    ) -> list[InstanceRow]:
        """The row, then those behind it in its series."""
        row = self._reader.instance(scope, study_uid, series_uid, sop_uid)
        if row is None:
            raise NotFoundError
        if not ahead or series_uid is None or row.number is None:
            return [row]
        others = self._reader.within(scope, study_uid, series_uid, ahead, first=row.number)
        return [row, *(other for other in others if other.sop_uid != sop_uid)]

    def _keep(self, key: _Key, mark: int, entered: int, rows: list[InstanceRow]) -> None:
        weight = _weight(rows)
        if mark != self._marks.altered or weight > _KEPT // 4:
            return
        if any(row.overlay is not None or row.metadata is None for row in rows):
            return
        self._known(key)  # forget first what no longer holds
        before = self._rows.pop(key, None)
        if before is not None:
            self._weight -= _weight(before[1])
        self._rows[key] = (entered, rows)
        self._weight += weight
        while self._weight > _KEPT:
            _, (_, old) = self._rows.popitem(last=False)
            self._weight -= _weight(old)


def _weight(rows: list[InstanceRow]) -> int:
    return sum(1 + len(row.pixels.ranges) for row in rows)
