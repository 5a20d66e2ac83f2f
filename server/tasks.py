"""Background tasks under supervision: a task that fails is logged, counted and started again after a pause."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from server.metrics import Metrics

LOG = logging.getLogger("huizhen.tasks")
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
AT_ONCE = 20
Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")


async def by_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items as they are now, the loop left to others after every few: thousands of them hold nobody up. Ask for the
    values of a mapping, not for its pairs: a thousand new tuples a second make the garbage collector walk.
    """
    for number, item in enumerate(list(items), 1):
        yield item
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)


class Tasks:
    """Owns every background task of the application; none is ever left unwatched."""

    def __init__(self, metrics: Metrics, *, sleep: Sleep = asyncio.sleep) -> None:
        self._metrics = metrics
        self._sleep = sleep
        self._running: dict[asyncio.Task[None], str] = {}

    def every(self, name: str, seconds: float, step: Callable[[], Awaitable[object]]) -> None:
        """Call `step` every `seconds`, the first time after one pause; a failing step does not end the round."""

        async def loop() -> None:
            while True:
                await self._sleep(seconds)
                await step()

        self.keep(name, loop)

    def keep(self, name: str, body: Callable[[], Awaitable[object]]) -> None:
        """Run `body` until shutdown; after an error again, with a growing pause. Returning ends it."""

        async def supervise() -> None:
            pause = FIRST_PAUSE
            while True:
                try:
                    await body()
                    return
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    self._metrics.task_failures.labels(name).inc()
                    LOG.error("task failed", exc_info=error, extra={"task": name})
                await self._sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

        self._start(name, supervise())

    def once(self, name: str, body: Awaitable[object]) -> None:
        """Run one awaitable in the background; a failure is logged and counted."""

        async def run() -> None:
            try:
                await body
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._metrics.task_failures.labels(name).inc()
                LOG.error("task failed", exc_info=error, extra={"task": name})

        self._start(name, run())

    def _start(self, name: str, coroutine: Awaitable[None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._running[task] = name
        task.add_done_callback(lambda done: self._running.pop(done, None))

    @property
    def names(self) -> tuple[str, ...]:
        """What runs at present."""
        return tuple(sorted(self._running.values()))

    async def close(self) -> None:
        """Cancel everything and wait for it."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Starting:
    """Something that takes a while to start: begun once, in the background or by the first who needs it."""

    def __init__(self, start: Callable[[], Awaitable[None]]) -> None:
        self._start = start
        self._begun: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return when it has started; raises what the start raised."""
        if self._begun is None:
            self._begun = asyncio.ensure_future(self._begin())
        await asyncio.shield(self._begun)

    async def _begin(self) -> None:
        await self._start()

    @property
    def done(self) -> bool:
        """Started, and well."""
        task = self._begun
        return task is not None and task.done() and not task.cancelled() and task.exception() is None

    async def close(self) -> None:
        """Wait for a start under way, so that what follows may stop it."""
        if self._begun is not None:
            await asyncio.gather(self._begun, return_exceptions=True)
