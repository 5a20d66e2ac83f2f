"""What a worker can be asked to do. Arguments and results are plain msgpack values.

A blob is `{"syntax", "path", "offset", "length"}` (the dataset within a pack or staging file) or carries `"data"`.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Self

import numpy as np
from pydicom.datadict import dictionary_VR

from dicom.assembling import assemble
from dicom.conversion import convert
from dicom.elements import UNDEFINED, Budget, Walker, Window
from dicom.errors import DicomError, NotFoundError, RefusedError, UnsupportedError
from dicom.header import deflated_layout, read_header
from dicom.json_model import WIDTHS, JsonWriter, find
from dicom.json_text import Texts
from dicom.labels import header_to_json
from dicom.model import Limits, PixelKind
from dicom.pixels import decode, render
from dicom.pixels.encode import encode
from dicom.rewriting import rewritten
from dicom.syntaxes import DEFLATED, EXPLICIT_LE, is_explicit, is_little
from dicom.waveform import read_waveforms, waveforms_to_json
from dicom.workers import pages
from dicom.workers.values import value

Args = dict[str, Any]
_INFLATE_CHUNK = 4 << 20
_FREELY_INFLATED = 32 << 20


def warm() -> None:
    """Import and touch what the first call would otherwise wait for."""
    dictionary_VR(0x00100010)
    decode.warm()
    render.warm()


def vr_of(tag: int) -> str:
    """VR of a public tag, '' if unknown or private."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


_TEXTS = Texts(vr_of)


class Dataset:
    """An opened blob: a window over its (inflated) dataset and a walker with the worker's larger budget."""

    def __init__(self, blob: Args, limits: Limits) -> None:
        self.syntax: str = blob["syntax"]
        self.named: dict[str, str] = {}  # attributes of the header that a correction shows otherwise
        self.limits = limits
        self.inflated = self.syntax == DEFLATED
        length: int = blob["length"]
        if "data" in blob:
            data: bytes | memoryview = blob["data"]
            window = Window.of(data)
        else:
            fd = os.open(blob["path"], os.O_RDONLY | os.O_CLOEXEC)
            self._fd = fd
            base: int = blob["offset"]
            window = Window(length, lambda offset, size: os.pread(fd, size, base + offset))
        if self.inflated:
            window = Window.of(memoryview(self._inflate(window.bytes(0, length))))
            self.syntax = EXPLICIT_LE
        self.window = window

    def _inflate(self, data: bytes) -> bytearray:
        # A sparse image may shrink two hundredfold; a bomb shrinks a thousandfold and is stopped long before the limit.
        limit = min(self.limits.inflated_bytes, max(_FREELY_INFLATED, 200 * len(data)))
        inflater = zlib.decompressobj(-15)
        out = bytearray()
        try:
            while not inflater.eof:
                chunk = inflater.decompress(data, _INFLATE_CHUNK)
                data = inflater.unconsumed_tail
                if not chunk and not data:
                    break
                out += chunk
                if len(out) > limit:
                    raise RefusedError(code="inflates_too_large")
        except zlib.error as error:
            raise RefusedError(code="malformed") from error
        if not inflater.eof:
            raise RefusedError(code="truncated")
        return out

    @property
    def budget(self) -> Budget:
        limits = self.limits
        return Budget(
            elements=limits.worker_elements,
            header_bytes=limits.worker_header_bytes,
            depth=limits.header_depth,
        )

    @property
    def walker(self) -> Walker:
        return Walker(
            self.window, explicit=is_explicit(self.syntax), little=is_little(self.syntax), budget=self.budget
        )

    def close(self) -> None:
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            os.close(fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def header(args: Args, limits: Limits) -> Args:
    """The header of a dataset that the bounded walk cannot read."""
    with Dataset(args["blob"], limits) as dataset:
        found = read_header(dataset.window, dataset.syntax, dataset.budget)
        layout = deflated_layout(found.pixels) if dataset.inflated else found.pixels
        text = header_to_json(found)
        text["transfer_syntax"] = args["blob"]["syntax"]
        out = asdict(layout)
        ranges = out.pop("ranges")
        return {"header": text, "layout": {**out, "kind": layout.kind.value}, "ranges": ranges}


# It is kept and can be had; only the list of its elements cannot be made.
_UNDESCRIBED = {"too_deep": "metadata_too_deep", "too_many_elements": "metadata_too_long"}


def metadata(args: Args, limits: Limits) -> list[bytes | str]:
    """DICOM JSON of several datasets, each zlib-compressed; the reason where it cannot be made."""
    out: list[bytes | str] = []
    for blob in args["blobs"]:
        try:
            with Dataset(blob, limits) as dataset:
                text = _TEXTS.text(dataset.walker, dataset.walker, max_depth=limits.header_depth)
                out.append(zlib.compress(text, 4))  # a tenth larger than 6 gives, for half the work
        except (DicomError, RecursionError) as error:
            out.append(_UNDESCRIBED.get(getattr(error, "reason", "too_deep"), "metadata_unreadable"))
    return out


def frame(args: Args, limits: Limits) -> Args:
    """One frame (1-based) as explicit little endian bytes, colours as RGB by pixel."""
    with Dataset(args["blob"], limits) as dataset:
        image = decode.read_image(dataset, args["ranges"], args.get("layout"))
        if image.layout.kind in {PixelKind.NATIVE, PixelKind.BITS}:
            return {"data": image.native_bytes(args["frame"]), "photometric": image.photometric}
        array = image.frame(args["frame"])
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        return {"data": little.reshape(-1).view(np.uint8).data, "photometric": image.result_photometric}


def encoded(args: Args, limits: Limits) -> bytes:
    """One frame (1-based) as a code stream of another transfer syntax."""
    with Dataset(args["blob"], limits) as dataset:
        image = decode.read_image(dataset, args["ranges"], args.get("layout"))
        return encode(image, args["frame"], args["target"])[0]


def recoded(args: Args, limits: Limits) -> Args:
    """The dataset around its pixels for another transfer syntax; see `dicom.conversion`."""
    with Dataset(args["blob"], limits) as dataset:
        return convert(
            dataset,
            vr_of,
            args["target"],
            args["ranges"],
            args["digest"],
            overlay=args.get("overlay"),
        )


def corrected(args: Args, limits: Limits) -> list[Any]:
    """The dataset as corrections show it, in pieces; see `dicom.rewriting`."""
    with Dataset(args["blob"], limits) as dataset:
        writer = JsonWriter(dataset.walker, vr_of)
        writer.learn_sign()
        return rewritten(dataset, writer.vr_of, args["overlay"])


def rendered(args: Args, limits: Limits) -> bytes:
    """A picture of one frame. See `dicom.pixels.render.Rendering`."""
    with Dataset(args["blob"], limits) as dataset:
        dataset.named = args.get("named", {})
        image = decode.read_image(dataset, args["ranges"], args.get("layout"))
        return render.render(image, args["frame"], render.Rendering(**args["rendering"]))


def waveform(args: Args, limits: Limits) -> bytes:
    """The waveforms of an instance as JSON, zlib-compressed."""
    with Dataset(args["blob"], limits) as dataset:
        value = waveforms_to_json(read_waveforms(dataset.walker))
        return zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 6)


