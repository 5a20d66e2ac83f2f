"""A small town: a clinic, a hospital, its centre; a doctor, two experts, a technician; two patients."""

from datetime import UTC, date, datetime, timedelta

from consult import model as m
from consult import patient as p
from consult import people as o
from consult.feedback_entry import Adoption, FeedbackEntry, Outcome, Side
from consult.recording_state import Kind, Recording, RecordingEvent

T0 = datetime(2026, 11, 20, 1, 2, 3, 456789, tzinfo=UTC)

CLINIC, HOSPITAL, CENTRE = "org-clinic", "org-hospital", "org-centre"
DOCTOR, COLLEAGUE, EXPERT, SECOND, TECHNICIAN = "m-doctor", "m-colleague", "m-expert", "m-second", "m-technician"
PATIENT, OTHER = "p-zhang", "p-li"


def after(**step):
    return T0 + timedelta(**step)


def seed(uow):
    for key, name, short, tier, kind in (
        (CLINIC, "城北社区卫生服务中心", "城北", o.Tier.CLINIC, o.OrganisationKind.COMMUNITY_CENTRE),
        (HOSPITAL, "市第一人民医院", "市一院", o.Tier.CITY, o.OrganisationKind.HOSPITAL),
        (CENTRE, "市影像中心", "影像", o.Tier.CITY, o.OrganisationKind.IMAGING_CENTRE),
    ):
        uow.people.add_organisation(o.Organisation(id=key, name=name, short_name=short, tier=tier, kind=kind))
    for key, name, house, role, specialties in (
        ("doctor", "王医生", CLINIC, o.Role.CLINIC_DOCTOR, ()),
        ("colleague", "赵医生", CLINIC, o.Role.CLINIC_DOCTOR, ()),
        ("expert", "李主任", HOSPITAL, o.Role.EXPERT, ("cardiology",)),
        ("second", "陈主任", HOSPITAL, o.Role.EXPERT, ("neurology",)),
        ("technician", "孙技师", CENTRE, o.Role.TECHNICIAN, ()),
    ):
        uow.people.add_staff(o.Staff(id=f"s-{key}", login=key, name=name))
        uow.people.add_membership(
            o.Membership(id=f"m-{key}", staff=f"s-{key}", organisation=house, role=role, specialties=specialties)
        )
    uow.patients.add(patient(PATIENT, "张小明", "zhang xiao ming|zxm", phone="13800000001"))
    uow.patients.add(patient(OTHER, "李100%好_人", "li hao ren|lhr"))


def patient(id, name, pinyin="", **more):
    return p.Patient(
        id=id, name=name, pinyin=pinyin, sex=p.Sex.MALE, birth_date=date(1958, 3, 9), registered_by=CLINIC,
        created_at=T0, **more,
    )


def actor(key, house, role):
    return o.Actor(membership=f"m-{key}", staff=f"s-{key}", organisation=house, role=role, name=key)


AS_DOCTOR = actor("doctor", CLINIC, o.Role.CLINIC_DOCTOR)
AS_COLLEAGUE = actor("colleague", CLINIC, o.Role.CLINIC_DOCTOR)
AS_EXPERT = actor("expert", HOSPITAL, o.Role.EXPERT)


def consultation(id="c1", **more):
    values = {
        "number": f"HZ-{id}", "patient": PATIENT, "organisation": CLINIC, "requested_by": DOCTOR,
        "service": m.Service.ECG, "mode": m.Mode.STORED, "state_since": T0, "created_at": T0,
    } | more
    return m.Consultation(id=id, **values)


def document(id="d1", **more):
    values = {
        "consultation": "c1", "kind": "document", "title": "血常规", "media_type": "application/pdf",
        "digest": "ab" * 32, "size": 10, "added_by": DOCTOR, "added_at": T0,
    } | more
    return m.Document(id=id, **values)


def offer(id="f1", **more):
    values = {
        "consultation": "c1", "organisation": HOSPITAL, "made_at": T0, "expires_at": after(minutes=30),
    } | more
    return m.Offer(id=id, **values)


