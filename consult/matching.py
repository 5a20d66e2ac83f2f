"""Which patient a study belongs to. Automatically only by numbers, never by name; otherwise a technician decides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from consult import model as m
from consult.access import Action, authorize, open_patient, present, surviving
from consult.errors import Conflict, Invalid, NotFound
from consult.events import record, record_note
from consult.lifecycle import CLOSED
from consult.material import add_share
from consult.patient import IdentifierSystem, Patient, PatientId, PatientIdentifier, Sex
from consult.people import Actor, OrganisationId
from consult.ports import UnitOfWork

_KNOWN_SEX = frozenset({Sex.MALE, Sex.FEMALE})
_RECENT = timedelta(days=7)
_ORDERS_LOOKED_AT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What the archive says of one study held by one organisation, as written in its files."""

    study_uid: str
    organisation: OrganisationId
    accession: str = ""
    issuer: str = ""                   # IssuerOfPatientID; empty: the holding organisation's own numbers
    patient_id: str = ""
    patient_name: str = ""             # shown and ranked, never matched by
    birth_date: date | None = None
    sex: Sex = Sex.UNKNOWN
    study_date: date | None = None
    modality: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    patient: Patient
    order: m.ExamOrder | None
    score: int
    differences: tuple[str, ...]       # name | sex | birth_date | patient_id | accession | modality | date


def match_automatically(uow: UnitOfWork, *, facts: StudyFacts) -> m.StudyMatch | None:
    """Called by ingest. By the accession number of the performing organisation, unless birth date or sex speak
    against it; or by issuer and PatientID with equal birth date and sex. None: a technician must decide.
    """
    present = uow.studies.match(facts.study_uid, facts.organisation)
    if present is not None:
        return present
    if facts.accession.strip():
        order = uow.studies.order_by_accession(facts.organisation, facts.accession.strip())
        if order is not None and order.voided_at is None:
            patient = surviving(uow, uow.patients.get(order.patient))
            if patient.unknown or not _contradicts(facts, patient):
                return _match(uow, None, facts, patient.id, order, m.MatchMethod.ACCESSION)
            return None
    holder = _by_number(uow, facts)
    if (
        holder is not None
        and facts.birth_date is not None
        and facts.sex in _KNOWN_SEX
        and (_born(holder), holder.sex) == (facts.birth_date, facts.sex)
    ):
        return _match(uow, None, facts, holder.id, None, m.MatchMethod.PATIENT_ID)
    return None


def _by_number(uow: UnitOfWork, facts: StudyFacts) -> Patient | None:
    number = facts.patient_id.strip()
    if not number:
        return None
    issuer = facts.issuer.strip() or facts.organisation
    holder = uow.patients.by_identifier(IdentifierSystem.LOCAL, issuer, number)
    return surviving(uow, holder) if holder is not None else None


def _born(patient: Patient) -> date | None:
    """The birth date as far as it identifies anybody: a guess does not."""
    return None if patient.birth_estimated else patient.birth_date


def _contradicts(facts: StudyFacts, patient: Patient) -> bool:
    dates = {facts.birth_date, _born(patient)} - {None}
    sexes = {facts.sex, patient.sex} & _KNOWN_SEX
    return len(dates) > 1 or len(sexes) > 1


def _match(
    uow: UnitOfWork,
    actor: Actor | None,
    facts: StudyFacts,
    patient: PatientId,
    order: m.ExamOrder | None,
    method: m.MatchMethod,
    *,
    learnt: PatientIdentifier | None = None,
) -> m.StudyMatch:
    match = m.StudyMatch(
        id=uow.new_id(),
        study_uid=facts.study_uid,
        organisation=facts.organisation,
        patient=patient,
        order=order.id if order else None,
        method=method,
        by=actor.membership if actor else None,
        at=uow.now,
    )
    uow.studies.add_match(match)
    uow.patients.link_organisation(patient, facts.organisation)
    payload = {
        "patient": patient,
        "order": match.order,
        "method": method.value,
        "organisation": facts.organisation,
        "identifier": [learnt.issuer, learnt.value] if learnt else None,
    }
    record(uow, actor, f"study:{facts.study_uid}", "match", after="matched", payload=payload)
    if order is not None and order.consultation is not None:
        consultation = uow.consultations.get(order.consultation)
        same = surviving(uow, uow.patients.get(consultation.patient)).id == patient
        if same and consultation.state not in CLOSED:
            add_share(uow, actor, consultation, facts.study_uid)
    uow.publish(f"study:{facts.organisation}", {"study": facts.study_uid, "matched": True})
    return match


