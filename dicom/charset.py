"""Text of a dataset: every character set of PS3.3 §C.12.1.1.2, and repair of bytes that carry the wrong label.

The devices of the city write GBK under "ISO_IR 100" or under no label at all. Such text is shown right and marked
as repaired; the bytes stay as they came.

Bytes are ambiguous: `Müller` reads as GBK too, and 体 as `Ìå`. What decides, in this order: a value in which every
byte above ASCII stands as Western writing has it (`is_western`) is Latin-1, and says nothing of the others; what is
left is judged together, of a dataset by `detect`, of a sequence's item by `of_item`.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from dataclasses import dataclass, replace

# Single-byte and multi-byte sets without code extensions (PS3.3 Tables C.12-2 and C.12-5).
_PLAIN = {
    "": "ascii",
    "ISO_IR 6": "ascii",
    "ISO_IR 100": "iso8859-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 203": "iso8859-15",
    "ISO_IR 166": "tis-620",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
_G0, _G1 = "g0", "g1"
# Escape sequences of PS3.3 Tables C.12-3 and C.12-4: which half they set, and how its bytes are read.
_ESCAPES = {
    b"\x1b(B": (_G0, "ascii"),
    b"\x1b(J": (_G0, "jisx0201"),
    b"\x1b)I": (_G1, "shift_jis"),
    b"\x1b-A": (_G1, "iso8859-1"),
    b"\x1b-B": (_G1, "iso8859-2"),
    b"\x1b-C": (_G1, "iso8859-3"),
    b"\x1b-D": (_G1, "iso8859-4"),
    b"\x1b-L": (_G1, "iso8859-5"),
    b"\x1b-G": (_G1, "iso8859-6"),
    b"\x1b-F": (_G1, "iso8859-7"),
    b"\x1b-H": (_G1, "iso8859-8"),
    b"\x1b-M": (_G1, "iso8859-9"),
    b"\x1b-b": (_G1, "iso8859-15"),
    b"\x1b-T": (_G1, "tis-620"),
    b"\x1b$B": (_G0, "jisx0208"),
    b"\x1b$(D": (_G0, "jisx0212"),
    b"\x1b$)C": (_G1, "euc_kr"),
    b"\x1b$)A": (_G1, "gbk"),  # a superset: devices write rarer characters under IR 58 too
}
_ESCAPE = re.compile(b"(\x1b(?:\\$\\([A-Z]|\\$\\)[A-Z]|\\$[A-Z]|[()\\-][A-Za-z]))")
_TWO_BYTES = frozenset({"jisx0208", "jisx0212"})
_DELIMITED = re.compile(rb"[\\^=\r\n\t\f]")
_GB2312 = re.compile(rb"(?:[\x00-\x7f]|[\xa1-\xa9\xb0-\xf7][\xa1-\xfe])*\Z")
_GB2312_PAIR = re.compile(rb"[\xb0-\xf7][\xa1-\xfe]")
# Latin-1 as it is written. One byte by itself (Müller, 37,5 °C): in GBK its second half would be an ASCII sign, which
# only rare characters have. Two or three together are a pair of GB 2312 as well, so they must be letters in a word
# whose case holds: after a small letter (Größe, Conceição), at its head (Íñigo, Määttä), or between capitals (NÚÑEZ).
# A common Chinese character begins with a sign or a capital and mostly ends the word it touches (X线, A型, 3cm右), so
# capitals that end a word (PÄÄ) are read as Chinese; 李 before 锜 looks like the head of Ñúñez, and is 李.
_WESTERN = re.compile(
    rb"""(?:[\x00-\x7f]++
    | [\xa0-\xff](?![\x80-\xff])
    | (?<=[a-z])[\xdf-\xf6\xf8-\xff]{2,3}(?![A-Z\x80-\xff])
    | (?<![A-Za-z][A-Z])(?<=[A-Z])[\xdf-\xf6\xf8-\xff]{2,3}(?=[a-z])
    | (?<![A-Za-z])[\xc0-\xd6\xd8-\xde][\xdf-\xf6\xf8-\xff](?=[a-z])
    | (?<=[A-Z])[\xc0-\xd6\xd8-\xde]{2,3}(?=[A-Z])
    )++\Z""",
    re.VERBOSE,
)
_AMBIGUOUS = frozenset({("",), ("ISO_IR 6",), ("ISO_IR 100",)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Charset:
    """How this dataset's text is read. `repaired` names the set really found ('' where the label holds)."""

    label: str = ""
    terms: tuple[str, ...] = ("",)
    repaired: str = ""

    def decode(self, data: bytes) -> str:
        """Text of one value; bytes that fit no set become U+FFFD, never an exception."""
        data = data.rstrip(b"\x00")
        if data.isascii() and b"\x1b" not in data:
            return data.decode("ascii")
        if self.repaired:
            return data.decode("iso8859-1" if is_western(data) else _PLAIN[self.repaired], "replace")
        first = codec_of(self.terms[0])
        if b"\x1b" in data:
            return _decode_escaped(data, first)
        if first == "ascii":
            return data.decode("iso8859-1")
        return data.decode(first, "replace")


