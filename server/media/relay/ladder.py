"""Speech first, per receiver: what of the others' pictures a seat is sent, decided from what it says it receives.

Pure: no clock, no packets. The rules and figures are those of static/js/room/ladder.js. It differs where a relay does:
what a rung needs is measured (streams are what their senders make of them), not known before; the probe before a
trial is padding on a picture's line, since the sound is encoded elsewhere; there is no telephone rung, as the relay
gives no seat up; and redundancy of speech is passed on or left out, never made. Times are ms, rates kbit/s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

RUNGS = ("video", "small", "stills", "audio")       # all pictures, one small one, one now and then, none
VIDEO, SMALL, STILLS, AUDIO = range(4)

AT_ONCE, SOON, WELL = 0.05, 0.02, 0.01              # concealed share: of one second, of two, none to speak of
SECOND, SETTLE, BACK = 900, 2000, 3000
STRIKE = 10_000                                     # in trouble again so soon: no more guessing
FIRST_WAIT, LONGEST_WAIT = 10_000, 120_000
TRIAL, PROVEN = 5000, 30_000
RISING = 2                                          # reports: an estimate comes about once a second, as they do
PROBE_MS = 3000
MOST_PROBE = 200                                    # a probe's padding is no heavier: it is made of small packets
FORGET, LOST = 0.3, 0.05
ROOM_FOR_RED = 200                                  # of what came through in trouble
HEADROOM = 0.8                                      # of a limit, before a better rung is thought to fit under it


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A second of a receiver: shares 0 to 1, kbit/s; what is not measured is None. `estimate`: its REMB."""

    concealed: float | None = None
    loss: float | None = None
    kbps: float | None = None
    estimate: float | None = None


@dataclass(slots=True)
class Trial:
    to: int
    since: float
    probe: float                                    # kbit/s of padding; 0: the rung itself
    lost: list[float] = field(default_factory=list)
    estimates: list[float] = field(default_factory=list)

    def rises(self) -> bool:
        """Whether the receiver's browser still raises its estimate: it does so slowly, and not while queues grow."""
        return len(self.estimates) > RISING and self.estimates[-1] > self.estimates[-1 - RISING]


def badness(report: Report) -> float | None:
    """How much of a second was made up; None when nothing tells. Without concealment figures loss must do."""
    if report.concealed is not None:
        return report.concealed
    return None if report.loss is None else report.loss / 2


class Ladder:
    """`needs` of `hear`: kbit/s of each rung of RUNGS, falling, sound included."""

    def __init__(self, *, at: int = VIDEO) -> None:
        self.at = at                                # where the line lets it be; `rung` keeps within what is wanted
        self.best = VIDEO
        self.capacity = inf                         # what last came through in trouble
        self.wait: float = FIRST_WAIT
        self.trial: Trial | None = None
        self.hush = False                           # no picture just after a fall
        self._fell = self._deaf = self._accepted = -inf
        self._over: float | None = None
        self._well: float | None = None
        self._usual = 0.0                           # loss while all is well

    @property
    def index(self) -> int:
        return max(self.at, self.best)

    @property
    def rung(self) -> str:
        return RUNGS[self.index]

    @property
    def chosen(self) -> bool:
        """Whether the line would carry more than is wanted."""
        return self.best > self.at

    @property
    def probe(self) -> float:
        """Padding to send, kbit/s."""
        return self.trial.probe if self.trial else 0.0

    @property
    def red(self) -> bool:
        """Whether speech is passed on with its redundancy."""
        return self.capacity >= ROOM_FOR_RED

    def back(self, now: float) -> None:
        """The line is new or back: what is reported first still tells of before."""
        self._deaf = now + BACK

    def limit(self, *, most: str, cap: float, needs: Sequence[float]) -> None:
        """What is wanted at most: the best rung, and kbit/s (0: any), under which a rung fits by what it needs now."""
        best = min(AUDIO, RUNGS.index(most)) if most in RUNGS else AUDIO
        if cap:
            fits = (x for x in range(AUDIO) if needs[x] <= cap * (HEADROOM if x < self.best else 1))
            best = max(best, next(fits, AUDIO))
        self.best = best

    def hear(self, report: Report, needs: Sequence[float], now: float) -> bool:
        """One second's report; True when something else is passed on from now on."""
        bad = badness(report)
        if now - self._fell < SETTLE or now < self._deaf:
            return False
        paused, self.hush = self.hush, False
        return (bad is not None and self._judge(bad, report, needs, now)) or paused

    def _judge(self, bad: float, report: Report, needs: Sequence[float], now: float) -> bool:
        self._well = (now - SECOND if self._well is None else self._well) if bad < WELL else None
        self._over = (now if self._over is None else self._over) if bad > SOON else None
        if bad > AT_ONCE or (self._over is not None and now - self._over >= SECOND):
            return self._fall(report, needs, now)
        if self.trial is not None:
            return self._tried(self.trial, report, needs, now)
        if self._well is None:
            return False
        self._usual += ((report.loss or 0.0) - self._usual) * FORGET
        if self.at <= self.best or now - self._well < self.wait:
            return False
        to = self.at - 1
        self.trial = Trial(to=to, since=now, probe=min(MOST_PROBE, max(0.0, needs[to] - needs[self.at])))
        if not self.trial.probe:
            self._move(to)
        return True

    def _tried(self, trial: Trial, report: Report, needs: Sequence[float], now: float) -> bool:
        if trial.probe:
            loss = report.loss or 0.0
            trial.lost.append(loss)
            mean = sum(trial.lost) / len(trial.lost)
            if loss > self._usual + 4 * LOST or (mean > self._usual + LOST and len(trial.lost) > 1):
                return self._failed(trial, now)
            if now - trial.since < PROBE_MS:
                return False
            trial.probe, trial.since = 0.0, now
            self._move(trial.to)
            return True
        trial.estimates += [] if report.estimate is None else [report.estimate]
        if now - trial.since < TRIAL:
            return False
        if report.estimate is not None and report.estimate < 0.8 * needs[trial.to]:
            return False if trial.rises() else self._failed(trial, now)     # the receiver's browser sees queues grow
        self.trial, self._accepted = None, now
        self.capacity = inf if self.at == VIDEO else max(self.capacity, needs[self.at])
        return True

    def _failed(self, trial: Trial, now: float) -> bool:
        self.wait = min(2 * self.wait, LONGEST_WAIT)
        self.trial, self._fell, self.hush = None, now, True
        self._move(trial.to + 1)
        return True

    def _fall(self, report: Report, needs: Sequence[float], now: float) -> bool:
        if self.trial is not None:
            return self._failed(self.trial, now)
        left = (report.kbps or 0.0) * max(0.0, 1 - 2 * (report.loss or 0.0))    # a second that began well
        if report.estimate is not None:
            left = min(left, report.estimate)
        again = now - self._fell < STRIKE
        before = self.red
        self.capacity = max(self.capacity, left) if again and self.capacity != inf else left
        if self.index == AUDIO:
            return self.red is not before
        self.wait = min(2 * self.wait, LONGEST_WAIT) if now - self._accepted < PROVEN else FIRST_WAIT
        fits = next((x for x in range(self.index + 1, AUDIO) if needs[x] <= left * 0.9), AUDIO)
        self._fell, self.hush = now, True
        self._move(AUDIO if again else fits)
        return True

    def _move(self, to: int) -> None:
        self.at, self._over, self._well = to, None, None
