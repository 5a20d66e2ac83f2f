"""Viewing grants: opening a study is audited once; its images are then served under the grant and only counted.

The scope of a grant is asked anew from consult/access.py when the last answer is older than a second, and at once
after a revocation, so access that ends, ends for the next frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from consult.access import Action, open_consultation, scope_for
from consult.errors import NotFound
from consult.model import ConsultationId
from consult.people import Actor, MembershipId, StaffId
from consult.scoping import Purpose
from dicom.model import Scope
from server.auth.audit import audit
from server.auth.sessions import SignedIn, digest_of, new_token
from server.storage.grants import Grant
from server.storage.unit import SqlUnitOfWork
from server.work import Work

FRESH = timedelta(seconds=1)
DOWNLOAD = timedelta(seconds=60)
"""Instances of a study fetched one by one within this time are one download in the audit."""
CACHED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A grant as it was last read. `scope` None: there is none, or access has ended."""

    at: datetime
    digest: str
    expires_at: datetime
    scope: Scope | None
    staff: StaffId
    membership: MembershipId


@dataclass(slots=True, kw_only=True)
class Fetching:
    """Instances of a study, fetched one by one since `began`, when that was audited; `note` audits how many."""

    began: datetime
    at: datetime
    scope: Scope
    staff: StaffId
    membership: MembershipId
    note: Callable[[SqlUnitOfWork, dict[str, Any]], Any]
    count: int = 1


def study_scope(uow: SqlUnitOfWork, actor: Actor, study_uid: str | None, purpose: Purpose) -> Scope:
    """access.scope_for in the archive's own terms."""
    found = scope_for(uow, actor, study_uid, purpose)
    return Scope(
        organisations=frozenset(found.organisations),
        studies=frozenset(found.studies),
        hidden=frozenset(found.hidden),
    )


def open_study(
    uow: SqlUnitOfWork,
    *,
    actor: Actor,
    login: str,
    study_uid: str,
    minutes: int,
    consultation: ConsultationId | None = None,
) -> Grant:
    """Audit the opening and issue the grant, in one commit. NotFound when the study is not the actor's to see."""
    return opened_study(uow, actor, login, study_uid, minutes, consultation)[0]


def opened_study(
    uow: SqlUnitOfWork,
    actor: Actor,
    login: str,
    study_uid: str,
    minutes: int,
    consultation: ConsultationId | None = None,
) -> tuple[Grant, Scope]:
    """The same, with what the grant allows."""
    scope = study_scope(uow, actor, study_uid, Purpose.PIXELS)
    if study_uid in scope.hidden or not (scope.organisations or study_uid in scope.studies):
        raise NotFound(kind="study")
    if consultation is not None:
        # The grant dies when access to this consultation is taken; it must be one the actor reads.
        open_consultation(uow, actor, consultation, Action.PIXELS_READ)
    grant = Grant(
        digest=digest_of(new_token()),
        membership=actor.membership,
        study_uid=study_uid,
        consultation=consultation,
        created_at=uow.now,
        expires_at=uow.now + timedelta(minutes=minutes),
        login=login,
    )
    uow.grants.add(grant)
    detail = {"consultation": consultation} if consultation else {}
    audit(uow, actor, "study.open", f"study:{study_uid}", detail=detail)
    return grant, scope


def read_grant(uow: SqlUnitOfWork, actor: Actor, login: str, study_uid: str) -> tuple[Grant, Scope] | None:
    """The newest living grant of this login for the study, and what it still allows; None without one."""
    grant = uow.grants.held(login, study_uid, now=uow.now)
    if grant is None or grant.membership != actor.membership:
        return None
    return grant, study_scope(uow, actor, study_uid, Purpose.PIXELS)


def end_grants(uow: SqlUnitOfWork, study_uid: str) -> None:
    """Nobody goes on looking at the study under what was opened before; who still may opens it anew, audited."""
    uow.grants.revoke(now=uow.now, study_uid=study_uid)


