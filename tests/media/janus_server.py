"""Debian's Janus with the configuration that we ship, and the lines of it that are the site's."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from server.media.backend import MediaError
from server.media.janus_client import JanusClient
from tests.needs import need_program

SHIPPED = Path(__file__).resolve().parent.parent.parent / "deploy/janus"
SECRET = "secret-of-a-test"


@dataclass
class JanusServer:
    """A Janus of our own: `start` begins one more life of it on the same port."""

    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def secret_file(self) -> Path:
        return self.folder / "secret"

    def configure(self) -> None:
        """The shipped files with the site's lines."""
        self.folder.mkdir(parents=True)
        self.secret_file.write_text(SECRET + "\n")
        first = random.randrange(20000, 31000, 200)
        yours = {
            "configs_folder": f'"{self.folder}"', "api_secret": f'"{SECRET}"', "ws_port": str(self.port),
            "rtp_port_range": f'"{first}-{first + 199}"',
        }
        for file in SHIPPED.glob("*.jcfg"):
            text = file.read_text()
            for name, value in yours.items():
                text = re.sub(rf"(?m)^(\s*{name} = )[^\t\n]*(.*yours)", lambda found: found[1] + value + found[2], text)
            (self.folder / file.name).write_text(text)

    async def start(self) -> None:
        program = need_program("janus", "janus")
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                program, "-F", str(self.folder), "-o", stdout=log, stderr=log
            )
        async with asyncio.timeout(45):
            while not await self.answers():     # noqa: ASYNC110 - a process has no event for it
                await asyncio.sleep(0.05)

    async def answers(self, secret: str = SECRET) -> bool:
        """Whether a session can be made with this secret."""
        client = JanusClient(self.url, secret, told=lambda _handle, _event: None)
        try:
            await client.connect()
            await client.request("destroy")
        except MediaError:
            return False
        finally:
            await client.close()
        return True

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def listens(self) -> set[tuple[str, int]]:
        """Addresses and ports on which it takes connections."""
        return {(x.laddr.ip, x.laddr.port) for x in psutil.Process(self.process.pid).net_connections("tcp")
                if x.status == psutil.CONN_LISTEN}

    def loaded(self) -> set[str]:
        """Janus' own libraries in it."""
        maps = {Path(x.path).name for x in psutil.Process(self.process.pid).memory_maps()}
        return {name.partition(".")[0] for name in maps if name.startswith("libjanus_")}


@asynccontextmanager
async def running_janus(folder: Path) -> AsyncIterator[JanusServer]:
    """One that has started; it is killed at the end."""
    need_program("janus", "janus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = JanusServer(folder=folder, port=port)
    server.configure()
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
