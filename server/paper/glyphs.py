"""What the paper's fonts can show, and typed text made fit to be shown.

PDF/A forbids the "missing glyph" box, and a typesetter that meets one refuses the page; a doctor's emoji must not
stop a signature. So every character that no font covers is printed as its code point, 〔U+1F600〕: ugly, but honest.
"""

import re
import struct
from collections.abc import Iterable
from pathlib import Path

_NEWLINES = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
# no mark on paper: zero-width joiners and spaces, soft hyphen, variation selectors, byte order mark
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff]")
# A run without a place to break would leave the page on the right.
_LONG_RUN = re.compile(r"[!-~]{65,}")  # a UID has at most 64
_PIECE = 40
_BREAK = "\u200b"


def covered_by(fonts: Iterable[Path]) -> frozenset[int]:
    """Code points that all of the OpenType fonts map to a glyph (`cmap` format 12). Raises ValueError without one."""
    tables = [_cmap(path.read_bytes()) for path in fonts]
    if not tables:
        raise ValueError("no font")
    return frozenset.intersection(*tables)


def _cmap(font: bytes) -> frozenset[int]:
    count = struct.unpack_from(">H", font, 4)[0]
    for i in range(count):
        tag, _, offset, _ = struct.unpack_from(">4sIII", font, 12 + 16 * i)
        if tag == b"cmap":
            return _subtables(font, offset)
    raise ValueError("font without cmap")


def _subtables(font: bytes, start: int) -> frozenset[int]:
    found: set[int] = set()
    for i in range(struct.unpack_from(">H", font, start + 2)[0]):
        at = start + struct.unpack_from(">HHI", font, start + 4 + 8 * i)[2]
        form = struct.unpack_from(">H", font, at)[0]
        if form == 12:
            for group in range(struct.unpack_from(">I", font, at + 12)[0]):
                first, last, glyph = struct.unpack_from(">III", font, at + 16 + 12 * group)
                found.update(range(first + (glyph == 0), last + 1))
    if not found:
        raise ValueError("font without a Unicode cmap of format 12")
    return frozenset(found)


class Printable:
    """Makes typed text fit for the page; thread-safe, holds only the fonts' coverage."""

    def __init__(self, covered: frozenset[int]) -> None:
        self._covered = covered

    def line(self, text: str) -> str:
        """One line: line breaks become spaces."""
        return " ".join(self.lines(text))

    def exact(self, text: str) -> str:
        """One line without break marks, so that an address copied from the page is the address."""
        return self.line(text).replace(_BREAK, "")

    def lines(self, text: str) -> list[str]:
        """The text's lines without trailing blank ones; control and bidirectional marks never act, they show."""
        plain = _NEWLINES.sub("\n", text).replace("\t", "    ").strip("\n")
        return [self._fit(line).rstrip() for line in plain.split("\n")] if plain.strip() else []

    def _fit(self, line: str) -> str:
        line = _INVISIBLE.sub("", line)
        shown = "".join(
            character
            if ord(character) in self._covered and not _acts(ord(character))
            else f"〔U+{ord(character):04X}〕"
            for character in line
        )
        return _LONG_RUN.sub(
            lambda run: _BREAK.join(run[0][at : at + _PIECE] for at in range(0, len(run[0]), _PIECE)), shown
        )


def _acts(code: int) -> bool:
    """Bidirectional controls could turn a number or a name round on the paper."""
    return code in {0x061C, 0x200E, 0x200F} or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
