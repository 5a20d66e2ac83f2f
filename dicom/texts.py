"""Text inside sequences that tells a dataset's character set where its own level is plain ASCII.

A device with a wrong label or none often writes Chinese in a code's meaning or an annotation alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from dicom.elements import Budget, Element, Walker
from dicom.errors import RefusedError

SAMPLED = frozenset({"PN", "LO", "SH", "LT", "ST", "UT", "UC"})
"""VRs of the values that tell the character set."""

_CHARSET = 0x00080005
_DEEPEST, _ELEMENTS, _MOST = 4, 5_000, 64 << 10     # sequences in sequences; elements passed; bytes taken


def nested(walker: Walker, elements: Iterable[Element], vr_of: Callable[[Element], str]) -> list[bytes]:
    """Values of text, not plain ASCII, in the sequences among `elements`. Items with a label of their own are left out.

    What cannot be walked, or is too much, ends the search: whoever reads the dataset says so.
    """
    probe = Walker(
        walker.window, explicit=walker.explicit, little=walker.little, budget=Budget(elements=_ELEMENTS)
    )
    found: list[bytes] = []
    with suppress(RefusedError):
        for element in elements:
            if vr_of(element) != "SQ" or not element.length:
                continue
            for value in _texts(probe, element, vr_of, 1):
                found.append(value)
                if sum(map(len, found)) > _MOST:
                    return found
    return found


def _texts(probe: Walker, element: Element, vr_of: Callable[[Element], str], depth: int) -> Iterator[bytes]:
    for start, end, explicit in probe.items(element, depth=depth):
        limit = element.end if end is None else end
        for child in probe.elements(start, limit, depth=depth, explicit=explicit):
            if child.tag == _CHARSET:
                break
            vr = vr_of(child)
            if vr == "SQ" and depth < _DEEPEST:
                yield from _texts(probe, child, vr_of, depth + 1)
            elif vr in SAMPLED and 0 < child.length <= _MOST:
                value = probe.window.bytes(child.offset, child.length)
                if not value.isascii():
                    yield value
