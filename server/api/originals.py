"""The files of a study as one zip, written while it is sent; every download is audited (DOMAIN §6).

What a correction has touched comes as it is shown, its former values in Original Attributes Sequence.
"""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Callable, Iterator, Sequence

from aiohttp import web

from consult.errors import NotFound
from dicom.archive import Archive
from dicom.model import InstanceRow
from dicom.retrieve import ByteRange, Retriever
from server.api.opening import UID
from server.auth.scopes import scope_for
from server.dicomweb.ports import ARCHIVE
from server.dicomweb.targets import is_sound
from server.i18n import _

PIECE = 1 << 20


class _Sink:
    """Where zipfile writes and the response takes from; it cannot seek, so that nothing is kept."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def zip_pieces(
    archive: Archive, rows: Sequence[InstanceRow], parts_of: Callable[[InstanceRow], Sequence[bytes | ByteRange]]
) -> Iterator[bytes]:
    """The zip piece by piece, uncompressed (images hardly shrink), in folders by series. Blocks."""
    sink = _Sink()
    damaged: list[str] = []
    folders: dict[str, int] = {}
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as out:  # type: ignore[call-overload]
        for n, row in enumerate(rows, start=1):
            if not is_sound(archive, row):
                damaged.append(row.sop_uid)
                continue
            folder = folders.setdefault(row.series_uid, len(folders) + 1)
            info = zipfile.ZipInfo(f"SE{folder:03}/IM{n:05}.dcm", row.stored_at.timetuple()[:6])
            parts = parts_of(row)
            info.file_size = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
            with out.open(info, "w", force_zip64=info.file_size > 1 << 31) as entry:
                for part in parts:
                    for data in read_in_pieces(archive, part):
                        entry.write(data)
                        yield sink.take()
        if damaged:  # said where nobody can overlook it: the study is not whole
            out.writestr("DAMAGED.txt", "\n".join([_("以下影像的存储数据已损坏，没有包含在内："), *damaged, ""]))
    yield sink.take()


def read_in_pieces(archive: Archive, part: bytes | ByteRange) -> Iterator[bytes]:
    """The bytes, at most PIECE at a time. Blocks."""
    if isinstance(part, bytes):
        yield part
        return
    for offset in range(0, part.length, PIECE):
        size = min(PIECE, part.length - offset)
        yield archive.read(ByteRange(pack=part.pack, offset=part.offset + offset, length=size))


async def download(request: web.Request) -> web.StreamResponse:
    """`GET /api/studies/{uid}/original`: application/zip; 404 for a study that is not the caller's to take."""
    uid = request.match_info["uid"]
    if not UID.fullmatch(uid):
        raise NotFound
    scope = await scope_for(request, "download", uid)
    archive = request.app[ARCHIVE]
    rows = await asyncio.to_thread(archive.instances, scope, uid)
    if not rows:
        raise NotFound
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/zip",
            "Content-Disposition": 'attachment; filename="study.zip"',
            "Cache-Control": "no-store",
        }
    )
    await response.prepare(request)
    loop = asyncio.get_running_loop()

    def parts_of(row: InstanceRow) -> Sequence[bytes | ByteRange]:
        if row.overlay is None:
            return [Retriever.file_range(row)]
        return asyncio.run_coroutine_threadsafe(archive.retriever.file(row), loop).result()

    pieces = zip_pieces(archive, rows, parts_of)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        await response.write(piece)
    await response.write_eof()
    return response
