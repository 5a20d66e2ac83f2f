"""The connection of one browser: its path, DTLS and SRTP, what it publishes and what it is subscribed to."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

from server.media.relay import description, rtcp, rtp
from server.media.relay.arrivals import Arrivals
from server.media.relay.description import Line, Media, Offered
from server.media.relay.ice import IceLite, Path
from server.media.relay.publication import Publication
from server.media.relay.secure import BadPacket, Secure
from server.media.relay.subscription import Subscription

LOG = logging.getLogger("huizhen.media")
HANDSHAKE_SECONDS = 20.0
SILENT_SECONDS = 30.0           # no consent check for so long: the browser has gone


class Connection:
    """`up` is called once when media can flow, `down` once when it no longer can and nobody closed it here."""

    def __init__(
        self, *, name: str, seat: str, lite: IceLite, up: Callable[[Connection], None],
        down: Callable[[Connection], None], found: Callable[[Connection, Publication], None], speech: bool = False,
    ) -> None:
        self.name, self.seat, self._up, self._down, self._found = name, seat, up, down, found
        self.lite = lite
        self.path: Path = lite.path()
        self.path.media = self.take
        self.secure = Secure(self.path)
        self.publications: dict[int, Publication] = {}
        self.thin: Publication | None = None                        # the small second picture, while it is sent
        self.speech = speech                                        # no pictures either way
        self.estimate: float | None = None                          # kbit/s that the browser's receiver believes in
        self.subscriptions: dict[str, Subscription] = {}            # by mid
        self.connected = self.closed = False
        self.own = secrets.randbits(32)
        self.received = self.sent = 0
        self._arrivals = Arrivals()
        self._published: dict[str, Media] = {}                      # by mid
        self._by_ssrc: dict[int, Media] = {}
        self._answers = 0
        self._task: asyncio.Task[None] | None = None

    # -- negotiation -------------------------------------------------------------------------------------------------

    def answer(self, offered: Offered, others: tuple[str, ...]) -> str:
        """Read an offer of this connection and answer it; the lines to receive are given to `others`."""
        lines = [self._line(media) for media in offered.media]
        self._seat_lines(lines, others)
        if self._task is None:
            self._task = asyncio.create_task(self._run(offered.fingerprints))
        self._answers += 1
        return description.answer(
            lines, number=self._answers, user=self.path.user, password=self.path.password,
            fingerprints=self.secure.fingerprints(), candidates=self.lite.candidates(),
        )

    def _line(self, media: Media) -> Line:
        if media.kind not in {"audio", "video"} or not description.passable(media):
            return Line(media=media, direction="rejected")
        if self.speech and media.kind == "video":
            return Line(media=media, direction="inactive", codecs=media.codecs)
        if media.sends:
            self._published[media.mid] = media
            for ssrc in (*media.ssrcs, *media.repair):
                self._by_ssrc[ssrc] = media
            return Line(media=media, direction="recvonly", codecs=media.codecs)
        return Line(media=media, direction="inactive", codecs=media.codecs)

    def _seat_lines(self, lines: list[Line], others: tuple[str, ...]) -> None:
        """A seat keeps its line; seats without one take the free ones in order."""
        for mid, held in list(self.subscriptions.items()):
            if held.seat not in others or all(x.media.mid != mid or not x.media.receives for x in lines):
                held.disconnect()
                del self.subscriptions[mid]
        for at, line in enumerate(lines):
            if line.direction != "inactive" or not line.media.receives or (self.speech and line.media.kind == "video"):
                continue
            subscription = self.subscriptions.get(line.media.mid)
            if subscription is None:
                taken = {x.seat for x in self.subscriptions.values() if x.kind == line.media.kind}
                seat = next((x for x in others if x not in taken), None)
                if seat is None:
                    continue
                subscription = self.subscriptions[line.media.mid] = Subscription(
                    seat=seat, kind=line.media.kind, mid=line.media.mid, codecs=line.media.codecs, send=self.send_rtp
                )
            lines[at] = Line(
                media=line.media, direction="sendonly", seat=subscription.seat, ssrc=subscription.ssrc,
                codecs=line.media.codecs,
            )

    async def _run(self, fingerprints: tuple[tuple[str, str], ...]) -> None:
        well = False
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                well = await self.secure.handshake(fingerprints)
        except TimeoutError:
            LOG.info("media handshake", extra={"seat": self.seat})
        if well and not self.closed:
            self.connected = True
            self.secure.on_end(self._ended)
            self._up(self)
        else:
            self._ended()

    def _ended(self) -> None:
        if not self.closed:
            self.closed = True
            self._down(self)

    # -- packets ------------------------------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """One SRTP or SRTCP datagram."""
        session = self.secure.incoming
        if session is None or self.closed:
            return
        try:
            if 192 <= data[1] <= 223:                       # RFC 5761 §4
                self._control(session.unprotect_rtcp(data))
            else:
                self._media(rtp.parse(session.unprotect(data)))
        except (BadPacket, ValueError, IndexError):
            return

    def _media(self, packet: rtp.Packet) -> None:
        self.received += 1
        media = self._by_ssrc.get(packet.ssrc) or self._by_mid(packet)
        if media is None:
            return
        if (wide := media.extensions.get(description.TRANSPORT_WIDE)) is not None:
            value = rtp.extension(packet.extensions, wide)
            if len(value) == 2:
                self._arrivals.add(int.from_bytes(value), packet.ssrc)
        if packet.ssrc in media.repair:
            original = next((x for x, y in media.retransmits.items() if y == packet.payload_type), None)
            repaired = None if original is None else rtp.restored(
                packet, payload_type=original, ssrc=media.repair[packet.ssrc]
            )
            if repaired is None:
                return
            packet = repaired
        publication = self._publication(packet.ssrc)
        if publication is None:
            publication = self._publish(media, packet.ssrc)
        publication.take(packet)

    def _publication(self, ssrc: int) -> Publication | None:
        if self.thin is not None and self.thin.ssrc == ssrc:
            return self.thin
        return self.publications.get(ssrc)

    def _by_mid(self, packet: rtp.Packet) -> Media | None:
        """The line of an SSRC that the offer did not name (RFC 8843 §9.2)."""
        for media in self._published.values():
            wanted = media.extensions.get(description.MID)
            if wanted is not None and rtp.extension(packet.extensions, wanted) == media.mid.encode():
                if packet.payload_type in media.codecs.values() and len(self._by_ssrc) < 16:
                    self._by_ssrc[packet.ssrc] = media
                    return media
                return None
        return None

    def _publish(self, media: Media, ssrc: int) -> Publication:
        if media.kind == "video" and media.mid != next(x.mid for x in self._published.values() if x.kind == "video"):
            if self.thin is not None:
                self.thin.close()
            self.thin = self._made(media, ssrc)             # the second line of pictures is the small one
            self._found(self, self.thin)
            return self.thin
        for old in [x for x in self.publications.values() if x.kind == media.kind]:
            old.close()                                     # the browser gave the line another SSRC
            del self.publications[old.ssrc]
        made = self.publications[ssrc] = self._made(media, ssrc)
        self._found(self, made)
        return made

    def _made(self, media: Media, ssrc: int) -> Publication:
        return Publication(
            kind=media.kind, ssrc=ssrc, codecs={y: x for x, y in media.codecs.items()}, send=self.send_rtcp
        )

    def published(self, kind: str) -> Publication | None:
        """What the browser sends of a kind, the small picture apart."""
        return next((x for x in self.publications.values() if x.kind == kind), None)

    def _all(self) -> list[Publication]:
        return [*self.publications.values(), *([] if self.thin is None else [self.thin])]

    def _control(self, data: bytes) -> None:
        for part in rtcp.parts(data):
            if (seen := rtcp.clock(part)) is not None and (publication := self._publication(seen.ssrc)):
                publication.clock(seen)
            for block in rtcp.reports(part):
                if (line := self._subscription(block.ssrc)) is not None:
                    line.loss = block.lost
            if part.kind == rtcp.TRANSPORT and part.count == rtcp.NACK:
                ssrc, numbers = rtcp.lost(part)
                if (line := self._subscription(ssrc)) is not None:
                    line.missing(numbers)
            for ssrc in rtcp.pictures(part):
                line = self._subscription(ssrc)
                if line is not None:
                    line.wanted()
            if (kbps := rtcp.estimate(part)) is not None:
                self.estimate = kbps                        # of this browser's own way: it goes no further

    def _subscription(self, ssrc: int) -> Subscription | None:
        return next((x for x in self.subscriptions.values() if x.ssrc == ssrc), None)

    def send_rtp(self, data: bytes) -> None:
        """A packet or sender report for this browser."""
        session = self.secure.outgoing
        if self.connected and not self.closed and session is not None:
            self.sent += 1
            rtcp_like = 192 <= data[1] <= 223
            self.path.send(session.protect_rtcp(data) if rtcp_like else session.protect(data))

    def send_rtcp(self, data: bytes) -> None:
        """Feedback to this browser."""
        session = self.secure.outgoing
        if self.connected and not self.closed and session is not None:
            self.path.send(session.protect_rtcp(data))

    # -- time ------------------------------------------------------------------------------------------------------

    def feedback(self) -> None:
        """Ten times a second."""
        if (data := self._arrivals.report(self.own)) is not None:
            self.send_rtcp(data)

    def tick(self) -> None:
        """Once a second: the report, which is also the browser's sign that the path is alive; and its own silence."""
        blocks = [block for x in self._all() if (block := x.report()) is not None]
        self.send_rtcp(rtcp.receiver_report(self.own, blocks))
        if self.connected and time.monotonic() - self.path.heard > SILENT_SECONDS:
            self._ended()

    async def close(self) -> None:
        """End it: nothing is sent or taken from here on."""
        self.closed = True
        for publication in self._all():
            publication.close()
        for subscription in self.subscriptions.values():
            subscription.disconnect()
        self.subscriptions.clear()
        await self.secure.stop()
        self.path.close()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
