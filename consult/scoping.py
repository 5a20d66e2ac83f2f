"""What lists and studies an actor may ask for: plain values which the store and the archive apply in their queries."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from consult import model as m
from consult.errors import NotAllowed
from consult.people import Actor, OrganisationId, Role
from consult.permission import Action, Relation
from consult.ports import UnitOfWork, WorklistQuery
from consult.relations import granted, relations_to, relations_to_patient

_MANY = 1000


class Purpose(StrEnum):
    LIST = "list"
    PIXELS = "pixels"
    DOWNLOAD = "download"


_ACTION: Mapping[Purpose, Action] = {
    Purpose.LIST: Action.STUDIES_LIST,
    Purpose.PIXELS: Action.PIXELS_READ,
    Purpose.DOWNLOAD: Action.DICOM_DOWNLOAD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyScope:
    """Everything held by `organisations`, and `studies` wherever they lie, but never `hidden`."""

    organisations: frozenset[OrganisationId] = frozenset()
    studies: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()


def is_hidden(uow: UnitOfWork, study_uid: str) -> bool:
    """An expert says it shows another patient, and no technician has settled it yet."""
    return any(study_uid in x.hidden_studies for x in uow.consultations.sharing(study_uid))


def scope_for(
    uow: UnitOfWork, actor: Actor, study_uid: str | None = None, purpose: Purpose = Purpose.PIXELS
) -> StudyScope:
    """The studies the actor may list, look at or download; with a UID only that one is decided (and cheap).

    Technicians have their own organisation's archive, unmatched and doubted studies included. Everybody else has
    matched studies only: those shared into a consultation they may read, and the referring doctor also those of
    their patient which their own organisation holds or ordered.
    """
    if actor.role is Role.TECHNICIAN:
        own = frozenset({actor.organisation})
        shared = _shared(uow, actor, study_uid, Action.STUDIES_LIST, guests_only=True)
        if purpose is Purpose.DOWNLOAD:
            shared = frozenset()
        return StudyScope(organisations=own, studies=frozenset(x for x in shared if not is_hidden(uow, x)))
    action = _ACTION[purpose]
    found = _shared(uow, actor, study_uid, action) | _of_own_patients(uow, actor, study_uid)
    hidden = frozenset(x for x in found if is_hidden(uow, x))
    return StudyScope(studies=found - hidden, hidden=hidden)


def _shared(
    uow: UnitOfWork, actor: Actor, study_uid: str | None, action: Action, *, guests_only: bool = False
) -> frozenset[str]:
    consultations: Iterable[m.Consultation]
    if study_uid is not None:
        consultations = uow.consultations.sharing(study_uid)
    elif guests_only:
        consultations = uow.consultations.as_guest(actor.membership)
    else:
        query = WorklistQuery(participant=actor.membership, limit=_MANY)
        if actor.role is Role.DISPATCHER:
            query = WorklistQuery(
                centre=actor.organisation, states=(m.State.SUBMITTED, m.State.TRIAGE), limit=_MANY
            )
        consultations = [x.consultation for x in uow.consultations.worklist(query, viewer=actor)]
    found: set[str] = set()
    for consultation in consultations:
        relations = relations_to(uow, actor, consultation)
        if guests_only:
            relations &= {Relation.GUEST}
        if granted(uow, actor, action, dict.fromkeys(relations, consultation)) is None:
            continue
        if study_uid is not None:
            return frozenset({study_uid})
        found |= {x.study_uid for x in uow.consultations.shares(consultation.id)}
    return frozenset(found)


def _of_own_patients(uow: UnitOfWork, actor: Actor, study_uid: str | None) -> frozenset[str]:
    """Matched studies of the referring doctor's patients that their organisation holds or ordered."""
    if actor.role is not Role.CLINIC_DOCTOR:
        return frozenset()
    if study_uid is not None:
        matches = list(uow.studies.matches(study_uid=study_uid))
    else:
        query = WorklistQuery(participant=actor.membership, limit=_MANY)
        rows = uow.consultations.worklist(query, viewer=actor)
        patients = dict.fromkeys(x.consultation.patient for x in rows)
        matches = [match for x in patients for match in uow.studies.matches(patient=x)]
    found: set[str] = set()
    for match in matches:
        ordered_here = match.order is not None and (
            uow.studies.order(match.order).ordering == actor.organisation
        )
        if match.organisation != actor.organisation and not ordered_here:
            continue
        patient = uow.patients.get(match.patient)
        if Relation.REFERRING in relations_to_patient(uow, actor, patient):
            found.add(match.study_uid)
    return frozenset(found)


