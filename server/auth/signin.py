"""Signing in and out, changing place and password, unlocking the signature. Services: one unit of work each.

The password is verified between two units (it takes 40 ms and must hold no transaction), so `finish_sign_in` reads
the account again: a lock set meanwhile wins even over the right password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from consult.errors import NotFound
from consult.people import Actor, MembershipId, Staff, StaffId
from server.auth.audit import audit
from server.auth.passwords import waiting_until
from server.auth.people import Place, places_of
from server.auth.sessions import digest_of, new_token
from server.settings import Session as Rules
from server.storage.accounts import Account, Login
from server.storage.unit import SqlUnitOfWork

PLACE = "place:"
"""Before a staff id: the name under which the installation keeps the place that person chose last."""
LOGIN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A login name somebody has."""

    staff: Staff
    account: Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A new login; the token goes into the cookie and is nowhere else. `choose`: the person has several places and has
    not said yet where they are: they are asked.
    """

    token: str
    csrf: str
    staff: StaffId
    membership: MembershipId
    places: tuple[Place, ...]
    must_change: bool
    choose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """No login: a code of problems.py, and the end of the waiting time if there is one."""

    code: str
    locked_until: datetime | None = None


def find_account(uow: SqlUnitOfWork, login: str) -> Known | None:
    """The active person with this login name."""
    staff = uow.people.staff_by_login(login)
    if staff is None or not staff.active:
        return None
    account = uow.accounts.get(staff.id)
    return None if account is None else Known(staff=staff, account=account)


def finish_sign_in(
    uow: SqlUnitOfWork,
    *,
    known: Known,
    fits: bool,
    rules: Rules,
    wanted: MembershipId | None = None,
    rehashed: str | None = None,
) -> Opened | Denied:
    """Count a wrong password, or open a login in the wanted place (else the one used last, else the first)."""
    staff = known.staff.id
    account = uow.accounts.get(staff)
    if account is None:
        return Denied(code="wrong_login")
    subject = f"staff:{staff}"
    if account.locked_until is not None and account.locked_until > uow.now:
        audit(uow, None, "login", subject, outcome="denied", staff=staff, detail={"why": "locked_out"})
        return Denied(code="locked_out", locked_until=account.locked_until)
    if not fits or account.password_hash != known.account.password_hash:
        failed = account.failed + 1
        until = waiting_until(failed, uow.now, rules)
        uow.accounts.put(replace(account, failed=failed, locked_until=until))
        audit(uow, None, "login", subject, outcome="denied", staff=staff, detail={"failed": failed})
        return Denied(code="locked_out", locked_until=until) if until else Denied(code="wrong_login")
    uow.accounts.put(
        replace(account, failed=0, locked_until=None, password_hash=rehashed or account.password_hash)
    )
    places = places_of(uow, staff)
    if not places:
        audit(uow, None, "login", subject, outcome="denied", staff=staff, detail={"why": "no_membership"})
        return Denied(code="no_membership")
    mine = {place.membership for place in places}
    last = last_place(uow, staff)
    chosen = next((x for x in (wanted, last) if x in mine), None)
    opened = open_login(uow, staff, chosen or places[0].membership, rules)
    if chosen is not None:
        remember_place(uow, staff, chosen)
    audit(uow, None, "login", subject, staff=staff, detail={"membership": opened.membership})
    return replace(opened, places=places, must_change=account.must_change, choose=chosen is None and len(places) > 1)


def last_place(uow: SqlUnitOfWork, staff: StaffId) -> MembershipId | None:
    """Where the person last chose to work; None when they never did."""
    found = uow.settings.get(PLACE + staff)
    return None if found is None else MembershipId(found)


def remember_place(uow: SqlUnitOfWork, staff: StaffId, membership: MembershipId) -> None:
    """The next sign-in begins here."""
    if last_place(uow, staff) != membership:
        uow.settings.put(PLACE + staff, membership)


def open_login(uow: SqlUnitOfWork, staff: StaffId, membership: MembershipId, rules: Rules) -> Opened:
    """A new login row; the caller has decided that it may be."""
    token, csrf = new_token(), new_token()
    uow.logins.add(
        Login(
            digest=digest_of(token),
            staff=staff,
            membership=membership,
            csrf=csrf,
            created_at=uow.now,
            last_seen=uow.now,
            expires_at=uow.now + timedelta(hours=rules.absolute_hours),
        )
    )
    return Opened(token=token, csrf=csrf, staff=staff, membership=membership, places=(), must_change=False)


def sign_out(uow: SqlUnitOfWork, *, actor: Actor, digest: str) -> None:
    """End this login; its viewing grants end with it."""
    uow.logins.revoke(now=uow.now, digest=digest)
    uow.grants.revoke(now=uow.now, logins=(digest,))
    audit(uow, actor, "logout", f"staff:{actor.staff}")


def sign_out_everywhere(uow: SqlUnitOfWork, *, staff: StaffId, by: Actor | None, keep: str | None = None) -> int:
    """End all logins of a person (`keep` names one that stays); how many ended."""
    ended = uow.logins.revoke(now=uow.now, staff=staff, but=keep)
    uow.grants.revoke(now=uow.now, logins=ended)
    audit(uow, by, "revoke_logins", f"staff:{staff}", detail={"ended": len(ended)})
    return len(ended)


def change_place(uow: SqlUnitOfWork, *, actor: Actor, digest: str, membership: MembershipId, rules: Rules) -> Opened:
    """Act in another place of one's own. A new login with a new token: rights never change under an open page."""
    places = places_of(uow, actor.staff)
    if all(place.membership != membership for place in places):
        raise NotFound(kind="membership")
    old = uow.logins.get(digest, now=uow.now)
    opened = open_login(uow, actor.staff, membership, rules)
    if old is not None:
        # The absolute end stays where the password was last given.
        uow.logins.change(digest_of(opened.token), expires_at=old.expires_at)
    uow.logins.revoke(now=uow.now, digest=digest)
    uow.grants.revoke(now=uow.now, logins=(digest,))
    remember_place(uow, actor.staff, membership)
    audit(uow, actor, "change_place", f"membership:{membership}")
    return replace(opened, places=places)


