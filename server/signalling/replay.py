"""The reliable messages of one seat that its browser has not acknowledged: numbered, bounded in bytes."""

from collections.abc import Callable

from server.signalling.schema import REPLAY_LIMIT


class Replay:
    """Numbers start at 1 under an epoch. When the bytes exceed the limit the oldest are forgotten, never the count."""

    __slots__ = ("_bytes", "_frames", "limit", "seq")

    def __init__(self, limit: int = REPLAY_LIMIT) -> None:
        self.limit = limit
        self.seq = 0
        self._frames: list[tuple[int, bytes]] = []       # a few; an empty deque takes ten times as much
        self._bytes = 0

    def next(self) -> int:
        """The number of the message that is about to be put."""
        return self.seq + 1

    def put(self, frame: bytes) -> int:
        """Keep a frame under the next number and return that number."""
        self.seq += 1
        self._frames.append((self.seq, frame))
        self._bytes += len(frame)
        if self._bytes > self.limit:
            self._forget(lambda _: self._bytes > self.limit)
        return self.seq

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` has arrived."""
        self._forget(lambda number: number <= seq)

    def _forget(self, which: Callable[[int], bool]) -> None:
        count = 0
        while count < len(self._frames) and which(self._frames[count][0]):
            self._bytes -= len(self._frames[count][1])
            count += 1
        del self._frames[:count]

    def after(self, seq: int) -> list[bytes] | None:
        """Frames after `seq`, oldest first; None when some of them are forgotten or `seq` is of the future."""
        if seq > self.seq:
            return None
        kept = [frame for number, frame in self._frames if number > seq]
        return kept if len(kept) == self.seq - seq else None

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._bytes
