"""API tokens of an organisation, as its administrator makes and ends them. Services: one unit of work each.

A token acts for its organisation, with no more than the rights it was given, and for as long as the membership that
made it lasts (DOMAIN §6). It is no person: there is no Actor, so what asks for one cannot be reached with a token.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from consult.access import Action, authorize
from consult.errors import Invalid, NotFound, Wrong
from consult.people import Actor, MembershipId, OrganisationId, StaffId
from consult.studying import waiting_doubts
from dicom.model import Scope
from server.auth.audit import audit
from server.auth.people import in_force
from server.auth.sessions import digest_of, new_token
from server.policy import Right
from server.storage.tokens import ApiToken
from server.storage.unit import SqlUnitOfWork

PREFIX = "hz_"
"""By it scanners of code and logs know a token that got where it should not be: hz_[A-Za-z0-9_-]{43}."""
SHOWN = 8
MOST_DAYS = 731
MOST_TOKENS = 100
KEPT = timedelta(days=30)
"""How long the page still shows a token that has ended."""
WHO = "token:"
"""Before a token's id, where the audit says who."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """A token in force, as a request sees it."""

    id: str
    digest: str
    organisation: OrganisationId
    membership: MembershipId
    staff: StaffId
    rights: frozenset[str]
    expires_at: datetime
    last_used: datetime | None

    @property
    def who(self) -> StaffId:
        """What the audit calls it."""
        return StaffId(WHO + self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new token; `secret` is shown once and is nowhere else."""

    secret: str
    token: ApiToken


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of the page: the token, who made it, and whether it works."""

    token: ApiToken
    by: str
    works: bool


def make_token(uow: SqlUnitOfWork, *, actor: Actor, name: str, rights: Iterable[str], days: int) -> Made:
    """A token of the administrator's organisation that works for `days`. Raises Invalid with every wrong field."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    chosen = frozenset(rights)
    wrong: list[Wrong] = []
    if not name.strip():
        wrong.append(("name", "required"))
    elif len(name.strip()) > 100:
        wrong.append(("name", "too_long", {"max": 100}))
    if not chosen:
        wrong.append(("rights", "required"))
    elif not chosen <= set(Right):
        wrong.append(("rights", "choice"))
    if not 1 <= days <= MOST_DAYS:
        wrong.append(("days", "choice"))
    held = uow.tokens.of(actor.organisation, since=uow.now)
    if len(held) >= MOST_TOKENS:
        wrong.append(("name", "too_many", {"max": MOST_TOKENS}))
    if any(one.name == name.strip() for one in held):
        wrong.append(("name", "taken"))
    if wrong:
        raise Invalid(*wrong)
    secret = PREFIX + new_token()
    token = ApiToken(
        id=uow.new_id(),
        organisation=actor.organisation,
        name=name.strip(),
        digest=digest_of(secret),
        start=secret[:SHOWN],
        rights=tuple(right for right in Right if right in chosen),
        membership=actor.membership,
        created_at=uow.now,
        expires_at=uow.now + timedelta(days=days),
    )
    uow.tokens.add(token)
    audit(uow, actor, "token.make", f"token:{token.id}", detail={"rights": list(token.rights), "days": days})
    return Made(secret=secret, token=token)


def end_token(uow: SqlUnitOfWork, *, actor: Actor, id: str) -> ApiToken:
    """It works no more, nor what was opened with it. NotFound for another organisation's, and for one that ended."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    token = uow.tokens.get(id)
    if token.organisation != actor.organisation or not uow.tokens.revoke(id, now=uow.now, by=actor.membership):
        raise NotFound(kind="token")
    uow.grants.revoke(now=uow.now, logins=(token.digest,))
    audit(uow, actor, "token.end", f"token:{id}")
    return token


def list_tokens(uow: SqlUnitOfWork, *, actor: Actor) -> Sequence[Listed]:
    """Those of the administrator's organisation, the newest first; ended ones for a month."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    found = []
    for token in uow.tokens.of(actor.organisation, since=uow.now - KEPT):
        membership = uow.people.membership(token.membership)
        by = uow.people.staff(membership.staff).name
        found.append(Listed(token=token, by=by, works=bearer_of(uow, token) is not None))
    return found


def bearer_of(uow: SqlUnitOfWork, token: ApiToken) -> Bearer | None:
    """The token as it may be used now; None when it was revoked, has expired, or who made it serves there no more."""
    if token.revoked_at is not None or token.expires_at <= uow.now:
        return None
    try:
        membership = uow.people.membership(token.membership)
        staff = uow.people.staff(membership.staff)
        organisation = uow.people.organisation(token.organisation)
    except NotFound:
        return None
    if not (staff.active and organisation.active and in_force(membership, uow.now)):
        return None
    return Bearer(
        id=token.id,
        digest=token.digest,
        organisation=token.organisation,
        membership=token.membership,
        staff=staff.id,
        rights=frozenset(token.rights),
        expires_at=token.expires_at,
        last_used=token.last_used,
    )


def load_token(uow: SqlUnitOfWork, digest: str) -> tuple[ApiToken | None, Bearer | None]:
    """What is known of a token, and what it may do; the second is None when it does not work."""
    token = uow.tokens.by_digest(digest)
    if token is None or not secrets.compare_digest(token.digest, digest):
        return None, None
    return token, bearer_of(uow, token)


def touch_token(uow: SqlUnitOfWork, id: str) -> None:
    """Note that the token was used."""
    uow.tokens.touch(id, uow.now)


def note_dead(uow: SqlUnitOfWork, token: ApiToken) -> None:
    """Somebody goes on using a token that has ended."""
    audit(
        uow, None, "token.use", f"token:{token.id}",
        staff=StaffId(WHO + token.id), organisation=token.organisation, outcome="denied",
    )  # fmt: skip


def token_scope(uow: SqlUnitOfWork, token: Bearer) -> Scope:
    """What its organisation holds, but no study that waits for a technician because it may show another patient."""
    hidden = waiting_doubts(uow, token.organisation)
    return Scope(organisations=frozenset({token.organisation}), hidden=frozenset(hidden), holder=token.organisation)
