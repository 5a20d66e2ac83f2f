"""Organisations, staff and the membership through which a person acts."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NewType

OrganisationId = NewType("OrganisationId", str)
StaffId = NewType("StaffId", str)
MembershipId = NewType("MembershipId", str)


class Tier(StrEnum):
    CLINIC = "clinic"
    COUNTY = "county"
    CITY = "city"


class OrganisationKind(StrEnum):
    COMMUNITY_CENTRE = "community_centre"      # 社区卫生服务中心
    TOWNSHIP_HOSPITAL = "township_hospital"    # 乡镇卫生院
    HOSPITAL = "hospital"
    IMAGING_CENTRE = "imaging_centre"
    ECG_CENTRE = "ecg_centre"
    PATHOLOGY_CENTRE = "pathology_centre"


class LinkKind(StrEnum):
    PARENT = "parent"          # a is the parent of b (hospital → its imaging centre)
    ALLIANCE = "alliance"      # a serves b
    SPECIALTY = "specialty"


class Role(StrEnum):
    CLINIC_DOCTOR = "clinic_doctor"
    EXPERT = "expert"
    TECHNICIAN = "technician"
    DISPATCHER = "dispatcher"
    ORG_ADMIN = "org_admin"
    PLATFORM_ADMIN = "platform_admin"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    id: OrganisationId
    name: str
    short_name: str
    tier: Tier
    kind: OrganisationKind
    district: str = ""
    phone: str = ""            # the room shows it when media has no path
    room_kbps: int = 0         # a seat of this place sends, and asks to be sent, so many kbit/s at most; 0: no limit
    active: bool = True
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgLink:
    a: OrganisationId
    b: OrganisationId
    kind: LinkKind
    since: date
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    id: StaffId
    login: str
    name: str
    title: str = ""            # 主任医师 …
    licence: str = ""
    phone: str = ""
    active: bool = True
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """One person in one place in one role. One person may hold several and chooses where they are now."""

    id: MembershipId
    staff: StaffId
    organisation: OrganisationId
    role: Role
    department: str = ""
    specialties: tuple[str, ...] = field(default_factory=tuple)
    on_call: bool = False      # takes part in the pool of its organisation
    since: datetime | None = None
    until: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, where and as what: the chosen membership, flattened. Services take this, never a session."""

    membership: MembershipId
    staff: StaffId
    organisation: OrganisationId
    role: Role
    name: str
    title: str = ""
    department: str = ""
    specialties: tuple[str, ...] = field(default_factory=tuple)
