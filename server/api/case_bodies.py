"""What the steps of a consultation take: bounded shapes of their JSON bodies."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from consult import consent as consents
from consult import model as m
from consult import requesting
from consult.patient import Sex
from consult.people import MembershipId, OrganisationId

Id = Annotated[str, msgspec.Meta(max_length=64)]
Line = Annotated[str, msgspec.Meta(max_length=200)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
Note = Annotated[str, msgspec.Meta(max_length=1000)]
Text = Annotated[str, msgspec.Meta(max_length=20_000)]
QuestionText = Annotated[str, msgspec.Meta(max_length=2000)]
Questions = Annotated[list[QuestionText], msgspec.Meta(max_length=20)]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A body without fields: `{}`."""


class TargetBody(Body):
    addressing: m.Addressing = m.Addressing.POOL
    organisation: Id | None = None
    specialty: Line = ""
    membership: Id | None = None

    def value(self) -> requesting.Target:
        return requesting.Target(
            addressing=self.addressing,
            organisation=OrganisationId(self.organisation) if self.organisation else None,
            specialty=self.specialty,
            membership=MembershipId(self.membership) if self.membership else None,
        )


class Draft(Body):
    patient: Id
    service: m.Service = m.Service.CLINICAL
    mode: m.Mode = m.Mode.STORED
    urgency: m.Urgency = m.Urgency.ROUTINE
    target: TargetBody | None = None


class Save(Body):
    version: int
    content: dict[str, Any]
    questions: Questions
    service: m.Service | None = None
    mode: m.Mode | None = None
    participation: m.Participation | None = None
    urgency: m.Urgency | None = None
    target: TargetBody | None = None


class ConsentBody(Body):
    text_version: Line
    signer: Line
    mode: m.ConsentMode
    relation: Line = "self"
    scopes: Annotated[tuple[Line, ...], msgspec.Meta(max_length=8)] = (
        "consultation",
        "record_reading",
        "image_sharing",
    )
    witnesses: Annotated[tuple[Line, ...], msgspec.Meta(max_length=4)] = ()
    document: Id | None = None

    def value(self) -> consents.GivenConsent:
        return consents.GivenConsent(
            text_version=self.text_version,
            signer=self.signer.strip(),
            relation=self.relation,
            mode=self.mode,
            scopes=self.scopes,
            witnesses=tuple(w.strip() for w in self.witnesses if w.strip()),
            document=m.DocumentId(self.document) if self.document else None,
        )


class Stat(Body):
    consent: ConsentBody
    patient: Id | None = None
    service: m.Service = m.Service.CLINICAL
    mode: m.Mode = m.Mode.LIVE
    target: TargetBody | None = None
    question: QuestionText = ""
    unknown_sex: Sex = Sex.UNKNOWN
    unknown_months: Annotated[int, msgspec.Meta(ge=0, le=1560)] | None = None


class CompleteStat(Body):
    version: int
    content: dict[str, Any]
    questions: Questions
    patient: Id | None = None


class Because(Body):
    reason: Reason


class MaybeBecause(Body):
    reason: Note = ""


class WithNote(Body):
    note: Note = ""


class Versioned(Body):
    version: int | None = None


class Missing(Body):
    item: Line
    due: datetime | None = None


class Items(Body):
    items: Annotated[list[Missing], msgspec.Meta(min_length=1, max_length=20)]
    note: Note = ""
    version: int | None = None


class Asked(Body):
    items: Annotated[list[Missing], msgspec.Meta(min_length=1, max_length=20)]


class OfferBody(Body):
    organisation: Id | None = None
    membership: Id | None = None
    specialty: Line = ""
    urgency: m.Urgency | None = None
    version: int | None = None


class Reassign(Body):
    reason: Reason
    organisation: Id | None = None
    membership: Id | None = None
    specialty: Line = ""


class Cancel(Body):
    reason: Reason
    fault: Line


class Convert(Body):
    reason: Reason
    participation: m.Participation | None = None
    urgency: m.Urgency | None = None
    service: m.Service | None = None


class WindowBody(Body):
    start: datetime
    end: datetime


class Windows(Body):
    windows: Annotated[list[WindowBody], msgspec.Meta(min_length=1, max_length=10)]


class At(Body):
    at: datetime


class Move(Body):
    at: datetime
    reason: Reason


class Study(Body):
    study_uid: Id


class Pasted(Body):
    text: Text


class Resubmit(Body):
    version: int | None = None
    note: Note = ""
