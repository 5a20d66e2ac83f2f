"""From the walk of a dataset to what the index keeps: identity, demographics, description, and where the pixels are."""

from __future__ import annotations

import re
import struct
from itertools import pairwise

from dicom import charset as charsets
from dicom.elements import (
    DOUBLE_PIXELS,
    EXTENDED_OFFSETS,
    FLOAT_PIXELS,
    PIXEL_DATA,
    UNDEFINED,
    WAVEFORM_SEQUENCE,
    Budget,
    Element,
    Walker,
    Window,
)
from dicom.errors import RefusedError
from dicom.model import Header, PixelKind, PixelLayout
from dicom.syntaxes import DEFLATED, JPEG_2000_FAMILY, is_explicit, is_little

_UID = re.compile(r"(?!\.+\Z)[0-9.]{1,64}\Z")  # dots alone would be a step in an address
_DATE = re.compile(r"\d{8}\Z")
_TEXT_LIMIT = 1024

_STRINGS = {
    0x00080016: "sop_class",
    0x00080018: "sop_uid",
    0x0020000D: "study_uid",
    0x0020000E: "series_uid",
    0x00080020: "study_date",
    0x00080021: "series_date",
    0x00080023: "content_date",
    0x00080030: "study_time",
    0x00080031: "series_time",
    0x00080033: "content_time",
    0x00080050: "accession",
    0x00080060: "modality",
    0x00080080: "institution",
    0x00080090: "referring_physician",
    0x00081030: "study_description",
    0x0008103E: "series_description",
    0x00081090: "manufacturer_model",
    0x00100010: "patient_name",
    0x00100020: "patient_id",
    0x00100021: "issuer_of_patient_id",
    0x00100030: "birth_date",
    0x00100040: "sex",
    0x00180015: "body_part",
    0x00200010: "study_id",
    0x00200011: "series_number",
    0x00200013: "instance_number",
    0x00200060: "laterality",
    0x00280004: "photometric",
    0x00280008: "number_of_frames",
    0x00420012: "document_type",
}
_SHORTS = {0x00280002: "samples", 0x00280010: "rows", 0x00280011: "columns", 0x00280100: "bits_allocated"}
# Free text of the dataset: what the character set is judged by.
_TEXTS = {
    *("accession", "institution", "referring_physician", "study_description", "series_description"),
    *("manufacturer_model", "patient_name", "patient_id", "issuer_of_patient_id", "study_id"),
}
_CHARSET, _ISSUER_OF_ACCESSION = 0x00080005, 0x00080051
_PIXELS = {PIXEL_DATA: "PixelData", FLOAT_PIXELS: "FloatPixelData", DOUBLE_PIXELS: "DoubleFloatPixelData"}
_WANTED = frozenset(
    {*_STRINGS, *_SHORTS, *_PIXELS, EXTENDED_OFFSETS, WAVEFORM_SEQUENCE, _CHARSET, _ISSUER_OF_ACCESSION}
)
# Where Pixel Data is sent with a value length that covers no whole frame, layouts stay empty and retrieval says why.


