"""What Debian's Orthanc does with the files of docs/compatibility.md: its column beside ours.

HUIZHEN_COMPATIBILITY=1 asks it for every file and writes tests/archive/orthanc.json, of which
tests/archive/test_compatibility.py makes the column; otherwise a part of them is asked again.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from pathlib import Path

import aiohttp
from PIL import Image

from tests.archive.test_compatibility import ORTHANC, collections
from tests.peers.orthanc import Orthanc

VERSION = "1.10.1"
DIED = "stored, dies making the picture"
EVERY = 9


async def outcome(orthanc: Orthanc, data: bytes) -> str:
    """One cell of the column. Orthanc is empty afterwards, since the files share UIDs."""
    status, answer = await orthanc.ask("POST", "/instances", data)
    if status != 200:
        return "refused"
    path = f"/instances/{json.loads(answer)['ID']}"
    try:
        status, answer = await orthanc.ask("GET", f"{path}/rendered")
    except aiohttp.ClientError:
        return DIED
    await orthanc.ask("DELETE", path)
    if status != 200:
        return "stored, no picture"
    with Image.open(io.BytesIO(answer)) as picture:
        return f"stored, {picture.width}×{picture.height}"


async def measured(files: list[tuple[str, Path]]) -> dict[str, str]:
    """Every file's cell; a process that died is replaced."""
    found: dict[str, str] = {}
    orthanc = None
    with tempfile.TemporaryDirectory() as root:
        try:
            for name, path in files:
                if orthanc is None:
                    orthanc = await Orthanc(Path(tempfile.mkdtemp(dir=root))).start()
                    assert (await orthanc.get("/system"))["Version"] == VERSION
                found[name] = await outcome(orthanc, path.read_bytes())
                if found[name] == DIED:
                    await orthanc.stop()
                    orthanc = None
        finally:
            if orthanc is not None:
                await orthanc.stop()
    return found


async def test_orthancs_column_is_what_orthanc_does():
    told = json.loads(ORTHANC.read_text("utf-8")) if ORTHANC.is_file() else {}
    files = [(f"{package}/{name}", path) for package, found in collections().items() for name, path in found]
    if os.environ.get("HUIZHEN_COMPATIBILITY"):
        told |= await measured(files)
        ORTHANC.write_text(json.dumps(told, ensure_ascii=False, indent=0, sort_keys=True) + "\n", "utf-8")
        return
    asked = [(name, path) for name, path in files if told[name] != DIED][::EVERY]
    found = await measured(asked)
    assert len(found) > 15
    assert found == {name: told[name] for name in found}
