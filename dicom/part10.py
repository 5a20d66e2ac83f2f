"""The file around a dataset (PS3.10 §7): finding where the dataset starts, and writing a file meta group of ours."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from dicom.elements import LONG_VRS, SHORT_VRS, Window
from dicom.errors import RefusedError
from dicom.syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, NATIVE

IMPLEMENTATION_UID = "2.25.327180184517428671933148250114712309143"
IMPLEMENTATION_NAME = "HUIZHEN_1"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_META_LIMIT = 256 << 10
_VRS = SHORT_VRS | LONG_VRS
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHead:
    """What stands before the dataset. `prefix` is what the archive keeps: it always ends where the dataset starts.

    `rebuilt` says that the meta group is ours, because there was none or it named a wrong transfer syntax.
    """

    dataset_start: int  # in the bytes as sent
    prefix: bytes
    transfer_syntax: str
    sop_class: str
    rebuilt: bool


def split_file(window: Window) -> FileHead:
    """Where the dataset starts and how it is encoded. Raises RefusedError (`not_dicom`, `empty`, `truncated`, …)."""
    if window.length == 0:
        raise RefusedError(code="empty")
    start = window.bytes(0, min(132, window.length))
    if start[128:132] == b"DICM":
        preamble, meta_start = start[:128], 132
    elif start[:2] == b"\x02\x00" and start[4:6] in _VRS:
        preamble, meta_start = bytes(128), 0
    else:
        return _raw_dataset(window, start)
    meta, end = _read_meta(window, meta_start)
    sop_class = _uid(meta.get(0x00020002, b""))
    if sop_class == MEDIA_DIRECTORY:
        raise RefusedError(code="media_directory")
    declared = _uid(meta.get(0x00020010, b""))
    if declared and not _UID.fullmatch(declared):
        raise RefusedError(code="invalid_uid")  # it would stand in headers of answers
    actual = _actual_syntax(window, end, declared)
    if not preamble.startswith((b"II*\x00", b"MM\x00*")):
        preamble = bytes(
            128
        )  # PS3.10 §7.1: only a TIFF's preamble has a meaning; others have carried malware
    if actual == declared:
        prefix = preamble + b"DICM" + window.bytes(meta_start, end - meta_start)
        return FileHead(
            dataset_start=end, prefix=prefix, transfer_syntax=declared, sop_class=sop_class, rebuilt=False
        )
    return FileHead(dataset_start=end, prefix=b"", transfer_syntax=actual, sop_class=sop_class, rebuilt=True)


def build_prefix(*, sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    """Preamble and file meta group (PS3.10 Table 7.1-1) for a dataset that came without a usable one."""
    body = (
        _element(0x0001, b"OB", b"\x00\x01")
        + _element(0x0002, b"UI", _padded(sop_class))
        + _element(0x0003, b"UI", _padded(sop_uid))
        + _element(0x0010, b"UI", _padded(transfer_syntax))
        + _element(0x0012, b"UI", _padded(IMPLEMENTATION_UID))
        + _element(0x0013, b"SH", _padded(IMPLEMENTATION_NAME, b" "))
    )
    return bytes(128) + b"DICM" + _element(0x0000, b"UL", struct.pack("<I", len(body))) + body


def _padded(text: str, pad: bytes = b"\x00") -> bytes:
    data = text.encode("ascii")
    return data + pad if len(data) % 2 else data


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH", 2, number) + vr
    if vr in LONG_VRS:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _uid(value: bytes) -> str:
    return value.rstrip(b"\x00 ").decode("ascii", "replace").strip()


def _read_meta(window: Window, position: int) -> tuple[dict[int, bytes], int]:
    """The elements of group 0002 and the offset behind them. The group length is not trusted."""
    meta: dict[int, bytes] = {}
    first = position
    while position + 8 <= window.length:
        head = window.bytes(position, 8)
        if head[:2] != b"\x02\x00":
            break
        vr = head[4:6]
        if vr in LONG_VRS:
            length, size = struct.unpack("<I", window.bytes(position + 8, 4))[0], 12
        elif vr in SHORT_VRS:
            length, size = struct.unpack("<H", head[6:8])[0], 8
        else:
            raise RefusedError(code="malformed")
        end = position + size + length
        if end > window.length:
            raise RefusedError(code="truncated")
        if end - first > _META_LIMIT:
            raise RefusedError(code="malformed")
        meta[2 << 16 | struct.unpack("<H", head[2:4])[0]] = window.bytes(position + size, length)
        position = end
    return meta, position


def _actual_syntax(window: Window, start: int, declared: str) -> str:
    """The declared transfer syntax, corrected where the first element plainly contradicts it."""
    if declared not in NATIVE and declared:
        return declared
    if start + 8 > window.length:
        if not declared:
            raise RefusedError(code="truncated")
        return declared
    head = window.bytes(start, 8)
    guess = _guess(head, window.length - start)
    if not guess:
        if declared:
            return declared
        raise RefusedError(code="not_dicom")
    return guess


def _guess(head: bytes, room: int) -> str:
    little = int.from_bytes(head[:2], "little")
    explicit = head[4:6] in _VRS
    if explicit:
        return EXPLICIT_LE if little <= 0x00FF or head[0] else EXPLICIT_BE
    length = int.from_bytes(head[4:8], "little")
    if 0 < little <= 0x7FE0 and (length <= room - 8 or length == 0xFFFFFFFF):
        return IMPLICIT_LE
    return ""


def _raw_dataset(window: Window, start: bytes) -> FileHead:
    """A dataset without preamble and meta group, accepted only if it plainly is one: it starts in group 0008."""
    if len(start) < 8:
        raise RefusedError(code="not_dicom")
    head = start[:8]
    guess = _guess(head, window.length)
    group = int.from_bytes(head[:2], "big" if guess == EXPLICIT_BE else "little")
    if not guess or group != 0x0008:
        raise RefusedError(code="not_dicom")
    return FileHead(dataset_start=0, prefix=b"", transfer_syntax=guess, sop_class="", rebuilt=True)