def rank_candidates(
    uow: UnitOfWork,
    *,
    actor: Actor,
    facts: StudyFacts,
    romanise: Callable[[str], str],
    limit: int = 9,
) -> Sequence[Candidate]:
    """Whose study it may be, likeliest first, each with what differs. For the holder's technicians."""
    authorize(uow, actor, Action.STUDIES_MATCH, facts.organisation)
    orders = [
        x
        for x in uow.studies.orders(organisation=facts.organisation, limit=_ORDERS_LOOKED_AT)
        if x.voided_at is None and x.performing == facts.organisation
    ]
    taken = {x.order for x in uow.studies.matches(organisation=facts.organisation) if x.order}
    found: dict[tuple[PatientId, m.OrderId | None], Candidate] = {}
    for order in orders:
        if order.id not in taken:
            patient = surviving(uow, uow.patients.get(order.patient))
            found[patient.id, order.id] = _rate(uow, facts, patient, order, romanise)
    with_order = {x for x, _ in found}
    for patient in _alike(uow, facts, romanise):
        if patient.id not in with_order:
            found[patient.id, None] = _rate(uow, facts, patient, None, romanise)
    ranked = sorted(found.values(), key=lambda x: (-x.score, len(x.differences), x.patient.id))
    likely = [x for x in ranked if x.score >= 10 or (x.order and uow.now - x.order.at <= _RECENT)]
    return tuple(likely[:limit])


def _alike(uow: UnitOfWork, facts: StudyFacts, romanise: Callable[[str], str]) -> list[Patient]:
    wanted = [facts.patient_id.strip(), *written_names(facts.patient_name)]
    wanted += [romanise(x).partition("|")[0] for x in written_names(facts.patient_name) if not x.isascii()]
    found: dict[PatientId, Patient] = {}
    if (holder := _by_number(uow, facts)) is not None:
        found[holder.id] = holder
    for text in dict.fromkeys(x for x in wanted if len(x) > 1):
        for patient in uow.patients.find(text, facts.organisation):
            found.setdefault(patient.id, patient)
    return list(found.values())


def written_names(person_name: str) -> list[str]:
    """The name groups of a DICOM PN (alphabetic=ideographic=phonetic, PS3.5 §6.2) without separators."""
    return [
        joined for group in person_name.split("=") if (joined := "".join(group.replace("^", " ").split()))
    ]


def _same_name(facts: StudyFacts, patient: Patient, romanise: Callable[[str], str]) -> int:
    """2: the written name, 1: only how it sounds, 0: neither."""
    names = {x.casefold() for x in written_names(facts.patient_name)}
    if "".join(patient.name.split()).casefold() in names:
        return 2
    readings = {"".join(x.split()) for x in patient.pinyin.casefold().split("|")} - {""}
    sounds = {x for x in names if x.isascii()}
    sounds |= {"".join(romanise(x).partition("|")[0].split()).casefold() for x in names if not x.isascii()}
    return 1 if readings & sounds else 0


def _rate(
    uow: UnitOfWork,
    facts: StudyFacts,
    patient: Patient,
    order: m.ExamOrder | None,
    romanise: Callable[[str], str],
) -> Candidate:
    score = 0
    differences: list[str] = []

    def weigh(name: str, points: int, *, known: bool, same: bool) -> None:
        nonlocal score
        if known and same:
            score += points
        elif known:
            differences.append(name)

    numbers = {x.value for x in uow.patients.identifiers(patient.id)}
    sound = _same_name(facts, patient, romanise)
    weigh("name", 20 if sound == 2 else 12, known=bool(facts.patient_name.strip()), same=sound > 0)
    weigh(
        "birth_date", 20,
        known=None not in (facts.birth_date, _born(patient)), same=facts.birth_date == _born(patient),
    )  # fmt: skip
    weigh("sex", 5, known={facts.sex, patient.sex} <= _KNOWN_SEX, same=facts.sex is patient.sex)
    weigh("patient_id", 40, known=bool(facts.patient_id.strip() and numbers), same=facts.patient_id.strip() in numbers)
    if order is not None:
        weigh("accession", 50, known=bool(facts.accession.strip()), same=facts.accession.strip() == order.accession)
        weigh("modality", 5, known=bool(facts.modality), same=facts.modality == order.modality)
        day = (order.at + uow.rules.utc_offset).date()
        near = facts.study_date is not None and abs(facts.study_date - day) <= timedelta(days=3)
        weigh("date", 5, known=facts.study_date is not None, same=near)
    return Candidate(patient=patient, order=order, score=score, differences=tuple(differences))


