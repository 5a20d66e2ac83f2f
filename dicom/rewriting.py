"""A stored dataset with some attributes written anew, for what is retrieved after a correction (PS3.3 §C.12.1.1.9).

Everything else keeps its bytes, and pixels are named by where they lie, never copied. Former values go into Original
Attributes Sequence (0400,0561). The transfer syntax stays. Runs in worker processes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom import charset as charsets
from dicom.charset import Charset
from dicom.corrections import MODIFYING_SYSTEM, modified_at
from dicom.elements import LONG_VRS, UNDEFINED, Element, Walker
from dicom.errors import RefusedError, UnsupportedError
from dicom.recode import _swapped as swapped
from dicom.texts import SAMPLED, ItemCharset, samples_of

if TYPE_CHECKING:
    from dicom.workers.ops import Dataset

_CHARSET, _ORIGINAL = 0x00080005, 0x04000561
_MODIFIED_AT, _SYSTEM, _SOURCE, _REASON, _VALUES = 0x04000562, 0x04000563, 0x04000564, 0x04000565, 0x04000550
_UTF8 = "ISO_IR 192"
_CODES = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UR"})
_SIGNATURES = frozenset({0x4FFE0001, 0xFFFAFFFA})  # they do not hold for what has changed
_SINGLE_BYTE = frozenset({"ISO_IR 192", "GB18030", "GBK", "ISO_IR 100"})
_LIMIT = 16 << 20
Changes = dict[int, tuple[str, bytes] | None]


@dataclass(frozen=True, slots=True)
class Form:
    """How elements are written: with or without VR, in which byte order."""

    explicit: bool
    little: bool

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """One element, padded to even length (PS3.5 §7.1)."""
        if len(value) % 2:
            value += b" " if vr in SAMPLED or vr in _CODES else b"\x00"
        order = "<" if self.little else ">"
        head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if not self.explicit:
            return head + struct.pack(order + "I", len(value)) + value
        code = vr.encode("ascii")
        if code not in LONG_VRS and len(value) > 0xFFFE:
            code = b"UN"
        if code in LONG_VRS:
            return head + code + struct.pack(order + "HI", 0, len(value)) + value
        return head + code + struct.pack(order + "H", len(value)) + value

    def item(self, value: bytes) -> bytes:
        """One item of a sequence, of defined length."""
        return struct.pack("<HHI" if self.little else ">HHI", 0xFFFE, 0xE000, len(value)) + value


class Rewriter:
    """Works out what of one dataset is written anew. `changes` and `removed` as in `dicom.model.Overlay`."""

    def __init__(
        self, walker: Walker, vr_of: Callable[[Element], str], overlay: dict[str, Any], form: Form
    ) -> None:
        self._walker = walker
        self._vr_of = vr_of
        self._form = form
        self._given: dict[int, tuple[str, str]] = {tag: (vr, text) for tag, vr, text in overlay["changes"]}
        self._removed = frozenset(overlay["removed"])
        self._at: str = overlay["at"]
        self._source = overlay["source"]
        self._elements = list(walker.elements())
        self._charset = self._read_charset()
        self._codec, self._recoded = self._choose_codec()
        self._written = 0

    @property
    def elements(self) -> list[Element]:
        """The top level as stored."""
        return self._elements

    def changes(self) -> Changes:
        """Tag → VR and value in the form asked for, None to leave it out. Raises UnsupportedError, RefusedError."""
        out: Changes = {tag: (vr, self._encode(text)) for tag, (vr, text) in self._given.items()}
        former: list[tuple[int, bytes]] = []
        earlier = b""
        for element in self._elements:
            tag = element.tag
            if tag == _ORIGINAL:
                earlier = self._value(element, 0)
            elif tag in self._given or tag in self._removed:
                former.append((tag, self._copied(element, 1)))
                out.setdefault(tag, None)
            elif tag in _SIGNATURES:
                out[tag] = None
            elif self._recoded and self._has_text(element):
                out[tag] = (self._vr_of(element), self._value(element, 0))
        if self._recoded:
            out[_CHARSET] = ("CS", _UTF8.encode())
        out[_ORIGINAL] = ("SQ", earlier + self._form.item(self._note(b"".join(part for _, part in sorted(former)))))
        return out

    def _note(self, former: bytes) -> bytes:
        """One item of Original Attributes Sequence."""
        form, at = self._form, modified_at(self._at).encode()
        return b"".join(
            (
                form.element(_VALUES, "SQ", form.item(former)),
                form.element(_MODIFIED_AT, "DT", at),
                form.element(_SYSTEM, "LO", MODIFYING_SYSTEM.encode()),
                form.element(_SOURCE, "LO", self._source.encode("ascii", "replace")[:64]),
                form.element(_REASON, "CS", b"CORRECT"),
            )
        )

    # -- text

    def _read_charset(self) -> Charset:
        label, samples = b"", []
        for element in self._elements:
            if element.tag == _CHARSET:
                label = self._bytes(element)
            elif self._vr_of(element) in SAMPLED and element.length <= 1 << 16:
                samples.append(self._bytes(element))
        return charsets.detect(label, samples_of(self._walker, self._elements, samples, self._vr_of, label))

    def _choose_codec(self) -> tuple[str, bool]:
        """The encoding of new text, and whether all other text must change to it too."""
        text = "".join(text for _, text in self._given.values())
        if text.isascii():
            return "ascii", False
        terms = self._charset.terms
        if len(terms) == 1 and terms[0] in _SINGLE_BYTE and not self._charset.repaired:
            codec = charsets.codec_of(terms[0])
            try:
                text.encode(codec)
            except UnicodeEncodeError:
                return "utf-8", True
            return codec, False
        return "utf-8", True

    def _encode(self, text: str) -> bytes:
        return text.encode(self._codec, "replace")

    def _has_text(self, element: Element) -> bool:
        vr = self._vr_of(element)
        if vr not in SAMPLED and vr != "SQ":
            return False
        end = element.end if element.length == UNDEFINED else element.offset + element.length
        if end - element.offset > _LIMIT:
            raise UnsupportedError(code="too_large")
        data = self._walker.window.bytes(element.offset, end - element.offset)
        return not data.isascii() or b"\x1b" in data

    # -- values

    def _bytes(self, element: Element) -> bytes:
        return self._walker.window.bytes(element.offset, element.length)

    def _copied(self, element: Element, depth: int, charset: Charset | ItemCharset | None = None) -> bytes:
        return self._form.element(element.tag, self._vr_of(element), self._value(element, depth, charset))

    def _value(self, element: Element, depth: int, charset: Charset | ItemCharset | None = None) -> bytes:
        """The value in the form asked for, its text in the character set of what is written."""
        vr = self._vr_of(element)
        charset = charset or self._charset
        if vr == "SQ":
            return b"".join(self._item(*item, element, depth, charset) for item in self._walker.items(element))
        if element.length == UNDEFINED:
            raise UnsupportedError(code="encapsulated_inside")
        self._written += element.length
        if self._written > _LIMIT:
            raise RefusedError(code="too_large")
        value = self._bytes(element)
        if vr in SAMPLED and self._recoded:
            return charset.decode(value).rstrip(" \x00").encode("utf-8")
        return value if self._walker.little == self._form.little else swapped(value, vr)

    def _item(
        self, start: int, end: int | None, explicit: bool, element: Element, depth: int, charset: Charset | ItemCharset
    ) -> bytes:
        limit = element.end if end is None else end
        children = list(self._walker.elements(start, limit, depth=depth + 1, explicit=explicit))
        self._walker.make(1 + len(children))
        inner = ItemCharset(charset, children, self._bytes, self._vr_of)
        parts = [
            self._copied(child, depth + 1, inner)
            for child in children
            if child.tag & 0xFFFF and not (self._recoded and child.tag == _CHARSET)
        ]
        return self._form.item(b"".join(parts))


def rewritten(dataset: Dataset, vr_of: Callable[[Element], str], overlay: dict[str, Any]) -> list[Any]:
    """The dataset in its transfer syntax, in pieces: bytes, or `[offset, length]` of what stays as it is stored."""
    walker = dataset.walker
    form = Form(walker.explicit, walker.little)
    maker = Rewriter(walker, vr_of, overlay, form)
    changes = maker.changes()
    todo = {tag: value for tag, value in changes.items() if value is not None}
    pieces: list[Any] = []

    def keep(start: int, end: int) -> None:
        if pieces and isinstance(pieces[-1], list) and sum(pieces[-1]) == start:
            pieces[-1][1] += end - start
        elif end > start:
            pieces.append([start, end - start])

    def put(limit: int) -> None:
        for tag in sorted(tag for tag in todo if tag < limit):
            vr, value = todo.pop(tag)
            pieces.append(form.element(tag, vr, value))

    position = 0
    for element in maker.elements:
        start, position = position, element.end
        put(element.tag)
        if element.tag in changes:
            put(element.tag + 1)
        elif element.tag & 0xFFFF:  # group lengths no longer hold
            keep(start, element.end)
    put(1 << 32)
    if not dataset.inflated:
        return pieces
    whole = b"".join(
        dataset.window.bytes(piece[0], piece[1]) if isinstance(piece, list) else piece for piece in pieces
    )
    packer = zlib.compressobj(wbits=-15)
    data = packer.compress(whole) + packer.flush()
    return [data + b"\x00" * (len(data) % 2)]


def converted_changes(walker: Walker, vr_of: Callable[[Element], str], overlay: dict[str, Any]) -> Changes:
    """The same for a dataset that is being written in explicit little endian anyhow (`dicom.recode`)."""
    return Rewriter(walker, vr_of, overlay, Form(explicit=True, little=True)).changes()