def unlock_signature(uow: SqlUnitOfWork, *, actor: Actor, digest: str, minutes: int) -> datetime:
    """The password was given: signing needs none until the returned moment."""
    until = uow.now + timedelta(minutes=minutes)
    uow.logins.change(digest, sign_unlocked_until=until)
    audit(uow, actor, "unlock_signature", f"staff:{actor.staff}")
    return until


def wrong_password(uow: SqlUnitOfWork, *, actor: Actor, rules: Rules) -> datetime | None:
    """Somebody at an open session gave a wrong password: counted like at the door; the end of the waiting time."""
    account = uow.accounts.get(actor.staff)
    if account is None:
        raise NotFound(kind="account")
    failed = account.failed + 1
    until = waiting_until(failed, uow.now, rules)
    uow.accounts.put(replace(account, failed=failed, locked_until=until))
    audit(uow, actor, "password_check", f"staff:{actor.staff}", outcome="denied", detail={"failed": failed})
    return until


def set_password(
    uow: SqlUnitOfWork,
    *,
    staff: StaffId,
    password_hash: str,
    by: Actor | None,
    keep: str | None = None,
    must_change: bool = False,
) -> int:
    """A new password; every other login of the person ends (`keep`: the one that changed it). How many ended."""
    account = Account(
        staff=staff,
        password_hash=password_hash,
        failed=0,
        locked_until=None,
        must_change=must_change,
        changed_at=uow.now,
    )
    uow.accounts.put(account)
    audit(uow, by, "set_password", f"staff:{staff}", staff=staff if by is None else None)
    return sign_out_everywhere(uow, staff=staff, by=by, keep=keep)
