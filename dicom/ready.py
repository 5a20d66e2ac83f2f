"""Metadata that was made ready after ingest, read for a whole series at once."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Sequence

from dicom.model import InstanceRow, Place
from dicom.packs.read import PackReader

_ALONE = 32  # fewer are not worth a second thread
_THREADS = min(4, os.cpu_count() or 1)


async def ready_made(packs: PackReader, rows: Sequence[InstanceRow]) -> dict[str, bytes]:
    """DICOM JSON by digest, of those rows that have it; inflated on several processors. Raises IntegrityError."""
    wanted = [(row.digest, row.metadata) for row in rows if row.metadata is not None]
    threads = _THREADS if len(wanted) >= _ALONE else 1
    shares = [wanted[n::threads] for n in range(threads)]
    out: dict[str, bytes] = {}
    for found in await asyncio.gather(*(asyncio.to_thread(_read, packs, share) for share in shares if share)):
        out.update(found)
    return out


def _read(packs: PackReader, wanted: Sequence[tuple[str, Place]]) -> dict[str, bytes]:
    return {
        digest: zlib.decompress(packs.read(place.pack, place.offset, place.body_length)) for digest, place in wanted
    }
