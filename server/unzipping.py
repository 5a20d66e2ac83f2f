"""A zip from outside, opened by a child under limits (server/unzip_worker.py) and read here entry by entry."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from server.i18n import N_
from server.unzip_worker import END, REFUSED

PIPE_BYTES = 1 << 20
ZIP_ENTRIES = 20_000
ZIP_BYTES = 16 << 30

REASONS = {
    "zip_damaged": N_("压缩包已损坏或不完整，后面的文件没有取出。请重新打包后再上传。"),
    "zip_too_many": N_("压缩包里的文件过多（超过 {entries} 个），没有打开。请分成几个压缩包。"),
    "zip_too_large": N_("压缩包解压后过大，已停止解压。请直接上传其中的文件夹。"),
    "zip_encrypted": N_("压缩包有密码，无法打开。请去掉密码后重新打包。"),
    "zip_empty": N_("压缩包里没有文件。"),
}
"""Why a zip could not be opened to its end; the other reasons stand in server/dicomweb/reasons.py."""


@contextlib.asynccontextmanager
async def open_zip(path: Path) -> AsyncIterator[Entries]:
    """The entries of the zip; what damage is met ends them and stands in `Entries.reason`."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "server.unzip_worker", str(path), str(ZIP_ENTRIES), str(ZIP_BYTES),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, limit=PIPE_BYTES,
    )  # fmt: skip
    assert child.stdout is not None
    entries = Entries(child.stdout)
    try:
        yield entries
    except (asyncio.IncompleteReadError, ConnectionError):
        entries.reason = entries.reason or "zip_damaged"
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


class Entries:
    """The frames of server/unzip_worker.py as bodies, one entry after the other."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self._open = False
        self._first = 0
        self.reason = ""

    async def _frame(self) -> int:
        try:
            (length,) = struct.unpack(">I", await self._stream.readexactly(4))
        except asyncio.IncompleteReadError:
            self.reason = "zip_damaged"
            return END
        return int(length)

    async def _why(self) -> str:
        return (await self._stream.readexactly(await self._frame())).decode()

    async def more(self) -> bool:
        """Whether another entry follows."""
        length = await self._frame()
        if length == REFUSED:
            self.reason = await self._why()
        if length in {END, REFUSED}:
            return False
        self._open, self._first = length > 0, length
        return True

    async def body(self) -> AsyncIterator[bytes]:
        length = self._first
        while self._open:
            if length == 0:
                self._open = False
                return
            if length in {END, REFUSED}:
                self._open = False
                self.reason = await self._why() if length == REFUSED else "zip_damaged"
                raise ConnectionError("the archive ended inside an entry")
            yield await self._stream.readexactly(length)
            length = await self._frame()

    async def drain(self) -> None:
        """Skip what ingest did not read of a refused entry."""
        while self._open:
            length = await self._frame()
            if length == 0:
                self._open = False
                return
            if length in {END, REFUSED}:
                self._open = False
                self.reason = await self._why() if length == REFUSED else "zip_damaged"
                raise ConnectionError("the archive ended inside an entry")
            await self._stream.readexactly(length)
