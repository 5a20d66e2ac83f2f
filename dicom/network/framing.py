"""A stream of bytes cut into PDUs (PS3.8 §9.3.1), in one buffer that is bounded whatever the peer claims."""

from __future__ import annotations

from collections.abc import Generator

from dicom.network import pdu

REQUEST_LIMIT = 128 << 10
"""Bytes of an A-ASSOCIATE; 128 contexts with all their syntaxes need a fifth of it."""
_FIRST_BUFFER = 8 << 10


class Framing:
    """Grown by what has come, never by what was claimed: a PDU over its limit is refused at its header."""

    def __init__(self, max_pdu: int) -> None:
        self._max_pdu = max_pdu
        self._limit = REQUEST_LIMIT
        self._buffer = bytearray(_FIRST_BUFFER)
        self._filled = 0

    def room(self) -> memoryview:
        """Where the next bytes may be put."""
        if self._filled == len(self._buffer):
            self._resize(min(2 * len(self._buffer), self._limit + pdu.HEADER))
        return memoryview(self._buffer)[self._filled :]

    def established(self) -> None:
        """From here on units as large as agreed are the rule."""
        self._limit = self._max_pdu
        self._resize(self._limit + pdu.HEADER)

    def clear(self) -> None:
        """What is left is nobody's."""
        self._filled = 0

    def units(self, nbytes: int) -> Generator[tuple[int, memoryview], None, None]:
        """(type, body) of every PDU that is whole now that `nbytes` have come; a body is good until the next one.

        Raises PduError for an unknown type or a length over the limit. Close it when leaving before its end.
        """
        self._filled += nbytes
        start = 0
        view = memoryview(self._buffer)
        try:
            while self._filled - start >= pdu.HEADER:
                kind, length = pdu.parse_header(view[start : start + pdu.HEADER])
                self._check_length(kind, length)
                end = start + pdu.HEADER + length
                if self._filled < end:
                    break
                body = view[start + pdu.HEADER : end]
                start = end
                yield kind, body
        finally:
            self._drop(view, start)

    def _drop(self, view: memoryview, start: int) -> None:
        """Moves what is behind `start` to the front; `view` may be of a buffer that was replaced meanwhile."""
        if not start:
            return
        rest = bytes(view[start : max(self._filled, start)])
        self._buffer[: len(rest)] = rest
        self._filled = len(rest)

    def _check_length(self, kind: int, length: int) -> None:
        if not pdu.REQUEST <= kind <= pdu.ABORT:
            raise pdu.PduError("unknown type", pdu.UNRECOGNISED)
        most = {pdu.REQUEST: REQUEST_LIMIT, pdu.ACCEPT: REQUEST_LIMIT, pdu.DATA: self._max_pdu}.get(kind, 4)
        if length > most:
            raise pdu.PduError("longer than agreed")

    def _resize(self, size: int) -> None:
        # A new object: the event loop still holds a view of the old one.
        buffer = bytearray(size)
        buffer[: self._filled] = memoryview(self._buffer)[: self._filled]
        self._buffer = buffer
