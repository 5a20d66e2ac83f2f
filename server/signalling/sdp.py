"""What of an SDP or a candidate may pass between browsers (RFC 8866, RFC 8839, RFC 8840).

The room is an allow-list: ICE servers come only from us, candidates travel only in their own messages (so that the
site's rule meets each of them), and a description without DTLS fingerprint is not passed on.
"""

import ipaddress
from typing import Literal

from server.signalling.schema import SESSION_DESCRIPTION_LINES

LINE_LIMIT = 1024
Rule = Literal["own_subnet", "all", "none"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_DROPPED = ("a=candidate:", "a=end-of-candidates", "a=remote-candidates")


class BadDescription(Exception):
    """The description or candidate is not passed on; the text says why and holds nothing of it."""


def clean(sdp: str, *, most: int = SESSION_DESCRIPTION_LINES) -> str:
    """The SDP without candidates; of `most` m-lines; BadDescription when it is not a plausible WebRTC description."""
    lines = [line for line in sdp.replace("\r\n", "\n").split("\n") if line]
    if not lines or lines[0] != "v=0":
        raise BadDescription("not an SDP")
    if any(len(line) > LINE_LIMIT or "\r" in line or "\0" in line for line in lines):
        raise BadDescription("line too long or broken")
    if any(len(line) < 2 or line[1] != "=" for line in lines):
        raise BadDescription("not an SDP")
    media = sum(line.startswith("m=") for line in lines)
    if not 0 < media <= most:
        raise BadDescription("number of m-lines")
    if not any(line.startswith("a=fingerprint:") for line in lines):
        raise BadDescription("no fingerprint")
    kept = [line for line in lines if not line.startswith(_DROPPED)]
    return "\r\n".join(kept) + "\r\n"


def passes(candidate: str, *, rule: Rule, remote: str | None) -> bool:
    """Whether a candidate may go to the other browser.

    `remote` is the address of the sender's socket. Private addresses and mDNS names (`….local`) pass under `all`,
    never under `none`, and under `own_subnet` only where the sender reaches us over a private network itself: its own
    /24 (IPv6: /64), or this machine. An empty text (end of candidates) passes. BadDescription when unreadable.
    """
    if not candidate:
        return True
    text = candidate.removeprefix("a=").removeprefix("candidate:")
    if text == candidate.removeprefix("a=") or "\n" in text or "\r" in text:
        raise BadDescription("not a candidate")
    fields = text.split(" ")
    if len(fields) < 8 or fields[6] != "typ" or fields[7] not in {"host", "srflx", "prflx", "relay"}:
        raise BadDescription("not a candidate")
    if fields[2].lower() not in {"udp", "tcp"} or not fields[5].isdigit() or int(fields[5]) > 65535:
        raise BadDescription("not a candidate")
    address, sender = fields[4], _address(remote or "")
    if address.endswith(".local"):
        if rule == "own_subnet":
            return sender is not None and _private(sender)
        return rule == "all"
    parsed = _address(address)
    if parsed is None:
        raise BadDescription("a name in place of an address")
    if parsed.is_multicast or parsed.is_unspecified:
        return False
    if fields[7] != "host" or not _private(parsed) or rule == "all":
        return True
    return rule == "own_subnet" and sender is not None and _neighbours(parsed, sender)


def _address(text: str) -> Address | None:
    try:
        parsed = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def _private(address: Address) -> bool:
    return address.is_private or address.is_loopback or address.is_link_local


def _neighbours(address: Address, sender: Address) -> bool:
    """In the sender's own subnet. A sender on this machine may use any of its interfaces."""
    if sender.is_loopback:
        return True
    if address.version != sender.version:
        # The socket came over the other family; its private networks cannot be compared, but they are its own.
        return _private(sender)
    length = 24 if sender.version == 4 else 64
    return address in ipaddress.ip_network(f"{sender}/{length}", strict=False)
