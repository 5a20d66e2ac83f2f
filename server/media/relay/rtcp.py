"""RTCP as bytes: what the relay reads of it and the few packets that it writes (RFC 3550 §6, RFC 4585 §6, RFC 5104)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SENDER_REPORT, RECEIVER_REPORT, BYE, TRANSPORT, PAYLOAD = 200, 201, 203, 205, 206
NACK, FEEDBACK = 1, 15                      # of TRANSPORT
PLI, FIR, APPLICATION = 1, 4, 15            # of PAYLOAD


@dataclass(frozen=True, slots=True)
class Part:
    """One packet of a compound: kind, count or format, and everything after its first four bytes."""

    kind: int
    count: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """One block of a receiver's report (RFC 3550 §6.4.1)."""

    ssrc: int
    lost: float                             # share since the last one, 0 to 1
    total: int


@dataclass(frozen=True, slots=True)
class Clock:
    """Of a sender report: when (NTP, 64 bits) its RTP clock said what, and what it had sent."""

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int


def parts(data: bytes) -> Iterator[Part]:
    """The packets of a compound, up to the first whose length does not fit."""
    at = 0
    while at + 4 <= len(data):
        first, kind, words = struct.unpack_from("!BBH", data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            return
        yield Part(kind, first & 31, data[at + 4 : end])
        at = end


def clock(part: Part) -> Clock | None:
    """The sender's clock of a sender report."""
    if part.kind != SENDER_REPORT or len(part.body) < 24:
        return None
    return Clock(*struct.unpack_from("!IQIII", part.body))


def reports(part: Part) -> list[Report]:
    """The report blocks of a sender's or receiver's report."""
    at = {SENDER_REPORT: 24, RECEIVER_REPORT: 4}.get(part.kind)
    found = []
    if at is not None:
        for start in range(at, min(len(part.body) - 23, at + 24 * part.count), 24):
            ssrc, lost = struct.unpack_from("!II", part.body, start)
            found.append(Report(ssrc, (lost >> 24) / 256, lost & 0xFFFFFF))
    return found


def lost(part: Part) -> tuple[int, list[int]]:
    """(media SSRC, missing sequence numbers) of a NACK (RFC 4585 §6.2.1)."""
    if len(part.body) < 12:
        return 0, []
    (ssrc,) = struct.unpack_from("!I", part.body, 4)
    found = []
    for at in range(8, len(part.body) - 3, 4):
        pid, mask = struct.unpack_from("!HH", part.body, at)
        found += [pid, *((pid + bit + 1) & 0xFFFF for bit in range(16) if mask >> bit & 1)]
    return ssrc, found


def pictures(part: Part) -> list[int]:
    """Media SSRCs for which a whole picture is asked by PLI or FIR."""
    if part.kind != PAYLOAD or len(part.body) < 8:
        return []
    if part.count == PLI:
        return [int.from_bytes(part.body[4:8])]
    if part.count == FIR:
        return [int.from_bytes(part.body[at : at + 4]) for at in range(8, len(part.body) - 7, 8)]
    return []


def estimate(part: Part) -> float | None:
    """kbit/s of a receiver's own estimate, its REMB (draft-alvestrand-rmcat-remb-03 §2.2)."""
    if part.kind != PAYLOAD or part.count != APPLICATION or len(part.body) < 16 or part.body[8:12] != b"REMB":
        return None
    word = int.from_bytes(part.body[12:16]) & 0xFFFFFF
    return ((word & 0x3FFFF) << (word >> 18)) / 1000


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def pli(sender: int, media: int) -> bytes:
    """Picture loss indication (RFC 4585 §6.3.1)."""
    return _packet(PAYLOAD, PLI, struct.pack("!II", sender, media))


def nack(sender: int, media: int, missing: list[int]) -> bytes:
    """Generic NACK for sequence numbers in rising order (RFC 4585 §6.2.1)."""
    pairs: list[tuple[int, int]] = []
    for number in missing:
        if pairs and 0 < (gap := (number - pairs[-1][0]) & 0xFFFF) <= 16:
            pairs[-1] = (pairs[-1][0], pairs[-1][1] | 1 << gap - 1)
        else:
            pairs.append((number, 0))
    return _packet(TRANSPORT, NACK, struct.pack("!II", sender, media) + b"".join(struct.pack("!HH", *x) for x in pairs))


def sender_report(seen: Clock, *, ssrc: int, shift: int) -> bytes:
    """A publisher's clock under the SSRC and with the timestamp's offset of a subscriber."""
    body = struct.pack("!IQIII", ssrc, seen.ntp, (seen.timestamp + shift) & 0xFFFFFFFF, seen.packets, seen.octets)
    return _packet(SENDER_REPORT, 0, body)


def receiver_report(sender: int, blocks: list[bytes]) -> bytes:
    """A receiver report of at most 31 blocks; without any it still says that the path is alive."""
    return _packet(RECEIVER_REPORT, min(31, len(blocks)), struct.pack("!I", sender) + b"".join(blocks[:31]))


def report_block(*, ssrc: int, share: int, total: int, highest: int, jitter: int, lsr: int, dlsr: int) -> bytes:
    """One report block; `share` of 256 lost since the last report, `lsr` and `dlsr` as RFC 3550 §6.4.1 has them."""
    return struct.pack("!IIIIII", ssrc, share << 24 | total & 0xFFFFFF, highest, jitter, lsr, dlsr)


def feedback(sender: int, media: int, *, count: int, arrivals: dict[int, float], first: int, last: int) -> bytes:
    """Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

    arrivals: seconds by transport sequence number; first to last (16 bits, first not newer) are reported.
    """
    total = ((last - first) & 0xFFFF) + 1
    begin = min(arrivals.values())
    reference = int(begin / 0.064)
    before = reference * 256                     # in ticks of 250 µs
    symbols, deltas = [], b""
    for step in range(total):
        at = arrivals.get((first + step) & 0xFFFF)
        if at is None:
            symbols.append(0)
            continue
        tick = int(at * 4000)
        delta = max(-32768, min(32767, tick - before))
        before += delta
        symbols.append(1 if 0 <= delta <= 255 else 2)
        deltas += struct.pack("!B", delta) if 0 <= delta <= 255 else struct.pack("!h", delta)
    chunks = b""
    for at_symbol in range(0, total, 7):
        seven = symbols[at_symbol : at_symbol + 7]
        word = 0xC000
        for place, symbol in enumerate(seven):
            word |= symbol << 12 - 2 * place
        chunks += struct.pack("!H", word)
    body = struct.pack("!IIHHI", sender, media, first, total, (reference & 0xFFFFFF) << 8 | count & 0xFF)
    body += chunks + deltas
    return _packet(TRANSPORT, FEEDBACK, body + bytes(-len(body) % 4))
