"""Viewing grants: one audited opening of a study, then every frame under it is only counted (docs/architecture.md)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, or_, update

from consult import model as m
from consult import people as o
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_more import study_grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """`digest` is the SHA-256 hex of the token; `login` the digest of the login it was made for."""

    digest: str
    membership: o.MembershipId
    study_uid: str
    consultation: m.ConsultationId | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    frames: int = 0
    login: str | None = None


_GRANT = Mapper(Grant, study_grant)


class Grants(Repository):
    def get(self, digest: str, *, now: datetime) -> Grant | None:
        """The grant when it is neither revoked nor expired."""
        found = self._find_by(_GRANT, digest=digest, revoked_at=None)
        return found if found is not None and found.expires_at > now else None

    def add(self, grant: Grant) -> None:
        self.link.insert(study_grant, _GRANT.values(grant))

    def of(self, membership: o.MembershipId, *, now: datetime) -> Sequence[Grant]:
        """Living grants of a membership, the newest first."""
        c = study_grant.c
        return self._list(
            _GRANT, c.membership == membership, c.revoked_at.is_(None), c.expires_at > now,
            order=(c.created_at.desc(), c.digest),
        )

    def held(self, login: str, study_uid: str, *, now: datetime) -> Grant | None:
        """The newest living grant of this login for the study."""
        c = study_grant.c
        found = self._list(
            _GRANT, c.login == login, c.study_uid == study_uid, c.revoked_at.is_(None), c.expires_at > now,
            order=(c.created_at.desc(), c.digest), limit=1,
        )  # fmt: skip
        return found[0] if found else None

    def count(self, digest: str, frames: int) -> None:
        """Add frames served; the server collects them in memory and writes now and then."""
        c = study_grant.c
        self.link.execute(update(study_grant).where(c.digest == digest).values(frames=c.frames + frames))

    def revoke(
        self,
        *,
        now: datetime,
        digest: str | None = None,
        memberships: Iterable[o.MembershipId] | None = None,
        consultation: m.ConsultationId | None = None,
        study_uid: str | None = None,
        logins: Iterable[str] | None = None,
    ) -> Sequence[str]:
        """End all that fit every given criterion; returns the digests that ended."""
        c = study_grant.c
        where = [
            column == value
            for column, value in ((c.digest, digest), (c.consultation, consultation), (c.study_uid, study_uid))
            if value is not None
        ]
        if memberships is not None:
            where.append(c.membership.in_(tuple(memberships)))
        if logins is not None:
            where.append(c.login.in_(tuple(logins)))
        if not where:
            raise TypeError
        ended = self.link.execute(
            update(study_grant).where(*where, c.revoked_at.is_(None)).values(revoked_at=now).returning(c.digest)
        )
        return [str(row[0]) for row in ended]

    def sweep(self, *, before: datetime) -> int:
        """Remove grants that expired or were revoked before the moment (the audit row stays); returns how many."""
        c = study_grant.c
        return self.link.execute(
            delete(study_grant).where(or_(c.expires_at < before, c.revoked_at < before))
        ).rowcount
