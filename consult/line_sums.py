"""What is counted of one seat's line in one session: sums that can be added.

A seat's row counts what that seat sent (time on each rung), how it went (directly or not), and what came to it
(made-up speech, loss, round trip, breaks).
"""

from dataclasses import dataclass, fields, replace
from itertools import zip_longest

from consult import model as m

RUNGS = ("video", "small", "stills", "audio", "telephone")       # what a seat sends, from most to least
WAYS = ("direct", "turn", "server", "none")     # browser to browser, over coturn, through our relay, no way at all
RTT_STEPS = (5, 7, 10, 14, 20, 28, 40, 56, 80, 110, 160, 220, 320, 450, 640, 900, 1300, 1800, 2500, 3600, 5000)   # ms
LITTLE = 5_000           # ms of speech: less is no measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatLine:
    """Sums of one seat, in milliseconds where the name says so. `rtt`: how many reports stood under each of RTT_STEPS,
    and over all of them. `falls`: times the line took from the picture. `breaks`: times nothing came for 3 s and more.
    """

    seat: m.SeatId
    session: m.SessionId
    setup_ms: int | None = None      # until the first sound or picture of somebody else
    video_ms: int = 0
    small_ms: int = 0
    stills_ms: int = 0
    audio_ms: int = 0
    telephone_ms: int = 0
    direct_ms: int = 0
    turn_ms: int = 0
    server_ms: int = 0
    none_ms: int = 0
    heard_ms: int = 0                # of speech whose making up was measured,
    concealed_ms: int = 0            # so much was made up
    counted_ms: int = 0              # of speech whose loss was measured,
    lost_ms: int = 0                 # so much was lost
    rtt: tuple[int, ...] = ()
    freezes: int = 0
    falls: int = 0
    restarts: int = 0
    rebuilds: int = 0
    breaks: int = 0
    silent_ms: int = 0
    sent: int = 0                    # bytes
    received: int = 0

    def plus(self, more: "SeatLine") -> "SeatLine":
        """Both together; the set-up is the earlier one's."""
        sums = {name: getattr(self, name) + getattr(more, name) for name in _SUMS}
        setup = more.setup_ms if self.setup_ms is None else self.setup_ms
        rtt = tuple(one + two for one, two in zip_longest(self.rtt, more.rtt, fillvalue=0))
        return replace(self, setup_ms=setup, rtt=rtt, **sums)

    @property
    def empty(self) -> bool:
        return self.setup_ms is None and not any(self.rtt) and not any(getattr(self, name) for name in _SUMS)

    @property
    def concealed(self) -> float | None:
        """Share of the speech that was made up; None when too little was measured."""
        return self.concealed_ms / self.heard_ms if self.heard_ms >= LITTLE else None

    @property
    def loss(self) -> float | None:
        """Share of the packets of speech that never came."""
        return self.lost_ms / self.counted_ms if self.counted_ms >= LITTLE else None

    def round_trip(self, share: float) -> int | None:
        """Milliseconds that `share` (0 to 1) of the reports stayed under, interpolated within its step."""
        wanted = sum(self.rtt) * share
        if not wanted:
            return None
        below, passed = 0, 0
        for step, count in zip(RTT_STEPS, self.rtt, strict=False):
            if count and passed + count >= wanted:
                return round(below + (step - below) * (wanted - passed) / count)
            below, passed = step, passed + count
        return below


_SUMS = tuple(x.name for x in fields(SeatLine) if x.name not in {"seat", "session", "setup_ms", "rtt"})
