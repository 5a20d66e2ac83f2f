"""Offers of browsers and our answers to them (RFC 8866, RFC 8829, RFC 8839): what the relay needs of them, no more.

A browser sends one line of sound, one of pictures and perhaps one of small ones, and offers a line to receive for
every other seat and kind.
The answer names the seat on each of those lines: its media stream carries the seat's id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LINES = 34
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
TRANSPORT_WIDE = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
SPEECH = "minptime=10;useinbandfec=1;usedtx=1"
_MID = re.compile(r"[A-Za-z0-9_.:+-]{1,32}")


class BadOffer(Exception):
    """The relay cannot answer this; the text says why and holds nothing of the offer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One m-line of an offer. `codecs`: lower-case name to payload type, for the codecs that the relay passes on."""

    kind: str
    mid: str
    receives: bool
    sends: bool
    codecs: dict[str, int]
    retransmits: dict[int, int]             # payload type of the repair, by that of what it repairs
    extensions: dict[str, int]
    ssrcs: tuple[int, ...]
    repair: dict[int, int]                  # SSRC of the repairs → SSRC that they repair


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    user: str
    fingerprints: tuple[tuple[str, str], ...]
    media: tuple[Media, ...]
    setup: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the answer says of one m-line: direction and, where we send, whose stream under which SSRC."""

    media: Media
    direction: str
    seat: str = ""
    ssrc: int = 0
    codecs: dict[str, int] = field(default_factory=dict)


def _number(text: str) -> int:
    if not text.isdigit() or len(text) > 10:
        raise BadOffer("number")
    return int(text)


def read(sdp: str) -> Offered:
    """BadOffer for anything that is no bundled offer of a browser."""
    lines = [line.rstrip("\r") for line in sdp.split("\n")]
    starts = [at for at, line in enumerate(lines) if line.startswith("m=")]
    if not starts or len(starts) > LINES:
        raise BadOffer("number of m-lines")
    head = lines[: starts[0]]
    media = []
    user, setup = "", ""
    fingerprints: list[tuple[str, str]] = []
    for at, start in enumerate(starts):
        section = lines[start : starts[at + 1] if at + 1 < len(starts) else len(lines)]
        media.append(_media(section))
        for line in (*head, *section) if at == 0 else ():
            name, _, value = line.removeprefix("a=").partition(":")
            if name == "ice-ufrag":
                user = value
            elif name == "fingerprint":
                algorithm, _, digest = value.partition(" ")
                fingerprints.append((algorithm, digest))
            elif name == "setup":
                setup = value
    if not user or not fingerprints or setup not in {"actpass", "active"}:
        raise BadOffer("no fingerprint or ICE user")
    if len({x.mid for x in media}) != len(media):
        raise BadOffer("mid")
    return Offered(user=user, fingerprints=tuple(fingerprints), media=tuple(media), setup=setup)


def _media(section: list[str]) -> Media:
    kind = section[0].removeprefix("m=").partition(" ")[0]
    mid, direction = "", "sendrecv"
    names: dict[int, str] = {}
    repairs: dict[int, int] = {}
    extensions: dict[str, int] = {}
    ssrcs: list[int] = []
    repair: dict[int, int] = {}
    for line in section[1:]:
        name, _, value = line.removeprefix("a=").partition(":")
        first, _, rest = value.partition(" ")
        if name == "mid":
            mid = value
        elif name in {"sendrecv", "sendonly", "recvonly", "inactive"}:
            direction = name
        elif name == "rtpmap":
            names[_number(first)] = rest.lower()
        elif name == "fmtp" and rest.startswith("apt="):
            repairs[_number(rest[4:].partition(";")[0])] = _number(first)
        elif name == "extmap":
            extensions[rest.partition(" ")[0]] = _number(first.partition("/")[0])
        elif name == "ssrc":
            if (number := _number(first)) not in ssrcs:
                ssrcs.append(number)
        elif name == "ssrc-group" and first == "FID":
            original, _, repairing = rest.partition(" ")
            repair[_number(repairing)] = _number(original)
    if not _MID.fullmatch(mid):
        raise BadOffer("mid")
    wanted = {"opus/48000/2": "opus", "red/48000/2": "red"} if kind == "audio" else {"vp8/90000": "vp8"}
    codecs: dict[str, int] = {}
    for number, codec in names.items():
        if codec in wanted and (35 <= number <= 63 or 96 <= number <= 127):     # RFC 5761 §4, JSEP's dynamic ranges
            codecs.setdefault(wanted[codec], number)
    retransmits = {original: number for original, number in repairs.items() if names.get(number) == "rtx/90000"}
    return Media(
        kind=kind, mid=mid, receives=direction in {"sendrecv", "recvonly"}, sends=direction in {"sendrecv", "sendonly"},
        codecs=codecs, retransmits=retransmits, extensions={k: v for k, v in extensions.items() if 1 <= v <= 14},
        ssrcs=tuple(x for x in ssrcs if x not in repair), repair=repair,
    )


