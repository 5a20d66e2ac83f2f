"""Who may read which audit rows (DOMAIN §6, row "audit")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from consult.access import Action, open_consultation
from consult.errors import ConsultError, NotFound
from consult.model import AuditRow, ConsultationId
from consult.people import Actor, OrganisationId, Role, StaffId
from server.auth.tokens import WHO
from server.storage.unit import SqlUnitOfWork

PLATFORM_KINDS = frozenset({"staff", "membership", "organisation", "settings"})
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Rows in the order asked for; `names` of the people in them; `next`: `after` or `before` of the following page,
    None at the end.
    """

    rows: Sequence[AuditRow]
    names: dict[str, str]
    next: int | None


def read_audit(
    uow: SqlUnitOfWork,
    *,
    actor: Actor,
    object: str | None = None,
    staff: StaffId | None = None,
    after: int = 0,
    before: int | None = None,
    limit: int = 100,
) -> AuditPage:
    """Oldest first from `after`, or newest first from `before`.

    Auditor: everything. Organisation's administrator: the own organisation, without content. Platform: accounts and
    organisations. Everyone else: what they did themselves, and all rows of a consultation that is theirs.
    """
    organisation: OrganisationId | None = None
    about_own = object is not None and _own_object(uow, actor, object)
    if actor.role is Role.ORG_ADMIN:
        organisation = actor.organisation
    elif actor.role not in {Role.AUDITOR, Role.PLATFORM_ADMIN} and not about_own:
        if staff not in {None, actor.staff}:
            raise NotFound(kind="audit")
        staff = actor.staff
    found: list[AuditRow] = []
    position: int | None = after if before is None else before
    while position is not None and len(found) < limit:
        span = {"after": position} if before is None else {"before": position}
        page = uow.audit.rows(object=object, staff=staff, organisation=organisation, **span, limit=PAGE)
        for row in page:
            position = row.n
            if actor.role is not Role.PLATFORM_ADMIN or row.object.partition(":")[0] in PLATFORM_KINDS:
                found.append(row)
                if len(found) == limit:
                    break
        else:
            if len(page) < PAGE:
                position = None
    if actor.role is Role.ORG_ADMIN:
        found = [_without_content(row) for row in found]
    return AuditPage(rows=found, names=_names(uow, found), next=position)


def _own_object(uow: SqlUnitOfWork, actor: Actor, object: str) -> bool:
    """Whether the object is a consultation whose audit the actor may read."""
    kind, _colon, name = object.partition(":")
    if kind != "consultation":
        return False
    try:
        open_consultation(uow, actor, ConsultationId(name), Action.AUDIT_READ)
    except ConsultError:
        return False
    return True


def _without_content(row: AuditRow) -> AuditRow:
    """Clinical objects by kind only."""
    kind, _colon, _id = row.object.partition(":")
    if kind in PLATFORM_KINDS:
        return row
    return replace(row, object=kind, detail={})


def _names(uow: SqlUnitOfWork, rows: Sequence[AuditRow]) -> dict[str, str]:
    """Names of the staff and tokens in the rows; who is gone from the table keeps only the id."""
    names: dict[str, str] = {}
    for who in {row.staff for row in rows if row.staff is not None}:
        try:
            token = who.startswith(WHO)
            names[who] = uow.tokens.get(who.removeprefix(WHO)).name if token else uow.people.staff(who).name
        except NotFound:
            continue
    return names
