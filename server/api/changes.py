"""GET /api/changes?since=N&limit=: what happened to the studies the caller's organisation holds, for programs that
follow it (docs/integrating.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from consult.people import OrganisationId
from server import keys
from server.api.common import actor, int_query, json_response, work
from server.auth.audit import audit
from server.feeding import FEED
from server.problems import Refused
from server.storage.changes import StudyChange
from server.storage.unit import SqlUnitOfWork

MOST = 1_000


def read_changes(uow: SqlUnitOfWork, organisation: OrganisationId, since: int, limit: int) -> Sequence[StudyChange]:
    """Rows above `since`. Refused `range` when there never was such a number: the caller must begin again at 0."""
    found = uow.changes.since(organisation, since, limit)
    if not found and since > uow.changes.newest(organisation):
        raise Refused("range")
    return found


async def changes(request: web.Request) -> web.Response:
    """{"changes": [{"n", "at", "study", "kind"}], "last", "more"}; `since=last` goes on from there."""
    since = int_query(request, "since", 0, low=0, high=2**53)
    limit = int_query(request, "limit", 100, low=1, high=MOST)
    token = request.get(keys.TOKEN)
    organisation = token.organisation if token is not None else actor(request).organisation
    await request.app[FEED].catch_up()
    found = await work(request).read(read_changes, organisation, since, limit + 1)
    rows = found[:limit]
    if rows:
        subject, detail = f"organisation:{organisation}", {"since": since, "rows": len(rows)}
        if token is not None:
            await work(request).run(
                audit, None, "study.changes", subject, detail=detail, staff=token.who, organisation=token.organisation
            )
        else:
            await work(request).run(audit, actor(request), "study.changes", subject, detail=detail)
    return json_response(
        {
            "changes": [{"n": row.n, "at": row.at, "study": row.study_uid, "kind": row.kind} for row in rows],
            "last": rows[-1].n if rows else since,
            "more": len(found) > limit,
        }
    )