def read_header(window: Window, transfer_syntax: str, budget: Budget | None = None) -> Header:
    """The header of the dataset in `window`, which starts at its first byte and holds all of it.

    Every length is checked to the end of the dataset. Raises RefusedError: `truncated`, `malformed`, `too_deep`,
    `too_many_elements`, `missing_uid`, `invalid_uid`, `missing_sop_class`. Deflated datasets must be inflated before.
    """
    walker = Walker(
        window,
        explicit=is_explicit(transfer_syntax),
        little=is_little(transfer_syntax),
        budget=budget or Budget(),
    )
    raw: dict[str, bytes] = {}
    shorts: dict[str, int] = {}
    label = b""
    issuer: bytes = b""
    pixel: Element | None = None
    extended: Element | None = None
    waveform = False
    order = "<H" if walker.little else ">H"
    for element in walker.select(_WANTED):
        tag, length = element.tag, element.length
        if tag in _STRINGS:
            if 0 < length <= _TEXT_LIMIT:
                raw.setdefault(_STRINGS[tag], window.bytes(element.offset, length))
        elif tag in _SHORTS:
            if length >= 2 and length != UNDEFINED:
                shorts.setdefault(_SHORTS[tag], struct.unpack(order, window.bytes(element.offset, 2))[0])
        elif tag in _PIXELS:
            pixel = pixel or element
        elif tag == EXTENDED_OFFSETS:
            extended = element
        elif tag == _CHARSET and 0 < length <= _TEXT_LIMIT:
            label = window.bytes(element.offset, length)
        elif tag == _ISSUER_OF_ACCESSION and length:
            issuer = _entity(walker, element)
        elif tag == WAVEFORM_SEQUENCE and length:
            waveform = True
    if window.length and walker.explicit is False and not raw:
        raise RefusedError(code="not_dicom")
    charset = charsets.detect(label, [raw[name] for name in sorted(raw) if name in _TEXTS])
    texts = {
        name: _clean(charset.decode(value), person=name in {"patient_name", "referring_physician"})
        for name, value in raw.items()
    }
    of_issuer = charset if issuer.isascii() else charsets.of_item(charset, None, [issuer])
    frames = _number(texts.pop("number_of_frames", ""))
    layout = PixelLayout()
    if pixel is not None:
        layout = _layout(
            walker, pixel, extended, shorts, frames, texts.get("photometric", ""), transfer_syntax
        )
    return Header(
        transfer_syntax=transfer_syntax,
        **_identity(texts),
        **{name: texts.get(name, "") for name in _PLAIN_TEXTS},
        **{name: _date(texts.get(name, "")) for name in _DATES},
        series_number=_number(texts.get("series_number", "")),
        instance_number=_number(texts.get("instance_number", "")),
        issuer_of_accession=_clean(of_issuer.decode(issuer)),
        rows=shorts.get("rows"),
        columns=shorts.get("columns"),
        bits_allocated=shorts.get("bits_allocated"),
        samples=shorts.get("samples"),
        frames=frames,
        charset=charset.label,
        repaired=charset.repaired,
        has_waveform=waveform,
        pixels=layout,
    )


_DATES = ("birth_date", "study_date", "series_date", "content_date")
_PLAIN_TEXTS = tuple(
    name
    for name in _STRINGS.values()
    if name
    not in {
        "sop_class",
        "sop_uid",
        "study_uid",
        "series_uid",
        "series_number",
        "instance_number",
        "number_of_frames",
        *_DATES,
    }
)


def _identity(texts: dict[str, str]) -> dict[str, str]:
    found = {name: texts.get(name, "") for name in ("study_uid", "series_uid", "sop_uid", "sop_class")}
    if not found["sop_class"]:
        raise RefusedError(code="missing_sop_class" if found["sop_uid"] else "missing_uid")
    if not all(found.values()):
        raise RefusedError(code="missing_uid")
    if not all(_UID.match(value) for value in found.values()):
        raise RefusedError(code="invalid_uid")
    return found


def _entity(walker: Walker, element: Element) -> bytes:
    """Local Namespace Entity ID (0040,0031), else Universal Entity ID (0040,0032), of an issuer sequence."""
    for start, end, explicit in walker.items(element):
        found: dict[int, bytes] = {}
        for inner in walker.elements(
            start, end if end is not None else element.end, depth=2, explicit=explicit
        ):
            if inner.tag in {0x00400031, 0x00400032} and inner.length <= _TEXT_LIMIT:
                found[inner.tag] = walker.window.bytes(inner.offset, inner.length)
        return found.get(0x00400031) or found.get(0x00400032, b"")
    return b""


def _clean(text: str, *, person: bool = False) -> str:
    """Without padding and control characters; only the first value of a multi-valued name."""
    if not text.isprintable():
        text = "".join(c for c in text if c >= " " or c == "\t")
    text = text.strip(" \x00")
    if person:
        text = text.rstrip("^= ")
    return text[:_TEXT_LIMIT]


def _date(text: str) -> str:
    text = text.replace(".", "").replace("-", "")  # ACR-NEMA wrote 2004.01.19
    return text if _DATE.match(text) else ""


def _number(text: str) -> int | None:
    try:
        value = int(text.split("\\", maxsplit=1)[0].strip() or "x")
    except ValueError:
        return None
    return value if -(2**31) <= value < 2**31 else None


