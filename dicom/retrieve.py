"""From rows to bytes: ranges of packs where the stored form is what is wanted, else a worker's answer, cached."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

from dicom import cache
from dicom.convertible import Coming, Conversion, why_not
from dicom.corrections import shown_header, shown_metadata, shown_otherwise
from dicom.errors import CannotRenderError, DicomError, NotFoundError, UnsupportedError
from dicom.model import InstanceRow, Limits, PixelKind, Place
from dicom.packs.append import pack_path
from dicom.packs.read import PackFile, PackReader
from dicom.part10 import build_prefix
from dicom.ready import ready_made
from dicom.recode import fragment
from dicom.syntaxes import DEFLATED, EXPLICIT_LE, IMPLICIT_LE
from dicom.workers.pool import WorkerPool

_METADATA_BATCH = 16
_PIECE = 4 << 20  # of native pixels from a worker


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """`length` bytes from `offset` of a pack."""

    pack: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """How a rendered picture is wanted (PS3.18 §8.3.5.1). `window` is (centre, width, function)."""

    format: Literal["jpeg", "png"] = "jpeg"
    quality: int = 90
    window: tuple[float, float, str] | None = None
    viewport: tuple[float, ...] | None = None
    annotation: tuple[str, ...] = ()  # "patient", "technique": written into the picture

    def fields(self) -> dict[str, Any]:
        """As a worker is told (`dicom.pixels.render.Rendering`)."""
        names = ("format", "quality", "window", "viewport", "annotation")
        return {name: getattr(self, name) for name in names}

    def tag(self) -> str:
        """A short stable name of these wishes, for caches and ETags."""
        return sha256(repr(self.fields()).encode()).hexdigest()[:16]


THUMBNAIL = Picture(viewport=(128, 128), quality=80)


class Retriever:
    """Serves what the index points to. Rows come from the index, so the scope has been applied already."""

    def __init__(self, root: Path, packs: PackReader, workers: WorkerPool, limits: Limits) -> None:
        self._root = root
        self._packs = packs
        self._workers = workers
        self.memory = cache.Memory(limits.memory_cache_bytes)
        self.thumbnails = cache.Thumbnails(root)

    def read(self, span: ByteRange) -> bytes:
        """The bytes. Blocks; call it off the event loop."""
        return self._packs.read(span.pack, span.offset, span.length)

    def read_now(self, pieces: Sequence[bytes | ByteRange]) -> bytearray | None:
        """The pieces as one, where all of it lies in the system's memory; None: read them off the event loop."""
        body = bytearray(sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces))
        view, position = memoryview(body), 0
        for piece in pieces:
            if isinstance(piece, bytes):
                end = position + len(piece)
                view[position:end] = piece
            else:
                end = position + piece.length
                if not self._packs.read_now(piece.pack, piece.offset, view[position:end]):
                    return None
            position = end
        return body

    def opened(self, span: ByteRange) -> PackFile | None:
        """The pack's file, to send from it; None where that might wait for the disk."""
        return self._packs.opened(span.pack, span.offset, span.length)

    @staticmethod
    def file_range(row: InstanceRow) -> ByteRange:
        """The whole part-10 file as stored."""
        return ByteRange(pack=row.place.pack, offset=row.place.offset, length=row.place.length)

    @staticmethod
    def frame_count(row: InstanceRow) -> int:
        """How many frames can be asked for."""
        return row.pixels.frames if row.pixels.kind is not PixelKind.NONE else 0

    def frame_ranges(self, row: InstanceRow, number: int) -> list[ByteRange] | None:
        """The frame (1-based) in its stored transfer syntax; None where it lies on no byte borders.

        Raises NotFoundError for a frame that is not there, UnsupportedError with the reason where it is damaged.
        """
        p = row.pixels
        self.check_frame(row, number)
        base, pack = row.place.body_offset, row.place.pack
        if p.kind is PixelKind.NATIVE:
            if number * p.frame_length > p.length:
                raise UnsupportedError(code="pixel_data_short")
            return [
                ByteRange(
                    pack=pack, offset=base + p.offset + (number - 1) * p.frame_length, length=p.frame_length
                )
            ]
        if p.kind is PixelKind.ENCAPSULATED:
            return [
                ByteRange(pack=pack, offset=base + offset, length=length)
                for offset, length in p.ranges[number - 1]
            ]
        if p.kind is PixelKind.UNCERTAIN:
            raise UnsupportedError(code="frames_unclear")
        return None

    @staticmethod
    def video_ranges(row: InstanceRow) -> list[ByteRange]:
        """The stored stream of a film, all its fragments in order. Raises CannotRenderError where it has none."""
        pack, base = row.place.pack, row.place.body_offset
        spans = [
            ByteRange(pack=pack, offset=base + offset, length=length)
            for frame in row.pixels.ranges
            for offset, length in frame
        ]
        if not spans:
            raise CannotRenderError(code="no_pixels")
        return spans

    @staticmethod
    def stored_is_explicit_le(row: InstanceRow) -> bool:
        """Whether the stored bytes of a frame are those of explicit little endian (pixels are the same in implicit)."""
        return row.pixels.kind is PixelKind.NATIVE and row.transfer_syntax in {EXPLICIT_LE, IMPLICIT_LE}

    async def decoded_frame(self, row: InstanceRow, number: int) -> bytes:
        """The frame as explicit little endian bytes: native ones as laid out in the dataset, compressed ones decoded,
        colours as RGB by pixel.
        """
        self.check_frame(row, number)
        key = (row.digest, number, "frame")
        return await self._once(key, "frame", self._one_frame(row, number), lambda a: a["data"])

    async def coded_frame(self, row: InstanceRow, number: int, target: str) -> bytes:
        """The frame (1-based) as a code stream of another transfer syntax. Raises UnsupportedError with a reason."""
        self.check_frame(row, number)
        if reason := why_not(row, target):
            raise UnsupportedError(code=reason)
        args = {**self._one_frame(row, number), "target": target}
        return await self._once((row.digest, number, target), "encoded", args, lambda answer: answer)

    async def converted(self, row: InstanceRow, target: str) -> Conversion:
        """The instance in another transfer syntax.

        An instance without pixels becomes explicit little endian whatever the target. Raises UnsupportedError.
        """
        if reason := why_not(row, target):
            raise UnsupportedError(code=reason)
        args = {
            "blob": self._blob(row),
            "target": target,
            "ranges": self._fragments(row, 1) if row.pixels.kind is not PixelKind.NONE else None,
            "digest": row.digest,
            "overlay": shown_otherwise(row),
        }
        answer = await self._workers.call("recoded", args)
        first: bytes | ByteRange = answer["first"]
        if answer["value"] is None:
            numbers, length = range(2, answer["frames"] + 2), answer["length"]
            more = [Coming(make=partial(self.converted_frame, row, n, target), length=length) for n in numbers]
        else:
            found = self._value(row, *answer["value"])
            first, more = (found, []) if isinstance(found, ByteRange) else (b"", found)
        return Conversion(head=answer["head"], first=first, more=tuple(more), tail=answer["tail"])

    def _value(self, row: InstanceRow, offset: int, length: int, width: int) -> ByteRange | list[Coming]:
        """A value in little endian: where it lies, else piece by piece, so that a film of gigabytes takes no more here
        than a slice. `offset` in the inflated dataset.
        """
        if width == 1 and row.transfer_syntax != DEFLATED:
            return ByteRange(pack=row.place.pack, offset=row.place.body_offset + offset, length=length)

        async def make(start: int, size: int) -> bytes:
            args = {"blob": self._blob(row), "offset": offset + start, "length": size, "width": width}
            return cast("bytes", await self._workers.call("value", args))

        piece = _PIECE // width * width
        spans = [(start, min(piece, length - start)) for start in range(0, length, piece)]
        return [Coming(make=partial(make, *span), length=span[1]) for span in spans]

    async def converted_frame(self, row: InstanceRow, number: int, target: str) -> bytes:
        """A frame as it stands in a converted instance: plain, or as an item of encapsulated Pixel Data."""
        if target == EXPLICIT_LE:
            return await self.decoded_frame(row, number)
        return fragment(await self.coded_frame(row, number, target))

    async def rendered(self, row: InstanceRow, number: int, wanted: Picture) -> bytes:
        """A picture of a frame. Raises CannotRenderError with a reason."""
        if row.pixels.kind is PixelKind.NONE:
            raise CannotRenderError(code="no_pixels")
        self.check_frame(row, number)
        named = row.overlay if wanted.annotation else None  # a picture without words shows nothing of it
        key = (row.version if named else row.digest, number, wanted.tag())
        args = {
            **self._one_frame(row, number),
            "rendering": wanted.fields(),
            "named": shown_header(named) if named else {},
        }
        return await self._once(key, "rendered", args, lambda answer: answer)

    async def thumbnail(self, row: InstanceRow, number: int, wanted: Picture) -> bytes:
        """A picture. The usual one is kept on disk; others may be asked for in any number."""
        self.check_sound(row)
        if wanted != THUMBNAIL:
            return await self.rendered(row, number, wanted)
        found = await self.thumbnails.find(row.digest, number)
        if found is None:
            found = await self.rendered(row, number, wanted)
            self.thumbnails.keep(row.digest, number, found)
        return found

    async def waveform(self, row: InstanceRow) -> bytes:
        """The waveforms as JSON (`dicom.waveform`), zlib-compressed."""
        if not row.has_waveform:
            raise UnsupportedError(code="no_waveform")
        return await self._once((row.digest, "waveform"), "waveform", {"blob": self._blob(row)}, lambda a: a)

    async def page(self, row: InstanceRow, operation: str, **wishes: Any) -> bytes:
        """What `sheet` or `structured` of `dicom.workers.pages` makes of the instance, as corrections show it."""
        args = {"blob": self._blob(row), "named": shown_header(row.overlay) if row.overlay else {}, **wishes}
        return await self._once((row.version, operation, repr(wishes)), operation, args, lambda answer: answer)

    async def deidentified(self, row: InstanceRow, secret: bytes, options: dict[str, Any]) -> dict[str, Any]:
        """See `dicom.deidentify.deidentify`. Corrections do not matter: they say who it is of."""
        args = {"blob": self._blob(row), "secret": secret, "options": options}
        return cast("dict[str, Any]", await self._workers.call("deidentified", args))

    async def bulkdata(self, row: InstanceRow, path: str) -> ByteRange | bytes:
        """A binary value by its path, as a whole. Raises NotFoundError."""
        found = await self.bulkdata_pieces(row, path)
        return found if isinstance(found, ByteRange) else b"".join([await one.make() for one in found])

    async def bulkdata_pieces(self, row: InstanceRow, path: str) -> ByteRange | list[Coming]:
        """A binary value by its path: where it lies, or what is to be made of it. Raises NotFoundError."""
        p = row.pixels
        if (
            path == "7FE00010"
            and p.kind is PixelKind.NATIVE
            and p.keyword == "PixelData"
            and self.stored_is_explicit_le(row)
        ):
            return ByteRange(pack=row.place.pack, offset=row.place.body_offset + p.offset, length=p.length)
        answer = await self._workers.call("bulkdata", {"blob": self._blob(row), "path": path})
        return self._value(row, answer["offset"], answer["length"], answer["width"])

    async def metadata(
        self, rows: Sequence[InstanceRow], keep: Callable[[InstanceRow, bytes], None]
    ) -> list[bytes]:
        """DICOM JSON of each row, bulk addresses still relative. What is missing is made and given to `keep`."""
        ready = await ready_made(self._packs, rows)
        missing = [row for row in rows if row.digest not in ready]
        for start in range(0, len(missing), _METADATA_BATCH):
            part = missing[start : start + _METADATA_BATCH]
            made = await self.make_metadata(part)
            for row, data in zip(part, made, strict=True):
                if isinstance(data, str):
                    raise UnsupportedError(code=data)
                keep(row, data)
                ready[row.digest] = zlib.decompress(data)
        return [shown_metadata(ready[row.digest], row) for row in rows]

    async def corrected(self, row: InstanceRow) -> list[bytes | ByteRange]:
        """The dataset as it is shown, in its stored transfer syntax; pixels are named by where they lie."""
        args = {"blob": self._blob(row), "overlay": shown_otherwise(row)}
        pieces = await self._workers.call("corrected", args)
        pack, base = row.place.pack, row.place.body_offset
        return [
            one if isinstance(one, bytes) else ByteRange(pack=pack, offset=base + one[0], length=one[1])
            for one in pieces
        ]

    async def file(self, row: InstanceRow) -> list[bytes | ByteRange]:
        """The part-10 file as it is shown: the stored one where no correction has touched it."""
        if row.overlay is None:
            return [self.file_range(row)]
        prefix = build_prefix(sop_class=row.sop_class, sop_uid=row.sop_uid, transfer_syntax=row.transfer_syntax)
        return [prefix, *await self.corrected(row)]

    async def read_header(self, place: Place, syntax: str) -> dict[str, Any]:
        """The header of a stored dataset, read anew by a worker (`dicom.labels.header_of`)."""
        return cast("dict[str, Any]", await self._workers.call("header", {"blob": self._span(place, syntax)}))

    async def make_metadata(
        self, rows: Sequence[InstanceRow], *, background: bool = False
    ) -> list[bytes | str]:
        """Zlib-compressed DICOM JSON, or the reason where it cannot be made. One at a time again if the group fails."""
        args = {"blobs": [self._blob(row) for row in rows]}
        try:
            made: list[bytes | str] = await self._workers.call("metadata", args, background=background)
            return made
        except DicomError as error:
            if len(rows) == 1:
                return [error.reason]
        return [(await self.make_metadata([row], background=background))[0] for row in rows]

    @staticmethod
    def check_frame(row: InstanceRow, number: int) -> None:
        """Raises UnsupportedError without pixels, NotFoundError for a frame (1-based) that is not there."""
        if row.pixels.kind is PixelKind.NONE:
            raise UnsupportedError(code="no_pixels")
        if number < 1 or number > row.pixels.frames:
            raise NotFoundError(code="no_such_frame")

    def check_sound(self, row: InstanceRow) -> None:
        """Raises IntegrityError (`damaged`) where the stored bytes are known to be wrong."""
        self._packs.check(row.place.pack, row.place.offset, row.place.length)

    def _blob(self, row: InstanceRow) -> dict[str, Any]:
        self.check_sound(row)
        return self._span(row.place, row.transfer_syntax)

    def _span(self, place: Place, syntax: str) -> dict[str, Any]:
        path = str(pack_path(self._root, place.pack))
        return {"syntax": syntax, "path": path, "offset": place.body_offset, "length": place.body_length}

    def _one_frame(self, row: InstanceRow, number: int) -> dict[str, Any]:
        """What a worker is told of the frame: where the dataset lies, and what the index knows of its pixels."""
        known = ("kind", "offset", "length", "frames", "frame_length", "keyword")
        layout = None if row.transfer_syntax == DEFLATED else {name: getattr(row.pixels, name) for name in known}
        return {
            "blob": self._blob(row),
            "frame": number,
            "ranges": self._fragments(row, number),
            "layout": layout,
        }

    @staticmethod
    def _fragments(row: InstanceRow, number: int) -> list[tuple[int, int]] | None:
        if row.pixels.kind is not PixelKind.ENCAPSULATED or row.transfer_syntax == DEFLATED:
            return None
        return list(row.pixels.ranges[number - 1])

    async def _once(
        self, key: tuple[Any, ...], op: str, args: dict[str, Any], take: Callable[[Any], bytes]
    ) -> bytes:
        """From memory, or from one worker call that all who ask meanwhile share."""

        async def make() -> bytes:
            return take(await self._workers.call(op, args))

        return await self.memory.once(key, make)