def participant(membership=DOCTOR, part=m.Part.REFERRING, **more):
    return m.Participant(**({"consultation": "c1", "membership": membership, "part": part, "since": T0} | more))


def report(id="r1", **more):
    values = {
        "consultation": "c1", "part": m.Part.EXPERT, "author": EXPERT, "content": {"findings": "窦性心律"},
        "saved_at": T0,
    } | more
    return m.Report(id=id, **values)


def version(id="v1", n=1, **more):
    values = {
        "report": "r1", "consultation": "c1", "n": n, "status": m.ReportStatus.FINAL, "content": {"findings": "甲"},
        "content_digest": "c" * 64, "pdf_digest": "d" * 64, "code": f"code-{id}", "signed_at": after(hours=n),
    } | more
    return m.ReportVersion(id=id, **values)


def signature(version="v1", staff="s-expert", membership=EXPERT, part=m.Part.EXPERT):
    return m.Signature(
        report_version=version, staff=staff, membership=membership, part=part, certificate="f" * 64, at=T0
    )


def feedback(id="y1", **more):
    values = {
        "consultation": "c1", "side": Side.CLINIC, "by": DOCTOR, "at": T0, "day": 7, "adoption": Adoption.PARTLY,
        "reason": "患者不愿住院", "plan_changed": True, "done": "加用倍他乐克", "outcome": Outcome.IMPROVED, "rating": 4,
        "comment": "很有帮助",
    } | more
    return FeedbackEntry(id=id, **values)


def rating(id="y9", **more):
    values = {"consultation": "c1", "side": Side.EXPERT, "by": EXPERT, "at": T0, "rating": 5} | more
    return FeedbackEntry(id=id, **values)


def filing(id="x1", **more):
    values = {
        "report_version": "v1", "consultation": "c1", "organisation": CLINIC, "channel": "inbox", "filed_at": T0,
    } | more
    return m.Filing(id=id, **values)


def order(id="e1", **more):
    values = {
        "issuer": HOSPITAL, "accession": f"A{id}", "patient": PATIENT, "ordering": CLINIC, "performing": HOSPITAL,
        "ordered_by": DOCTOR, "procedure": "胸部CT", "modality": "CT", "at": T0,
    } | more
    return m.ExamOrder(id=id, **values)


def match(id="k1", **more):
    values = {
        "study_uid": "2.25.1", "organisation": HOSPITAL, "patient": PATIENT, "order": None,
        "method": m.MatchMethod.MANUAL, "by": TECHNICIAN, "at": T0,
    } | more
    return m.StudyMatch(id=id, **values)


def event(n=1, aggregate="consultation:c1", **more):
    values = {
        "trigger": "submit", "before": "draft", "after": "submitted", "membership": DOCTOR, "staff": "s-doctor",
        "organisation": CLINIC, "at": T0, "payload": {"n": n},
    } | more
    return m.Event(id=f"{aggregate}#{n}", aggregate=aggregate, n=n, **values)


def audit(action="read", **more):
    values = {
        "n": 0, "at": T0, "membership": DOCTOR, "staff": "s-doctor", "organisation": CLINIC, "object": "patient:p",
        "outcome": "ok", "request_id": "q1", "detail": {"why": "会诊", "frames": 3, "share": 0.25},
    } | more
    return m.AuditRow(action=action, **values)


def with_recording(uow):
    uow.meetings.add_session(m.Session(id="q1", consultation="c1", n=1, opened_by=EXPERT, opened_at=T0))
    uow.recordings.add(
        Recording(id="v1", consultation="c1", session="q1", asked_by=EXPERT, asked_at=T0, key="sealed")
    )
    uow.recordings.append(RecordingEvent(id="v1#1", recording="v1", n=1, at=T0, kind=Kind.ASKED, mark="mark"))


def with_consultation(uow, id="c1", **more):
    uow.consultations.add(consultation(id, **more))


def with_report(uow):
    with_consultation(uow)
    uow.reports.add(report())


def with_signed(uow):
    with_report(uow)
    uow.reports.add_version(version(), b"%PDF-1", [signature()])
