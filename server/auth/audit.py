"""One audit row, in the transaction of what it tells about: it is committed before the answer leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consult.model import AuditRow
from consult.people import Actor, OrganisationId, StaffId
from consult.ports import UnitOfWork
from server.logs import REQUEST_ID


def audit(
    uow: UnitOfWork,
    actor: Actor | None,
    action: str,
    object: str,
    *,
    outcome: str = "ok",
    staff: StaffId | None = None,
    organisation: OrganisationId | None = None,
    detail: Mapping[str, Any] | None = None,
) -> AuditRow:
    """Append a row: who, `action` on `object` ("study:<uid>"), ok or denied.

    Where there is no actor (before a sign-in, or for an API token) `staff` and `organisation` say who.

    `detail` holds ids, counts and codes; never names, never what somebody typed.
    """
    row = AuditRow(
        n=0,
        at=uow.now,
        membership=actor.membership if actor else None,
        staff=actor.staff if actor else staff,
        organisation=actor.organisation if actor else organisation,
        action=action,
        object=object,
        outcome=outcome,
        request_id=REQUEST_ID.get(),
        detail=dict(detail or {}),
    )
    return uow.audit.append(row)
