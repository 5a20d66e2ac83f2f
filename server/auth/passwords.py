"""argon2id (RFC 9106) with at most two computations at a time, and the waiting times after wrong passwords."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from server.settings import Session

# 19 MiB, three passes: above OWASP's minimum, small enough for a clinic's machine. Two at a time bound the memory.
MEMORY_KIB = 19456
PASSES = 3
LONGEST = 1024
REMEMBERED = 10_000


class Passwords:
    """Hashes and verifies; an unknown user costs the same time as a known one."""

    def __init__(self, *, memory_kib: int = MEMORY_KIB, passes: int = PASSES) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))
        self._places = asyncio.Semaphore(2)

    def hash_now(self, password: str) -> str:
        """The encoded hash; blocks for some 40 ms, so only for commands and worker threads."""
        return self._hasher.hash(password)

    def verify_now(self, stored: str | None, password: str) -> bool:
        """Whether the password fits; None (no such user) is as slow and never fits."""
        if len(password) > LONGEST:
            password = ""
        try:
            return self._hasher.verify(stored or self._nobody, password) and stored is not None
        except (Argon2Error, InvalidHashError):
            return False

    def outdated(self, stored: str) -> bool:
        """Made with other costs than today's: hash again at the next sign-in."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return True

    async def hash(self, password: str) -> str:
        """`hash_now` off the event loop."""
        async with self._places:
            return await asyncio.to_thread(self.hash_now, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """`verify_now` off the event loop."""
        async with self._places:
            return await asyncio.to_thread(self.verify_now, stored, password)


def waiting_until(failed: int, now: datetime, rules: Session) -> datetime | None:
    """When the next try is allowed after `failed` wrong passwords in a row: doubling from the first waiting time."""
    over = failed - rules.lockout_failures
    if over < 0:
        return None
    seconds = min(rules.lockout_max_seconds, rules.lockout_seconds * 2 ** min(over, 20))
    return now + timedelta(seconds=seconds)


@dataclass(slots=True)
class Tries:
    """Wrong passwords in a row for one login name."""

    failed: int = 0
    locked_until: datetime | None = None


class UnknownLogins:
    """Login names nobody has are locked out by the same rule, so that waiting never tells who exists."""

    def __init__(self, rules: Session) -> None:
        self._rules = rules
        self._tries: OrderedDict[str, Tries] = OrderedDict()

    def locked_until(self, login: str) -> datetime | None:
        """The end of the present waiting time, if any was set."""
        tries = self._tries.get(login)
        return tries.locked_until if tries else None

    def failed(self, login: str, now: datetime) -> None:
        """Count one more; the oldest names are forgotten when there are too many."""
        tries = self._tries.pop(login, Tries())
        tries.failed += 1
        tries.locked_until = waiting_until(tries.failed, now, self._rules)
        self._tries[login] = tries
        while len(self._tries) > REMEMBERED:
            self._tries.popitem(last=False)
