"""A small city for the stories: two clinics, a city hospital with an imaging centre, another hospital, a platform."""

import hashlib
from datetime import date, timedelta
from typing import Any

from consult import model as m
from consult import triage
from consult.consent import CURRENT_TEXT, RESCUE_TEXT, GivenConsent, record_consent
from consult.material import add_document
from consult.patient import IdentifierSystem, Patient, Sex
from consult.people import (
    Actor,
    LinkKind,
    Membership,
    MembershipId,
    Organisation,
    OrganisationId,
    OrganisationKind,
    OrgLink,
    Role,
    Staff,
    StaffId,
    Tier,
)
from consult.registering import GivenIdentifier, register_patient
from consult.reporting import (
    SignedBy,
    SigningPlan,
    acknowledge_report,
    open_report,
    prepare_signing,
    record_signed,
    save_report,
)
from consult.requesting import Target, save_request, start_draft, submit_request
from consult.rules import Rules
from tests.domain.fakes import FakeUnitOfWork

VALID_ID = "11010519491231002X"        # the example of GB 11643-1999: 31 December 1949, female
CLINIC, OTHER_CLINIC = OrganisationId("jiubao"), OrganisationId("jiande")
HOSPITAL, CENTRE, OTHER_HOSPITAL = OrganisationId("city1"), OrganisationId("imaging1"), OrganisationId("city2")
PLATFORM = OrganisationId("platform")
VERBAL = GivenConsent(
    text_version=RESCUE_TEXT, signer="", mode=m.ConsentMode.WITNESSES, witnesses=("护士甲", "护士乙")
)


def romanise(name: str) -> str:
    """Enough of pinyin for these stories."""
    known = {"张": "zhang", "三": "san", "李": "li", "四": "si", "王": "wang", "小": "xiao", "明": "ming"}
    words = [known.get(x, "x") for x in name]
    return " ".join(words) + "|" + "".join(x[0] for x in words)


