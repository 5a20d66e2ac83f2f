"""Organisations, their links, staff and memberships (ports.People)."""

from collections.abc import Sequence

from sqlalchemy import or_, select

from consult import people as o
from server.storage import rows
from server.storage.repository import Repository
from server.storage.tables import membership, org_link, organisation, staff


class People(Repository):
    def organisation(self, id: o.OrganisationId) -> o.Organisation:
        return self._get(rows.organisation, id)

    def organisations(self) -> Sequence[o.Organisation]:
        """By name."""
        return self._list(rows.organisation, order=(organisation.c.name, organisation.c.id))

    def add_organisation(self, organisation: o.Organisation) -> None:
        self._add(rows.organisation, organisation)

    def save_organisation(self, organisation: o.Organisation) -> o.Organisation:
        return self._save(rows.organisation, organisation)

    def add_link(self, link: o.OrgLink) -> None:
        self._add(rows.org_link, link)

    def links(self, organisation: o.OrganisationId | None = None) -> Sequence[o.OrgLink]:
        """Of one organisation on either end, or all; oldest first."""
        c = org_link.c
        where = () if organisation is None else (or_(c.a == organisation, c.b == organisation),)
        return self._list(rows.org_link, *where, order=(c.since, c.a, c.b, c.kind))

    def staff(self, id: o.StaffId) -> o.Staff:
        return self._get(rows.staff, id)

    def staff_by_login(self, login: str) -> o.Staff | None:
        return self._find_by(rows.staff, login=login)

    def staff_of(self, organisation: o.OrganisationId) -> Sequence[o.Staff]:
        """Everyone who has or had a membership there, by name."""
        inside = select(membership.c.staff).where(membership.c.organisation == organisation)
        return self._list(rows.staff, staff.c.id.in_(inside), order=(staff.c.name, staff.c.id))

    def add_staff(self, staff: o.Staff) -> None:
        self._add(rows.staff, staff)

    def save_staff(self, staff: o.Staff) -> o.Staff:
        return self._save(rows.staff, staff)

    def membership(self, id: o.MembershipId) -> o.Membership:
        return self._get(rows.membership, id)

    def memberships(
        self,
        *,
        staff: o.StaffId | None = None,
        organisation: o.OrganisationId | None = None,
        role: o.Role | None = None,
    ) -> Sequence[o.Membership]:
        """All that fit every given filter, ended ones too; ordered by id."""
        given = {"staff": staff, "organisation": organisation, "role": role}
        equal = {name: value for name, value in given.items() if value is not None}
        return self._list_by(rows.membership, ("id",), **equal)

    def add_membership(self, membership: o.Membership) -> None:
        self._add(rows.membership, membership)

    def save_membership(self, membership: o.Membership) -> o.Membership:
        return self._save(rows.membership, membership)
