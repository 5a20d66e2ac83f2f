"""DTLS and SRTP of one connection: the one place where aiortc is used, and with it three of its private names.

tests/media/test_aiortc_contract.py says what breaks when a release changes them; the version is pinned for that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import cast

from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceTransport
from pylibsrtp import Error, Session

from server.media.relay.ice import Path

__all__ = ["BadPacket", "Secure"]

BadPacket = Error


class Secure:
    """The server's side (RFC 5763 §5: passive) of DTLS-SRTP over a path, with a certificate of its own."""

    def __init__(self, path: Path) -> None:
        self._transport = RTCDtlsTransport(
            cast("RTCIceTransport", path), [RTCCertificate.generateCertificate()]  # of which it asks _recv and _send
        )
        self._transport._set_role("server")  # noqa: SLF001
        self.incoming: Session | None = None
        self.outgoing: Session | None = None

    def fingerprints(self) -> list[tuple[str, str]]:
        """(algorithm, digest) of our certificate."""
        found = self._transport.getLocalParameters().fingerprints
        return [(x.algorithm, x.value) for x in found if x.algorithm == "sha-256"]

    async def handshake(self, fingerprints: Sequence[tuple[str, str]]) -> bool:
        """Whether the other side proved one of the fingerprints; the two sessions are there from then on."""
        remote = RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint(algorithm=x, value=y) for x, y in fingerprints])
        with contextlib.suppress(ConnectionError):
            await self._transport.start(remote)
        if self._transport.state != "connected":
            return False
        self.incoming = self._transport._rx_srtp  # noqa: SLF001
        self.outgoing = self._transport._tx_srtp  # noqa: SLF001
        return True

    def on_end(self, ended: Callable[[], None]) -> None:
        """Called once when the other side has closed, after a successful handshake."""

        def changed() -> None:
            if self._transport.state in {"closed", "failed"}:
                ended()

        self._transport.on("statechange", changed)

    async def stop(self) -> None:
        """Say goodbye; nothing is decrypted or sent from here on."""
        self.incoming = self.outgoing = None
        self._transport.remove_all_listeners()
        with contextlib.suppress(ConnectionError):
            await self._transport.stop()