def _page(make: Callable[[Dataset, Args], Any]) -> Callable[[Args, Limits], Any]:
    def operation(args: Args, limits: Limits) -> Any:
        with Dataset(args["blob"], limits) as dataset:
            dataset.named = args.get("named", {})
            return make(dataset, args)

    return operation


def bulkdata(args: Args, limits: Limits) -> Args:
    """Where a binary value lies in the (inflated) dataset, by path; of how many bytes each word is to be turned."""
    with Dataset(args["blob"], limits) as dataset:
        walker = dataset.walker
        try:
            element, vr = find(walker, args["path"], vr_of)
        except (LookupError, ValueError):
            raise NotFoundError from None
        if element.length == UNDEFINED:
            raise UnsupportedError(code="encapsulated_bulkdata")
        wide = vr in WIDTHS and not walker.little
        width = WIDTHS[vr] if wide and element.length % WIDTHS[vr] == 0 else 1
        return {"offset": element.offset, "length": element.length, "width": width}


OPERATIONS: dict[str, Callable[[Args, Limits], Any]] = {
    "header": header,
    "metadata": metadata,
    "frame": frame,
    "encoded": encoded,
    "recoded": recoded,
    "corrected": corrected,
    "rendered": rendered,
    "waveform": waveform,
    "bulkdata": bulkdata,
    "value": lambda args, _limits: value(args),
    "sheet": _page(pages.sheet),
    "structured": _page(pages.structured),
    "deidentified": _page(pages.deidentified),
    "assemble": lambda args, limits: assemble(args, limits, vr_of),
}
