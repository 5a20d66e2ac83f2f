"""Small datasets by hand: identifiers of queries, worklist items, events (PS3.5 §7), in the peer's character set.

Reading is bounded by the walker's budget; nothing is handed to a general parser. Writing knows the character sets the
city's devices know: UTF-8, GB18030, GBK, ISO 2022 IR 58, and for the oldest plain letters (pinyin).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from dicom import charset as charsets
from dicom.charset import Charset
from dicom.elements import LONG_VRS, UNDEFINED, Budget, Walker, Window
from dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE, is_explicit, is_little

TextCoding = Literal["utf-8", "gb18030", "gbk", "iso58", "pinyin"]
CHARSET = 0x00080005
IDENTIFIER_LIMIT = 256 << 10
SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE)
_TEXT = frozenset({"PN", "LO", "SH", "LT", "ST", "UT", "UC"})
_LABELS: Mapping[TextCoding, tuple[str, ...]] = {
    "utf-8": ("ISO_IR 192",),
    "gb18030": ("GB18030",),
    "gbk": ("GBK",),
    "iso58": ("", "ISO 2022 IR 58"),
    "pinyin": (),
}
_DELIMITERS = re.compile(r"([\\^=\r\n\f\t])")
_NUMBERS = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i"}

Value = "str | Sequence[str] | Sequence[Record]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One attribute: its text as read (several values joined by a backslash), or the items of a sequence."""

    vr: str
    text: str = ""
    items: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A small dataset: tag → attribute."""

    values: Mapping[int, Item] = field(default_factory=dict)

    def text(self, tag: int) -> str:
        """The value, '' if absent or a sequence."""
        item = self.values.get(tag)
        return item.text if item else ""

    def items(self, tag: int) -> tuple[Record, ...]:
        """The items of a sequence."""
        item = self.values.get(tag)
        return item.items if item else ()


def record(values: Mapping[int, Any]) -> Record:
    """A record from tag → text, number, list of records, or None (absent value); VRs from the dictionary."""
    out: dict[int, Item] = {}
    for tag, value in values.items():
        vr = vr_of(tag)
        if vr == "SQ":
            out[tag] = Item(vr=vr, items=tuple(value or ()))
        else:
            out[tag] = Item(vr=vr, text="" if value is None else str(value))
    return Record(values=out)


@cache
def vr_of(tag: int) -> str:
    """VR of a public tag; UN if unknown or private, UL for a group's length."""
    from pydicom.datadict import dictionary_VR  # a large dictionary: loaded with the first query, not with the server

    if not tag & 0xFFFF:
        return "UL"
    try:
        return str(dictionary_VR(tag)).partition(" ")[0]
    except KeyError:
        return "UN"


def parse_record(data: bytes, syntax: str, *, elements: int = 5000) -> Record:
    """A dataset. Raises RefusedError where it is malformed, too deep or too long."""
    walker = Walker(
        Window.of(data),
        explicit=is_explicit(syntax),
        little=is_little(syntax),
        budget=Budget(elements=elements, header_bytes=16 * elements, depth=8),
    )
    raw = _read(walker, 0, None, 0, walker.explicit)
    label = raw.get(CHARSET, b"")
    found = charsets.detect(label if isinstance(label, bytes) else b"", _samples(raw))
    return _decoded(raw, found, walker.little)


_Raw = dict[int, "bytes | list[_Raw]"]


def _read(walker: Walker, start: int, end: int | None, depth: int, explicit: bool) -> _Raw:
    out: _Raw = {}
    for element in walker.elements(start, end, depth=depth, explicit=explicit):
        vr = element.vr or vr_of(element.tag)
        if vr == "SQ" or (element.length == UNDEFINED and vr not in {"OB", "OW"}):
            out[element.tag] = [
                _read(walker, a, b, depth + 1, inner) for a, b, inner in walker.items(element, depth=depth + 1)
            ]
        elif element.length != UNDEFINED:
            out[element.tag] = walker.window.bytes(element.offset, element.length)
    return out


def _samples(raw: _Raw) -> list[bytes]:
    out: list[bytes] = []
    for tag, value in raw.items():
        if isinstance(value, list):
            for item in value:
                out += _samples(item)
        elif vr_of(tag) in _TEXT:
            out.append(value)
    return out


