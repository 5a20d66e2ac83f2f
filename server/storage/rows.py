"""Rows to entities and back, in one place. A field without a column stops the import: add both, and a migration."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Table
from sqlalchemy.engine import Row

from consult import model as m
from consult import patient as p
from consult import people as o
from consult.feedback_entry import FeedbackEntry
from server.storage import tables as t
from server.storage import tables_more as s

E = TypeVar("E")


def pinyin_key(pinyin: str) -> str:
    """`zhang xiao ming|zxm` → `|zhangxiaoming|zxm`, so that every reading is found by its beginning."""
    return "".join("|" + "".join(reading.split()) for reading in pinyin.lower().split("|") if reading.strip())


class Mapper(Generic[E]):
    """One entity and its table. Columns have the names of the fields; `derive` fills the columns no field carries."""

    def __init__(
        self, entity: type[E], table: Table, derive: Callable[[E], Mapping[str, Any]] | None = None
    ) -> None:
        self.entity = entity
        self.table = table
        self.names = tuple(f.name for f in fields(entity))  # type: ignore[arg-type]
        missing = [name for name in self.names if name not in table.c]
        if missing:
            msg = f"{entity.__name__}: fields without a column in {table.name}: {', '.join(missing)}"
            raise TypeError(msg)
        self.columns: tuple[Column[Any], ...] = tuple(table.c[name] for name in self.names)
        self.width = len(self.columns)
        self._derive = derive

    def values(self, entity: E) -> dict[str, Any]:
        """Column values of the entity, derived columns included."""
        values = {name: getattr(entity, name) for name in self.names}
        if self._derive is not None:
            values.update(self._derive(entity))
        return values

    def one(self, row: Row[Any], at: int = 0) -> E:
        """The entity from `row`, whose columns from position `at` are `self.columns` in order."""
        return self.entity(**dict(zip(self.names, row[at : at + self.width], strict=True)))

    def labelled(self, prefix: str, table: Any = None) -> list[Any]:
        """The columns under names of their own, for a join where names would meet."""
        source = self.table if table is None else table
        return [source.c[name].label(f"{prefix}_{name}") for name in self.names]


organisation = Mapper(o.Organisation, t.organisation)
org_link = Mapper(o.OrgLink, t.org_link)
staff = Mapper(o.Staff, t.staff)
membership = Mapper(o.Membership, t.membership)
patient = Mapper(p.Patient, t.patient, lambda e: {"pinyin_key": pinyin_key(e.pinyin)})
identifier = Mapper(p.PatientIdentifier, t.patient_identifier)
consultation = Mapper(m.Consultation, t.consultation)
request = Mapper(
    m.RequestVersion, t.request_version, lambda e: {"purpose": str(e.content.get("purpose") or "")}
)
question = Mapper(m.Question, t.question)
consent = Mapper(m.Consent, t.consent)
document = Mapper(m.Document, t.document)
offer = Mapper(m.Offer, t.offer)
participant = Mapper(m.Participant, t.participant)
session = Mapper(m.Session, t.session)
seat = Mapper(m.Seat, t.seat)
attendance = Mapper(m.Attendance, t.attendance)
message = Mapper(m.Message, t.message)
report = Mapper(m.Report, t.report)
report_version = Mapper(m.ReportVersion, t.report_version)
signature = Mapper(m.Signature, t.signature)
filing = Mapper(m.Filing, t.filing)
feedback = Mapper(FeedbackEntry, s.feedback)
order = Mapper(m.ExamOrder, s.exam_order)
match = Mapper(m.StudyMatch, s.study_match)
share = Mapper(m.StudyShare, s.study_share)
event = Mapper(m.Event, s.event)
audit = Mapper(m.AuditRow, s.audit)
