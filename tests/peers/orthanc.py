"""Debian's Orthanc as the other side: one process with a folder, ports and a configuration of its own."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from pathlib import Path

import aiohttp

from tests.needs import need_program

PROGRAM = "/usr/sbin/Orthanc"
PLUGINS = "/usr/share/orthanc/plugins"
PACKAGES = "orthanc orthanc-dicomweb orthanc-gdcm"
TITLE = "ORTHANC"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Orthanc:
    """`await Orthanc(folder).start()` … `await it.stop()`; skipped where it is not installed (CI fails)."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.http, self.dicom = folder, free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.dicom_web = f"{self.url}/dicom-web"

    async def start(self) -> Orthanc:
        program = need_program(PROGRAM, PACKAGES)
        plugins = [need_program(f"{PLUGINS}/{name}.so", PACKAGES) for name in ("libOrthancDicomWeb", "libOrthancGdcm")]
        settings = {
            "StorageDirectory": str(self.folder), "IndexDirectory": str(self.folder), "Plugins": plugins,
            "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": TITLE, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "DicomCheckCalledAet": True, "DicomAlwaysAllowMove": True,
            "OverwriteInstances": False, "DefaultEncoding": "Utf8", "DicomWeb": {"Enable": True}, "HttpsVerifyPeers": True, "ConcurrentJobs": 2,
        }  # fmt: skip
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(settings))
        quiet = asyncio.subprocess.DEVNULL
        self.process = await asyncio.create_subprocess_exec(
            program, path, stdout=quiet, stderr=quiet, env={"TCP_NODELAY": "1"}
        )
        self.session = aiohttp.ClientSession(self.url)
        async with asyncio.timeout(45):
            while True:
                try:
                    await self.get("/system")
                    return self
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)

    async def stop(self) -> None:
        await self.session.close()
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()

    async def ask(self, method: str, path: str, body=None) -> tuple[int, bytes]:
        """(status, body) of its REST API; a body is bytes, or a value for JSON."""
        data = None if body is None else io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.session.request(method, path, data=data) as answer:
            return answer.status, await answer.read()

    async def get(self, path: str):
        """The JSON there."""
        status, data = await self.ask("GET", path)
        assert status == 200, data
        return json.loads(data)

    async def post(self, path: str, body):
        """The JSON answered to `body`."""
        status, data = await self.ask("POST", path, body)
        assert status == 200, data
        return json.loads(data or b"null")

    async def put(self, path: str, body) -> None:
        status, data = await self.ask("PUT", path, body)
        assert status == 200, data

    async def files(self) -> dict[str, bytes]:
        """Everything it holds: SOP Instance UID → part 10 file."""
        found = {}
        for one in await self.get("/instances?expand"):
            _, found[one["MainDicomTags"]["SOPInstanceUID"]] = await self.ask("GET", f"/instances/{one['ID']}/file")
        return found

    async def empty(self) -> None:
        """Forget all patients."""
        for name in await self.get("/patients"):
            await self.ask("DELETE", f"/patients/{name}")
