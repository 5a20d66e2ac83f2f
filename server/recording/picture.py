"""The picture of a film: every seat's in a tile of its own, the last one held for a moment, then black."""

from __future__ import annotations

import math
from collections import deque

import av
import numpy as np
from numpy.typing import NDArray

from server.recording.units import Pictures

PER_SECOND = 30                 # moments at which the film's picture may change
HOLD = 3 * PER_SECOND           # moments for which a picture is held
WIDTH, HEIGHT = 1280, 720
Plane = NDArray[np.uint8]


def layout(seats: int) -> tuple[int, int, list[tuple[int, int, int, int]]]:
    """(width, height, [(x, y, width, height)]) of the film and of each seat's tile, all even."""
    columns = max(1, math.ceil(math.sqrt(seats)))
    rows = max(1, math.ceil(seats / columns))
    high = HEIGHT // rows if seats != 2 else 480
    wide, high = WIDTH // columns & ~1, high & ~1
    places = [(x % columns * wide, x // columns * high, wide, high) for x in range(seats)]
    return wide * columns, high * rows, places


class Screen:
    """One video stream of a seat, decoded only when its time has come: what waits is small."""

    def __init__(self, pictures: Pictures, *, width: int, height: int) -> None:
        self._pictures, self._size = pictures, (width, height)
        self._queue: deque[tuple[int, bytes]] = deque()
        self._decoder = av.CodecContext.create("vp8", "r")
        self._decoder.thread_count = 1
        self.since: int | None = None                           # the moment of the present picture
        self.area = 0                                           # of it, as sent
        self.planes: tuple[Plane, Plane, Plane] | None = None

    def add(self, moment: int, data: bytes) -> None:
        self._queue.append((moment, data))

    def show(self, moment: int) -> bool:
        """Whether there is another picture at this moment than before."""
        newest, changed = None, False
        while self._queue and self._queue[0][0] <= moment:
            _, data = self._queue.popleft()
            try:
                frames = self._decoder.decode(av.Packet(data))
            except av.FFmpegError:
                self._pictures.failed()
                continue
            newest = next((x for x in frames if isinstance(x, av.VideoFrame)), newest)
        if newest is not None:
            self.planes, self.since, changed = self._fitted(newest), moment, True
            self.area = newest.width * newest.height
        elif self.since is not None and moment - self.since >= HOLD:
            self.planes, self.since, changed = None, None, True
        return changed

    def worth(self, moment: int) -> tuple[int, int, int]:
        """Which of a seat's streams is shown: one that moves, then the largest, then the newest."""
        if self.since is None:
            return 0, 0, 0
        return 1 + (moment - self.since < PER_SECOND), self.area, self.since

    def _fitted(self, frame: av.VideoFrame) -> tuple[Plane, Plane, Plane]:
        """Its planes, as large as the tile lets it be with its own proportions."""
        width, height = self._size
        share = min(width / frame.width, height / frame.height)
        wide = max(2, min(width, round(frame.width * share)) & ~1)
        high = max(2, min(height, round(frame.height * share)) & ~1)
        small = frame.reformat(width=wide, height=high, format="yuv420p").to_ndarray()
        return planes(small.astype(np.uint8, copy=False), wide, high)


def planes(whole: Plane, width: int, height: int) -> tuple[Plane, Plane, Plane]:
    """Views of the three planes of a yuv420p picture ((1.5 height) × width)."""
    flat, size = whole.reshape(-1), width * height
    half = (height // 2, width // 2)
    parts = flat[:size], flat[size : size * 5 // 4], flat[size * 5 // 4 :]
    return parts[0].reshape(height, width), parts[1].reshape(half), parts[2].reshape(half)


class Canvas:
    """The film's picture at the present moment."""

    def __init__(self, seats: int) -> None:
        self.width, self.height, self.places = layout(seats)
        self._whole: Plane = np.full((self.height * 3 // 2, self.width), 128, np.uint8)
        self._planes = planes(self._whole, self.width, self.height)
        self._planes[0][:] = 16
        self._screens: list[list[Screen]] = [[] for _ in range(seats)]

    def screen(self, seat: int, pictures: Pictures) -> Screen:
        """A further stream of a seat."""
        _, _, width, height = self.places[seat]
        made = Screen(pictures, width=width, height=height)
        self._screens[seat].append(made)
        return made

    def show(self, moment: int) -> bool:
        """Whether the picture is another one at this moment."""
        changed = False
        for seat, screens in enumerate(self._screens):
            changes = [x.show(moment) for x in screens]
            if any(changes):
                best = max(screens, key=lambda x: x.worth(moment))
                self._draw(seat, best.planes)
                changed = True
        return changed

    def _draw(self, seat: int, picture: tuple[Plane, Plane, Plane] | None) -> None:
        x, y, width, height = self.places[seat]
        for number, plane in enumerate(self._planes):
            part = 1 if number == 0 else 2
            tile = plane[y // part : (y + height) // part, x // part : (x + width) // part]
            tile[:] = 128 if number else 16
            if picture is not None:
                high, wide = picture[number].shape
                top, left = (tile.shape[0] - high) // 2, (tile.shape[1] - wide) // 2
                tile[top : top + high, left : left + wide] = picture[number]

    def frame(self) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(self._whole, format="yuv420p")
