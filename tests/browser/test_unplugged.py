"""After the first run nothing leaves the machine: neither the server process nor a program it starts connects outwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from aiohttp import ClientSession

ROOT = Path(__file__).resolve().parents[2]
# Python's own audit events (PEP 578) of everything that leads out; children inherit the hook through the environment.
HOOK = """
import os, sys
def note(event, args):
    if event in ("socket.connect", "socket.sendto"):
        where = args[1]
        host = where[0] if isinstance(where, tuple) else "unix"
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host or "")
    if host in ("unix", "", "localhost", "::1", "0.0.0.0") or host.startswith("127."):
        return
    with open(os.environ["OUTWARD"], "a") as file:
        file.write(f"{event} {host}\\n")
sys.addaudithook(note)
"""


def environment(folder: Path) -> dict[str, str]:
    (folder / "sitecustomize.py").write_text(HOOK)
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OUTWARD": str(folder / "outward.txt")}


async def test_the_watch_sees_a_connection_outwards(tmp_path):
    code = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('192.0.2.1', 9))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment(tmp_path), stderr=asyncio.subprocess.DEVNULL
    )
    await process.wait()
    assert "192.0.2.1" in (tmp_path / "outward.txt").read_text()


async def test_a_server_that_starts_and_answers_connects_to_nobody(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "serve", "--data", str(tmp_path / "data"), "--port", "0", cwd=ROOT,
        env=environment(tmp_path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while "http://" not in (line := (await process.stdout.readline()).decode()):
                assert line, "the server ended without an address"
        origin = line.split()[-1].rstrip("/")
        async with ClientSession() as session:
            for path in ("/setup", "/login", "/healthz", "/verify/ABCD-ABCD-ABCD-ABCD"):
                async with session.get(origin + path) as answer:
                    assert answer.status < 500, path
            async with asyncio.timeout(60):
                while (await session.get(origin + "/readyz")).status != 200:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.2)  # its worker processes are still starting
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
    assert process.returncode == 0
    assert not (tmp_path / "outward.txt").exists(), (tmp_path / "outward.txt").read_text()