class World:
    def __init__(self, rules: Rules | None = None, uow: Any = None) -> None:
        self.uow: Any = uow or FakeUnitOfWork(rules=rules)
        self._patients = 0
        for place, short, tier, kind in (
            (CLINIC, "九堡 JB", Tier.CLINIC, OrganisationKind.COMMUNITY_CENTRE),
            (OTHER_CLINIC, "建德 JD", Tier.CLINIC, OrganisationKind.TOWNSHIP_HOSPITAL),
            (HOSPITAL, "市一院 SY", Tier.CITY, OrganisationKind.HOSPITAL),
            (CENTRE, "市一院影像 IMG", Tier.CITY, OrganisationKind.IMAGING_CENTRE),
            (OTHER_HOSPITAL, "市二院 SE", Tier.CITY, OrganisationKind.HOSPITAL),
            (PLATFORM, "平台", Tier.CITY, OrganisationKind.HOSPITAL),
        ):
            self.uow.people.add_organisation(
                Organisation(id=place, name=f"{short}全名", short_name=short, tier=tier, kind=kind)
            )
        since = date(2020, 1, 1)
        for a, b, kind in (
            (HOSPITAL, CLINIC, LinkKind.ALLIANCE),
            (HOSPITAL, CENTRE, LinkKind.PARENT),
            (OTHER_HOSPITAL, OTHER_CLINIC, LinkKind.ALLIANCE),
        ):
            self.uow.people.add_link(OrgLink(a=a, b=b, kind=kind, since=since))
        self.doctor = self.join("doctor", CLINIC, Role.CLINIC_DOCTOR)
        self.colleague = self.join("colleague", CLINIC, Role.CLINIC_DOCTOR)
        self.technician = self.join("technician", CLINIC, Role.TECHNICIAN)
        self.admin = self.join("admin", CLINIC, Role.ORG_ADMIN)
        self.other_doctor = self.join("other_doctor", OTHER_CLINIC, Role.CLINIC_DOCTOR)
        self.other_technician = self.join("other_technician", OTHER_CLINIC, Role.TECHNICIAN)
        self.expert = self.join("expert", HOSPITAL, Role.EXPERT, on_call=True, specialties=("心内科",))
        self.second = self.join("second", HOSPITAL, Role.EXPERT, on_call=True, specialties=("心内科",))
        self.resting = self.join("resting", HOSPITAL, Role.EXPERT)
        self.dispatcher = self.join("dispatcher", HOSPITAL, Role.DISPATCHER)
        self.hospital_admin = self.join("hospital_admin", HOSPITAL, Role.ORG_ADMIN)
        self.radiologist = self.join("radiologist", CENTRE, Role.EXPERT, on_call=True)
        self.centre_technician = self.join("centre_technician", CENTRE, Role.TECHNICIAN)
        self.stranger = self.join("stranger", OTHER_HOSPITAL, Role.EXPERT, on_call=True)
        self.other_dispatcher = self.join("other_dispatcher", OTHER_HOSPITAL, Role.DISPATCHER)
        self.platform = self.join("platform", PLATFORM, Role.PLATFORM_ADMIN)
        self.auditor = self.join("auditor", PLATFORM, Role.AUDITOR)

    def join(self, login: str, organisation: OrganisationId, role: Role, **more: Any) -> Actor:
        staff = Staff(id=StaffId(f"s-{login}"), login=login, name=f"名{login}", title="主任医师")
        self.uow.people.add_staff(staff)
        membership = Membership(
            id=MembershipId(f"m-{login}"), staff=staff.id, organisation=organisation, role=role, **more
        )
        self.uow.people.add_membership(membership)
        return Actor(
            membership=membership.id,
            staff=staff.id,
            organisation=organisation,
            role=role,
            name=staff.name,
            title=staff.title,
            specialties=membership.specialties,
        )

    # the story, step by step

    def patient(self, actor: Actor | None = None, name: str = "张三", **more: Any) -> Patient:
        self._patients += 1
        more.setdefault(
            "identifiers", [GivenIdentifier(system=IdentifierSystem.CARD, value=f"K{self._patients:06d}")]
        )
        more.setdefault("sex", Sex.MALE)
        more.setdefault("birth_date", date(1970, 5, 1))
        return register_patient(
            self.uow, actor=actor or self.doctor, name=name, romanise=romanise, **more
        )

    def draft(self, actor: Actor | None = None, **more: Any) -> m.Consultation:
        actor = actor or self.doctor
        patient = more.pop("patient", None) or self.patient(actor)
        return start_draft(self.uow, actor=actor, patient=patient.id, **more)

    def complete(self, draft: m.Consultation, actor: Actor | None = None) -> m.Consultation:
        actor = actor or self.doctor
        saved = save_request(
            self.uow, actor=actor, consultation=draft.id, version=draft.version,
            content={"purpose": "明确诊断", "complaint": "胸痛2小时"}, questions=["是否心梗?", "如何处理?"],
        )  # fmt: skip
        record_consent(self.uow, actor=actor, consultation=draft.id, given=VERBAL)
        return saved

    def submitted(self, actor: Actor | None = None, **more: Any) -> m.Consultation:
        draft = self.complete(self.draft(actor, **more), actor)
        return submit_request(self.uow, actor=actor or self.doctor, consultation=draft.id)

    def offered(self, actor: Actor | None = None, **more: Any) -> m.Consultation:
        sent = self.submitted(actor, **more)
        if sent.state is m.State.OFFERED:
            return sent
        dispatcher = self.dispatcher if sent.target_organisation == HOSPITAL else self.other_dispatcher
        triage.offer_consultation(self.uow, actor=dispatcher, consultation=sent.id)
        return self.get(sent)

    def accepted(self, actor: Actor | None = None, *, by: Actor | None = None, **more: Any) -> m.Consultation:
        sent = self.offered(actor, **more)
        return triage.accept_offer(self.uow, actor=by or self.expert, consultation=sent.id)

    def answers(self, consultation: m.Consultation) -> dict[str, Any]:
        questions = self.uow.consultations.questions(consultation.id)
        return {"answers": [{"n": x.n, "text": f"答{x.n}"} for x in questions], "findings": "ST 段抬高"}

    def reporting(self, actor: Actor | None = None, *, by: Actor | None = None, **more: Any) -> m.Consultation:
        by = by or self.expert
        case = self.accepted(actor, by=by, **more)
        draft = open_report(self.uow, actor=by, consultation=case.id)
        save_report(
            self.uow, actor=by, report=draft.id, version=draft.version, content=self.answers(case)
        )
        return self.get(case)

    def sign(self, case: m.Consultation, by: Actor | None = None) -> m.ReportVersion:
        by = by or self.expert
        draft = open_report(self.uow, actor=by, consultation=case.id)
        return self.record(prepare_signing(self.uow, actor=by, report=draft.id), by)

    def record(self, plan: SigningPlan, by: Actor, pdf: bytes = b"%PDF-1.7 signed") -> m.ReportVersion:
        return record_signed(
            self.uow, actor=by, plan=plan, pdf=pdf, pdf_digest=hashlib.sha256(pdf).hexdigest(),
            content_digest=plan.content_digest,
            signed_by=[SignedBy(membership=x.membership, certificate="ab" * 32) for x in plan.signers],
        )  # fmt: skip

    def delivered(self, actor: Actor | None = None, *, by: Actor | None = None, **more: Any) -> m.Consultation:
        case = self.reporting(actor, by=by, **more)
        self.sign(case, by)
        return self.get(case)

    def acknowledged(self, actor: Actor | None = None, *, by: Actor | None = None, **more: Any) -> m.Consultation:
        case = self.delivered(actor, by=by, **more)
        return acknowledge_report(self.uow, actor=actor or self.doctor, consultation=case.id)

    def get(self, consultation: m.Consultation) -> m.Consultation:
        return self.uow.consultations.get(consultation.id)

    def wait(self, **step: float) -> None:
        self.uow.advance(timedelta(**step))

    def triggers(self, consultation: m.Consultation) -> list[str]:
        return [str(x.trigger) for x in self.uow.events.of(f"consultation:{consultation.id}")]

    def signature(self, consultation: m.Consultation, actor: Actor | None = None) -> GivenConsent:
        document = add_document(
            self.uow, actor=actor or self.doctor, consultation=consultation.id, kind="signature",
            title="签名", media_type="image/png", digest="d" * 64, size=10,
        )  # fmt: skip
        return GivenConsent(
            text_version=CURRENT_TEXT, signer="张三", mode=m.ConsentMode.SIGNATURE, document=document.id
        )


DIRECT = Target(addressing=m.Addressing.EXPERT, membership=MembershipId("m-expert"))
