"""Orthanc of Debian as the peer: `apt-get install orthanc orthanc-dicomweb orthanc-gdcm`; durable and with login."""

import asyncio
import json
import os
import shutil
import socket
from pathlib import Path

import aiohttp

NAME = WORD = "bench"
LOGIN = {"Authorization": aiohttp.encode_basic_auth(NAME, WORD)}
PLUGINS = ("libOrthancDicomWeb.so", "libOrthancGdcm.so")


def find() -> tuple[str, list[str]] | None:
    """The program and its plugins below ORTHANC_ROOT (default /); None where it is not installed."""
    root = Path(os.environ.get("ORTHANC_ROOT", "/"))
    program = next((str(path) for path in (root / "usr/sbin/Orthanc",) if path.exists()), shutil.which("Orthanc"))
    found = [next(iter(sorted((root / "usr").rglob(f"{name}*"))), None) for name in PLUGINS] if program else []
    if program is None or None in found:
        return None
    return program, [str(path) for path in found]


class Orthanc:
    """One running peer with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = ""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/dicom-web"

    async def start(self) -> "Orthanc":
        program, plugins = find()
        self.folder.mkdir(parents=True)
        settings = {
            "Name": "bench", "StorageDirectory": str(self.folder), "IndexDirectory": str(self.folder),
            "HttpPort": self.port, "DicomServerEnabled": False, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True, "RegisteredUsers": {NAME: WORD},
            "SyncStorageArea": True, "OverwriteInstances": False, "Plugins": plugins, "DicomWeb": {"Enable": True},
            "HttpThreadsCount": 50, "StorageCompression": False, "HttpCompressionEnabled": False,
        }  # fmt: skip
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(settings))
        quiet = asyncio.subprocess.DEVNULL
        self.process = await asyncio.create_subprocess_exec(program, str(path), stdout=quiet, stderr=quiet)
        async with aiohttp.ClientSession(headers=LOGIN) as session:
            for _ in range(200):
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/system") as answer:
                        self.version = f"{(await answer.json())['Version']} (dicomweb, gdcm; SyncStorageArea, login)"
                        return self
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        raise RuntimeError("Orthanc did not start")

    @property
    def pids(self) -> list[int]:
        return [self.process.pid]

    async def stop(self) -> None:
        self.process.terminate()
        await self.process.wait()
