"""Instances from metadata and bulk data (PS3.18 §10.5.2): read in a worker, put together as a stream of pieces.

The worker is told where the parts lie in one file and answers with bytes and ranges of that file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from dicom.codestream import HEAD_BYTES, CodeStream, read_codestream
from dicom.errors import RefusedError
from dicom.json_reader import Bulk, JsonReader, Piece, Span, text_of
from dicom.model import Limits
from dicom.native_reader import read_native_xml
from dicom.part10 import build_prefix
from dicom.syntaxes import DECODED, EXPLICIT_LE, FRAME_TYPES, RLE, VIDEO

JSON, XML = "application/dicom+json", "application/dicom+xml"
METADATA_BYTES = 16 << 20
# Media types that are code streams, and what each means where no transfer syntax is named.
_VIDEO_DEFAULTS = {"video/mp4": "1.2.840.10008.1.2.4.102", "video/mpeg": "1.2.840.10008.1.2.4.100"}
_CODED = frozenset({*FRAME_TYPES.values(), *_VIDEO_DEFAULTS, "image/j2c", "image/jph", "image/jpx"})
# Pixel Data in these needs a conversion that we do not make (PS3.18 Table 10.5.2-1).
_PICTURES = ("image/", "video/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the body: its media type, the address it goes by, and where its bytes lie in the file."""

    media: str
    syntax: str
    location: str
    offset: int
    length: int


