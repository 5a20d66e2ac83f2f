"""The text inside sequences: where it tells a dataset's character set, and where an item has one of its own.

A device with a wrong label or none often writes Chinese in a code's meaning or an annotation alone, beside a top level
that is plain ASCII or Western.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from dicom import charset as charsets
from dicom.charset import Charset
from dicom.elements import UNDEFINED, Budget, Element, Walker
from dicom.errors import RefusedError

SAMPLED = frozenset({"PN", "LO", "SH", "LT", "ST", "UT", "UC"})
"""VRs of the values that tell the character set."""

_CHARSET = 0x00080005
_DEEPEST, _ELEMENTS, _MOST = 4, 5_000, 64 << 10  # sequences in sequences; elements passed; bytes taken


def nested(
    walker: Walker, elements: Iterable[Element], vr_of: Callable[[Element], str], label: bytes
) -> list[bytes]:
    """Values of text, not plain ASCII, in the sequences among `elements`; items with another label are left out.

    Short sequences come first: names and codes are not missed for thousands of references or frames. What cannot be
    walked, or is too much, ends the search: whoever reads the dataset says so.
    """
    probe = Walker(
        walker.window, explicit=walker.explicit, little=walker.little, budget=Budget(elements=_ELEMENTS)
    )
    sequences = [element for element in elements if element.length and vr_of(element) == "SQ"]
    found: list[bytes] = []
    taken = 0
    with suppress(RefusedError):
        for element in sorted(sequences, key=lambda one: one.end - one.offset):
            for value in _texts(probe, element, vr_of, charsets.parse_label(label), 1):
                found.append(value)
                taken += len(value)
                if taken > _MOST:
                    return found
    return found


def samples_of(
    walker: Walker, elements: list[Element], top: list[bytes], vr_of: Callable[[Element], str], label: bytes
) -> list[bytes]:
    """What a dataset's character set is judged by: its own text `top`, and that of its sequences where `top` does not
    tell.
    """
    return top if charsets.telling(top) else [*top, *nested(walker, elements, vr_of, label)]


class ItemCharset:
    """The character set of one item, judged when text of it that is not plain ASCII is read first: most items have
    none, and their values need not be looked at twice.
    """

    __slots__ = ("_children", "_found", "_outer", "_value_of", "_vr_of")

    def __init__(
        self,
        outer: Charset | ItemCharset,
        children: list[Element],
        value_of: Callable[[Element], bytes],
        vr_of: Callable[[Element], str],
    ) -> None:
        self._outer = outer
        self._children = children
        self._value_of = value_of
        self._vr_of = vr_of
        self._found: Charset | None = None

    def decode(self, data: bytes) -> str:
        """As `Charset.decode`."""
        if data.isascii() and b"\x1b" not in data:
            return data.rstrip(b"\x00").decode("ascii")
        return self.found().decode(data)

    def found(self) -> Charset:
        """The judgement. Raises RefusedError where the item's values cannot be read."""
        if self._found is None:
            outer = self._outer.found() if isinstance(self._outer, ItemCharset) else self._outer
            label, samples = None, []
            for child in self._children:
                if child.tag == _CHARSET:
                    label = self._value_of(child) if child.length != UNDEFINED else None
                elif 0 < child.length <= _MOST and self._vr_of(child) in SAMPLED:
                    samples.append(self._value_of(child))
            self._found = charsets.of_item(outer, label, samples)
        return self._found


def _texts(
    probe: Walker, element: Element, vr_of: Callable[[Element], str], terms: tuple[str, ...], depth: int
) -> Iterator[bytes]:
    for start, end, explicit in probe.items(element, depth=depth):
        limit = element.end if end is None else end
        for child in probe.elements(start, limit, depth=depth, explicit=explicit):
            if child.tag == _CHARSET:
                if child.length == UNDEFINED or _label(probe, child) != terms:
                    break
                continue
            vr = vr_of(child)
            if vr == "SQ" and depth < _DEEPEST:
                yield from _texts(probe, child, vr_of, terms, depth + 1)
            elif vr in SAMPLED and 0 < child.length <= _MOST:
                value = probe.window.bytes(child.offset, child.length)
                if not value.isascii():
                    yield value


def _label(probe: Walker, element: Element) -> tuple[str, ...]:
    return charsets.parse_label(probe.window.bytes(element.offset, element.length))
