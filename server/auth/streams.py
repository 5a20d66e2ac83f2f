"""Open connections (event streams, room sockets) by login, so that the end of a login closes them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from consult.people import MembershipId, StaffId
from server.auth.sessions import SignedIn


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """One open connection and how to close it (must not block)."""

    login: SignedIn
    close: Callable[[], None]


class Streams:
    """A register of open connections."""

    def __init__(self) -> None:
        self._open: set[Open] = set()

    def add(self, login: SignedIn, close: Callable[[], None]) -> Callable[[], None]:
        """Register; the returned function takes the entry out again."""
        entry = Open(login=login, close=close)
        self._open.add(entry)
        return partial(self._open.discard, entry)

    def close(
        self,
        *,
        digest: str | None = None,
        staff: StaffId | None = None,
        membership: MembershipId | None = None,
        keep: str | None = None,
    ) -> int:
        """Close those of a login, person or membership (`keep`: a login that stays); how many."""
        chosen = [
            entry
            for entry in self._open
            if entry.login.digest != keep
            and (
                entry.login.digest == digest
                or entry.login.actor.staff == staff
                or entry.login.actor.membership == membership
            )
        ]
        for entry in chosen:
            self._open.discard(entry)
            entry.close()
        return len(chosen)

    def __len__(self) -> int:
        return len(self._open)
