"""The words of the network: its bounds, its contexts, its ways to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dicom.errors import DicomError
from dicom.network import pdu


class AssociationEndedError(DicomError):
    """The association is over (aborted, lost, timed out); `reason` is its code."""


class RejectedError(DicomError):
    """The peer refused the association."""

    def __init__(self, rejection: pdu.Reject) -> None:
        super().__init__(code="association_rejected")
        self.rejection = rejection


class Timer(Protocol):
    """What `call_later` gives back."""

    def cancel(self) -> None: ...


class Timers(Protocol):
    """The event loop, or a test's hand-driven clock."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer: ...


def address_of(peer: object) -> str:
    """The IP address of a socket's peer, '' where it has none; IPv4 over an IPv6 socket is IPv4."""
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLimits:
    """Bounds of the DICOM network. Seconds, bytes."""

    max_pdu: int = 256 << 10
    artim_seconds: float = 10.0
    idle_seconds: float = 60.0
    max_associations: int = 64
    max_per_address: int = 16
    # Sockets without an association yet, be it in a TLS handshake; beyond it the oldest of the busiest address goes.
    max_pending: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """An accepted presentation context; `peer_is_scp`: the peer takes our requests on it (C-GET)."""

    id: int
    abstract: str
    transfer: str
    peer_is_scp: bool = False
