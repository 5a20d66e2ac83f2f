"""A file somebody brings, judged in a child process with limits: PDF from outside is parsed nowhere else."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

MOST_BYTES = 16 << 20
MEMORY_LIMIT = 1 << 30
TIME_LIMIT_S = 20.0
AT_ONCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`reason` is one of server.paper.verify.Reason; `lines` are sentences for people, no clinical content."""

    genuine: bool
    reason: str
    lines: tuple[str, ...]


class Limiter:
    """A bucket per caller: `size` at once, filled again over a minute; the callers seen last are remembered."""

    def __init__(self, size: int, *, remembered: int = 4096) -> None:
        self._size = float(size)
        self._remembered = remembered
        self._left: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def allow(self, who: str, now: datetime, *, cost: int = 1) -> bool:
        """Take `cost` from the caller's bucket; False when it does not hold so much."""
        left, since = self._left.pop(who, (self._size, now))
        left = min(self._size, left + max(0.0, (now - since).total_seconds()) * self._size / 60)
        fits = left >= cost
        self._left[who] = (left - cost if fits else left, now)
        while len(self._left) > self._remembered:
            self._left.popitem(last=False)
        return fits


class Verifying:
    """The public check: how often one caller may ask, and the judgement of a file. One instance per application."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = asyncio.Semaphore(AT_ONCE)
        self.limiter = Limiter(60)

    async def check(self, data: bytes, lang: str) -> Judgement:
        """Against the authority in the folder. A file that breaks or outlasts the parser is unreadable, no error."""
        async with self._turn:
            out = await _ask(data, self._folder, lang)
        try:
            found = json.loads(out)
            return Judgement(genuine=found["genuine"], reason=found["reason"], lines=tuple(found["lines"]))
        except (ValueError, KeyError, TypeError):
            from server.paper.verify import Reason
            from server.paper.verify_words import REASONS
            from server.paper.words import translator

            words = translator("en" if lang == "en" else "zh")(REASONS[Reason.UNREADABLE])
            return Judgement(genuine=False, reason=Reason.UNREADABLE, lines=(words,))


async def _ask(data: bytes, folder: Path, lang: str) -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "server.verify_worker", str(folder), lang, str(MEMORY_LIMIT),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(child.communicate(data), TIME_LIMIT_S)
        return out
    except TimeoutError:
        return b""
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