def _normal(term: str) -> str:
    term = term.strip().upper().replace("ISO-IR", "ISO_IR").replace("ISO_IR_", "ISO_IR ").replace("ISO IR", "ISO_IR")
    if term.startswith("ISO 2022 IR"):
        return term
    return {
        "UTF-8": "ISO_IR 192",
        "UTF8": "ISO_IR 192",
        "ISO 2022 GBK": "GBK",
        "ISO 2022 58": "ISO 2022 IR 58",
    }.get(term, term)


def codec_of(term: str) -> str:
    """Python's name of the encoding that a term of Specific Character Set begins in."""
    if term.startswith("ISO 2022 IR "):
        number = term[len("ISO 2022 IR ") :]
        # The multi-byte sets start in ASCII and are reached by escape sequences.
        return "ascii" if number in {"58", "87", "149", "159"} else _PLAIN.get(f"ISO_IR {number}", "ascii")
    return _PLAIN.get(term, "ascii")


def _decode_escaped(data: bytes, first: str) -> str:
    initial = "" if first == "ascii" else first
    g0, g1 = "ascii", initial
    out: list[str] = []
    for part in _ESCAPE.split(data):
        if part.startswith(b"\x1b"):
            half, codec = _ESCAPES.get(part, ("", ""))
            if half == _G0:
                g0 = codec
            elif half == _G1:
                g1 = codec
            continue
        if g1 == initial or g0 in _TWO_BYTES or not initial:
            # Without an initial set of its own the upper half stays as it was: senders forget to escape again.
            out.append(_decode_part(part, g0, g1))
            continue
        # A delimiter or control character returns to the initial state (PS3.5 §6.1.2.5.3).
        head, *rest = _DELIMITED.split(part, maxsplit=1)
        out.append(_decode_part(head, g0, g1))
        if rest:
            g1 = initial
            out.append(_decode_part(part[len(head) :], g0, g1))
    return "".join(out)


def _decode_part(part: bytes, g0: str, g1: str) -> str:
    if g0 == "jisx0208":
        return (b"\x1b$B" + part + b"\x1b(B").decode("iso2022_jp", "replace")
    if g0 == "jisx0212":
        return (b"\x1b$(D" + part + b"\x1b(B").decode("iso2022_jp_2", "replace")
    if part.isascii():
        return part.decode("ascii")
    return part.decode(g1 or "iso8859-1", "replace")


def parse_label(label: bytes) -> tuple[str, ...]:
    """The terms of Specific Character Set (0008,0005), normalised; ('',) if absent."""
    text = label.decode("ascii", "replace").strip(" \x00")
    return tuple(_normal(term) for term in text.split("\\")) or ("",)


def detect(label: bytes, samples: list[bytes]) -> Charset:
    """The character set of a dataset from its label and all its text together (one short value is ambiguous)."""
    terms = parse_label(label)
    shown = label.decode("ascii", "replace").strip(" \x00")[:64]
    return Charset(label=shown, terms=terms, repaired=_found(terms, samples))


def _found(terms: tuple[str, ...], samples: list[bytes]) -> str:
    """The set that the text is really in, '' where the label holds."""
    found = [stripped for sample in samples if not (stripped := sample.rstrip(b" \x00")).isascii()]
    if found and not any(b"\x1b" in sample for sample in found):
        first = _without_extensions(terms[0])
        if len(terms) == 1 and (
            first in {"", "ISO_IR 6", "ISO_IR 100", "GBK", "GB18030", "ISO_IR 192"} or first not in _PLAIN
        ):
            return _repair(first, found)
        if first in {"", "ISO_IR 6"} and "ISO 2022 IR 58" in terms:
            return _repair("", found)
    return ""


def of_item(outer: Charset, label: bytes | None, samples: list[bytes]) -> Charset:
    """The character set of one item of a sequence in a dataset read as `outer`, from the item's own text.

    `label`: its own Specific Character Set, None where it has none. One that was found wrong for the dataset, or that
    devices write unasked, is believed here no more than there. What the item's text does not tell is as in `outer`.
    """
    told = telling(samples)
    own = outer if label is None else detect(label, samples)
    if own.terms != outer.terms and not (outer.repaired and own.terms in _AMBIGUOUS):
        return own
    if not told:
        return outer
    repaired = own.repaired if label is not None else _found(outer.terms, samples)
    if repaired == "ISO_IR 192" and outer.repaired == "GB18030" and _looks_chinese(told, strict=True):
        # Short GBK is UTF-8 by chance (一些 is, 姊夫 is with its end cut off); Chinese in UTF-8 is whole and has Han.
        utf8 = b"\x00".join(told).decode("utf-8", "replace")
        repaired = repaired if "\ufffd" not in utf8 and any("\u2e80" <= c <= "\uffef" for c in utf8) else ""
    if repaired:
        return replace(outer, repaired=repaired)
    # It is judged by less than the dataset is: finding nothing wrong counts where the dataset's set cannot be.
    if outer.repaired and _read(told, _PLAIN[outer.repaired]) is None:
        return replace(outer, repaired="")
    return outer


