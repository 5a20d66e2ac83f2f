"""Which representation an Accept header asks for (PS3.18 §8.7), and which of several costs least to give.

A transfer syntax that is not named means explicit little endian; `*` means as stored. Among entries of the same
quality the one that needs no work wins, then the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from dicom.convertible import why_not
from dicom.errors import NotAcceptableError, UnsupportedError
from dicom.model import InstanceRow, PixelKind
from dicom.retrieve import Retriever
from dicom.syntaxes import DEFAULTS, ENCODED, EXPLICIT_LE, FRAME_TYPES, VIDEO
from dicom.web import MediaType

OCTETS = "application/octet-stream"
DICOM = "application/dicom"
ANY = frozenset({"*/*", "application/*"})
Way = Literal["stored", "plain", "coded"]
_Choice = TypeVar("_Choice")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameChoice:
    """How frames go out: as stored, as plain samples in explicit little endian, or coded anew."""

    way: Way
    syntax: str
    media: str
    multipart: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChoice:
    """How instances go out: the transfer syntax of each row (its own: the stored file), and whether in parts."""

    syntaxes: tuple[str, ...]
    single: bool


def _best(accept: Sequence[MediaType], offer: Callable[[MediaType], tuple[int, _Choice] | str]) -> _Choice:
    """The cheapest offer for the best quality. `offer` gives cost and choice, or why not ('' for no match at all)."""
    found: list[tuple[float, int, int, _Choice]] = []
    reasons: list[str] = []
    for order, entry in enumerate(accept):
        got = offer(entry)
        if isinstance(got, str):
            reasons.append(got)
        else:
            found.append((-entry.quality, got[0], order, got[1]))
    if not found:
        raise NotAcceptableError(code=next((reason for reason in reasons if reason), "not_acceptable"))
    return min(found, key=lambda item: item[:3])[3]


def choose_frames(accept: Sequence[MediaType], row: InstanceRow, count: int) -> FrameChoice:
    """For `/frames/…`. Raises NotAcceptableError with the reason, UnsupportedError without pixels."""
    if row.pixels.kind is PixelKind.NONE:
        raise UnsupportedError(code="no_pixels")
    compressed = row.pixels.kind in {PixelKind.ENCAPSULATED, PixelKind.UNCERTAIN}
    stored_type = FRAME_TYPES.get(row.transfer_syntax) if compressed else None

    def offer(entry: MediaType) -> tuple[int, FrameChoice] | str:
        multipart = entry.multipart or entry.name in ANY or count > 1
        part, wanted = entry.part, entry.transfer_syntax

        def take(way: Way, syntax: str, media: str) -> tuple[int, FrameChoice] | str:
            if row.transfer_syntax in VIDEO:
                return "video_not_decoded"
            if way != "stored" and (reason := why_not(row, syntax)):
                return reason
            cost = {"stored": 0, "plain": 0 if Retriever.stored_is_explicit_le(row) else 1, "coded": 2}[way]
            return cost, FrameChoice(way=way, syntax=syntax, media=media, multipart=multipart)

        if part in ANY or part == OCTETS:
            if compressed and wanted in {"*", row.transfer_syntax}:
                return take("stored", row.transfer_syntax, OCTETS)
            if wanted in {"", "*", EXPLICIT_LE}:
                return take("plain", EXPLICIT_LE, OCTETS)
            return take("coded", wanted, OCTETS)
        if stored_type and part in {stored_type, "image/*"} and wanted in {"", "*", row.transfer_syntax}:
            return take("stored", row.transfer_syntax, stored_type)
        if part not in DEFAULTS:
            return ""
        syntax = DEFAULTS[part] if wanted in {"", "*"} else wanted
        if syntax not in ENCODED or FRAME_TYPES.get(syntax) != part:
            return "transfer_syntax_not_encoded"
        return take("coded", syntax, part)

    return _best(accept, offer)


def choose_files(accept: Sequence[MediaType], rows: Sequence[InstanceRow], *, one: bool) -> FileChoice:
    """For a study, series or (`one`) instance. Raises NotAcceptableError with the reason."""

    def offer(entry: MediaType) -> tuple[int, FileChoice] | str:
        if entry.part != DICOM and entry.part not in ANY:
            return ""
        syntaxes: list[str] = []
        for row in rows:
            syntax = _file_syntax(row, entry.transfer_syntax)
            if reason := why_not(row, syntax):
                return reason
            syntaxes.append(syntax)
        single = len(rows) == 1 and not entry.multipart and (entry.name != "*/*" or one)
        work = sum(syntax != row.transfer_syntax for syntax, row in zip(syntaxes, rows, strict=True))
        return work, FileChoice(syntaxes=tuple(syntaxes), single=single)

    return _best(accept, offer)


def _file_syntax(row: InstanceRow, wanted: str) -> str:
    if wanted in {"*", row.transfer_syntax}:
        return row.transfer_syntax
    if not wanted:
        # What has no uncompressed form (a film) can only come as it is; its part says so.
        return row.transfer_syntax if why_not(row, EXPLICIT_LE) else EXPLICIT_LE
    if row.pixels.kind is PixelKind.NONE and wanted in ENCODED and row.transfer_syntax not in VIDEO:
        return EXPLICIT_LE  # nothing to compress: a report, a waveform
    return wanted
