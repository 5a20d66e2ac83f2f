"""Whole instances in another transfer syntax (PS3.18 §8.7.3.5): what changes in the dataset when the pixels do.

Runs in worker processes. The answer is the file but for the frames after the first, which are made one at a time, so
that a cine of a thousand frames takes no more memory than one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dicom.errors import UnsupportedError
from dicom.json_model import JsonWriter
from dicom.model import PixelKind
from dicom.part10 import build_prefix
from dicom.pixels.decode import Image, read_image
from dicom.pixels.encode import encode
from dicom.recode import (
    FIRST_FRAGMENT,
    LAST_FRAGMENT,
    Recoder,
    derived_uid,
    element_head,
    fragment,
    pixel_head,
    written,
)
from dicom.rewriting import converted_changes
from dicom.syntaxes import EXPLICIT_LE, JPEG_BASELINE

if TYPE_CHECKING:
    from dicom.workers.ops import Dataset

_VALUES = {"FloatPixelData": (0x7FE00008, "OF"), "DoubleFloatPixelData": (0x7FE00009, "OD")}
Changes = dict[int, tuple[str, bytes] | None]


def convert(
    dataset: Dataset,
    vr_of: Callable[[int], str],
    target: str,
    ranges: list[list[int]] | None,
    digest: str,
    *,
    overlay: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """`{"head", "first", "tail"}`: the file up to the pixels, the first frame, what follows the last.

    `"frames"` says how many more frames go between `first` and `tail`, each of them `"length"` bytes where known.
    `"value"`, where the pixels stay native: (offset in the dataset, length, width) of the bytes between, the caller
    takes them from there and turns every `width` of them around. Raises UnsupportedError or CannotRenderError with the
    reason.
    """
    writer = JsonWriter(dataset.walker, vr_of)
    writer.learn_sign()
    recoder = Recoder(dataset.walker, writer.vr_of)
    identity = _identity(dataset)
    shown: Changes = converted_changes(dataset.walker, writer.vr_of, overlay) if overlay else {}
    if named := shown.get(0x00080018):
        identity[0x00080018] = named[1].decode("ascii")
    try:
        image = read_image(dataset, ranges)
    except UnsupportedError as error:
        if error.reason != "no_pixels":
            raise
        around = recoder.around(shown, new_pixels=False)
        return _answer(_prefix(identity, EXPLICIT_LE) + around.before, b"", around.after, 0, None)
    if image.layout.kind in {PixelKind.NATIVE, PixelKind.BITS} and target == EXPLICIT_LE:
        return _native(image, recoder, identity, shown)
    changes: Changes = dict(shown)
    if target == EXPLICIT_LE:
        array = image.frame(1)
        first = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        length = image.rows * image.columns * image.samples * max(image.bits_allocated // 8, 1)
        if len(first) != length:
            raise UnsupportedError(code="size_differs")
        photometric = image.result_photometric
    else:
        first, photometric = encode(image, 1, target)
    if photometric != image.photometric:
        changes[0x00280004] = ("CS", photometric.encode("ascii"))
    if image.samples > 1:
        changes[0x00280006] = ("US", b"\x00\x00")
    if target == JPEG_BASELINE:
        identity = _lossy(image, identity, digest, changes, first)
    around = recoder.around(changes, new_pixels=True)
    head = _prefix(identity, target) + around.before
    more = image.layout.frames - 1
    if target == EXPLICIT_LE:
        total = length * image.layout.frames
        head += pixel_head("OW" if image.bits_allocated > 8 else "OB", total + total % 2)
        return _answer(head, first, b"\x00" * (total % 2) + around.after, more, length)
    head += pixel_head("OB", 0xFFFFFFFF) + FIRST_FRAGMENT
    return _answer(head, fragment(first), LAST_FRAGMENT + around.after, more, None)


def _answer(head: bytes, first: bytes, tail: bytes, frames: int, length: int | None) -> dict[str, Any]:
    return {"head": head, "first": first, "tail": tail, "frames": frames, "length": length, "value": None}


def _native(
    image: Image, recoder: Recoder, identity: dict[int, str], shown: Changes
) -> dict[str, Any]:
    """Pixels that only change their byte order, or nothing: they are fetched from where they lie, piece by piece."""
    around = recoder.around(shown, new_pixels=False)
    layout = image.layout
    if around.pixel is None:
        raise UnsupportedError(code="too_large_to_decode")
    tag, vr = _VALUES.get(layout.keyword, (0x7FE00010, "OW" if image.bits_allocated > 8 else "OB"))
    odd = layout.length % 2
    head = _prefix(identity, EXPLICIT_LE) + around.before + element_head(tag, vr, layout.length + odd)
    answer = _answer(head, b"", bytes(odd) + around.after, 0, None)
    return {**answer, "value": [layout.offset, layout.length, _turning(image)]}


def _turning(image: Image) -> int:
    """How many bytes of the pixels are to be turned around together for little endian; 1: none."""
    if image.attributes.order == "<":
        return 1
    if image.layout.keyword != "PixelData":
        return image.dtype.itemsize
    width = max(image.bits_allocated // 8, 1)
    return 2 if width == 1 and image.attributes.vr(0x7FE00010) == "OW" else width


def _identity(dataset: Dataset) -> dict[int, str]:
    found = {}
    for element in dataset.walker.select(frozenset({0x00080016, 0x00080018})):
        value = dataset.window.bytes(element.offset, min(element.length, 64))
        found[element.tag] = value.decode("ascii", "replace").strip(" \x00")
    return found


def _prefix(identity: dict[int, str], syntax: str) -> bytes:
    return build_prefix(sop_class=identity[0x00080016], sop_uid=identity[0x00080018], transfer_syntax=syntax)


def _lossy(image: Image, identity: dict[int, str], digest: str, changes: Changes, first: bytes) -> dict[int, str]:
    """A lossy form is another instance that names the one it was made of (PS3.3 §C.7.6.1.1.5, §C.12.4.1)."""
    uid = derived_uid(identity[0x00080018], digest, JPEG_BASELINE)
    a = image.attributes
    kind = a.text(0x00080008).split("\\")
    ratio = image.rows * image.columns * image.samples / max(len(first), 1)
    source = written(0x00081150, "UI", identity[0x00080016].encode()) + written(
        0x00081155, "UI", identity[0x00080018].encode()
    )
    changes[0x00080008] = ("CS", "\\".join(["DERIVED", *(kind[1:] or ["SECONDARY"])]).encode("ascii", "replace"))
    changes[0x00080018] = ("UI", uid.encode())
    changes[0x00082111] = ("ST", b"JPEG baseline on request")
    changes[0x00082112] = ("SQ", fragment(source))
    changes[0x00282110] = ("CS", b"01")
    earlier = [v for v in a.text(0x00282112).split("\\") if v]
    changes[0x00282112] = ("DS", "\\".join([*earlier, f"{ratio:.2f}"]).encode("ascii", "replace"))
    methods = [v for v in a.text(0x00282114).split("\\") if v]
    changes[0x00282114] = ("CS", "\\".join([*methods, "ISO_10918_1"]).encode("ascii", "replace"))
    return {**identity, 0x00080018: uid}
