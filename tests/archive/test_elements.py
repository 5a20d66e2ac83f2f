"""The walk over elements: the same whichever way it goes, and bounded where something is made of each."""

from __future__ import annotations

import struct

import pytest

from dicom.elements import MOST_MADE, Budget, Walker, Window
from dicom.errors import DicomError, RefusedError
from dicom.json_model import JsonWriter
from dicom.model import Limits, Scope
from dicom.part10 import split_file
from dicom.recode import Recoder
from dicom.workers.ops import OPERATIONS, vr_of
from tests.archive.files import make
from tests.fuzz import _run, files

SEQUENCE, END = b"\x11\x00\x00\x10SQ\0\0", struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
TINY = b"".join(struct.pack("<HH", 0x0011, 0x1000 | n) + b"LO\0\0" for n in range(100, 110))


def known(items: int, inside: bytes) -> bytes:
    """A sequence of known length."""
    body = (struct.pack("<HHI", 0xFFFE, 0xE000, len(inside)) + inside) * items
    return SEQUENCE + struct.pack("<I", len(body)) + body


def unknown(items: int, inside: bytes) -> bytes:
    return SEQUENCE + b"\xff" * 4 + (files.ITEM + inside + ITEM_END) * items + END


BOUND = 2000
MANY = {
    "empty items": known(2 * BOUND, b""),
    "items of ten elements": known(BOUND // 5, TINY),
    "one item": known(1, TINY * (BOUND // 5)),
    "one item without length": unknown(1, TINY * (BOUND // 5)),
    "items without length": unknown(2 * BOUND, b""),
}


def walked(data: bytes, window: Window, *, explicit: bool, little: bool):
    walker = Walker(window, explicit=explicit, little=little, budget=Budget(elements=50_000, header_bytes=1 << 20))
    try:
        return list(walker.elements())
    except RefusedError as error:
        return error.reason


@pytest.mark.parametrize("syntax", [files.EXPLICIT, files.IMPLICIT])
def test_a_walk_by_leaps_sees_what_a_walk_step_by_step_sees(syntax):
    """A window that shows one element at a time leaves nothing to leap over."""
    told = set()
    for number in range(150):
        name, data = files.mutant(_run.SEED, number)
        if len(data) > 50_000:
            continue
        try:
            data = data[split_file(Window.of(data)).dataset_start :]
        except RefusedError:
            continue
        narrow = Window(len(data), lambda offset, _size, data=data: data[offset : offset + 12])
        given = {"explicit": syntax == files.EXPLICIT, "little": True}
        seen = walked(data, Window.of(data), **given)
        assert seen == walked(data, narrow, **given), name
        told.add(seen if isinstance(seen, str) else "whole")
    assert told >= {"whole", "truncated"}


@pytest.mark.parametrize("what", MANY)
def test_nothing_is_made_of_more_elements_than_the_bound(what):
    data = MANY[what]
    for make_it in (lambda walker: JsonWriter(walker, vr_of).dataset(),
                    lambda walker: Recoder(walker, JsonWriter(walker, vr_of).vr_of).around({}, new_pixels=False)):  # fmt: skip
        plenty = Budget(elements=10**6, header_bytes=1 << 30, made=10 * BOUND)
        make_it(Walker(Window.of(data), explicit=True, little=True, budget=plenty))
        assert plenty.made <= 8 * BOUND
        scarce = Budget(elements=10**6, header_bytes=1 << 30, made=BOUND)
        with pytest.raises(RefusedError, match="too_many_elements"):
            make_it(Walker(Window.of(data), explicit=True, little=True, budget=scarce))


def test_items_are_counted_by_a_walk_too():
    walker = Walker(Window.of(MANY["empty items"]), explicit=True, little=True, budget=Budget(elements=BOUND))
    (sequence,) = walker.elements()
    with pytest.raises(RefusedError, match="too_many_elements"):
        list(walker.items(sequence))


def test_what_pydicom_would_build_is_counted_before_it_is_built():
    whole = make("1.2.3.9")
    data = whole[whole.index(b"\x08\x00\x05\x00") :]
    at = data.index(b"\x20\x00\x0d\x00UI")
    data = data[:at] + known(MOST_MADE // 10, TINY) + data[at:]
    blob = {"syntax": files.EXPLICIT, "length": len(data), "data": data}
    with pytest.raises(RefusedError, match="too_many_elements"):
        OPERATIONS["deidentified"]({"blob": blob, "secret": bytes(32), "options": {}}, Limits())


async def test_what_is_too_much_to_describe_is_kept_given_back_and_drawn_and_says_why(working_archive):
    whole = make("1.2.3.9", Modality="CT")
    at = whole.index(b"\x20\x00\x0d\x00UI")
    data = whole[:at] + known(MOST_MADE // 10, TINY) + whole[at:]
    result = await working_archive.ingest(data, organisation="A", source="test")
    assert result.outcome == "stored"
    (row,) = working_archive.instances(Scope.everything())
    with pytest.raises(DicomError) as caught:
        await working_archive.metadata([row])
    assert caught.value.reason == "metadata_too_long"
    assert (await working_archive.frame(row, 1)) == b"\x01\x02\x03\x04"
    assert await working_archive.rendered(row)
    assert working_archive.read_file(row).endswith(data[-600:])
    assert working_archive.workers.deaths == 0
