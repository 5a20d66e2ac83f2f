"""The bytes of a pack: one pack header, then records, each self-describing and checked.

Record, little-endian, starting on a 16-byte border::

    magic "HZRECORD"  8      version u16, kind u16
    label length u32         prefix length u32
    body length u64          checksum u32 (CRC-32 of everything from `version` to the end of the prefix, itself as 0)
    label                    JSON (UTF-8, may be padded with spaces)
    prefix                   preamble and file meta group of an instance, else empty
    body                     the dataset byte for byte, or the metadata; SHA-256 of it is `digest` in the label
    zeros to the next 16-byte border

One rule verifies every kind: the checksum covers label and prefix, the digest covers the body.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from dicom.errors import IntegrityError

PACK_MAGIC = b"HZPACK\r\n"
PACK_HEADER = struct.Struct("<8sHHI16s32x")  # magic, version, reserved, pack id, archive id
RECORD_MAGIC = b"HZRECORD"
_FIXED = struct.Struct("<8sHHIIQI")
VERSION = 1
ALIGN = 16
_MAX_LABEL = 1 << 20
_MAX_PREFIX = 1 << 20
_CHUNK = 1 << 20

Read = Callable[[int, int], bytes]


class Kind(IntEnum):
    """What a record says. Numbers are on disk for ever."""

    INSTANCE = 1
    METADATA = 2
    CUSTODY = 3
    QUARANTINE = 4
    DECISION = 5
    CORRECTION = 6
    TOMBSTONE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as found. Offsets count from the start of the pack file."""

    kind: Kind
    label: dict[str, Any]
    offset: int
    prefix_offset: int
    prefix_length: int
    body_length: int
    end: int  # of the record, padding included

    @property
    def body_offset(self) -> int:
        return self.prefix_offset + self.prefix_length


def pack_header(pack: int, archive: bytes) -> bytes:
    """The first 64 bytes of a pack file."""
    return PACK_HEADER.pack(PACK_MAGIC, VERSION, 0, pack, archive)


def read_pack_header(data: bytes) -> tuple[int, bytes]:
    """Pack id and archive id. Raises IntegrityError."""
    if len(data) < PACK_HEADER.size:
        raise IntegrityError(code="bad_pack_header")
    magic, version, _, pack, archive = PACK_HEADER.unpack(data[: PACK_HEADER.size])
    if magic != PACK_MAGIC or version != VERSION:
        raise IntegrityError(code="bad_pack_header")
    return pack, archive


def padding(length: int) -> int:
    """Zeros needed after `length` bytes to reach the next border."""
    return -length % ALIGN


def encode_head(
    kind: Kind, label: dict[str, Any], prefix: bytes, body_length: int, *, head_length: int | None = None
) -> bytes:
    """Everything of a record before its body. With `head_length` the label is padded so that it takes exactly that."""
    text = json.dumps(label, ensure_ascii=False, separators=(",", ":")).encode()
    if head_length is not None:
        spare = head_length - _FIXED.size - len(text) - len(prefix)
        if spare < 0:
            raise ValueError("no room for the record's label")
        text += b" " * spare
    fixed = _FIXED.pack(RECORD_MAGIC, VERSION, kind, len(text), len(prefix), body_length, 0)
    checksum = zlib.crc32(prefix, zlib.crc32(text, zlib.crc32(fixed[8:])))
    return fixed[:-4] + struct.pack("<I", checksum) + text + prefix


def read_record(read: Read, offset: int, size: int) -> Record | None:
    """The record at `offset` of a pack of `size` bytes, its head verified; None if there is no whole valid record."""
    if offset % ALIGN or offset + _FIXED.size > size:
        return None
    fixed = read(offset, _FIXED.size)
    if len(fixed) < _FIXED.size:
        return None
    magic, version, kind, label_length, prefix_length, body_length, checksum = _FIXED.unpack(fixed)
    if (
        magic != RECORD_MAGIC
        or version != VERSION
        or label_length > _MAX_LABEL
        or prefix_length > _MAX_PREFIX
    ):
        return None
    head = _FIXED.size + label_length + prefix_length
    if offset + head + body_length > size:
        return None
    rest = read(offset + _FIXED.size, label_length + prefix_length)
    if zlib.crc32(rest, zlib.crc32(fixed[8:-4] + b"\0\0\0\0")) != checksum:
        return None
    try:
        label = json.loads(rest[:label_length])
        known = Kind(kind)
    except (ValueError, RecursionError):
        return None
    if not isinstance(label, dict):
        return None
    length = head + body_length
    return Record(
        kind=known,
        label=label,
        offset=offset,
        prefix_offset=offset + _FIXED.size + label_length,
        prefix_length=prefix_length,
        body_length=body_length,
        end=min(offset + length + padding(offset + length), size) if offset + length <= size else size,
    )


def body_is_whole(read: Read, record: Record) -> bool:
    """Whether the body still has the digest its label names."""
    digest = hashlib.sha256()
    position, end = record.body_offset, record.body_offset + record.body_length
    while position < end:
        data = read(position, min(_CHUNK, end - position))
        if not data:
            return False
        digest.update(data)
        position += len(data)
    return digest.hexdigest() == record.label.get("digest")


def scan(read: Read, start: int, size: int, *, resume: bool = True) -> Iterator[Record | int]:
    """The valid records from `start`. Where bytes are not a record, their offset is yielded, and with `resume` the
    scan goes on at the next border that carries the magic and a valid head.
    """
    offset = start + padding(start)
    while offset < size:
        record = read_record(read, offset, size)
        if record is not None and body_is_whole(read, record):
            yield record
            offset = record.end + padding(record.end)
            continue
        yield offset
        if not resume:
            return
        offset = _next_magic(read, offset + ALIGN, size)


def _next_magic(read: Read, offset: int, size: int) -> int:
    while offset < size:
        data = read(offset, min(_CHUNK, size - offset))
        if not data:
            return size
        found = data.find(RECORD_MAGIC)
        while found >= 0 and (offset + found) % ALIGN:
            found = data.find(RECORD_MAGIC, found + 1)
        if found >= 0:
            return offset + found
        offset += max(len(data) - len(RECORD_MAGIC), 1) // ALIGN * ALIGN or ALIGN
    return size
