"""What becomes of recordings that have ended: one after the other becomes a file, and goes when its days are over."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from consult import recording as rules
from consult.recording_state import Recording, RecordingId, Sign, Stage
from server.auth.audit import audit
from server.media.backend import MediaBackend, MediaError
from server.recording.conducting import open_key
from server.recording.muxing import Muxed, MuxError, mux
from server.sealing import SealError, mark
from server.storage.unit import SqlUnitOfWork
from server.work import Work

LOG = logging.getLogger("huizhen.recording")
FILE = "recording.webm"


class Shelf:
    """`folder`: one folder per recording in it. `keys`: the key folder. `backend`: set where there is a relay."""

    def __init__(self, *, work: Work, folder: Path, keys: Path) -> None:
        self._work, self._folder, self._keys = work, folder, keys
        self.backend: MediaBackend | None = None
        self.progress: dict[RecordingId, float] = {}     # 0 to 1, of those that are being made
        self._busy = asyncio.Lock()
        self._swept = False

    @property
    def sign(self) -> Sign:
        return lambda text: mark(self._keys, text)

    def path(self, recording: RecordingId) -> Path:
        """The encrypted file (server/recording/vault.py)."""
        return self._folder / recording / FILE

    def key(self, recording: Recording) -> bytes:
        """Raises SealError."""
        return open_key(self._keys, recording)

    async def step(self) -> None:
        """End what ended without anybody, make files, remove what is due. One at a time; another call waits."""
        async with self._busy:
            await self._work.run(rules.end_orphans, sign=self.sign)
            await self._remove()
            for recording in await self._work.read(lambda uow: uow.recordings.in_stage(Stage.WAITING)):
                await self._make(recording)

    async def _make(self, recording: Recording) -> None:
        folder = self._folder / recording.id
        report = self._reporter(recording.id)
        try:
            if self.backend is not None:
                await self.backend.stop_recording(recording.session, recording.id)   # harmless when it is closed
            made = await mux(folder, self.key(recording), self.path(recording.id), report)
        except MediaError as error:
            LOG.warning("recording relay", exc_info=error)
            return                              # tried again by the next step
        except (MuxError, SealError) as error:
            LOG.error("recording mux", exc_info=error, extra={"recording": recording.id})
            empty = isinstance(error, MuxError) and str(error) == "empty"
            await self._work.run(_made, id=recording.id, stage=Stage.EMPTY if empty else Stage.FAILED, made=None)
        else:
            await self._work.run(_made, id=recording.id, stage=Stage.READY, made=made)
            if made.whole:                      # else what is missing may still be found in them
                await asyncio.to_thread(_drop_logs, folder)
        finally:
            self.progress.pop(recording.id, None)

    def _reporter(self, recording: RecordingId) -> Callable[[float], None]:
        def report(share: float) -> None:
            self.progress[recording] = share

        self.progress[recording] = 0.0
        return report

    async def _remove(self) -> None:
        kept = (Stage.READY, Stage.FAILED, Stage.EMPTY, Stage.WITHHELD)
        due = await self._work.read(
            lambda uow: [x.id for x in uow.recordings.in_stage(*kept) if rules.due_for_removal(uow, x)]
        )
        gone = [x for x in due if await self._work.run(_removed, id=x)]
        if not self._swept:                     # a process that died between row and folder
            gone += [x.id for x in await self._work.read(lambda uow: uow.recordings.in_stage(Stage.REMOVED))]
            self._swept = True
        for recording in gone:
            await asyncio.to_thread(shutil.rmtree, self._folder / recording, True)


def _made(uow: SqlUnitOfWork, *, id: RecordingId, stage: Stage, made: Muxed | None) -> None:
    recording = uow.recordings.get(id)
    facts: dict[str, Any] = {} if made is None else {
        "milliseconds": round(made.duration * 1000), "size": made.size, "whole": made.whole,
        "spans": tuple((x.at, x.began, x.seconds) for x in made.spans),
    }
    uow.recordings.save(replace(recording, stage=stage, **facts))
    uow.publish(f"consultation:{recording.consultation}", {"consultation": recording.consultation})


def _removed(uow: SqlUnitOfWork, *, id: RecordingId) -> bool:
    if rules.remove_recording(uow, id=id) is None:
        return False
    uow.recordings.forget_moments(id)
    audit(uow, None, "recording.removed", f"recording:{id}")
    return True


def _drop_logs(folder: Path) -> None:
    for log in folder.glob("*.log"):
        log.unlink()
