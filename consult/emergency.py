"""STAT 急会诊: open in 30 seconds, finish the form during the call (DOMAIN §3)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from consult import model as m
from consult.access import Action, Opened, authorize, open_consultation, open_patient
from consult.consent import GivenConsent, add_consent
from consult.drafting import (
    Target,
    check_agreement,
    new_consultation,
    resolve_target,
    send,
    target_fields,
    write_request,
)
from consult.errors import Stale
from consult.events import record_note
from consult.material import GivenDocument, file_document
from consult.patient import PatientId, Sex
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.registering import Romanise, merge_patients, register_patient


def start_stat(
    uow: UnitOfWork,
    *,
    actor: Actor,
    patient: PatientId | None,
    consent: GivenConsent,
    signature: GivenDocument | None = None,
    service: m.Service = m.Service.CLINICAL,
    mode: m.Mode = m.Mode.LIVE,
    target: Target | None = None,
    question: str = "",
    unknown_sex: Sex = Sex.UNKNOWN,
    unknown_months: int | None = None,
    romanise: Romanise,
) -> m.Consultation:
    """Patient known or not (None: an unknown one is registered, with sex and age in months as guessed), consent, and
    it rings: offered for three minutes.

    `signature` is the drawn signature or the scan of a consent that is not by witnesses; it is filed first.
    Everything else of the form is completed afterwards (complete_stat). Raises Invalid with the fields.
    """
    authorize(uow, actor, Action.REQUEST_START, actor.organisation)
    if patient is None:
        found = register_patient(
            uow, actor=actor, name="", sex=unknown_sex, unknown=True, estimated_months=unknown_months, romanise=romanise
        )
    else:
        found = open_patient(uow, actor, patient, Action.PATIENT_FIND)
    fields: dict[str, Any] = {"service": service, "mode": mode, "urgency": m.Urgency.STAT}
    draft = new_consultation(uow, actor, patient=found.id, fields=fields | target_fields(target))
    opened = open_consultation(uow, actor, draft.id, Action.REQUEST_WRITE)
    if signature is not None:
        document = file_document(uow, actor, opened, signature)
        consent = replace(consent, document=document.id)
    add_consent(uow, actor, opened, consent)
    if question.strip():
        draft = write_request(uow, actor, opened, {}, [question], {})
        opened = _again(opened, draft)
    target_found = resolve_target(uow, draft)
    check_agreement(uow, draft, target_found)
    return send(uow, actor, opened, target_found)


def complete_stat(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    version: int,
    content: Mapping[str, Any],
    questions: Sequence[str],
    patient: PatientId | None = None,
) -> m.Consultation:
    """The form, finished while the emergency goes on: a new request version. `patient` says who the unknown one is;
    the provisional record is merged into theirs. Raises Stale, Invalid, WrongState once the report is signed.
    """
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    if opened.consultation.version != version:
        raise Stale(version=opened.consultation.version)
    saved = write_request(uow, actor, opened, content, questions, {})
    if patient is None or patient == saved.patient:
        return saved
    known = open_patient(uow, actor, patient, Action.PATIENT_FIND)
    if uow.patients.get(saved.patient).unknown:
        merge_patients(uow, actor=actor, source=saved.patient, target=known.id, reason="identified")
    identified = uow.consultations.save(replace(saved, patient=known.id))
    record_note(uow, actor, identified, "identify_patient", payload={"before": saved.patient})
    return identified


def _again(opened: Opened, consultation: m.Consultation) -> Opened:
    return replace(opened, consultation=consultation)
