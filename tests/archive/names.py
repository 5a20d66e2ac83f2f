"""The texts of a file as we decode them for its metadata, held against pydicom's own reading of them."""

from __future__ import annotations

import io
import json
import zlib

import pydicom
from pydicom.multival import MultiValue

from dicom.elements import Window
from dicom.model import Limits
from dicom.part10 import split_file
from dicom.workers import ops

TEXTS = {"PN", "LO", "SH"}


def metadata(data: bytes) -> dict | str:
    """DICOM JSON as a worker makes it, or the reason why there is none."""
    head = split_file(Window.of(data))
    body = memoryview(data)[head.dataset_start :]
    (made,) = ops.OPERATIONS["metadata"]({"blobs": [{"syntax": head.transfer_syntax, "data": body, "length": len(body)}]}, Limits())
    return made if isinstance(made, str) else json.loads(zlib.decompress(made))


def plain(name: str) -> str:
    """A person's name without components and groups that are empty at the end: they say nothing (PS3.5 §6.2.1.1)."""
    return "=".join(group.rstrip("^ ") for group in name.split("=")).rstrip("=")


def ours(attribute: dict) -> list[str]:
    out = []
    for value in attribute.get("Value", []):
        if isinstance(value, dict):
            value = "=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic"))
        out.append(str(value or ""))
    return out


def texts(ds, found: dict, path: str = ""):
    """(VR, where, pydicom's values, ours or None) of every text, those in sequences too; private ones only if names."""
    for element in ds:
        key = f"{element.tag.group:04X}{element.tag.element:04X}"
        mine = found.get(key)
        if element.VR == "SQ":
            items = (mine or {}).get("Value", [])
            for i, item in enumerate(element.value):
                yield from texts(item, items[i] if i < len(items) else {}, f"{path}{key}[{i}].")
        elif element.VR in TEXTS and (element.VR == "PN" or not element.tag.is_private):
            value = element.value
            values = list(value) if isinstance(value, MultiValue) else [value] if str(value or "") else []
            yield element.VR, path + key, [str(x) for x in values], ours(mine) if mine is not None else None


def same_names(name: str, data: bytes) -> int | str:
    """How many persons' names there are, all as pydicom reads them; else why there are none. AssertionError with others."""
    found = metadata(data)
    if isinstance(found, str):
        return f"`{found}`"
    ds = pydicom.dcmread(io.BytesIO(data), force=True)
    count, wrong = 0, []
    for vr, where, theirs, mine in texts(ds, found):
        tidy = plain if vr == "PN" else str.rstrip
        count += vr == "PN"
        if mine is None or [tidy(x) for x in mine] != [tidy(x) for x in theirs]:
            wrong.append((where, mine, theirs))
    assert not wrong, (name, wrong)
    return count
