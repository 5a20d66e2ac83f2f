"""The doors by which a mutated file comes, and the ways in which what is kept of it is looked at."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from aiohttp import MultipartWriter

from dicom.deidentify import Options
from dicom.errors import DicomError
from server.taking import Taken, take_file
from tests.archive.files import make

INDEED = {202, 409}  # a store that kept nothing, or not all, says why (PS3.18 Table 10.5.3-1)
GOOD = {"1.2.3.90.1", "1.2.3.90.2"}
JSON, XML, FILE, OCTETS = "application/dicom+json", "application/dicom+xml", "application/dicom", "application/octet-stream"
JPEG_LS, J2K, HTJ2K, JPEG = (f"1.2.840.10008.1.2.4.{n}" for n in (80, 90, 201, 50))
# What the address of an instance is followed by, and Accept; `?` is WADO-URI.
ADDRESSES = {
    "metadata": ("/metadata", JSON),
    "xml": ("/metadata", XML),
    "rendered": ("/rendered", "image/jpeg"),
    "rendered png": ("/rendered?window=40,400,linear&viewport=200,100&annotation=patient", "image/png"),
    "sheet": ("/rendered", "image/svg+xml, text/html"),
    "paper": ("/rendered?annotation=patient,technique", "application/pdf"),
    "document": ("/rendered", "*/*"),
    "thumbnail": ("/thumbnail", "image/jpeg"),
    "thumbnail of a frame": ("/frames/2/thumbnail", "image/jpeg"),
    "frame": ("/frames/1", f'multipart/related; type="{OCTETS}"'),
    "frames": ("/frames/1,2", f'multipart/related; type="{OCTETS}"; transfer-syntax=*'),
    "frame in JPEG-LS": ("/frames/1", "image/jls"),
    "frame in JPEG 2000": ("/frames/1", "image/jp2"),
    "frame in HTJ2K": ("/frames/1", "image/jphc"),
    "waveform": ("/waveform", "*/*"),
    "pixels as bulk data": ("/bulkdata/7FE00010", "*/*"),
    "file": ("", f'multipart/related; type="{FILE}"'),
    "file as stored": ("", f"{FILE}; transfer-syntax=*"),
    "file in JPEG-LS": ("", f"{FILE}; transfer-syntax={JPEG_LS}"),
    "file in JPEG 2000": ("", f"{FILE}; transfer-syntax={J2K}"),
    "file in HTJ2K": ("", f"{FILE}; transfer-syntax={HTJ2K}"),
    "file in JPEG": ("", f"{FILE}; transfer-syntax={JPEG}"),
    "by URI": ("?", "*/*"),
    "file by URI": (f"?&contentType={FILE}", "*/*"),
}
OTHERS = ("bulk data", "deidentified", "stored again from its metadata")
LOOKS = (*ADDRESSES, *OTHERS)
DOORS = {"single": 10, "multipart": 3, "folder": 1, "zip": 0.3}  # a zip starts a process of its own


@dataclass(frozen=True, slots=True)
class Plan:
    """How a case comes and what is looked at; the same for the same case of a seed."""

    door: str = "single"
    looks: tuple[str, ...] = LOOKS
    seed: str = ""
    intact: bool = True  # the zip around it

    @classmethod
    def of(cls, seed: int, number: int) -> Plan:
        chance = random.Random(f"{seed}:{number}:plan")
        (door,) = chance.choices(list(DOORS), list(DOORS.values()))
        return cls(door, ("metadata", *chance.sample(LOOKS[1:], 4)), f"{seed}:{number}", intact=chance.random() < 0.5)

    def chance(self, what: str) -> random.Random:
        return random.Random(f"{self.seed}:{what}")

    def __str__(self) -> str:
        return f"{self.door}, {', '.join(self.looks)}"


@cache
def good() -> tuple[bytes, bytes]:
    """What comes beside it in one body, and is kept whatever that is."""
    first, second = (make(sop, study="1.2.3.90", series=sop) for sop in sorted(GOOD))
    return first, second


async def deliver(house, organisation: str, data: bytes, plan: Plan) -> tuple[bool, float]:
    """Whether anything of the file was kept, and the seconds. AssertionError for an answer that must not be."""
    if plan.door == "multipart":
        return await _store(house, organisation, [good()[0], data, good()[1]])
    if plan.door in {"folder", "zip"}:
        return await _take(house, organisation, data, plan), 0.0
    return await _store(house, organisation, [data])


async def _store(house, organisation: str, parts: Sequence[bytes]) -> tuple[bool, float]:
    if len(parts) == 1:
        status, _, body, seconds = await house.ask(
            "POST", "/dicom-web/studies", organisation, data=io.BytesIO(parts[0]), headers={"Content-Type": FILE}
        )
    else:
        status, _, body, seconds = await post_parts(house, organisation, FILE, [(FILE, "", part) for part in parts])
    assert status < 500, f"store {status} {body[:200]!r}"
    if status == 200:
        return True, seconds
    assert status in INDEED, f"store {status} {body[:200]!r}"
    assert b"00081197" in body, f"no reason {body[:200]!r}"
    if len(parts) > 1:
        assert status == 202 and all(sop.encode() in body for sop in GOOD), f"what came beside it is lost: {status} {body[:400]!r}"
    return False, seconds


async def post_parts(house, organisation: str, kind: str, parts: Sequence[tuple[str, str, bytes]]):
    """STOW-RS of (type, Content-Location, bytes)."""
    with MultipartWriter("related") as writer:
        for media, location, data in parts:
            writer.append(io.BytesIO(data), {"Content-Type": media} | ({"Content-Location": location} if location else {}))
    head = {"Content-Type": f'multipart/related; type="{kind}"; boundary={writer.boundary}'}
    return await house.ask("POST", "/dicom-web/studies", organisation, data=writer, headers=head)


async def _take(house, organisation: str, data: bytes, plan: Plan) -> bool:
    """As `huizhen import`, a watched folder and the upload page take a file, or the entries of a zip."""
    chance = plan.chance("door")
    entries = 1
    if plan.door == "zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(chance.choice(["a.dcm", "../../../etc/passwd", "/etc/shadow", "DICOMDIR", "a/" * 100 + "b", "压缩.dcm"]), data)
            archive.writestr("good.dcm", good()[0])
        whole, entries = bytearray(packed.getvalue()), 2
        if not plan.intact:
            entries = 0  # it may end anywhere
            for _ in range(chance.choice([1, 3, 30])):
                whole[chance.randrange(4, len(whole))] = chance.randrange(256)
        data = bytes(whole)
    held: list[bool] = []

    async def store(body) -> Taken:
        result = await house.archive.ingest(body, organisation=organisation, source="import")
        assert result.reason not in {"io_error", "disk_full", "busy"}, result
        held.append(result.outcome == "stored" and result.sop_uid not in GOOD)
        return Taken(outcome=result.outcome, reason=result.reason or "", study=result.study_uid or "")

    with tempfile.TemporaryDirectory(dir=house.root) as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        found = await take_file(path, store)
    assert all(one.held or one.reason for one in found), f"no reason {found}"
    if plan.door == "folder":
        assert len(found) == 1 or data[:2] == b"PK", found
    elif entries and not data.startswith(b"PK\x05\x06"):
        assert len(found) == entries and found[1].held, f"what came beside it is lost: {found}"
    return any(held)


async def look(house, organisation: str, row, name: str, plan: Plan, metadata: bytes) -> tuple[bytes, float]:
    """One look at an instance: (what it gave, seconds). AssertionError for what must not be."""
    base = f"/dicom-web/studies/{row.study_uid}/series/{row.series_uid}/instances/{row.sop_uid}"
    if name == "deidentified":
        return await _deidentified(house, row, plan)
    if name == "stored again from its metadata":
        return await _again(house, organisation, base, metadata, plan)
    if name == "bulk data":
        found = re.findall(rb'"BulkDataURI":"[^"]*?(/bulkdata/[^"]{1,300})"', metadata)
        rest, accept = plan.chance(name).choice(found or [b"/bulkdata/00111010"]).decode("utf-8", "replace"), "*/*"
    else:
        rest, accept = ADDRESSES[name]
    path = base + rest
    if rest.startswith("?"):
        path = f"/wado?requestType=WADO&studyUID={row.study_uid}&seriesUID={row.series_uid}&objectUID={row.sop_uid}{rest[1:]}"
    status, kind, body, seconds = await house.ask("GET", path, organisation, accept)
    assert status < 500, f"{name} {status} {body[:200]!r}"
    assert status == 200 or "json" in kind, f"{name} {status} without a reason: {kind} {body[:200]!r}"
    if status == 200 and name == "metadata" and body.startswith(b"\x1f\x8b"):
        body = gzip.decompress(body)
    return body if status == 200 else b"", seconds


async def _deidentified(house, row, plan: Plan) -> tuple[bytes, float]:
    chance = plan.chance("deidentified")
    options = Options(
        dates=chance.choice(["remove", "modified", "full"]), device=chance.random() < 0.5, patient=chance.random() < 0.5,
        text=chance.random() < 0.5,
    )  # fmt: skip
    try:
        made = await house.archive.retriever.deidentified(row, b"secret" * 6, asdict(options))
    except DicomError as error:
        assert error.reason, "no reason"
        return b"", 0.0
    offset, length = made["pixels"] or (0, 0)
    assert 0 <= offset <= offset + length <= row.place.body_length, f"pixels at {offset}, {length}"
    assert row.sop_uid.startswith("1.2.840.10008.") or row.sop_uid.encode() not in made["head"], "its UID is still there"
    return made["head"], 0.0


async def _again(house, organisation: str, base: str, metadata: bytes, plan: Plan) -> tuple[bytes, float]:
    """Its metadata, half of them mutated, with the pixels as bulk data (PS3.18 §10.5.2), for another organisation."""
    if not metadata:
        return b"", 0.0
    chance = plan.chance("again")
    (found,) = json.loads(metadata)
    parts: list[tuple[str, str, bytes]] = []
    pixels = found.get("7FE00010", {})
    if "BulkDataURI" in pixels:
        status, _, body, _ = await house.ask("GET", f"{base}/bulkdata/7FE00010", organisation, OCTETS)
        pixels["BulkDataURI"] = "here"
        parts = [(OCTETS, "here", body if status == 200 else b"1234")]
    text = bytearray(json.dumps([found]).encode())
    if chance.random() < 0.5:
        for _ in range(chance.choice([1, 1, 5])):
            text[chance.randrange(len(text))] = chance.choice(b'0123456789ABCDEF"[]{}:,\\ \xff')
    status, _, body, seconds = await post_parts(house, f"{organisation}-again", JSON, [(JSON, "", bytes(text)), *parts])
    assert status < 500, f"metadata {status} {body[:200]!r}"
    assert status in {200, *INDEED} or b'"code"' in body, f"metadata {status} without a reason {body[:200]!r}"
    return b"", seconds
