"""API tokens: only digests are stored; the token itself is shown once and kept by whoever asked for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update

from consult.people import MembershipId, OrganisationId
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_tokens import api_token


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """`digest` is the SHA-256 hex of the token, `start` its first letters, by which people tell tokens apart;
    `membership` made it and answers for it: when that ends, the token does.
    """

    id: str
    organisation: OrganisationId
    name: str
    digest: str
    start: str
    rights: tuple[str, ...]
    membership: MembershipId
    created_at: datetime
    expires_at: datetime
    last_used: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: MembershipId | None = None


_TOKEN = Mapper(ApiToken, api_token)


class Tokens(Repository):
    def get(self, id: str) -> ApiToken:
        """NotFound when there is none."""
        return self._get(_TOKEN, id)

    def add(self, token: ApiToken) -> None:
        self._add(_TOKEN, token)

    def by_digest(self, digest: str) -> ApiToken | None:
        """The token, in force or not."""
        return self._find_by(_TOKEN, digest=digest)

    def of(self, organisation: OrganisationId, *, since: datetime) -> Sequence[ApiToken]:
        """Those that had not ended at `since`, the newest first."""
        c = api_token.c
        return self._list(
            _TOKEN, c.organisation == organisation, c.expires_at > since,
            c.revoked_at.is_(None) | (c.revoked_at > since), order=(c.created_at.desc(), c.id),
        )  # fmt: skip

    def revoke(self, id: str, *, now: datetime, by: MembershipId) -> bool:
        """False when it was revoked before."""
        c = api_token.c
        statement = update(api_token).where(c.id == id, c.revoked_at.is_(None)).values(revoked_at=now, revoked_by=by)
        return self.link.execute(statement).rowcount == 1

    def touch(self, id: str, now: datetime) -> None:
        """Note that it was used."""
        self.link.execute(update(api_token).where(api_token.c.id == id).values(last_used=now))
