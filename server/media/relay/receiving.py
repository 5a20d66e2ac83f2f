"""What each seat of a room receives: its ladder, the lines that follow it, and who must send a small picture for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from server.media.relay.connection import Connection
from server.media.relay.ladder import AUDIO, SMALL, STILLS, VIDEO, Ladder, Report
from server.media.relay.publication import Publication
from server.media.relay.subscription import PADDING, Subscription

THIN_KBPS, STILL_KBPS, SOUND_KBPS = 60.0, 20.0, 40.0    # where nothing has been measured
STILL_EVERY = 3.0                                       # s between two whole pictures of a small stream
LARGE_STILL_EVERY = 10.0                                # … of a large one, which weighs ten times as much
UPLINK_LOSS = 0.01                                      # a seat whose own way loses more says nothing of the receiver's
PAD_SHARE = 0.1                                         # of a second, between two rounds of padding


Told: TypeAlias = tuple[str, str, bool, bool, bool]
"""What a seat is told of what it is sent: rung, sees, thin, busy, chosen (messages.Passed)."""


@dataclass(slots=True)
class Reception:
    """Of one seat. `told`: as last said."""

    ladder: Ladder
    wants: str = ""
    sees: str = ""
    told: Told | None = None
    owed: float = 0.0                                   # bytes of padding
    needs: tuple[float, ...] = field(default=(0.0, 0.0, 0.0, 0.0))


def needs_of(published: Iterable[tuple[Publication | None, Publication | None]]) -> tuple[float, ...]:
    """kbit/s of each rung by what the others send now: (sound, picture) of each."""
    streams = list(published)
    sound = max(SOUND_KBPS, sum(x.kbps for x, _ in streams if x is not None))
    pictures = sum(x.kbps for _, x in streams if x is not None)
    thin = min(THIN_KBPS, pictures) if pictures else THIN_KBPS
    return (sound + max(pictures, thin), sound + thin, sound + STILL_KBPS, sound)


def worst(heard: Mapping[str, float], uplinks: Mapping[str, float]) -> float | None:
    """The share that was made up on the receiver's own way: of seats whose packets reached the relay; where every
    seat's own way loses some, what the best of them suffers.
    """
    sound = [share for seat, share in heard.items() if uplinks.get(seat, 1.0) <= UPLINK_LOSS]
    if sound:
        return max(sound)
    return min((share for seat, share in heard.items() if seat in uplinks), default=None)


class Receptions:
    """Of one room, by seat. `places`: of every seat the connection that carries its media; `every`: all it has."""

    def __init__(self) -> None:
        self.seats: dict[str, Reception] = {}

    def begin(self, seat: str, *, speech: bool) -> None:
        """A seat's new connection; its first second tells of before."""
        known = self.seats.get(seat)
        if known is None:
            known = self.seats[seat] = Reception(ladder=Ladder(at=AUDIO if speech else VIDEO))
        known.told = None
        known.ladder.back(_now())

    def forget(self, seat: str) -> None:
        self.seats.pop(seat, None)

    def hear(
        self, seat: str, places: Mapping[str, Connection], *, heard: Mapping[str, float], loss: float | None,
        kbps: float | None, wants: str, most: str, cap: int,
    ) -> None:
        """A second of the seat's reception, and what it wants at most: the best rung, kbit/s (0: any)."""
        found = self.seats.get(seat)
        connection = places.get(seat)
        if found is None or connection is None:
            return
        found.wants = wants
        others = [x for name, x in places.items() if name != seat]
        uplinks = {x.seat: y.loss for x in others if (y := x.published("audio")) is not None}
        found.needs = needs_of((x.published("audio"), x.published("video")) for x in others)
        found.ladder.limit(most=most, cap=cap, needs=found.needs)
        report = Report(concealed=worst(heard, uplinks), loss=loss, kbps=kbps, estimate=connection.estimate)
        found.ladder.hear(report, found.needs, _now())

    def follow(self, places: Mapping[str, Connection], every: Mapping[str, list[Connection]]) -> None:
        """Every line does what its seat's ladder says."""
        for seat, found in self.seats.items():
            found.sees = self._seen(found, seat, places)
            for connection in every.get(seat, []):
                for line in connection.subscriptions.values():
                    if line.kind == "video":
                        self._line(found, line, places.get(line.seat))
                    else:
                        line.redundant = found.ladder.red

    @staticmethod
    def _seen(found: Reception, seat: str, places: Mapping[str, Connection]) -> str:
        """Whose small picture a seat on a low rung is shown: whom it wants, else whoever it saw, else anybody."""
        if found.ladder.index in {VIDEO, AUDIO}:
            return ""
        able = [x for x, one in places.items() if x != seat and one.published("video") is not None]
        return next((x for x in (found.wants, found.sees) if x in able), able[0] if able else "")

    @staticmethod
    def _line(found: Reception, line: Subscription, publisher: Connection | None) -> None:
        main = None if publisher is None else publisher.published("video")
        if publisher is None or main is None:
            return
        at = found.ladder.index
        if found.ladder.hush or at == AUDIO or (at != VIDEO and line.seat != found.sees):
            line.give("none")
            return
        thin = publisher.thin if publisher.thin is not None and publisher.thin.kbps > 0 else None
        line.follow(main if at == VIDEO else thin or main)
        line.give("stills" if at == STILLS or (at == SMALL and thin is None) else "all")
        every = LARGE_STILL_EVERY if thin is None else STILL_EVERY
        if line.passes == "stills" and line.source is not None and time.monotonic() - line.whole_at >= every:
            line.source.want_keyframe()

    def pad(self, every: Mapping[str, list[Connection]]) -> None:
        """A tenth of a second's padding for those whose line is being tried."""
        for seat, found in self.seats.items():
            if not found.ladder.probe:
                found.owed = 0.0
                continue
            found.owed += found.ladder.probe * 1000 / 8 * PAD_SHARE
            count = int(found.owed // PADDING)
            for connection in every.get(seat, [])[:1]:
                line = next((x for x in connection.subscriptions.values() if x.kind == "video"), None)
                if line is not None and count:
                    found.owed -= line.pad(count) * PADDING

    def changes(self, places: Mapping[str, Connection]) -> list[tuple[str, Told]]:
        """(seat, what) of those to whom something else is to be said than before."""
        thin = {x.sees for x in self.seats.values() if x.sees}
        found = []
        for seat, reception in self.seats.items():
            connection = places.get(seat)
            refused = connection is not None and connection.speech
            ladder = reception.ladder
            now = (ladder.rung, reception.sees, seat in thin, refused, ladder.chosen)
            if now != reception.told:
                reception.told = now
                found.append((seat, now))
        return found


def _now() -> float:
    return time.monotonic() * 1000