def passable(media: Media) -> bool:
    """Whether the relay can pass this line's media on: Opus, or VP8."""
    return ("opus" if media.kind == "audio" else "vp8") in media.codecs


def answer(
    lines: list[Line], *, number: int, user: str, password: str, fingerprints: list[tuple[str, str]],
    candidates: list[str],
) -> str:
    """The answer's text. `number` grows with every answer on the same connection (RFC 8829 §5.3.2)."""
    bundled = [x.media.mid for x in lines if x.direction != "rejected"]
    out = ["v=0", f"o=- 1 {number} IN IP4 0.0.0.0", "s=-", "t=0 0", "a=ice-lite", f"a=group:BUNDLE {' '.join(bundled)}"]
    for line in lines:
        media = line.media
        if line.direction == "rejected":
            profile = "UDP/DTLS/SCTP webrtc-datachannel" if media.kind == "application" else "UDP/TLS/RTP/SAVPF 0"
            out += [f"m={media.kind} 0 {profile}", "c=IN IP4 0.0.0.0", f"a=mid:{media.mid}", "a=inactive"]
            continue
        out += _section(line)
        out += [f"a=ice-ufrag:{user}", f"a=ice-pwd:{password}", "a=setup:passive"]
        out += [f"a=fingerprint:{algorithm} {digest}" for algorithm, digest in fingerprints]
        # On every line of the bundle: browsers read the first one's, aiortc the last one's.
        out += [f"a=candidate:{candidate}" for candidate in candidates] + ["a=end-of-candidates"]
    return "\r\n".join(out) + "\r\n"


def _section(line: Line) -> list[str]:
    media, codecs = line.media, line.codecs
    types: list[int] = []
    said: list[str] = []
    receiving = line.direction == "recvonly"
    if "red" in codecs:
        types.append(codecs["red"])
        opus = codecs["opus"]
        said += [f"a=rtpmap:{codecs['red']} red/48000/2", f"a=fmtp:{codecs['red']} {opus}/{opus}"]
    if "opus" in codecs:
        types.append(codecs["opus"])
        said += [f"a=rtpmap:{codecs['opus']} opus/48000/2", f"a=fmtp:{codecs['opus']} {SPEECH}"]
    if "vp8" in codecs:
        vp8 = codecs["vp8"]
        types.append(vp8)
        asked = ("nack", "nack pli", "ccm fir", *(() if receiving else ("goog-remb",)))
        said += [f"a=rtpmap:{vp8} VP8/90000", *(f"a=rtcp-fb:{vp8} {x}" for x in asked)]
        if receiving and (repair := media.retransmits.get(vp8)) is not None:
            types.append(repair)
            said += [f"a=rtpmap:{repair} rtx/90000", f"a=fmtp:{repair} apt={vp8}"]
    if receiving and TRANSPORT_WIDE in media.extensions:
        said += [f"a=rtcp-fb:{x} transport-cc" for x in codecs.values()]
    if receiving:
        said += [f"a=extmap:{media.extensions[x]} {x}" for x in (MID, TRANSPORT_WIDE) if x in media.extensions]
    out = [
        f"m={media.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, types))}", "c=IN IP4 0.0.0.0",
        f"a=mid:{media.mid}", f"a={line.direction}", "a=rtcp-mux", "a=rtcp-rsize", *said,
    ]
    if line.direction == "sendonly":
        out += [f"a=msid:{line.seat} {line.seat}-{media.kind}", f"a=ssrc:{line.ssrc} cname:{line.seat}"]
    return out