def _decoded(raw: _Raw, charset: Charset, little: bool) -> Record:
    values: dict[int, Item] = {}
    for tag, value in raw.items():
        vr = vr_of(tag)
        if isinstance(value, list):
            values[tag] = Item(vr="SQ", items=tuple(_of_item(item, charset, little) for item in value))
        elif vr in _NUMBERS:
            form = _NUMBERS[vr] if little else _NUMBERS[vr].replace("<", ">")
            size = struct.calcsize(form)
            numbers = [struct.unpack_from(form, value, i)[0] for i in range(0, len(value) - size + 1, size)]
            values[tag] = Item(vr=vr, text="\\".join(map(str, numbers)))
        elif vr in _TEXT:
            values[tag] = Item(vr=vr, text=charset.decode(value).strip(" \x00"))
        else:
            values[tag] = Item(vr=vr, text=value.decode("latin-1").strip(" \x00"))
    return Record(values=values)


def _of_item(raw: _Raw, outer: Charset, little: bool) -> Record:
    label = raw.get(CHARSET)
    samples = [value for tag, value in raw.items() if isinstance(value, bytes) and vr_of(tag) in _TEXT]
    own = charsets.of_item(outer, label if isinstance(label, bytes) else None, samples)
    return _decoded(raw, own, little)


def write_record(
    value: Record, syntax: str, *, coding: TextCoding = "utf-8", romanise: Callable[[str], str] | None = None
) -> bytes:
    """The dataset in explicit or implicit little endian, with its Specific Character Set.

    `romanise` makes letters of a Chinese name for `coding` "pinyin"; without it other letters become `?`.
    """
    writer = _Writer(is_explicit(syntax), coding, romanise)
    values = dict(value.values)
    body = writer.dataset({tag: item for tag, item in values.items() if tag != CHARSET})
    if writer.wide and _LABELS[coding]:
        values[CHARSET] = Item(vr="CS", text="\\".join(_LABELS[coding]))
        return writer.dataset(values)
    return body


class _Writer:
    def __init__(self, explicit: bool, coding: TextCoding, romanise: Callable[[str], str] | None) -> None:
        self._explicit = explicit
        self._coding = coding
        self._romanise = romanise
        self.wide = False  # some value needs more than ASCII

    def dataset(self, values: Mapping[int, Item]) -> bytes:
        out = []
        for tag in sorted(values):
            item = values[tag]
            if item.vr == "SQ":
                # Items of defined length: every reader takes them.
                raw = b"".join(
                    struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
                    for inner in (self.dataset(part.values) for part in item.items)
                )
            else:
                raw = self._raw(item)
            out.append(self._head(tag, item.vr, len(raw)) + raw)
        return b"".join(out)

    def _head(self, tag: int, vr: str, length: int) -> bytes:
        if not self._explicit:
            return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
        name = vr.encode("ascii")
        if name in LONG_VRS:
            return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, name, 0, length)
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, name, length)

    def _raw(self, item: Item) -> bytes:
        if item.vr in _NUMBERS:
            parts = [part for part in item.text.split("\\") if part]
            return b"".join(struct.pack(_NUMBERS[item.vr], int(part)) for part in parts)
        raw = self._text(item) if item.vr in _TEXT else item.text.encode("latin-1", "replace")
        if len(raw) % 2:
            raw += b"\x00" if item.vr in {"UI", "UN", "OB"} else b" "
        return raw

    def _text(self, item: Item) -> bytes:
        text = item.text
        if text.isascii():
            return text.encode("ascii")
        self.wide = True
        if self._coding == "pinyin":
            return self._letters(text, person=item.vr == "PN").encode("ascii", "replace")
        if self._coding == "iso58":
            # Back to ASCII at every delimiter and line end (PS3.5 §6.1.2.5.3), so the escape stands in each part.
            return b"".join(
                part.encode("ascii") if part.isascii() else b"\x1b$)A" + part.encode("gb2312", "replace")
                for part in _DELIMITERS.split(text)
            )
        return text.encode(self._coding, "replace")

    def _letters(self, text: str, *, person: bool) -> str:
        if person:
            groups = [group for group in text.split("=") if group.strip("^ ")]
            plain = next((group for group in groups if group.isascii()), None)
            if plain is not None:
                return plain
            text = groups[0] if groups else ""
        if self._romanise is None:
            return text
        return "".join(part if part.isascii() else self._romanise(part) for part in re.split(r"([\\^= ]+)", text))
