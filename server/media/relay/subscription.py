"""One line to one subscriber: a seat's sound or picture under this line's own SSRC and payload types.

What is passed on in one go keeps its distances: numbers and timestamps are the publisher's plus one constant each, so
that a gap stays a gap. Where pictures were left out, padding was sent or another stream begins, a new run begins with
other constants, and the line goes on where it was.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from server.media.relay import red, rtcp, rtp, vp8
from server.media.relay.publication import Publication

RESENDS_PER_SECOND = 300
FAR = 1024                                          # a number further back is a new beginning
RUNS = 8                                            # kept for those who miss something of them
PADDING = 255                                       # bytes of one padding packet (RFC 3550 §5.1)


@dataclass(slots=True)
class Run:
    """Source numbers `last - span` to `last` go out as number + shift; picture numbers of VP8 as number + pictures."""

    last: int
    span: int
    shift: int
    pictures: int = 0
    open: bool = True

    def holds(self, number: int) -> bool:
        return (self.last - number) & 0xFFFF <= self.span


class Subscription:
    """`codecs`: name → payload type, as negotiated with the subscriber. `mid` is the line in its description.

    Of a picture everything is passed on ('all'), only whole pictures ('stills'), or nothing ('none').
    """

    def __init__(
        self, *, seat: str, kind: str, mid: str, codecs: dict[str, int], send: Callable[[bytes], None]
    ) -> None:
        self.seat, self.kind, self.mid, self.codecs, self._send = seat, kind, mid, codecs, send
        self.ssrc = secrets.randbits(31) + 1
        self.source: Publication | None = None
        self.following: Publication | None = None   # takes the source's place with its next whole picture
        self.passes = "all"
        self.redundant = True                       # speech goes with its redundancy
        self.sent = 0
        self.resent = 0
        self.loss = 0.0                             # as the subscriber reported last, 0 to 1
        self.whole_at = 0.0                         # when a whole picture was last begun
        self._runs: deque[Run] = deque(maxlen=RUNS)
        self._delay = 0                             # of timestamps
        self._last: tuple[int, int, float] | None = None    # sequence, timestamp, when: as sent
        self._picture: int | None = None            # the newest picture number, as sent
        self._still: int | None = None              # timestamp of the whole picture that is passed on alone
        self._ended = True                          # the last packet sent ended a picture
        self._window = (0.0, 0)
        self._begun = False                         # this source has been passed on
        self._whole = False                         # the next run begins with a whole picture

    def connect(self, source: Publication) -> None:
        """Take this stream from now on; a picture begins with a whole one."""
        if self.source is source and self.following is None:
            return
        self.disconnect()
        self.source = source
        source.takers.append(self.take)
        source.clock_takers.append(self.clock)
        self._begun = False
        self._runs.clear()
        self._still = None
        source.want_keyframe()

    def follow(self, source: Publication) -> None:
        """Take this stream from its next whole picture on; until then what there is goes on."""
        if self.source is source:
            self._forget_following()
        elif self.source is None or self.passes == "none" or not self.source.takers:
            self._forget_following()
            self.connect(source)
            self._whole = True
        elif self.following is not source:
            self._forget_following()
            self.following = source
            source.takers.append(self._arrive)
            source.want_keyframe()

    def _arrive(self, source: Publication, packet: rtp.Packet) -> None:
        seen = vp8.read(packet.body)
        if seen is not None and seen.key:
            source.takers.remove(self._arrive)
            self.following = None
            self.connect(source)
            self._whole = True
            self.take(source, packet)

    def _forget_following(self) -> None:
        if self.following is not None:
            if self._arrive in self.following.takers:
                self.following.takers.remove(self._arrive)
            self.following = None

    def disconnect(self) -> None:
        self._forget_following()
        if self.source is not None:
            if self.take in self.source.takers:
                self.source.takers.remove(self.take)
                self.source.clock_takers.remove(self.clock)
            self.source = None

    def give(self, passes: str) -> None:
        """'all', 'stills' or 'none' from now on; after less, everything begins with a whole picture."""
        if passes == self.passes:
            return
        self.passes = passes
        self._close()
        self._whole = True
        self._still = None
        if passes != "none" and self.source is not None:
            self.source.want_keyframe()

    def _close(self) -> None:
        if self._runs:
            self._runs[-1].open = False

    def _run(self, source: Publication, packet: rtp.Packet) -> Run | None:
        """The run that a packet belongs to, a new one where one may begin; None: it is left out."""
        number = packet.sequence
        run = self._runs[-1] if self._runs else None
        if run is not None and run.open and rtp.newer(number, run.last):
            if self.passes != "stills" or packet.timestamp == self._still:
                run.span = min(0x7FFF, run.span + ((number - run.last) & 0xFFFF))
                run.last = number
                return run
            run.open = False
        for known in reversed(self._runs):
            if known.holds(number):
                return known
        late = run is not None and run.open and (run.last - packet.sequence) & 0xFFFF < FAR
        if late or self.passes == "none":
            return None
        seen = vp8.read(packet.body) if self.kind == "video" else None
        if self._whole or self.passes == "stills":
            if seen is None or not seen.key:
                return None
            self.whole_at, self._still, self._whole = time.monotonic(), packet.timestamp, False
        return self._begin(source, packet, seen)

    def _begin(self, source: Publication, packet: rtp.Packet, seen: vp8.Described | None) -> Run:
        """The constants: none for the first source, then such that numbers go on and the clock has run as ours did."""
        run = Run(last=packet.sequence, span=0, shift=0)
        if self._last is not None:
            sequence, timestamp, at = self._last
            run.shift = (sequence + 1 - packet.sequence) & 0xFFFF
            if not self._begun:
                elapsed = max(1, int((time.monotonic() - at) * source.rate))
                self._delay = (timestamp + elapsed - packet.timestamp) & 0xFFFFFFFF
        if seen is not None and seen.picture is not None and self._picture is not None:
            run.pictures = (self._picture + 1 - seen.picture) & 0x7FFF
        self._begun = True
        self._runs.append(run)
        return run

    def take(self, source: Publication, packet: rtp.Packet) -> None:
        """Pass a packet on, or leave it out."""
        run = self._run(source, packet)
        data = None if run is None else self._made(source, packet, run, fresh=True)
        if run is None or data is None:
            return
        sequence = (packet.sequence + run.shift) & 0xFFFF
        if self._last is None or rtp.newer(sequence, self._last[0]):
            self._last = (sequence, (packet.timestamp + self._delay) & 0xFFFFFFFF, time.monotonic())
            self._ended = bool(packet.marker)
        self.sent += 1
        self._send(data)

    def _made(self, source: Publication, packet: rtp.Packet, run: Run, *, fresh: bool = False) -> bytes | None:
        name = source.codecs[packet.payload_type]
        body = packet.body
        try:
            if name == "red" and "red" in self.codecs and self.redundant:
                body = red.retyped(body, self.codecs["opus"])
            elif name == "red":
                name, body = "opus", red.primary(body)
        except ValueError:
            return None
        if name == "vp8" and (seen := vp8.read(body)) is not None and seen.picture is not None:
            picture = (seen.picture + run.pictures) & (1 << seen.bits) - 1
            if run.pictures:
                body = vp8.renumbered(body, seen, picture)
            if fresh and packet.sequence == run.last:
                self._picture = picture
        return rtp.build(
            packet, payload_type=self.codecs[name], sequence=(packet.sequence + run.shift) & 0xFFFF,
            timestamp=(packet.timestamp + self._delay) & 0xFFFFFFFF, ssrc=self.ssrc, body=body,
        )

    def pad(self, count: int) -> int:
        """Send so many packets of mere padding after a whole picture: a line's room is tried without a picture. How
        many were sent: none in the midst of a picture.
        """
        run = self._runs[-1] if self._runs else None
        if "vp8" not in self.codecs or (run is not None and run.open and not self._ended):
            return 0
        if self._last is None:
            self._last = (secrets.randbits(15), secrets.randbits(31), time.monotonic())
        sequence, timestamp, at = self._last
        for step in range(1, count + 1):
            head = rtp.padding(
                payload_type=self.codecs["vp8"], sequence=(sequence + step) & 0xFFFF, timestamp=timestamp,
                ssrc=self.ssrc, size=PADDING,
            )
            self._send(head)
        self._last = ((sequence + count) & 0xFFFF, timestamp, at)
        if run is not None and run.open:            # goes on behind the padding; a gap here stays a gap
            run.open = False
            self._runs.append(Run(last=run.last, span=-1, shift=(run.shift + count) & 0xFFFF, pictures=run.pictures))
        return count

    def clock(self, _source: Publication, seen: rtcp.Clock) -> None:
        """The publisher's clock, moved as the packets are."""
        if self._begun and self.passes != "none":
            self._send(rtcp.sender_report(seen, ssrc=self.ssrc, shift=self._delay))

    def missing(self, numbers: list[int]) -> None:
        """The subscriber's NACK, answered from what the publisher sent lately, at most so often in a second."""
        source = self.source
        if source is None or not self._begun:
            return
        now = time.monotonic()
        began, count = self._window
        if now - began >= 1:
            began, count = now, 0
        for number in numbers:
            run = next((x for x in reversed(self._runs) if x.holds((number - x.shift) & 0xFFFF)), None)
            packet = None if run is None else source.history.get((number - run.shift) & 0xFFFF)
            if run is not None and packet is not None and count < RESENDS_PER_SECOND:
                data = self._made(source, packet, run)
                if data is not None:
                    count += 1
                    self.resent += 1
                    self._send(data)
        self._window = (began, count)

    def wanted(self) -> None:
        """The subscriber asks for a whole picture; stills come by themselves."""
        if self.source is not None and self.passes == "all":
            self.source.want_keyframe()
