"""From the command to the first page, on a data folder that exists."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

from bench.common import Row, median

START = [sys.executable, "-m", "server", "serve", "--host", "127.0.0.1"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def first_page(data: Path) -> float:
    """Seconds from the command to a whole answer of the set-up or sign-in page."""
    port = free_port()
    begun = time.perf_counter()
    server = await asyncio.create_subprocess_exec(
        *START, "--data", str(data), "--port", str(port),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while time.perf_counter() - begun < 60:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(read, f"http://127.0.0.1:{port}/login")
                return time.perf_counter() - begun
            await asyncio.sleep(0.02)
        raise TimeoutError("no page within a minute")
    finally:
        server.send_signal(signal.SIGTERM)
        await server.wait()


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


async def rows(folder: Path, *, quick: bool) -> list[Row]:
    folder.mkdir()
    os.sync()
    await first_page(folder / "data")
    times = [await first_page(folder / "data") for _ in range(2 if quick else 7)]
    return [Row(name="command to first page, data folder exists (median)", unit="s", ours=median(times), goal=3.0)]
