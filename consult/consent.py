"""Consent: versioned texts, given and withdrawn. Nothing is overwritten or deleted."""

from collections.abc import Mapping
from dataclasses import dataclass

from consult import model as m
from consult.access import Action, Opened, open_consultation
from consult.errors import Invalid, NotFound, WrongState
from consult.events import record_note
from consult.lifecycle import TERMINAL
from consult.people import Actor
from consult.ports import UnitOfWork

SCOPES = ("consultation", "record_reading", "image_sharing", "recording", "teaching")
REQUIRED_SCOPES = ("consultation",)
RELATIONS = ("self", "spouse", "parent", "child", "sibling", "guardian", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentText:
    """The words that were read out or shown. A changed text is a new version; old ones stay for old signatures."""

    version: str
    title: str
    body: str


TEXTS: Mapping[str, ConsentText] = {
    "2026-1": ConsentText(
        version="2026-1",
        title="远程会诊知情同意书",
        body=(
            "您的医生建议通过远程会诊，请上级医院的专家共同讨论您的病情。\n"
            "一、会诊专家将阅读您为本次会诊提供的病历、检查检验结果和影像资料，并可能通过视频与您和您的医生交流。\n"
            "二、专家的意见供您的医生参考，由您的医生结合当面诊察作出决定；远程会诊受资料和条件所限，"
            "不能完全代替当面诊疗，病情变化时请及时就诊。\n"
            "三、参加会诊的人员对您的个人信息和病情负有保密义务；未经您另外同意，不录音录像，"
            "也不用于教学或科研。\n"
            "四、您可以随时撤回同意，撤回前已经完成的会诊不受影响；拒绝会诊不影响您在本机构获得常规诊疗。\n"
            "我已了解以上内容，同意进行远程会诊。"
        ),
    ),
    "2026-1-rescue": ConsentText(
        version="2026-1-rescue",
        title="抢救远程会诊口头同意记录",
        body=(
            "患者病情危急，需要立即进行远程会诊，暂时无法取得患者本人或其近亲属的书面同意。\n"
            "医务人员已口头告知（或因患者无法表达、近亲属不在场而无法告知）会诊的目的、方式和资料的使用范围，"
            "由两名见证人签名记录，情况许可后补办书面同意。"
        ),
    ),
}
CURRENT_TEXT = "2026-1"
RESCUE_TEXT = "2026-1-rescue"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenConsent:
    """What the form says. A signature or scan names the document that holds it (add_document comes first)."""

    text_version: str
    signer: str
    relation: str = "self"
    mode: m.ConsentMode
    scopes: tuple[str, ...] = ("consultation", "record_reading", "image_sharing")
    witnesses: tuple[str, ...] = ()
    document: m.DocumentId | None = None


def record_consent(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, given: GivenConsent
) -> m.Consent:
    """Adds a consent. Raises Invalid (text_version, signer, relation, scopes, witnesses, document), WrongState."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    return add_consent(uow, actor, opened, given)


def add_consent(uow: UnitOfWork, actor: Actor, opened: Opened, given: GivenConsent) -> m.Consent:
    """record_consent for a consultation that is open already (start_stat)."""
    if opened.consultation.state in TERMINAL:
        raise WrongState(state=opened.consultation.state.value, trigger="record_consent")
    check_consent(uow, opened.consultation, given)
    consent = m.Consent(
        id=uow.new_id(),
        consultation=opened.consultation.id,
        text_version=given.text_version,
        signer=given.signer.strip(),
        relation=given.relation,
        mode=given.mode,
        scopes=given.scopes,
        witnesses=tuple(x.strip() for x in given.witnesses if x.strip()),
        document=given.document,
        given_at=uow.now,
        recorded_by=actor.membership,
    )
    uow.consultations.add_consent(consent)
    payload = {"mode": given.mode.value, "scopes": list(given.scopes), "text_version": given.text_version}
    record_note(uow, actor, opened.consultation, "record_consent", payload=payload)
    return consent


def check_consent(uow: UnitOfWork, consultation: m.Consultation, given: GivenConsent) -> None:
    wrong: list[tuple[str, str]] = []
    if given.text_version not in TEXTS:
        wrong.append(("consent.text_version", "unknown_text"))
    if given.relation not in RELATIONS:
        wrong.append(("consent.relation", "unknown_choice"))
    missing = [x for x in REQUIRED_SCOPES if x not in given.scopes]
    if missing or any(x not in SCOPES for x in given.scopes):
        wrong.append(("consent.scopes", "required" if missing else "unknown_choice"))
    if given.mode is m.ConsentMode.WITNESSES:
        names = {x.strip() for x in given.witnesses if x.strip()}
        if len(names) < 2:
            wrong.append(("consent.witnesses", "two_witnesses"))
    else:
        if not given.signer.strip():
            wrong.append(("consent.signer", "required"))
        if given.document is None:
            wrong.append(("consent.document", "required"))
    if given.document is not None:
        held = {x.id for x in uow.consultations.documents(consultation.id) if x.voided_at is None}
        if given.document not in held:
            wrong.append(("consent.document", "not_found"))
    if wrong:
        raise Invalid(*wrong)


def consent_in_force(uow: UnitOfWork, consultation: m.ConsultationId, scope: str = "consultation") -> bool:
    return any(
        x.withdrawn_at is None and scope in x.scopes for x in uow.consultations.consents(consultation)
    )


def withdraw_consent(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, consent: str, reason: str
) -> m.Consent:
    """Marks it withdrawn from now on. Raises Invalid without a reason, NotFound, WrongState when it was already.

    What happens to the consultation is the doctor's decision (withdraw or cancel it): care must not stop by itself.
    """
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    if not reason.strip():
        raise Invalid(("reason", "required"))
    stored = next((x for x in uow.consultations.consents(consultation) if x.id == consent), None)
    if stored is None:
        raise NotFound
    if stored.withdrawn_at is not None:
        raise WrongState(state="withdrawn", trigger="withdraw_consent")
    uow.consultations.withdraw_consent(consent, at=uow.now, reason=reason.strip())
    record_note(uow, actor, opened.consultation, "withdraw_consent", reason=reason)
    return next(x for x in uow.consultations.consents(consultation) if x.id == consent)