class Grants:
    """The grants in use, and the frames served under them since the last flush."""

    def __init__(self, work: Work, clock: Callable[[], datetime]) -> None:
        self._work = work
        self._clock = clock
        self._held: dict[tuple[str, str], Held] = {}
        self._frames: Counter[str] = Counter()
        self._fetching: dict[tuple[str, str], Fetching] = {}
        self._fetched: list[Fetching] = []
        self._forgotten = 0

    async def scope(self, login: SignedIn, study_uid: str, *, frames: int = 0) -> Scope | None:
        """What this login may fetch of the study under its grant; None without a living one. Counts `frames`."""
        return await self.under(
            login.digest, login.actor.staff, login.actor.membership, study_uid,
            partial(read_grant, actor=login.actor, login=login.digest, study_uid=study_uid), frames=frames,
        )  # fmt: skip

    async def under(
        self,
        login: str,
        staff: StaffId,
        membership: MembershipId,
        study_uid: str,
        read: Callable[[SqlUnitOfWork], tuple[Grant, Scope] | None],
        *,
        frames: int = 0,
    ) -> Scope | None:
        """The same for whatever holds grants under the digest `login`; `read` looks the grant up."""
        now = self._clock()
        key = (login, study_uid)
        held = self._held.get(key)
        if held is None or not timedelta(0) <= now - held.at < FRESH:
            before = self._forgotten
            found = await self._work.read(read)
            if found is None:
                self._held.pop(key, None)
                return None
            held = self._hold(key, now, found, staff, membership, before)
        if held.expires_at <= now:
            return None
        if frames:
            self._frames[held.digest] += frames
        return held.scope

    async def open(self, login: str, actor: Actor, study_uid: str, minutes: int) -> None:
        """`open_study`; what it allows is known from then on as if it had been asked. Raises NotFound."""
        now, before = self._clock(), self._forgotten
        found = await self._work.run(opened_study, actor, login, study_uid, minutes)
        self._hold((login, study_uid), now, found, actor.staff, actor.membership, before)

    def _hold(
        self,
        key: tuple[str, str],
        at: datetime,
        found: tuple[Grant, Scope],
        staff: StaffId,
        membership: MembershipId,
        before: int,
    ) -> Held:
        grant, scope = found
        held = Held(
            at=at, digest=grant.digest, expires_at=grant.expires_at, scope=scope, staff=staff, membership=membership
        )
        if len(self._held) >= CACHED:
            self._held.clear()
        if before == self._forgotten:
            self._held[key] = held  # read before something ended, it would outlive that by a second
        return held

    async def fetch(
        self,
        login: str,
        staff: StaffId,
        membership: MembershipId,
        study_uid: str,
        *,
        ask: Callable[[SqlUnitOfWork], Scope | None],
        begin: Callable[[SqlUnitOfWork], Scope | None],
        note: Callable[[SqlUnitOfWork, dict[str, Any]], Any],
    ) -> Scope | None:
        """What may be seen by one who fetches one instance of the study; None: nothing.

        `begin` asks and audits, in one commit, before the first instance leaves; within the minute that follows `ask`
        alone is asked (as for a grant: at most a second old, anew after a revocation), and `note` audits how many
        there were.
        """
        now, key = self._clock(), (login, study_uid)
        found = self._fetching.get(key)
        if found is not None and timedelta(0) <= now - found.began < DOWNLOAD:
            if timedelta(0) <= now - found.at < FRESH:
                found.count += 1
                return found.scope
            before = self._forgotten
            scope = await self._work.read(ask)
            if scope is not None and self._fetching.get(key) is found and before == self._forgotten:
                found.at, found.scope = now, scope
                found.count += 1
                return scope
        before = self._forgotten
        scope = await self._work.run(begin)
        self._end_fetching(key)
        if scope is not None and before == self._forgotten:
            self._fetching[key] = Fetching(
                began=now, at=now, scope=scope, staff=staff, membership=membership, note=note
            )
        return scope

    def _end_fetching(self, key: tuple[str, str]) -> None:
        ended = self._fetching.pop(key, None)
        if ended is not None and ended.count > 1:
            self._fetched.append(ended)

    async def flush(self, *, closing: bool = False) -> None:
        """Write the counted frames and fetched instances; what fails to be written is written the next time."""
        now = self._clock()
        for key, found in list(self._fetching.items()):
            if closing or not timedelta(0) <= now - found.began < DOWNLOAD:
                self._end_fetching(key)
        counted, self._frames = self._frames, Counter()
        fetched, self._fetched = self._fetched, []
        if not counted and not fetched:
            return
        try:
            await self._work.run(write_counts, dict(counted), fetched)
        except Exception:
            self._frames.update(counted)
            self._fetched += fetched
            raise

    def forget(
        self,
        *,
        login: str | None = None,
        staff: StaffId | None = None,
        memberships: Iterable[MembershipId] = (),
        study: str | None = None,
    ) -> None:
        """Ask again for these before the next frame."""
        self._forgotten += 1
        ended = frozenset(memberships)
        for key, held in list(self._held.items()):
            if key[0] == login or key[1] == study or held.staff == staff or held.membership in ended:
                del self._held[key]
        for key, found in list(self._fetching.items()):
            if key[0] == login or key[1] == study or found.staff == staff or found.membership in ended:
                self._end_fetching(key)

    def on_revoke(self, memberships: frozenset[MembershipId], consultation: ConsultationId) -> None:
        """Callback of the hub."""
        del consultation
        self.forget(memberships=memberships)


def write_counts(uow: SqlUnitOfWork, frames: dict[str, int], fetched: Iterable[Fetching]) -> None:
    """Add what was served to the grants' rows; audit how many instances were fetched since when."""
    for digest, number in frames.items():
        uow.grants.count(digest, number)
    for one in fetched:
        one.note(uow, {"instances": one.count, "since": one.began.isoformat(timespec="seconds")})
