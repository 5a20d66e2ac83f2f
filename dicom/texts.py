"""Text inside sequences that tells a dataset's character set where its own level is plain ASCII.

A device with a wrong label or none often writes Chinese in a code's meaning or an annotation alone.
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
_UNASKED = frozenset({("",), ("ISO_IR 6",), ("ISO_IR 100",)})


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


def inside(
    outer: Charset, children: list[Element], value_of: Callable[[Element], bytes], vr_of: Callable[[Element], str]
) -> Charset:
    """The character set of one item of a dataset read as `outer`.

    A label of its own is judged by the item's own text; the one that was found wrong for the dataset, or one that
    devices write unasked, is not believed here either.
    """
    own = next((child for child in children if child.tag == _CHARSET and child.length != UNDEFINED), None)
    if own is None:
        return outer
    label = value_of(own)
    terms = charsets.parse_label(label)
    if terms == outer.terms or (outer.repaired and terms in _UNASKED):
        return outer
    samples = [value_of(child) for child in children if child.length <= _MOST and vr_of(child) in SAMPLED]
    return charsets.detect(label, samples)


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