_S = m.State
_DONE = (_S.SIGNED, _S.DELIVERED, _S.ACKNOWLEDGED, _S.FEEDBACK, _S.ARCHIVED)
_OFF = (_S.WITHDRAWN, _S.CANCELLED, _S.REJECTED, _S.CONVERTED, _S.ENTERED_IN_ERROR)

# The tabs of a worklist, in the order shown: 待处理 进行中 待签发 已完成.
TABS: Mapping[Role, Mapping[str, tuple[m.State, ...]]] = {
    Role.CLINIC_DOCTOR: {
        "todo": (
            _S.DRAFT, _S.RETURNED, _S.AWAITING_MATERIAL, _S.CHECKED_IN, _S.NO_SHOW, _S.EXPIRED, _S.DELIVERED,
        ),
        "active": (
            _S.SUBMITTED, _S.TRIAGE, _S.OFFERED, _S.ACCEPTED, _S.SCHEDULED, _S.IN_SESSION, _S.ASYNC_REVIEW,
            _S.REPORTING, _S.SIGNED,
        ),
        "done": (_S.ACKNOWLEDGED, _S.FEEDBACK, _S.ARCHIVED, *_OFF),
    },
    Role.EXPERT: {
        "todo": (_S.OFFERED, _S.ACCEPTED, _S.SCHEDULED, _S.CHECKED_IN),
        "active": (_S.IN_SESSION, _S.ASYNC_REVIEW, _S.AWAITING_MATERIAL, _S.RETURNED, _S.NO_SHOW, _S.EXPIRED),
        "sign": (_S.REPORTING,),
        "done": (*_DONE, *_OFF),
    },
    Role.TECHNICIAN: {
        "todo": (_S.AWAITING_MATERIAL, _S.RETURNED),
        "active": (
            _S.DRAFT, _S.SUBMITTED, _S.TRIAGE, _S.OFFERED, _S.ACCEPTED, _S.SCHEDULED, _S.CHECKED_IN,
            _S.IN_SESSION, _S.ASYNC_REVIEW, _S.REPORTING,
        ),
        "done": (*_DONE, *_OFF),
    },
    Role.DISPATCHER: {
        "todo": (_S.SUBMITTED, _S.TRIAGE, _S.OFFERED, _S.EXPIRED),
        "active": (
            _S.RETURNED, _S.ACCEPTED, _S.SCHEDULED, _S.CHECKED_IN, _S.IN_SESSION, _S.ASYNC_REVIEW,
            _S.AWAITING_MATERIAL, _S.REPORTING, _S.NO_SHOW,
        ),
        "done": (*_DONE, *_OFF),
    },
}  # fmt: skip


def worklist_query(uow: UnitOfWork, actor: Actor, tab: str) -> WorklistQuery:
    """The scope and states of one tab of the actor's own worklist; filters are added with dataclasses.replace.

    Raises NotAllowed for roles that see no consultations, and for a tab the role does not have.
    """
    states = TABS.get(actor.role, {}).get(tab)
    if states is None:
        raise NotAllowed(tab=tab)
    match actor.role:
        case Role.EXPERT:
            on_call = uow.people.membership(actor.membership).on_call
            return WorklistQuery(
                participant=actor.membership,
                offered_to=actor.membership,
                pool=actor.organisation if on_call else None,
                pool_specialties=actor.specialties if on_call else (),
                states=states,
            )
        case Role.DISPATCHER:
            return WorklistQuery(centre=actor.organisation, states=states)
        case _:
            return WorklistQuery(
                organisation=actor.organisation, participant=actor.membership, states=states
            )
