"""DICOMweb as bytes and values, without any HTTP library: DICOM JSON of rows, media types, multipart both ways."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dicom.errors import BadQueryError
from dicom.model import IngestResult, InstanceRow, SeriesRow, StudyRow

_MARK = b'"BulkDataURI":"bulk:'
_HEADER_LIMIT = 16 << 10
_PARAMETER = re.compile(r';\s*([A-Za-z0-9_\-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s]*)')


def with_base(data: bytes, instance_url: str) -> bytes:
    """Put the address of the instance into the relative bulk addresses of stored metadata."""
    return data.replace(_MARK, b'"BulkDataURI":' + json.dumps(f"{instance_url}/bulkdata/").encode()[:-1])


def _attribute(vr: str, *values: Any) -> dict[str, Any]:
    kept = [value for value in values if value not in ("", None)]
    return {"vr": vr, "Value": kept} if kept else {"vr": vr}


def person(name: str) -> dict[str, str] | None:
    """A PN value of DICOM JSON (PS3.18 §F.2.2)."""
    groups = name.split("=")[:3]
    parts = zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False)
    return {label: group for label, group in parts if group} or None


def study_json(row: StudyRow, base: str) -> dict[str, Any]:
    """A study as QIDO-RS returns it (PS3.18 Table 10.6.3-3).

    Text whose label was wrong or absent is shown in the character set really found; a private element of ours,
    (0009,xx01) under the creator HUIZHEN, then names that set, and the stored file keeps its label and bytes.
    """
    marked = {"00090010": _attribute("LO", "HUIZHEN"), "00091001": _attribute("CS", row.repaired)}
    return {
        **(marked if row.repaired else {}),
        "00080005": _attribute("CS", "ISO_IR 192"),
        "00080020": _attribute("DA", row.study_date),
        "00080030": _attribute("TM", row.study_time),
        "00080050": _attribute("SH", row.accession),
        "00080056": _attribute("CS", "ONLINE"),
        "00080061": _attribute("CS", *row.modalities),
        "00080080": _attribute("LO", row.institution),
        "00080090": _attribute("PN", person(row.referring_physician)),
        "00081030": _attribute("LO", row.description),
        "00081190": _attribute("UR", f"{base}/studies/{row.study_uid}"),
        "00100010": _attribute("PN", person(row.patient_name)),
        "00100020": _attribute("LO", row.patient_id),
        "00100021": _attribute("LO", row.issuer_of_patient_id),
        "00100030": _attribute("DA", row.birth_date),
        "00100040": _attribute("CS", row.sex),
        "0020000D": _attribute("UI", row.study_uid),
        "00200010": _attribute("SH", row.study_id),
        "00201206": _attribute("IS", row.series_count),
        "00201208": _attribute("IS", row.instance_count),
    }


def series_json(row: SeriesRow, base: str) -> dict[str, Any]:
    """A series as QIDO-RS returns it (Table 10.6.3-4)."""
    return {
        "00080005": _attribute("CS", "ISO_IR 192"),
        "00080021": _attribute("DA", row.series_date),
        "00080031": _attribute("TM", row.series_time),
        "00080060": _attribute("CS", row.modality),
        "0008103E": _attribute("LO", row.description),
        "00081090": _attribute("LO", row.manufacturer_model),
        "00081190": _attribute("UR", f"{base}/studies/{row.study_uid}/series/{row.series_uid}"),
        "00180015": _attribute("CS", row.body_part),
        "0020000D": _attribute("UI", row.study_uid),
        "0020000E": _attribute("UI", row.series_uid),
        "00200011": _attribute("IS", row.number),
        "00200060": _attribute("CS", row.laterality),
        "00201209": _attribute("IS", row.instance_count),
    }


def instance_json(row: InstanceRow, base: str) -> dict[str, Any]:
    """An instance as QIDO-RS returns it (Table 10.6.3-5)."""
    url = f"{base}/studies/{row.study_uid}/series/{row.series_uid}/instances/{row.sop_uid}"
    return {
        "00080005": _attribute("CS", "ISO_IR 192"),
        "00080016": _attribute("UI", row.sop_class),
        "00080018": _attribute("UI", row.sop_uid),
        "00080056": _attribute("CS", "ONLINE"),
        "00080060": _attribute("CS", row.modality),
        "00081190": _attribute("UR", url),
        "0020000D": _attribute("UI", row.study_uid),
        "0020000E": _attribute("UI", row.series_uid),
        "00200013": _attribute("IS", row.number),
        "00280008": _attribute("IS", row.frames),
        "00280010": _attribute("US", row.rows),
        "00280011": _attribute("US", row.columns),
        "00280100": _attribute("US", row.bits_allocated),
        "00083002": _attribute("UI", row.transfer_syntax),
    }


# Failure Reason (0008,1197) of a refused instance (PS3.18 §I.2.2).
_NO_RESOURCES, _PROCESSING, _NOT_UNDERSTOOD, _MISMATCH = 0xA700, 0x0110, 0xC000, 0xA900
_SYNTAX_NOT_SUPPORTED = 0xC122
FAILURE_REASONS: Mapping[str, int] = {
    "disk_full": _NO_RESOURCES,
    "over_quota": _NO_RESOURCES,
    "busy": _NO_RESOURCES,
    "too_large": _NO_RESOURCES,
    "inflates_too_large": _NO_RESOURCES,
    "io_error": _PROCESSING,
    "unreadable": _PROCESSING,
    "other_bytes": _PROCESSING,
    "wrong_study": _MISMATCH,
    "missing_sop_class": _MISMATCH,
    "bulkdata_not_supported": _SYNTAX_NOT_SUPPORTED,
}


def store_json(results: Iterable[IngestResult], base: str, study_uid: str | None) -> dict[str, Any]:
    """The Store Instances response (PS3.18 §10.5.3, Annex I). Error Comment (0000,0902) carries our reason code."""
    stored: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for r in results:
        item = {"00081150": _attribute("UI", r.sop_class), "00081155": _attribute("UI", r.sop_uid)}
        if r.outcome in {"stored", "duplicate"}:
            url = f"{base}/studies/{r.study_uid}/series/{r.series_uid}/instances/{r.sop_uid}"
            stored.append({**item, "00081190": _attribute("UR", url)})
        else:
            reason = FAILURE_REASONS.get(r.reason or "", _NOT_UNDERSTOOD)
            failed.append(
                {**item, "00081197": _attribute("US", reason), "00000902": _attribute("LO", r.reason)}
            )
    out: dict[str, Any] = {}
    if study_uid:
        out["00081190"] = _attribute("UR", f"{base}/studies/{study_uid}")
    if failed:
        out["00081198"] = {"vr": "SQ", "Value": failed}
    if stored:
        out["00081199"] = {"vr": "SQ", "Value": stored}
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """One entry of an Accept header, or a Content-Type."""

    name: str
    parameters: Mapping[str, str]
    quality: float = 1.0

    @property
    def part(self) -> str:
        """What is wanted inside a multipart, or the type itself."""
        return self.parameters.get("type", "*/*").lower() if self.multipart else self.name

    @property
    def multipart(self) -> bool:
        return self.name == "multipart/related"

    @property
    def transfer_syntax(self) -> str:
        return self.parameters.get("transfer-syntax", "")


def parse_media_type(text: str) -> MediaType:
    """One media type. Unquoted parameter values with slashes are read too: OHIF sends them."""
    name = text.split(";", 1)[0].strip().lower()
    parameters = {
        key.lower(): _unquoted(value) for key, value in _PARAMETER.findall(text[len(name.rstrip()) :])
    }
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 1.0
    return MediaType(name=name, parameters=parameters, quality=min(max(quality, 0.0), 1.0))


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"') and len(value) >= 2:
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


@lru_cache(maxsize=256)
def parse_accept(text: str) -> tuple[MediaType, ...]:
    """An Accept header, best first; absent or empty means anything. A client sends the same one again and again."""
    entries = [parse_media_type(part) for part in _split_list(text[:4096]) if part.strip()]
    entries = [entry for entry in entries if entry.quality > 0]
    best_first = sorted(entries, key=lambda entry: -entry.quality)
    return tuple(best_first) or (MediaType(name="*/*", parameters={}),)


def _split_list(text: str) -> list[str]:
    out, current, quoted = [], "", False
    for c in text:
        if c == '"':
            quoted = not quoted
        if c == "," and not quoted:
            out.append(current)
            current = ""
        else:
            current += c
    return [*out, current]


class Multipart:
    """Parts of a multipart body from a stream of chunks, one after the other, nothing buffered beyond a chunk."""

    def __init__(self, stream: AsyncIterator[bytes], boundary: str) -> None:
        if not boundary or len(boundary) > 200:
            raise BadQueryError(code="bad_multipart")
        self._stream = stream
        self._delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
        self._buffer = b"\r\n"  # so that a body may begin with the delimiter itself
        self._ended = False
        self._in_part = True  # the preamble counts as one, and is skipped

    async def _more(self) -> bool:
        try:
            chunk = await anext(self._stream)
        except StopAsyncIteration:
            return False
        self._buffer = self._buffer + chunk if self._buffer else chunk
        return True

    async def next_part(self) -> dict[str, str] | None:
        """The headers of the next part (the rest of the last one is skipped), or None. Raises BadQueryError."""
        if self._ended:
            return None
        async for _ in self.body():
            pass
        while len(self._buffer) < 2:
            if not await self._more():
                raise BadQueryError(code="cut_multipart")
        if self._buffer.startswith(b"--"):
            self._ended = True
            return None
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _HEADER_LIMIT:
                raise BadQueryError(code="bad_multipart")
            if not await self._more():
                raise BadQueryError(code="cut_multipart")
        if end > _HEADER_LIMIT:
            raise BadQueryError(code="bad_multipart")
        headers = {}
        for line in self._buffer[:end].decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        self._buffer = self._buffer[end + 4 :]
        if self._buffer.startswith(self._delimiter[2:]):  # an empty part
            self._buffer = b"\r\n" + self._buffer
        self._in_part = True
        return headers

    def _begun(self) -> int:
        """Where at the buffer's end a delimiter may have begun; its length, where none has (nothing is copied then)."""
        buffer, delimiter = self._buffer, self._delimiter
        place = buffer.find(b"\r", max(len(buffer) - len(delimiter) + 1, 0))
        while place >= 0 and not delimiter.startswith(buffer[place:]):
            place = buffer.find(b"\r", place + 1)
        return len(buffer) if place < 0 else place

    async def body(self) -> AsyncIterator[bytes]:
        """The bytes of the present part. Raises BadQueryError if the stream ends within it."""
        delimiter = self._delimiter
        while self._in_part:
            found = self._buffer.find(delimiter)
            if found >= 0:
                data, self._buffer = self._buffer[:found], self._buffer[found + len(delimiter) :]
                self._in_part = False
                if data:
                    yield data
                return
            begun = self._begun()
            data, self._buffer = self._buffer[:begun], self._buffer[begun:]
            if data:
                yield data
            if not await self._more():
                raise BadQueryError(code="cut_multipart")


def part_head(boundary: str, content_type: str, *, location: str = "", first: bool = False) -> bytes:
    """What stands before a part's bytes."""
    lead = "" if first else "\r\n"
    place = f"Content-Location: {location}\r\n" if location else ""
    return f"{lead}--{boundary}\r\nContent-Type: {content_type}\r\n{place}\r\n".encode("latin-1")


def closing(boundary: str) -> bytes:
    """The end of a multipart body."""
    return f"\r\n--{boundary}--\r\n".encode("latin-1")
