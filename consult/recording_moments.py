"""What was shown and done in a room while it was recorded, beside sound and picture: kept under the same consent.

Each moment is sealed with the recording's key before it comes here; this decides only whether it may be kept.
"""

from collections.abc import Sequence
from datetime import datetime

from consult.model import SessionId
from consult.ports import UnitOfWork
from consult.recording import of_session
from consult.recording_state import Kind, Moment, Phase, RecordingId, Sign

MOST_MOMENTS = 20_000
MOST_CHARACTERS = 4 * 1024 * 1024


def keep_moments(
    uow: UnitOfWork, *, session: SessionId, recording: RecordingId, moments: Sequence[tuple[datetime, str]], sign: Sign
) -> int:
    """Keeps those of `moments` (when, sealed) from which on the recording ran, everybody having consented, without
    anything being said or marked since: in doubt nothing is kept. How many were kept.
    """
    found = of_session(uow, session=session, sign=sign)
    if found is None or found.recording.id != recording or found.standing.phase is not Phase.RUNNING:
        return 0
    events = uow.recordings.events(recording)
    last = next((x.kind for x in reversed(events) if x.kind in {Kind.RUNNING, Kind.PAUSED}), Kind.PAUSED)
    # Somebody who was here without consent, and has left, did not pause it in the rows if that was quick.
    began = max([events[-1].at, *(x.left_at for x in uow.meetings.attendances(session) if x.left_at is not None)])
    count, characters, full = uow.recordings.moments_kept(recording)
    if last is not Kind.RUNNING or full:
        return 0
    rows: list[Moment] = []
    for at, sealed in moments:
        if not began <= at <= uow.now:
            continue
        characters += len(sealed)
        full = count + len(rows) >= MOST_MOMENTS or characters > MOST_CHARACTERS
        rows.append(Moment(
            id=uow.new_id(), recording=recording, n=count + len(rows) + 1, at=at, sealed="" if full else sealed
        ))
        if full:
            break
    uow.recordings.add_moments(rows)
    return sum(1 for x in rows if x.sealed)
