"""What a consultation is about: documents, shared studies, and asking for more of either."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from consult import model as m
from consult.access import Action, Opened, Relation, open_consultation, present, surviving
from consult.errors import Conflict, Invalid, NotFound, WrongState
from consult.events import record_note
from consult.lifecycle import CLOSED, Trigger
from consult.moving import move
from consult.people import Actor, Role
from consult.ports import UnitOfWork
from consult.scoping import Purpose, is_hidden, scope_for
from consult.triage import clean_items

KINDS = ("document", "paper_ecg", "film", "consent", "signature")
_MAX_DOCUMENTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenDocument:
    """A re-encoded PDF or picture that lies in the document store under its SHA-256 digest (hex)."""

    kind: str
    title: str
    media_type: str
    digest: str
    size: int
    pages: int = 1
    original: str = ""


def add_document(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    kind: str,
    title: str,
    media_type: str,
    digest: str,
    size: int,
    pages: int = 1,
    original: str = "",
) -> m.Document:
    """Files a document with the consultation. The same bytes again return the document that is there."""
    opened = open_consultation(uow, actor, consultation, Action.DOCUMENT_WRITE)
    given = GivenDocument(
        kind=kind, title=title, media_type=media_type, digest=digest, size=size, pages=pages, original=original
    )
    return file_document(uow, actor, opened, given)


def file_document(uow: UnitOfWork, actor: Actor, opened: Opened, given: GivenDocument) -> m.Document:
    stored = opened.consultation
    check_open(stored)
    if given.kind not in KINDS:
        raise Invalid(("kind", "unknown_choice"))
    present = [x for x in uow.consultations.documents(stored.id) if x.voided_at is None]
    for x in present:
        if x.digest == given.digest and x.kind == given.kind:
            return x
    check_number(len(present))
    document = m.Document(
        id=m.DocumentId(uow.new_id()),
        consultation=stored.id,
        kind=given.kind,
        title=given.title.strip()[:200],
        media_type=given.media_type,
        digest=given.digest,
        size=given.size,
        pages=given.pages,
        original=given.original,
        added_by=actor.membership,
        added_at=uow.now,
    )
    uow.consultations.add_document(document)
    record_note(
        uow, actor, stored, "add_document", payload={"document": document.id, "kind": given.kind},
        told={"document": document.id},
    )
    return document


def check_open(stored: m.Consultation) -> None:
    """WrongState where nothing more is added to the material."""
    if stored.state in CLOSED:
        raise WrongState(state=stored.state.value, trigger="add_document")


def check_number(documents: int) -> None:
    """Invalid where there are so many already."""
    if documents >= _MAX_DOCUMENTS:
        raise Invalid(("document", "too_many", {"max": _MAX_DOCUMENTS}))


def void_document(
    uow: UnitOfWork, *, actor: Actor, document: m.DocumentId, reason: str
) -> m.Document:
    """Takes a document out of the material with a reason; the row stays. Technicians void only their own."""
    found = present(uow.consultations.document, document)
    opened = open_consultation(uow, actor, found.consultation, Action.DOCUMENT_WRITE)
    if opened.relation is not Relation.REFERRING and found.added_by != actor.membership:
        raise NotFound
    if not reason.strip():
        raise Invalid(("reason", "required"))
    if found.voided_at is not None or opened.consultation.state in CLOSED:
        raise WrongState(state=opened.consultation.state.value, trigger="void_document")
    used = any(
        x.document == document and x.withdrawn_at is None
        for x in uow.consultations.consents(found.consultation)
    )
    if used:
        raise Conflict(reason="document_holds_consent")
    uow.consultations.void_document(document, at=uow.now, reason=reason.strip())
    record_note(
        uow, actor, opened.consultation, "void_document", reason=reason, payload={"document": document}
    )
    return uow.consultations.document(document)


def share_study(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, study_uid: str
) -> m.StudyShare:
    """Makes a study part of the material. It must be matched to this patient, in the actor's sight, not in doubt.

    Sharing twice returns the share that is there. Raises NotFound, Conflict(reason="other_patient"), WrongState.
    """
    opened = open_consultation(uow, actor, consultation, Action.STUDIES_SHARE)
    stored = opened.consultation
    if stored.state in CLOSED:
        raise WrongState(state=stored.state.value, trigger="share_study")
    if not _in_sight(uow, actor, study_uid) or is_hidden(uow, study_uid):
        raise NotFound
    patient = surviving(uow, uow.patients.get(stored.patient)).id
    owners = {
        surviving(uow, uow.patients.get(x.patient)).id for x in uow.studies.matches(study_uid=study_uid)
    }
    if owners != {patient}:
        raise Conflict(reason="other_patient")
    return add_share(uow, actor, stored, study_uid)


def _in_sight(uow: UnitOfWork, actor: Actor, study_uid: str) -> bool:
    if actor.role is Role.TECHNICIAN:
        return uow.studies.match(study_uid, actor.organisation) is not None
    return study_uid in scope_for(uow, actor, study_uid, Purpose.LIST).studies


def add_share(
    uow: UnitOfWork, actor: Actor | None, consultation: m.Consultation, study_uid: str
) -> m.StudyShare:
    """Records a share (actor None: by a match). The caller has decided that it may be."""
    for share in uow.consultations.shares(consultation.id):
        if share.study_uid == study_uid:
            return share
    share = m.StudyShare(
        consultation=consultation.id,
        study_uid=study_uid,
        by=actor.membership if actor else None,
        since=uow.now,
    )
    uow.consultations.add_share(share)
    record_note(uow, actor, consultation, "share_study", payload={"study": study_uid})
    return share


def end_share(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, study_uid: str, reason: str
) -> None:
    """Takes a study out of the material with a reason; what was seen stays recorded."""
    opened = open_consultation(uow, actor, consultation, Action.STUDIES_SHARE)
    if not reason.strip():
        raise Invalid(("reason", "required"))
    if all(x.study_uid != study_uid for x in uow.consultations.shares(consultation)):
        raise NotFound
    if actor.role is Role.TECHNICIAN and uow.studies.match(study_uid, actor.organisation) is None:
        raise NotFound
    if study_uid in opened.consultation.hidden_studies:
        raise WrongState(state="doubted", trigger="end_share")     # the technician settles it first
    uow.consultations.end_share(consultation, study_uid, at=uow.now)
    record_note(
        uow, actor, opened.consultation, "end_share", reason=reason, payload={"study": study_uid}
    )


def request_material(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    items: Sequence[Mapping[str, Any]],
) -> m.Consultation:
    """The expert asks for more while reading or in session: [{"item": …, "due": …}]. The clock stops."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_REVIEW)
    missing = clean_items(uow, items)
    if opened.consultation.state is m.State.REPORTING:         # writing has begun: back to reading first
        opened = replace(opened, consultation=move(uow, actor, opened, Trigger.START_REVIEW))
    return move(uow, actor, opened, Trigger.REQUEST_MATERIAL, missing=missing)


def provide_material(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, note: str = ""
) -> m.Consultation:
    """Clinic or technician: it is there; back to where the expert asked."""
    opened = open_consultation(uow, actor, consultation, Action.MATERIAL_PROVIDE)
    moved = move(uow, actor, opened, Trigger.PROVIDE_MATERIAL, reason=note)
    return moved


def continue_without(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Consultation:
    """The expert goes on without the missing items and says why."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_REVIEW)
    return move(uow, actor, opened, Trigger.CONTINUE_WITHOUT, reason=reason)
