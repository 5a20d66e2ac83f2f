"""Being connected to Janus: one session, begun when it is first needed and taken up again whenever its socket ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server.media.backend import MediaError
from server.media.janus_client import JanusClient, Told

LOG = logging.getLogger("huizhen.media")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
START_SECONDS = 5.0


class JanusSession:
    """`former()`: the session to claim, 0 where there was none. `claimed(client)`: it goes on; `begun(session)`: a new
    one. Nobody is given the client before those are done. `told(handle, event)`: what nobody asked for.
    """

    def __init__(
        self, url: str, secret: str, *, told: Callable[[int, Told], None], former: Callable[[], int],
        claimed: Callable[[JanusClient], Awaitable[None]], begun: Callable[[int], None],
    ) -> None:
        self._url, self._secret, self._told = url, secret, told
        self._former, self._claimed, self._begun = former, claimed, begun
        self._client: JanusClient | None = None
        self._serving: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._asking = (0, 0)                   # a handle to ask about rooms with, and its session

    async def client(self) -> JanusClient:
        """Connected. MediaError where Janus does not answer in five seconds."""
        if self._client is None or self._serving is None:
            self._client = JanusClient(self._url, self._secret, told=self._told)
            self._serving = asyncio.create_task(self._serve(self._client))
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._ready.wait()
        except TimeoutError as error:
            raise MediaError("no janus") from error
        return self._client

    async def asking(self, client: JanusClient) -> int:
        """A handle to ask about rooms with; it never carries media."""
        if self._asking[1] != client.session:
            self._asking = (await client.attach(), client.session)
        return self._asking[0]

    async def _serve(self, client: JanusClient) -> None:
        """Be connected, always."""
        pause = FIRST_PAUSE
        while True:
            try:
                if await client.connect(self._former()):
                    await self._claimed(client)
                else:
                    self._begun(client.session)
            except (OSError, MediaError) as error:
                LOG.error("janus", exc_info=error)
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, 2 * pause)
                continue
            pause = FIRST_PAUSE
            self._ready.set()
            await client.serve()
            self._ready.clear()
            LOG.warning("janus lost")

    async def close(self) -> None:
        """The socket ends; the session stays to be claimed."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