def is_western(value: bytes) -> bool:
    """Whether the bytes above ASCII in `value` stand as in Western text in ISO 8859-1; True if there are none."""
    return _WESTERN.match(value) is not None or not value


def telling(samples: list[bytes]) -> list[bytes]:
    """Those of `samples` that tell of a wrong label: neither plain ASCII nor Western text."""
    if b"".join(samples).isascii():
        return []
    return [sample for sample in samples if not sample.isascii() and not is_western(sample.rstrip(b" \x00"))]


def _without_extensions(term: str) -> str:
    """The set that text without any escape is in (PS3.3 Table C.12-3): `ISO 2022 IR 100` is `ISO_IR 100`."""
    number = term.removeprefix("ISO 2022 IR ")
    if number == term:
        return term
    return "" if number in {"6", "58"} else f"ISO_IR {number}"


def _repair(first: str, samples: list[bytes]) -> str:
    if first not in {"GBK", "GB18030"}:
        samples = telling(samples)  # no UTF-8 is among the Western ones: its bytes above ASCII come in pairs with signs
        if not samples:
            return ""
    utf8 = _read(samples, "utf-8")
    if first == "ISO_IR 192":
        return "" if utf8 is not None else ("GB18030" if _looks_chinese(samples, strict=False) else "")
    if first in {"GBK", "GB18030"}:
        # A label that fits is believed; UTF-8 text rarely reads as GB18030 throughout, and then looks odd.
        if _read(samples, "gb18030") is not None and not (utf8 is not None and _mostly_han(utf8)):
            return ""
        return "ISO_IR 192" if utf8 is not None else ""
    if utf8 is not None and any(c > "\x7f" for c in utf8):
        # Short Chinese may be UTF-8 by chance (平扫 is); it then reads as letters that no language has together.
        chance = not _one_script(utf8) and _looks_chinese(samples, strict=True)
        return "GB18030" if chance else "ISO_IR 192"
    if _looks_chinese(samples, strict=first in {"", "ISO_IR 6", "ISO_IR 100"}):
        return "GB18030"
    return ""


def _read(samples: list[bytes], codec: str) -> str | None:
    """All samples in a character set; None where one does not fit. A last character cut in two does not count:
    devices fill a field of fixed size.
    """
    try:
        return "".join(getincrementaldecoder(codec)().decode(sample) for sample in samples)
    except UnicodeDecodeError:
        return None


_SCRIPTS = {
    (0x00C0, 0x017F): "Latin", (0x1E00, 0x1EFF): "Latin", (0x0370, 0x03FF): "Greek", (0x0400, 0x052F): "Cyrillic",
    (0x0590, 0x05FF): "Hebrew", (0x0600, 0x06FF): "Arabic", (0x0E00, 0x0E7F): "Thai", (0x2E80, 0x9FFF): "Han",
    (0x20000, 0x3FFFF): "Han", (0xAC00, 0xD7AF): "Hangul",
}  # fmt: skip
_SIGNS = ((0x80, 0xBF), (0x2000, 0x206F), (0x3000, 0x303F), (0xFF00, 0xFFEF))


def _one_script(text: str) -> bool:
    """Whether what is not ASCII is of one script (Unicode's blocks), signs aside."""
    found = set()
    for n in {ord(c) for c in text if c > "\x7f"}:
        if not any(low <= n <= high for low, high in _SIGNS):
            found.add(next((name for (low, high), name in _SCRIPTS.items() if low <= n <= high), ""))
    return len(found) <= 1 and "" not in found


def _mostly_han(text: str) -> bool:
    wide = [c for c in text if ord(c) > 0x7F]
    return bool(wide) and all(_is_han(c) for c in wide)


def _is_han(c: str) -> bool:
    n = ord(c)
    return 0x3000 <= n <= 0x303F or 0x3400 <= n <= 0x9FFF or 0xFF00 <= n <= 0xFFEF or n >= 0x20000 or c in "·—…“”‘’"


def _looks_chinese(samples: list[bytes], *, strict: bool) -> bool:
    """Whether the bytes read as Chinese. `strict`: they may be accented Latin, which must not be taken for it."""
    text = _read(samples, "gb18030")
    if text is None or not _mostly_han(text):
        return False
    if not strict:
        return True
    data = b"\x00".join(samples)
    pairs = len(_GB2312_PAIR.findall(data))
    if _GB2312.match(data):
        return pairs > 0
    return pairs > 0 and pairs * 2 >= sum(1 for c in text if ord(c) > 0x7F)
