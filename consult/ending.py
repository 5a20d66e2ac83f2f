"""Ways off the path: cancel, convert, entered in error. Nothing is deleted."""

from dataclasses import replace
from typing import Any

from consult import model as m
from consult.access import Action, open_consultation
from consult.events import record
from consult.lifecycle import Trigger
from consult.moving import move
from consult.offering import close_offers
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.relations import EXPERT_PARTS


def cancel_consultation(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str, fault: str
) -> m.Consultation:
    """Either side after acceptance. `fault` is one of lifecycle.FAULTS. Raises Invalid, WrongState."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_CANCEL)
    return move(uow, actor, opened, Trigger.CANCEL, reason=reason, fault=fault)


def convert_consultation(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    reason: str,
    participation: m.Participation | None = None,
    urgency: m.Urgency | None = None,
    service: m.Service | None = None,
) -> m.Consultation:
    """Ends this one as converted and returns the draft that replaces it: the same clinic's, with the form, the
    questions, the consent, the documents and the studies taken along, for the referring doctor to send.
    """
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_CONVERT)
    old = opened.consultation
    fresh_id = m.ConsultationId(uow.new_id())
    moved = move(uow, actor, opened, Trigger.CONVERT, reason=reason, payload={"replaced_by": fresh_id})
    close_offers(uow, consultation, m.OfferOutcome.CANCELLED, by=actor, reason=reason)
    day = (uow.now + uow.rules.utc_offset).date()
    fresh = m.Consultation(
        id=fresh_id,
        number=f"HZ{day:%Y%m%d}-{uow.consultations.next_number(day):04d}",
        patient=old.patient,
        organisation=old.organisation,
        requested_by=old.requested_by,
        service=service or old.service,
        mode=old.mode,
        participation=participation or old.participation,
        addressing=old.addressing,
        urgency=urgency or old.urgency,
        target_organisation=old.target_organisation,
        target_specialty=old.target_specialty,
        target_membership=old.target_membership,
        state_since=uow.now,
        created_at=uow.now,
        replaces=old.id,
        hidden_studies=old.hidden_studies,
    )
    uow.consultations.add(fresh)
    _take_along(uow, actor, moved, fresh)
    record(
        uow, actor, f"consultation:{fresh.id}", "start_draft",
        after=fresh.state, payload={"replaces": old.id},
    )  # fmt: skip
    return fresh


def _take_along(uow: UnitOfWork, actor: Actor, old: m.Consultation, fresh: m.Consultation) -> None:
    store = uow.consultations
    for participant in store.participants(old.id):
        if participant.part is m.Part.REFERRING:
            store.add_participant(replace(participant, consultation=fresh.id, since=uow.now))
    newest = store.request(old.id)
    content: dict[str, Any] = dict(newest.content) if newest else {}
    store.put_request(
        m.RequestVersion(
            consultation=fresh.id, n=1, content=content, saved_by=actor.membership, saved_at=uow.now
        )
    )
    store.put_questions(fresh.id, [replace(x, consultation=fresh.id) for x in store.questions(old.id)])
    copies: dict[m.DocumentId, m.DocumentId] = {}
    for document in store.documents(old.id):
        if document.voided_at is None:
            copies[document.id] = m.DocumentId(uow.new_id())
            store.add_document(replace(document, id=copies[document.id], consultation=fresh.id))
    for consent in store.consents(old.id):
        if consent.withdrawn_at is None:
            document_copy = copies.get(consent.document) if consent.document else None
            store.add_consent(
                replace(consent, id=uow.new_id(), consultation=fresh.id, document=document_copy)
            )
    for share in store.shares(old.id):
        store.add_share(replace(share, consultation=fresh.id, since=uow.now))


def mark_entered_in_error(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Consultation:
    """The requesting organisation's admin voids it with a reason; the experts' access ends at once."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_VOID)
    moved = move(uow, actor, opened, Trigger.ENTER_IN_ERROR, reason=reason)
    close_offers(uow, consultation, m.OfferOutcome.CANCELLED, by=actor, reason=reason)
    leaving = [x for x in uow.consultations.participants(consultation) if x.part in EXPERT_PARTS]
    for x in leaving:
        uow.consultations.end_participant(consultation, x.membership, x.part, at=uow.now)
    if leaving:
        uow.revoke(memberships={x.membership for x in leaving}, consultation=consultation)
    return moved