def _layout(
    walker: Walker,
    pixel: Element,
    extended: Element | None,
    shorts: dict[str, int],
    frames: int | None,
    photometric: str,
    syntax: str,
) -> PixelLayout:
    keyword = _PIXELS[pixel.tag]
    count = frames if frames and frames > 0 else 1
    if pixel.length == UNDEFINED:
        return _encapsulated(walker, pixel, extended, count, syntax)
    rows, columns = shorts.get("rows", 0), shorts.get("columns", 0)
    bits, samples = shorts.get("bits_allocated", 0), shorts.get("samples", 1)
    if photometric in {"YBR_FULL_422", "YBR_PARTIAL_422"} and samples == 3:
        samples = 2  # two pixels share one pair of chrominance values (PS3.3 §C.7.6.3.1.2)
    bits_per_frame = rows * columns * samples * bits
    kind, size = PixelKind.NATIVE, bits_per_frame // 8
    if bits_per_frame % 8 and count > 1:
        kind = PixelKind.BITS
    elif bits_per_frame % 8:
        size += 1
    return PixelLayout(
        kind=kind, offset=pixel.offset, length=pixel.length, frames=count, frame_length=size, keyword=keyword
    )


def _encapsulated(
    walker: Walker, pixel: Element, extended: Element | None, count: int, syntax: str
) -> PixelLayout:
    parts = list(walker.fragments(pixel))
    offsets: list[int] = []
    window = walker.window
    if parts:
        (start, length), parts = parts[0], parts[1:]
        if length >= 4 and length % 4 == 0:
            offsets = [n[0] for n in struct.iter_unpack("<I", window.bytes(start, length))]
    if extended is not None and extended.length % 8 == 0 and extended.length != UNDEFINED:
        offsets = [n[0] for n in struct.iter_unpack("<Q", window.bytes(extended.offset, extended.length))]
    kind = PixelKind.ENCAPSULATED
    ranges = _group(window, parts, offsets, count, syntax)
    if ranges is None:
        kind, ranges = PixelKind.UNCERTAIN, (tuple(parts),)
    return PixelLayout(
        kind=kind,
        offset=pixel.offset,
        length=sum(length for _, length in parts),
        frames=count,
        ranges=ranges,
        keyword="PixelData",
    )


def _group(
    window: Window, parts: list[tuple[int, int]], offsets: list[int], count: int, syntax: str
) -> tuple[tuple[tuple[int, int], ...], ...] | None:
    """The fragments of each frame (PS3.5 §A.4), or None where nothing tells them apart."""
    if count == 1:
        return (tuple(parts),)
    if len(parts) == count:
        return tuple((part,) for part in parts)
    if len(offsets) == count and parts:
        first = parts[0][0] - 8  # offsets count from the first item after the offset table
        starts = {start - 8 - first: i for i, (start, _) in enumerate(parts)}
        if all(offset in starts for offset in offsets):
            edges = [*(starts[offset] for offset in offsets), len(parts)]
            if edges[0] == 0 and all(a < b for a, b in pairwise(edges)):
                return tuple(tuple(parts[a:b]) for a, b in pairwise(edges))
    # No table: a new frame starts where a new code stream does.
    marks = (b"\xff\x4f\xff\x51",) if syntax in JPEG_2000_FAMILY else (b"\xff\xd8\xff",)
    grouped: list[list[tuple[int, int]]] = []
    for part in parts[:100_000]:
        head = window.bytes(part[0], min(4, part[1]))
        if head.startswith(marks) or not grouped:
            grouped.append([])
        grouped[-1].append(part)
    if len(grouped) == count:
        return tuple(tuple(group) for group in grouped)
    return None


def deflated_layout(layout: PixelLayout) -> PixelLayout:
    """The layout of a deflated dataset: the offsets of the inflated one point nowhere in the stored bytes."""
    if layout.kind is PixelKind.NONE:
        return layout
    return PixelLayout(
        kind=PixelKind.DEFLATED,
        length=layout.length,
        frames=layout.frames,
        frame_length=layout.frame_length,
        keyword=layout.keyword,
    )


def needs_worker(transfer_syntax: str) -> bool:
    """Whether the header cannot be walked in the stored bytes."""
    return transfer_syntax == DEFLATED
