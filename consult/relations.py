"""What a membership is to a consultation, a patient or an order, read from the store (DOMAIN §6, column heads)."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from consult import model as m
from consult.lifecycle import CLOSED, IN_TRIAGE
from consult.patient import Patient, PatientId
from consult.people import Actor, MembershipId, OrganisationId, Role
from consult.permission import POLICY, Action, Condition, Relation
from consult.ports import UnitOfWork

EXPERT_PARTS: frozenset[m.Part] = frozenset({m.Part.EXPERT, m.Part.REVIEWER, m.Part.CHAIR})
Held = dict[Relation, m.Consultation | None]
"""Relations, each with the consultation in which its conditions are looked up (None: they need none)."""
_BY_ROLE = {
    Role.PLATFORM_ADMIN: Relation.PLATFORM_ADMIN,
    Role.AUDITOR: Relation.AUDITOR,
}


def closed_since(uow: UnitOfWork, consultation: m.Consultation) -> datetime | None:
    """When the clinical part ended: acknowledged, or a terminal state reached before that. None while it is open."""
    if consultation.state not in CLOSED:
        return None
    if consultation.state in {m.State.FEEDBACK, m.State.ARCHIVED}:
        for event in uow.events.of(f"consultation:{consultation.id}"):
            if event.after == m.State.ACKNOWLEDGED and event.before != event.after:
                return event.at
    return consultation.state_since


def expert_access_over(uow: UnitOfWork, consultation: m.Consultation) -> bool:
    since = closed_since(uow, consultation)
    return since is not None and uow.now > since + timedelta(days=uow.rules.expert_access_days)


def serving(uow: UnitOfWork, consultation: m.Consultation) -> frozenset[OrganisationId]:
    """The organisations asked: the target, those with an open offer, and where its experts now act from."""
    found = {consultation.target_organisation} if consultation.target_organisation else set()
    found |= {x.organisation for x in uow.offers.of(consultation.id) if x.outcome is m.OfferOutcome.OPEN}
    for participant in uow.consultations.participants(consultation.id):
        if participant.part in EXPERT_PARTS:
            found.add(uow.people.membership(participant.membership).organisation)
    return frozenset(found)


def relations_to(
    uow: UnitOfWork, actor: Actor, consultation: m.Consultation
) -> frozenset[Relation]:
    """Everything the actor is to the consultation; empty for a stranger."""
    found: set[Relation] = set()
    parts = {
        x.part for x in uow.consultations.participants(consultation.id) if x.membership == actor.membership
    }
    if m.Part.REFERRING in parts:
        found.add(Relation.REFERRING)
    if parts & EXPERT_PARTS and not expert_access_over(uow, consultation):
        found.add(Relation.ASSIGNED)
    if m.Part.GUEST in parts:
        found.add(Relation.GUEST)
    if by_role := _BY_ROLE.get(actor.role):
        found.add(by_role)
    at_home = actor.organisation == consultation.organisation
    match actor.role:
        case Role.CLINIC_DOCTOR if at_home and Relation.REFERRING not in found:
            found.add(Relation.COLLEAGUE)
        case Role.ORG_ADMIN if at_home:
            found.add(Relation.ORG_ADMIN)
        case Role.TECHNICIAN if at_home or _holds_material(uow, actor.organisation, consultation):
            found.add(Relation.TECHNICIAN)
        case Role.EXPERT if not parts & EXPERT_PARTS and _in_sight_of_centre(uow, actor, consultation):
            found.add(Relation.CENTRE)
        case Role.DISPATCHER if _asked(uow, actor, consultation):
            found.add(Relation.DISPATCHER)
        case _:
            pass
    return frozenset(found)


def _asked(uow: UnitOfWork, actor: Actor, consultation: m.Consultation) -> bool:
    return consultation.state is not m.State.DRAFT and actor.organisation in serving(uow, consultation)


def _in_sight_of_centre(uow: UnitOfWork, actor: Actor, consultation: m.Consultation) -> bool:
    return consultation.state not in CLOSED and _asked(uow, actor, consultation)


def _holds_material(uow: UnitOfWork, organisation: OrganisationId, consultation: m.Consultation) -> bool:
    orders = uow.studies.orders(consultation=consultation.id)
    if any(organisation in {x.performing, x.ordering} for x in orders if x.voided_at is None):
        return True
    return any(
        uow.studies.match(share.study_uid, organisation) for share in uow.consultations.shares(consultation.id)
    )


def offered_to(uow: UnitOfWork, actor: Actor, consultation: m.Consultation) -> m.Offer | None:
    """The open offer which this membership may accept: one to its name before one to a pool it is on call for."""
    open_offers = [
        x
        for x in uow.offers.of(consultation.id)
        if x.outcome is m.OfferOutcome.OPEN and x.organisation == actor.organisation
    ]
    for offer in open_offers:
        if offer.membership == actor.membership:
            return offer
    if actor.role is not Role.EXPERT:
        return None
    on_call = uow.people.membership(actor.membership).on_call
    for offer in open_offers:
        if offer.membership is None and on_call and (
            not offer.specialty or offer.specialty in actor.specialties
        ):
            return offer
    return None


def guest_of(uow: UnitOfWork, consultation: m.ConsultationId, membership: MembershipId) -> m.Participant | None:
    """The participation of somebody who was invited by name, whether they have come or not."""
    parts = uow.consultations.participants(consultation)
    return next((x for x in parts if x.membership == membership and x.part is m.Part.GUEST), None)


def overdue(uow: UnitOfWork, participant: m.Participant) -> bool:
    """An invitation whose time has passed before anybody used it."""
    return participant.expires_at is not None and uow.now >= participant.expires_at


def hosts(
    uow: UnitOfWork, consultation: m.ConsultationId, parts: Sequence[m.Participant] | None = None
) -> frozenset[MembershipId]:
    """Who admits, removes and locks: whoever was handed the chair of the running session and sits in it; else the
    chair of the consultation, else its experts. `parts`: its participants, where they are known.
    """
    parts = uow.consultations.participants(consultation) if parts is None else parts
    experts = {x.membership for x in parts if x.part in EXPERT_PARTS}
    session = uow.meetings.running(consultation)
    if session is not None and session.chair in experts:
        seat = uow.meetings.seat_of(session.id, session.chair)
        if seat is not None and seat.state in {m.SeatState.IN, m.SeatState.LOST}:
            return frozenset({session.chair})
    chairs = frozenset(x.membership for x in parts if x.part is m.Part.CHAIR)
    return chairs or frozenset(x.membership for x in parts if x.part is m.Part.EXPERT)


def admitted(uow: UnitOfWork, actor: Actor, consultation: m.Consultation) -> bool:
    """Sits in the running session, or has lost the line a while ago (rules.lost_seat) and is waited for."""
    session = uow.meetings.running(consultation.id)
    if session is None:
        return False
    seat = uow.meetings.seat_of(session.id, actor.membership)
    if seat is None:
        return False
    waited_for = seat.state is m.SeatState.LOST and uow.now - seat.since < uow.rules.lost_seat
    return seat.state is m.SeatState.IN or waited_for


def holds(uow: UnitOfWork, actor: Actor, consultation: m.Consultation, condition: Condition) -> bool:
    """Is the condition of a permission cell met?"""
    match condition:
        case Condition.ALWAYS:
            return True
        case Condition.IN_TRIAGE:
            return consultation.state in IN_TRIAGE
        case Condition.OFFERED_TO:
            return offered_to(uow, actor, consultation) is not None
        case Condition.INVITED:
            guest = guest_of(uow, consultation.id, actor.membership)
            return consultation.state not in CLOSED and guest is not None and not overdue(uow, guest)
        case Condition.ADMITTED:
            return admitted(uow, actor, consultation)
        case Condition.HISTORY:
            return actor.role is not Role.TECHNICIAN and admitted(uow, actor, consultation)
        case Condition.CHAIR:
            return actor.membership in hosts(uow, consultation.id)
        case Condition.RELEASED:
            return any(x.content.get("released") is True for x in uow.reports.of(consultation.id))


def relations_to_patient(
    uow: UnitOfWork, actor: Actor, patient: Patient
) -> Held:
    """What the actor is to the patient, with the consultation that makes them so (None: registration or order)."""
    found: Held = {}
    same = (patient.id, *(x.id for x in uow.patients.merged_from(patient.id)))
    known = any(uow.patients.known_to(x, actor.organisation) for x in same)
    if actor.role is Role.TECHNICIAN and known:
        found[Relation.TECHNICIAN] = None
    if actor.role is Role.CLINIC_DOCTOR and known:
        found[Relation.COLLEAGUE] = None
        if any(_registered_or_ordered(uow, actor, x) for x in same):
            found[Relation.REFERRING] = None
    for identity in same:
        for consultation in uow.consultations.of_patient(identity):
            for relation in relations_to(uow, actor, consultation):
                if relation is Relation.DISPATCHER and consultation.state not in IN_TRIAGE:
                    continue
                if relation is Relation.GUEST and not admitted(uow, actor, consultation):
                    continue
                found.setdefault(relation, consultation)
    return found


def _registered_or_ordered(uow: UnitOfWork, actor: Actor, patient: PatientId) -> bool:
    for event in uow.events.of(f"patient:{patient}"):
        if event.trigger == "register_patient" and event.membership == actor.membership:
            return True
    return any(x.ordered_by == actor.membership for x in uow.studies.orders(patient=patient))


def relations_to_order(
    uow: UnitOfWork, actor: Actor, order: m.ExamOrder
) -> Held:
    found: Held = {}
    if actor.role is Role.TECHNICIAN and actor.organisation in {order.ordering, order.performing}:
        found[Relation.TECHNICIAN] = None
    if actor.membership == order.ordered_by:
        found[Relation.REFERRING] = None
    if order.consultation is not None:
        consultation = uow.consultations.get(order.consultation)
        for relation in relations_to(uow, actor, consultation):
            if relation is not Relation.TECHNICIAN:     # only of the two organisations named on it
                found.setdefault(relation, consultation)
    return found


def granted(uow: UnitOfWork, actor: Actor, action: Action, held: Held) -> Relation | None:
    """The first relation whose cell allows the action now."""
    cells = POLICY.get(action, {})
    for relation in Relation:
        condition = cells.get(relation)
        if condition is None or relation not in held:
            continue
        consultation = held[relation]
        if condition is Condition.ALWAYS or (
            consultation is not None and holds(uow, actor, consultation, condition)
        ):
            return relation
    return None
