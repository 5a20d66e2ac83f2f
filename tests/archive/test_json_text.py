"""JSON of datasets by pieces that are known again: the same, to the byte, as that of each dataset alone."""

from __future__ import annotations

from pathlib import Path

import pydicom
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom.elements import Window
from dicom.errors import DicomError
from dicom.json_model import JsonWriter
from dicom.json_text import Texts, dumps
from dicom.model import Limits
from dicom.part10 import split_file
from dicom.workers.ops import Dataset, vr_of

LIMITS = Limits()
TEXTS = Texts(vr_of)


def blobs() -> list[dict]:
    found = []
    for path in sorted(Path(pydicom.__file__).parent.rglob("*")):
        if path.is_file() and path.suffix in {"", ".dcm"}:
            data = path.read_bytes()
            try:
                head = split_file(Window.of(data))
            except DicomError:
                continue
            body = data[head.dataset_start :]
            found.append({"syntax": head.transfer_syntax, "length": len(body), "data": body})
    return found


REAL = blobs()
SMALL = [x for x in REAL if x["length"] < 40_000]


def told(make, blob) -> bytes | str:
    try:
        with Dataset(blob, LIMITS) as dataset:
            return make(dataset)
    except DicomError as error:
        return error.reason


def alone(dataset) -> bytes:
    return dumps(JsonWriter(dataset.walker, vr_of, max_depth=LIMITS.header_depth).dataset())


def together(dataset) -> bytes:
    return TEXTS.text(dataset.walker, dataset.walker, max_depth=LIMITS.header_depth)


def test_every_file_of_pydicom_says_the_same_twice():
    assert len(REAL) > 150
    for blob in [*REAL, *REAL]:     # the second time out of memory
        assert told(together, blob) == told(alone, blob)


@settings(max_examples=300, deadline=None)
@given(which=st.sampled_from(range(len(SMALL))), changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6), cut=st.integers(0, 2000))
def test_a_damaged_file_says_the_same_or_is_refused_for_the_same_reason(which, changes, cut):
    data = bytearray(SMALL[which]["data"])
    for place, byte in changes:
        data[place % len(data)] = byte
    if cut > 1500:
        del data[cut - 1500 :]
    blob = {**SMALL[which], "data": bytes(data), "length": len(data)}
    assert told(together, blob) == told(alone, blob)
