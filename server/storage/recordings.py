"""Recordings and the events of their consent (ports.Recordings)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select

from consult import model as m
from consult.recording_state import Moment, Recording, RecordingEvent, RecordingId, Stage
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_recordings import recording, recording_event, recording_moment

_RECORDING = Mapper(Recording, recording)
_EVENT = Mapper(RecordingEvent, recording_event)
_MOMENT = Mapper(Moment, recording_moment)
_ORDER = (recording.c.asked_at, recording.c.id)


class Recordings(Repository):
    def get(self, id: RecordingId) -> Recording:
        return self._get(_RECORDING, id)

    def of_session(self, session: m.SessionId) -> Sequence[Recording]:
        """Oldest first."""
        return self._list(_RECORDING, recording.c.session == session, order=_ORDER)

    def of_consultation(self, consultation: m.ConsultationId) -> Sequence[Recording]:
        """Oldest first."""
        return self._list(_RECORDING, recording.c.consultation == consultation, order=_ORDER)

    def in_stage(self, *stages: Stage) -> Sequence[Recording]:
        """Oldest first."""
        return self._list(_RECORDING, recording.c.stage.in_(stages), order=_ORDER)

    def newest(self, *, limit: int) -> Sequence[Recording]:
        """Of all organisations, the newest first."""
        return self._list(_RECORDING, order=(recording.c.asked_at.desc(), recording.c.id), limit=limit)

    def add(self, recording: Recording) -> None:
        """Conflict while another one of the session has not ended."""
        self._add(_RECORDING, recording)

    def save(self, recording: Recording) -> Recording:
        return self._save(_RECORDING, recording)

    def events(self, recording: RecordingId) -> Sequence[RecordingEvent]:
        """By number."""
        return self._list_by(_EVENT, ("n",), recording=recording)

    def append(self, event: RecordingEvent) -> None:
        """Conflict when its number is taken: another unit was faster."""
        self._add(_EVENT, event)

    def moments(self, recording: RecordingId) -> Sequence[Moment]:
        """By number."""
        return self._list_by(_MOMENT, ("n",), recording=recording)

    def moments_kept(self, recording: RecordingId) -> tuple[int, int, bool]:
        """How many, how many characters, and whether a row says that the limit was reached."""
        length = func.length(recording_moment.c.sealed)
        query = select(func.count(), func.coalesce(func.sum(length), 0), func.min(length))
        found: Any = self.link.execute(query.where(recording_moment.c.recording == recording)).one()
        return int(found[0]), int(found[1]), found[2] == 0

    def add_moments(self, moments: Sequence[Moment]) -> None:
        self.link.insert_many(recording_moment, [_MOMENT.values(x) for x in moments])

    def forget_moments(self, recording: RecordingId) -> None:
        """The recording's days are over."""
        self.link.execute(delete(recording_moment).where(recording_moment.c.recording == recording))
