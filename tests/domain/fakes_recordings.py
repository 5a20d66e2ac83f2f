"""Recordings and their events in memory."""

from collections.abc import Sequence

from consult import model as m
from consult.errors import Conflict
from consult.recording_state import Moment, Recording, RecordingEvent, RecordingId, Stage
from tests.domain.fakes_store import Shelf


class FakeRecordings:
    def __init__(self) -> None:
        self._recordings: Shelf[Recording] = Shelf()
        self._events: list[RecordingEvent] = []
        self._moments: list[Moment] = []

    def get(self, id: RecordingId) -> Recording:
        return self._recordings.get(id)

    def of_session(self, session: m.SessionId) -> Sequence[Recording]:
        return [x for x in self._recordings.all() if x.session == session]

    def of_consultation(self, consultation: m.ConsultationId) -> Sequence[Recording]:
        return [x for x in self._recordings.all() if x.consultation == consultation]

    def in_stage(self, *stages: Stage) -> Sequence[Recording]:
        return [x for x in self._recordings.all() if x.stage in stages]

    def add(self, recording: Recording) -> None:
        if any(x.stage is Stage.OPEN for x in self.of_session(recording.session)):
            raise Conflict(field="session")
        self._recordings.add(recording.id, recording)

    def save(self, recording: Recording) -> Recording:
        return self._recordings.save(recording.id, recording)

    def events(self, recording: RecordingId) -> Sequence[RecordingEvent]:
        return [x for x in self._events if x.recording == recording]

    def append(self, event: RecordingEvent) -> None:
        if any(x.n == event.n for x in self.events(event.recording)):
            raise Conflict(field="n")
        self._events.append(event)

    def moments(self, recording: RecordingId) -> Sequence[Moment]:
        return [x for x in self._moments if x.recording == recording]

    def moments_kept(self, recording: RecordingId) -> tuple[int, int, bool]:
        found = self.moments(recording)
        return len(found), sum(len(x.sealed) for x in found), any(not x.sealed for x in found)

    def add_moments(self, moments: Sequence[Moment]) -> None:
        self._moments.extend(moments)

    def forget_moments(self, recording: RecordingId) -> None:
        self._moments = [x for x in self._moments if x.recording != recording]
