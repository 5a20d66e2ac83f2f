"""Passwords and server sessions ("logins"). Only digests of tokens are stored; the tokens live in the cookie."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select, update

from consult import people as o
from consult.errors import NotFound
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_more import account, login


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What proves a person: the argon2id hash, and the count of wrong passwords since the last right one."""

    staff: o.StaffId
    password_hash: str
    failed: int = 0
    locked_until: datetime | None = None
    must_change: bool = False
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One signed-in browser. `digest` is the SHA-256 hex of the cookie's token; `csrf` the secret of its forms."""

    digest: str
    staff: o.StaffId
    membership: o.MembershipId | None
    csrf: str
    created_at: datetime
    last_seen: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    sign_unlocked_until: datetime | None = None


_ACCOUNT = Mapper(Account, account)
_LOGIN = Mapper(Login, login)


class Accounts(Repository):
    def get(self, staff: o.StaffId) -> Account | None:
        return self._find_by(_ACCOUNT, staff=staff)

    def put(self, value: Account) -> None:
        """Insert or replace."""
        values = _ACCOUNT.values(value)
        if not self.link.insert_new(account, values):
            self.link.execute(update(account).where(account.c.staff == value.staff).values(values))

    def note_failure(self, staff: o.StaffId, *, now: datetime, limit: int, lock: timedelta) -> Account | None:
        """Counts a wrong password; the `limit`-th one locks the account for `lock` and begins counting anew."""
        found = self.get(staff)
        if found is None:
            return None
        failed = found.failed + 1
        locked = now + lock if failed >= limit else found.locked_until
        values = {"failed": 0 if failed >= limit else failed, "locked_until": locked}
        self.link.execute(update(account).where(account.c.staff == staff).values(values))
        return self.get(staff)

    def note_success(self, staff: o.StaffId) -> None:
        self.link.execute(
            update(account).where(account.c.staff == staff).values(failed=0, locked_until=None)
        )

    def any(self) -> bool:
        """False on an empty installation, which offers the first-admin set-up."""
        return self.link.execute(select(account.c.staff).limit(1)).first() is not None


class Logins(Repository):
    def get(self, digest: str, *, now: datetime) -> Login | None:
        """The login when it is neither revoked nor expired."""
        found = self._find_by(_LOGIN, digest=digest, revoked_at=None)
        return found if found is not None and found.expires_at > now else None

    def add(self, value: Login) -> None:
        self.link.insert(login, _LOGIN.values(value))

    def change(self, digest: str, **values: Any) -> None:
        """Sets `membership`, `csrf`, `last_seen`, `expires_at` or `sign_unlocked_until`. NotFound when absent."""
        allowed = {"membership", "csrf", "last_seen", "expires_at", "sign_unlocked_until"}
        if not values.keys() <= allowed:
            raise TypeError(", ".join(sorted(values.keys() - allowed)))
        if self.link.execute(update(login).where(login.c.digest == digest).values(values)).rowcount == 0:
            raise NotFound(kind="login")

    def of(self, staff: o.StaffId, *, now: datetime) -> Sequence[Login]:
        """Living logins of a person, the newest first."""
        c = login.c
        return self._list(
            _LOGIN, c.staff == staff, c.revoked_at.is_(None), c.expires_at > now,
            order=(c.created_at.desc(), c.digest),
        )

    def revoke(
        self,
        *,
        now: datetime,
        digest: str | None = None,
        staff: o.StaffId | None = None,
        membership: o.MembershipId | None = None,
        but: str | None = None,
    ) -> Sequence[str]:
        """End one login, all of a person, or all of a membership (`but` one); returns the digests that ended."""
        c = login.c
        where = [
            column == value
            for column, value in ((c.digest, digest), (c.staff, staff), (c.membership, membership))
            if value is not None
        ]
        if not where:
            raise TypeError
        if but is not None:
            where.append(c.digest != but)
        ended = self.link.execute(
            update(login).where(*where, c.revoked_at.is_(None)).values(revoked_at=now).returning(c.digest)
        )
        return [str(row[0]) for row in ended]

    def sweep(self, *, before: datetime) -> int:
        """Remove logins that expired or were revoked before the moment; returns how many."""
        c = login.c
        return self.link.execute(
            delete(login).where(or_(c.expires_at < before, c.revoked_at < before))
        ).rowcount


