"""One film of a recording's log, made by a worker process of low priority."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

LOG = logging.getLogger("huizhen.recording")
LONGEST_LINE = 1 << 20


class MuxError(Exception):
    """No film: 'empty' where nothing was recorded, 'key' where no chunk opens, else 'failed'."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch without a pause: `at` s in the film, `began` s since 1970, `seconds` long."""

    at: float
    began: float
    seconds: float


class Muxed(msgspec.Struct, frozen=True, kw_only=True):
    """The film: seconds, bytes of the plain WebM, pixels, the seats from left to right and top to bottom.

    whole: nothing of the log was torn, damaged or missing. Pauses are cut out: the spans follow each other at once.
    """

    duration: float
    size: int
    width: int
    height: int
    seats: tuple[str, ...]
    spans: tuple[Span, ...]
    whole: bool

    def position(self, moment: float) -> float | None:
        """Where a moment (s since 1970) is in the film; None while nothing was recorded."""
        for span in self.spans:
            if span.began <= moment <= span.began + span.seconds:
                return span.at + moment - span.began
        return None


async def mux(folder: Path, key: bytes, target: Path, progress: Callable[[float], None]) -> Muxed:
    """Make the film of the log in `folder` as a vault (server/recording/vault.py) of WebM, VP8 and Opus, at `target`.

    It appears when it is whole, and replaces one that is there. progress: 0 to 1, on the loop. MuxError.
    """
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server.recording.mux_worker", "--folder", str(folder), "--target", str(partial),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LONGEST_LINE, start_new_session=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        made = await _listen(process, key, progress)
        await asyncio.to_thread(_reveal, partial, target)
        return made
    except (OSError, msgspec.MsgspecError) as error:
        raise MuxError("failed") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.shield(process.wait())
        partial.unlink(missing_ok=True)


async def _listen(process: asyncio.subprocess.Process, key: bytes, progress: Callable[[float], None]) -> Muxed:
    """What the worker says, to its last word."""
    if process.stdin is None or process.stdout is None:
        raise MuxError("failed")
    process.stdin.write(key)
    await process.stdin.drain()
    while line := await process.stdout.readline():
        said = msgspec.json.decode(line, type=dict[str, object])
        if "film" in said:
            return msgspec.convert(said["film"], Muxed)
        if "refused" in said:
            raise MuxError(str(said["refused"]))
        progress(msgspec.convert(said["progress"], float))
    LOG.error("mux worker", extra={"returncode": await process.wait()})
    raise MuxError("failed")


def _reveal(partial: Path, target: Path) -> None:
    partial.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