def confirm_match(
    uow: UnitOfWork,
    *,
    actor: Actor,
    facts: StudyFacts,
    patient: PatientId,
    order: m.OrderId | None = None,
) -> m.StudyMatch:
    """The technician says whose it is. The device's number is remembered where birth date and sex agree, so that
    the next study of it matches by itself. Raises Conflict(reason="already_matched"), Invalid((order, …)).
    """
    authorize(uow, actor, Action.STUDIES_MATCH, facts.organisation)
    found = open_patient(uow, actor, patient, Action.PATIENT_FIND)
    if uow.studies.match(facts.study_uid, facts.organisation) is not None:
        raise Conflict(reason="already_matched")
    chosen = None
    if order is not None:
        chosen = present(uow.studies.order, order)
        if chosen.performing != facts.organisation:
            raise NotFound
        if surviving(uow, uow.patients.get(chosen.patient)).id != found.id or chosen.voided_at is not None:
            raise Invalid(("order", "other_patient"))
    learnt = _learn(uow, facts, found)
    return _match(uow, actor, facts, found.id, chosen, m.MatchMethod.MANUAL, learnt=learnt)


def _learn(uow: UnitOfWork, facts: StudyFacts, patient: Patient) -> PatientIdentifier | None:
    number = facts.patient_id.strip()
    agrees = (facts.birth_date, facts.sex) == (_born(patient), patient.sex)
    if not number or not agrees or facts.birth_date is None or facts.sex not in _KNOWN_SEX:
        return None
    issuer = facts.issuer.strip() or facts.organisation
    if uow.patients.by_identifier(IdentifierSystem.LOCAL, issuer, number) is not None:
        return None
    learnt = PatientIdentifier(
        patient=patient.id, system=IdentifierSystem.LOCAL, issuer=issuer, value=number
    )
    uow.patients.add_identifier(learnt)
    return learnt


def undo_match(uow: UnitOfWork, *, actor: Actor, study_uid: str, reason: str = "") -> None:
    """Takes a match of the technician's organisation back; the study leaves the consultations and is unmatched."""
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    match = uow.studies.match(study_uid, actor.organisation)
    if match is None:
        raise NotFound
    withdraw_match(uow, actor, match, reason=reason, trigger="undo_match")


def withdraw_match(
    uow: UnitOfWork, actor: Actor, match: m.StudyMatch, *, reason: str, trigger: str
) -> None:
    """Voids the match, forgets the number it taught, ends the shares it carried and the doubts about them."""
    uow.studies.void_match(match.id, by=actor.membership, at=uow.now, reason=reason.strip())
    for event in reversed(uow.events.of(f"study:{match.study_uid}")):
        if event.trigger == "match" and event.payload.get("organisation") == match.organisation:
            if event.payload.get("identifier"):
                issuer, value = event.payload["identifier"]
                _forget(uow, match.patient, issuer, value)
            break
    for consultation in uow.consultations.sharing(match.study_uid):
        uow.consultations.end_share(consultation.id, match.study_uid, at=uow.now)
        kept = tuple(x for x in consultation.hidden_studies if x != match.study_uid)
        if kept != consultation.hidden_studies:
            consultation = uow.consultations.save(replace(consultation, hidden_studies=kept))
        record_note(
            uow, actor, consultation, trigger, reason=reason, payload={"study": match.study_uid}
        )
    record(
        uow, actor, f"study:{match.study_uid}", trigger,
        before="matched", after="unmatched", reason=reason, payload={"organisation": match.organisation},
    )  # fmt: skip
    uow.publish(f"study:{match.organisation}", {"study": match.study_uid, "matched": False})


def _forget(uow: UnitOfWork, patient: PatientId, issuer: str, value: str) -> None:
    learnt = PatientIdentifier(
        patient=patient, system=IdentifierSystem.LOCAL, issuer=issuer, value=value
    )
    try:
        uow.patients.remove_identifier(learnt)
    except NotFound:
        return                         # corrected or moved by hand since
