"""Open connections (event streams, room sockets) by login, so that the end of a login closes them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from consult.people import Actor, MembershipId, StaffId
from server.auth.sessions import SignedIn

Ends = Callable[[str, Actor], bool]
"""Whether a login (its digest, whose it is) is one of those that end."""


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """One open connection and how to close it (must not block)."""

    login: SignedIn
    close: Callable[[], None]


class Streams:
    """A register of open connections."""

    def __init__(self) -> None:
        self._open: set[Open] = set()
        self.told: Callable[[Ends], None] = lambda _ends: None     # set by the rooms: a seat may wait without one

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

        def ends(login: str, actor: Actor) -> bool:
            return login != keep and (login == digest or actor.staff == staff or actor.membership == membership)

        chosen = [entry for entry in self._open if ends(entry.login.digest, entry.login.actor)]
        for entry in chosen:
            self._open.discard(entry)
            entry.close()
        self.told(ends)
        return len(chosen)

    def __len__(self) -> int:
        return len(self._open)
