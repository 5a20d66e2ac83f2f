"""The pool of worker processes: warm, bounded in memory and time, killed and replaced when one misbehaves.

A worker is a fresh interpreter (never a fork of the server) that speaks length-prefixed msgpack over a socket pair:
what comes back from a process that read hostile bytes is data, never a pickle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from dicom.errors import (
    BusyError,
    CannotRenderError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    UnsupportedError,
    WorkerError,
    WorkerTimeoutError,
)
from dicom.model import Limits

log = logging.getLogger(__name__)
_START_SECONDS = 60.0
_MAX_WAITING = 512
_ROOT = Path(__file__).resolve().parent.parent.parent
_ERRORS: dict[str, type[Exception]] = {
    "refused": RefusedError,
    "unsupported": UnsupportedError,
    "cannot_render": CannotRenderError,
    "not_found": NotFoundError,
    "integrity": IntegrityError,
}


class _Worker:
    """One child process and its stream."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self.reader = reader
        self.writer = writer

    @classmethod
    async def start(cls, limits: Limits) -> _Worker:
        ours, theirs = socket.socketpair()
        settings = msgspec.json.encode(asdict(limits)).decode()
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from dicom.workers.child import main; "
            "main(int(sys.argv[2]), sys.argv[3])"
        )
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1", **threads}
        try:
            process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-I", "-c", code, str(_ROOT), str(theirs.fileno()), settings],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a Ctrl-C in the terminal is the server's to handle
            )
        finally:
            theirs.close()
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        worker = cls(process, reader, writer)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await worker.receive()
        except (TimeoutError, WorkerError):
            await worker.stop()
            raise WorkerError(code="worker_did_not_start") from None
        except asyncio.CancelledError:
            await worker.stop()
            raise
        return worker

    async def call(self, message: bytes) -> Any:
        try:
            self.writer.write(len(message).to_bytes(8, "little") + message)  # in one piece: the worker wakes once
            await self.writer.drain()
        except ConnectionError as error:  # it died before it had read the call
            raise WorkerError from error
        return await self.receive()

    @property
    def ended(self) -> bool:
        """Whether the process is known to be gone: nothing is given to it any more."""
        return self.reader.at_eof() or self.process.poll() is not None

    async def receive(self) -> Any:
        try:
            length = int.from_bytes(await self.reader.readexactly(8), "little")
            return msgspec.msgpack.decode(await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError) as error:
            raise WorkerError from error

    async def stop(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, OSError):
            await self.writer.wait_closed()
        self.process.kill()
        await asyncio.to_thread(self.process.wait)


class WorkerPool:
    """`count` workers; interactive calls go before background ones."""

    def __init__(self, count: int, limits: Limits) -> None:
        self._count = count
        self._limits = limits
        self._idle: list[_Worker] = []
        self._waiting: tuple[deque[asyncio.Future[_Worker]], deque[asyncio.Future[_Worker]]] = (
            deque(),
            deque(),
        )
        self._busy: set[_Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False
        self._closed = asyncio.Event()
        self.deaths = 0

    async def start(self) -> None:
        """Start all workers and wait until each is warm."""
        self._open = True
        self._closed.clear()
        started = await asyncio.gather(
            *(_Worker.start(self._limits) for _ in range(self._count)), return_exceptions=True
        )
        self._idle = [one for one in started if isinstance(one, _Worker)]
        for error in started:
            if isinstance(error, BaseException):
                await self.close()
                raise error

    async def close(self) -> None:
        """End every worker; calls under way fail with WorkerError."""
        self._open = False
        self._closed.set()
        # Not cancelled: a worker that is just starting would be nobody's to end.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._waiting:
            for future in lane:
                if not future.done():
                    future.set_exception(BusyError())
            lane.clear()
        workers = [*self._idle, *self._busy]
        self._idle, self._busy = [], set()
        await asyncio.gather(*(worker.stop() for worker in workers))

    @property
    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        return [worker.process.pid for worker in (*self._idle, *self._busy)]

    @property
    def busy(self) -> int:
        """Workers that have a call."""
        return len(self._busy)

    async def call(
        self, op: str, args: dict[str, Any], *, background: bool = False, seconds: float | None = None
    ) -> Any:
        """The result of `dicom.workers.ops.<op>`. Raises WorkerError, WorkerTimeoutError or what it raised."""
        message = msgspec.msgpack.encode((op, args))
        worker = await self._take(background)
        healthy = False
        try:
            async with asyncio.timeout(seconds or self._limits.worker_seconds):
                status, payload = await worker.call(message)
            healthy = True
        except TimeoutError:
            raise WorkerTimeoutError from None
        finally:
            self._busy.discard(worker)
            if healthy and self._open:
                self._give(worker)
            else:
                self._replace(worker)
        if status == "ok":
            return payload
        code, reason = payload
        raise _ERRORS.get(code, WorkerError)(code=reason)  # type: ignore[call-arg]

    async def _take(self, background: bool) -> _Worker:
        if not self._open:
            raise BusyError
        for worker in [worker for worker in self._idle if worker.ended]:  # died while it had nothing to do
            self._idle.remove(worker)
            self._replace(worker)
        if self._idle and (not background or len(self._idle) > 1 or self._count == 1):
            worker = self._idle.pop()
        else:
            lane = self._waiting[int(background)]
            if len(lane) >= _MAX_WAITING:
                raise BusyError
            future: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
            lane.append(future)
            try:
                worker = await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled() and future.exception() is None:
                    self._give(future.result())
                raise
        self._busy.add(worker)
        return worker

    def _give(self, worker: _Worker) -> None:
        """To the next interactive caller; to a background one only if another worker stays free for interactive use."""
        interactive, background = self._waiting
        while interactive:
            future = interactive.popleft()
            if not future.done():
                future.set_result(worker)
                return
        self._idle.append(worker)
        while background and (len(self._idle) > 1 or self._count == 1) and self._idle:
            future = background.popleft()
            if not future.done():
                future.set_result(self._idle.pop())

    def _replace(self, worker: _Worker) -> None:
        self.deaths += 1
        task = asyncio.get_running_loop().create_task(self._respawn(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respawn(self, worker: _Worker) -> None:
        await asyncio.shield(worker.stop())
        delay = 0.1
        while self._open:
            try:
                fresh = await _Worker.start(self._limits)
            except (WorkerError, OSError):
                log.warning("archive worker did not start")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._closed.wait()
                delay = min(delay * 2, 5.0)
                continue
            await self._welcome(fresh)
            return

    async def _welcome(self, fresh: _Worker) -> None:
        if self._open:
            self._give(fresh)
        else:  # closed while it started
            await fresh.stop()