def assemble(args: Mapping[str, Any], limits: Limits, vr_of: Callable[[int], str]) -> list[dict[str, Any]]:
    """The instances in the file at `path`, whose `parts` are as `Part`: for each `pieces`, or a `reason` to refuse it.

    A piece is bytes or [offset, length] of the file; `vr_of` gives the VR of a public tag. RefusedError where no
    metadata can be read at all.
    """
    parts = [Part(**part) for part in args["parts"]]
    fd = os.open(args["path"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        read = partial(_read, fd)
        return _Assembler(parts, read, limits).run(vr_of)
    finally:
        os.close(fd)


def _read(fd: int, part: Part, size: int) -> bytes:
    return os.pread(fd, min(size, part.length), part.offset)


class _Assembler:
    def __init__(self, parts: list[Part], read: Callable[[Part, int], bytes], limits: Limits) -> None:
        self._read = read
        self._limits = limits
        self._metadata = [part for part in parts if part.media in {JSON, XML, "application/json"}]
        self._bulk: dict[str, list[Part]] = {}
        for part in parts:
            if part not in self._metadata and part.location:
                self._bulk.setdefault(part.location, []).append(part)

    def run(self, vr_of: Callable[[int], str]) -> list[dict[str, Any]]:
        if not self._metadata or sum(part.length for part in self._metadata) > METADATA_BYTES:
            raise RefusedError(code="too_large" if self._metadata else "bad_metadata")
        out = []
        for dataset in self._datasets():
            answer: dict[str, Any] = {
                "sop_class": text_of(dataset, "00080016"),
                "sop_uid": text_of(dataset, "00080018"),
            }
            try:
                answer["pieces"] = _joined(self._file(dataset, vr_of))
            except RefusedError as error:
                answer["reason"] = error.reason
            out.append(answer)
        return out

    def _datasets(self) -> list[dict[str, Any]]:
        limits, found = self._limits, []
        for part in self._metadata:
            data = self._read(part, part.length)
            if part.media == XML:
                found.append(
                    read_native_xml(data, max_depth=limits.header_depth, max_elements=limits.worker_elements)
                )
                continue
            try:
                value = msgspec.json.decode(data)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise RefusedError(code="bad_metadata") from error
            found += value if isinstance(value, list) else [value]
        if not found or not all(isinstance(item, dict) for item in found):
            raise RefusedError(code="bad_metadata")
        # Hexadecimal digits come in both cases.
        return [{str(name).upper(): attribute for name, attribute in item.items()} for item in found]

    def _file(self, dataset: dict[str, Any], vr_of: Callable[[int], str]) -> list[Piece]:
        pixels = dataset.get("7FE00010")
        address = pixels.get("BulkDataURI") if isinstance(pixels, dict) else None
        syntax: str = EXPLICIT_LE
        coded: Bulk | None = None
        if address is not None:
            syntax, coded = self._pixels(str(address))
            if coded is not None and syntax not in VIDEO and syntax != RLE:
                dataset = self._described(dataset, self._stream(str(address)), len(coded.spans))
        limits = self._limits

        def find(uri: str) -> Bulk:
            if coded is not None and uri == address:
                return coded
            return Bulk(spans=_spans(self._parts(uri)), encapsulated=False)

        reader = JsonReader(find, vr_of, max_depth=limits.header_depth, max_elements=limits.worker_elements)
        body = reader.dataset({**dataset, "00080005": {"vr": "CS"}})
        try:
            prefix = build_prefix(
                sop_class=text_of(dataset, "00080016"), sop_uid=text_of(dataset, "00080018"), transfer_syntax=syntax
            )
        except UnicodeEncodeError as error:
            raise RefusedError(code="invalid_uid") from error
        return [prefix, *body]

    def _parts(self, uri: str) -> list[Part]:
        found = self._bulk.get(uri)
        if not found:
            raise RefusedError(code="missing_bulkdata")
        return found

    def _stream(self, uri: str) -> CodeStream:
        return read_codestream(self._read(self._parts(uri)[0], HEAD_BYTES))

    def _pixels(self, uri: str) -> tuple[str, Bulk | None]:
        """Transfer syntax and, where the parts are code streams, Pixel Data as one fragment for each part."""
        parts = self._parts(uri)
        media, named = parts[0].media, parts[0].syntax
        if any(part.media != media for part in parts):
            raise RefusedError(code="bulkdata_not_supported")
        if media not in _CODED and named not in DECODED and named not in VIDEO:
            if media.startswith(_PICTURES) or named not in {"", EXPLICIT_LE}:
                raise RefusedError(code="bulkdata_not_supported")
            return EXPLICIT_LE, None
        if media in _VIDEO_DEFAULTS or named in VIDEO:
            syntax = named if named in VIDEO else _VIDEO_DEFAULTS.get(media, "")
            if not syntax or (named and named not in VIDEO):
                raise RefusedError(code="bulkdata_not_supported")
            return syntax, Bulk(spans=_spans(parts), encapsulated=True)
        if named == RLE or media == FRAME_TYPES[RLE]:
            return RLE, Bulk(spans=_spans(parts), encapsulated=True)
        streams = [read_codestream(self._read(part, HEAD_BYTES)) for part in parts]
        if len({stream.syntax for stream in streams}) > 1:
            raise RefusedError(code="bulkdata_not_supported")
        spans = [
            Span(offset=part.offset + one.start, length=min(one.length or part.length, part.length - one.start))
            for part, one in zip(parts, streams, strict=True)
        ]
        return streams[0].syntax, Bulk(spans=tuple(spans), encapsulated=True)

    @staticmethod
    def _described(dataset: dict[str, Any], stream: CodeStream, frames: int) -> dict[str, Any]:
        """The dataset with what it leaves out of the Image Pixel Description Macro (PS3.3 §C.7.6.3.1)."""
        allocated = 8 if stream.bits <= 8 else 16
        derived: dict[str, tuple[str, Any]] = {
            "00280002": ("US", stream.samples),
            "00280004": ("CS", stream.photometric),
            "00280010": ("US", stream.rows),
            "00280011": ("US", stream.columns),
            "00280100": ("US", allocated),
            "00280101": ("US", stream.bits),
            "00280102": ("US", stream.bits - 1),
            "00280103": ("US", int(stream.signed)),
        }
        if stream.samples > 1:
            derived["00280006"] = ("US", 0)
        if frames > 1:
            derived["00280008"] = ("IS", frames)
        missing = {
            tag: {"vr": vr, "Value": [value]}
            for tag, (vr, value) in derived.items()
            if not text_of(dataset, tag)
        }
        return {**dataset, **missing}


def _joined(pieces: list[Piece]) -> list[bytes | list[int]]:
    """For the answer: neighbouring bytes as one."""
    out: list[bytes | list[int]] = []
    held: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            held.append(piece)
            continue
        out += [b"".join(held), [piece.offset, piece.length]]
        held = []
    return [*out, b"".join(held)]


def _spans(parts: list[Part]) -> tuple[Span, ...]:
    return tuple(Span(offset=part.offset, length=part.length) for part in parts)
