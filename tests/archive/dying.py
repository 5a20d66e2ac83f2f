"""Run as a program: uploads into an archive and dies at a named point. Prints every acknowledgement as it comes."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from dicom.archive import Archive
from dicom.model import Limits
from tests.archive.files import make

# Small limits, so that staging, several packs and several groups happen with tiny files.
LIMITS = Limits(inline_bytes=4096, memory_bytes=64 << 10, pack_bytes=4096, batch_bytes=2048)


def uploads(count: int = 12, *, large: int = 4, shared: int = 3) -> list[tuple[str, bytes]]:
    """Every `large`-th is staged, every `shared`-th has two holders; last, other bytes under a held identity."""
    out = []
    for n in range(count):
        pixels = bytes([n]) * (6000 if n % large == large - 1 else 4)
        data = make(f"1.2.3.1.{n}", pixels=pixels, Rows=len(pixels) // 4)
        out.append(("A", data))
        if n % shared == 0:
            out.append(("B", data))  # custody
    out.append(("A", make("1.2.3.1.0", pixels=b"\x09\x09\x09\x09")))  # other bytes: quarantine
    return out


async def main(root: Path, point: str, occurrence: int) -> None:
    seen = 0

    def fault(name: str) -> None:
        nonlocal seen
        if name == point:
            seen += 1
            if seen == occurrence:
                os._exit(9)

    archive = Archive.open(root, worker_count=0, limits=LIMITS, fault=fault)
    await archive.start()
    for organisation, data in uploads():
        result = await archive.ingest(data, organisation=organisation, source="test")
        print(result.outcome, organisation, result.sop_uid, result.digest, flush=True)
    await archive.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
