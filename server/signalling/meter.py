"""Counts one seat's line from what is told of it; pure, in bounded memory, whatever comes in whatever order.

Times are seconds of one clock. What is counted never exceeds the time that has passed: time on a rung is the time
between two words about it, and a report weighs one second only if a second has gone by for it.
"""

from collections.abc import Mapping
from dataclasses import replace

from consult.line_sums import RTT_STEPS, RUNGS, WAYS, SeatLine
from consult.model import SeatId, SessionId

SAVED = 3.0              # seconds of reports that may arrive together, after the socket stood still
SENDERS = 16             # whose reports are weighed apart


class Meter:
    """Begins at `at`. `line` is what has been counted since the last `take`."""

    __slots__ = ("_at", "_began", "_nothing", "_owed", "_rung", "_silent", "_told", "_way", "line")

    def __init__(self, seat: SeatId, session: SessionId, *, at: float) -> None:
        self._nothing = self.line = SeatLine(seat=seat, session=session)
        self._at = at
        self._rung = ""
        self._way = ""
        self._told: dict[str, float] = {}        # sender → up to when its seconds are weighed
        self._began = at
        self._silent = 0.0
        self._owed: dict[str, float] = {}        # fractions of a millisecond not counted yet

    def be(self, *, rung: str, way: str, at: float) -> None:
        """From `at` on this is what the seat sends and how it goes; "" for none, as when it is alone or lost."""
        passed = max(0.0, at - self._at)
        if self._rung in RUNGS:
            self._add(f"{self._rung}_ms", passed)
            if self._way in WAYS:
                self._add(f"{self._way}_ms", passed)
        self._at, self._rung, self._way = max(at, self._at), rung, way

    def hear(self, sender: str, figures: Mapping[str, float | None], *, at: float) -> None:
        """A report of about a second: concealed and loss (shares), rtt_ms, freezes; what is missing is not counted."""
        weight = self._weigh(sender, at)
        if not weight:
            return                               # the same again, or more than there was time for
        for share, whole, part in (("concealed", "heard_ms", "concealed_ms"), ("loss", "counted_ms", "lost_ms")):
            if (value := figures.get(share)) is not None:
                self._add(whole, weight)
                self._add(part, weight * value)
        if (rtt := figures.get("rtt_ms")) is not None:
            counts = list(self.line.rtt or (0,) * (len(RTT_STEPS) + 1))
            counts[sum(rtt > step for step in RTT_STEPS)] += 1
            self.line = replace(self.line, rtt=tuple(counts))
        self.count(freezes=int(figures.get("freezes") or 0))

    def tell(self, *, setup_ms: int | None, breaks: int, silent_ms: int, sent: int, received: int, at: float,
             lasted: float) -> None:
        """What the browser alone knows, since it last told it. `lasted`: seconds of the session, which no silence
        exceeds.
        """
        silent = min(silent_ms / 1000, max(0.0, lasted - self._silent))
        self._silent += silent
        self._add("silent_ms", silent)
        self.count(breaks=breaks, sent=sent, received=received)
        if setup_ms is not None and self.line.setup_ms is None:
            self.line = replace(self.line, setup_ms=min(setup_ms, round(max(lasted, at - self._began) * 1000)))

    def count(self, **more: int) -> None:
        """Add to counters by name."""
        found = {name: getattr(self.line, name) + value for name, value in more.items() if value}
        if found:
            self.line = replace(self.line, **found)

    def take(self) -> SeatLine:
        """What was counted since the last time; counting begins anew."""
        taken, self.line = self.line, self._nothing
        return taken

    def put_back(self, taken: SeatLine) -> None:
        """It could not be kept: count it with what came since."""
        self.line = taken.plus(self.line)

    def _weigh(self, sender: str, at: float) -> float:
        """Seconds that a report stands for: one at most, and never more than have passed for its sender."""
        if sender not in self._told:
            if len(self._told) >= SENDERS:
                return 0.0
            self._told[sender] = max(self._began, at - 1)
        since = max(self._told[sender], at - SAVED)
        weight = min(1.0, max(0.0, at - since))
        self._told[sender] = since + weight
        return weight

    def _add(self, name: str, seconds: float) -> None:
        exact = self._owed.get(name, 0.0) + seconds * 1000
        whole = int(exact)
        self._owed[name] = exact - whole
        self.count(**{name: whole})
