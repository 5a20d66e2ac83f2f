"""The label of a pack record: what a rescan needs to rebuild the index without parsing the dataset again."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from dicom.elements import Budget, Window
from dicom.header import read_header
from dicom.index.writer import Holding
from dicom.model import Header, PixelKind, PixelLayout, Place
from dicom.packs.record import Read, Record

_SKIP = {"pixels"}


def header_to_json(header: Header) -> dict[str, Any]:
    """Only what is set. The frame table is left out: it is read from the dataset again."""
    out = {
        field.name: value
        for field in fields(header)
        if field.name not in _SKIP and (value := getattr(header, field.name)) not in ("", None, False)
    }
    p = header.pixels
    if p.kind is not PixelKind.NONE:
        out["pixels"] = [p.kind.value, p.offset, p.length, p.frames, p.frame_length, p.keyword]
    return out


def header_from_json(data: dict[str, Any], layout: PixelLayout | None = None) -> Header:
    """The inverse; `layout` replaces the one in `data`, which has no frame table."""
    values = {
        field.name: data[field.name]
        for field in fields(Header)
        if field.name in data and field.name not in _SKIP
    }
    if layout is None and (pixels := data.get("pixels")):
        kind, offset, length, frames, frame_length, keyword = pixels
        layout = PixelLayout(
            kind=PixelKind(kind),
            offset=offset,
            length=length,
            frames=frames,
            frame_length=frame_length,
            keyword=keyword,
        )
    return Header(**values, pixels=layout or PixelLayout())


def header_of(answer: dict[str, Any]) -> Header:
    """The header in a worker's answer to `header`."""
    ranges = tuple(tuple((a, b) for a, b in frame) for frame in answer["ranges"])
    layout = PixelLayout(**{**answer["layout"], "kind": PixelKind(answer["layout"]["kind"]), "ranges": ranges})
    return header_from_json(answer["header"], layout)


def label(
    *,
    organisation: str,
    source: str,
    at: datetime,
    digest: str,
    generation: int,
    header: Header | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The common fields of every label."""
    out: dict[str, Any] = {
        "organisation": organisation,
        "source": source,
        "at": at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "digest": digest,
        "generation": generation,
        **more,
    }
    if header is not None:
        out["transfer_syntax"] = header.transfer_syntax
        out["header"] = header_to_json(header)
    return out


def holding_of(record: Record, pack: int, read: Read) -> Holding:
    """A holding from a record found in a pack; frame tables are made from the stored bytes."""
    text = record.label
    header = header_from_json(text["header"])
    if record.body_length and header.pixels.kind in {PixelKind.ENCAPSULATED, PixelKind.UNCERTAIN}:
        base = record.body_offset
        window = Window(record.body_length, lambda offset, size: read(base + offset, size))
        budget = Budget(elements=2_000_000, header_bytes=1 << 30, depth=64)
        layout = read_header(window, header.transfer_syntax, budget).pixels
        header = header_from_json(text["header"], layout)
    place = None
    if record.body_length:
        place = Place(
            pack=pack,
            offset=record.prefix_offset,
            prefix_length=record.prefix_length,
            body_length=record.body_length,
        )
    return Holding(
        organisation=text["organisation"],
        source=text["source"],
        at=text["at"],
        digest=text.get("of", text["digest"]),
        generation=text["generation"],
        header=header,
        place=place,
    )
