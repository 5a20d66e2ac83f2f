"""The steps of a consultation as JSON endpoints: parse, call the service of consult/, answer number, state, version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from consult import consent as consents
from consult import material, requesting, scheduling, triage
from consult import model as m
from consult.hisparse import parse_his_text
from consult.patient import PatientId
from consult.people import Actor, MembershipId, OrganisationId
from consult.ports import UnitOfWork
from server import keys
from server.api.case_bodies import (
    Asked,
    At,
    Because,
    Body,
    Cancel,
    CompleteStat,
    ConsentBody,
    Convert,
    Draft,
    Id,
    Items,
    MaybeBecause,
    Move,
    OfferBody,
    Pasted,
    Reassign,
    Resubmit,
    Save,
    Stat,
    Study,
    Versioned,
    Windows,
    WithNote,
)
from server.api.common import actor, body, json_response, no_content, work
from server.auth.audit import audit
from server.auth.grants import end_grants
from server.romanise import romanise
from server.storage.unit import SqlUnitOfWork

__all__ = ["STEPS", "Because", "Id", "consultation_id", "consultation_view"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def consultation_view(consultation: m.Consultation) -> dict[str, Any]:
    """What every step answers: enough to know where it stands; the page fetches the rest."""
    return {
        "id": consultation.id,
        "number": consultation.number,
        "patient": consultation.patient,
        "state": consultation.state,
        "urgency": consultation.urgency,
        "version": consultation.version,
        "due_at": consultation.due_at,
        "scheduled_at": consultation.scheduled_at,
    }


def consultation_id(request: web.Request) -> m.ConsultationId:
    return m.ConsultationId(request.match_info["id"])


def _audited(
    uow: UnitOfWork, service: Callable[..., Any], who: Actor, action: str, kwargs: Mapping[str, Any]
) -> tuple[Any, m.Consultation]:
    """The service and its audit row in one commit; the consultation as it stands after it."""
    result = service(uow, actor=who, **kwargs)
    after = result if isinstance(result, m.Consultation) else uow.consultations.get(kwargs["consultation"])
    audit(uow, who, action, f"consultation:{after.id}")
    return result, after


def step(
    service: Callable[..., Any], shape: type[Body], action: str, read: Callable[[Any], dict[str, Any]] | None = None
) -> Handler:
    """A handler for `service(uow, actor, consultation, **fields of shape)`; `read` turns the body into other names."""

    async def handler(request: web.Request) -> web.StreamResponse:
        given = await body(request, shape)
        kwargs = msgspec.structs.asdict(given) if read is None else read(given)
        kwargs["consultation"] = consultation_id(request)
        _, after = await work(request).run(_audited, service, actor(request), action, kwargs)
        return json_response(consultation_view(after))

    handler.__name__ = action.partition(".")[2]
    handler.__doc__ = f"`POST …/{{id}}/…` with the fields of {shape.__name__}: {service.__module__}.{service.__name__}."
    return handler


def _items(given: Any) -> list[dict[str, Any]]:
    return [{"item": i.item, "due": i.due.isoformat() if i.due else None} for i in given.items]


def _place(given: Any) -> dict[str, Any]:
    return {
        "organisation": OrganisationId(given.organisation) if given.organisation else None,
        "membership": MembershipId(given.membership) if given.membership else None,
        "specialty": given.specialty,
    }


async def start(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations` {patient, …}: a draft, 201."""
    given = await body(request, Draft)
    kwargs = {
        "patient": PatientId(given.patient),
        "service": given.service,
        "mode": given.mode,
        "urgency": given.urgency,
        "target": given.target.value() if given.target else None,
    }
    _, after = await work(request).run(
        _audited, requesting.start_draft, actor(request), "consultation.start", kwargs
    )
    return json_response(consultation_view(after), status=201)


async def start_stat(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/stat`: an emergency that rings at once, 201."""
    given = await body(request, Stat)
    kwargs = {
        "patient": PatientId(given.patient) if given.patient else None,
        "consent": given.consent.value(),
        "service": given.service,
        "mode": given.mode,
        "target": given.target.value() if given.target else None,
        "question": given.question,
        "unknown_sex": given.unknown_sex,
        "unknown_months": given.unknown_months,
        "romanise": romanise,
    }
    _, after = await work(request).run(_audited, requesting.start_stat, actor(request), "consultation.stat", kwargs)
    return json_response(consultation_view(after), status=201)


async def save(request: web.Request) -> web.StreamResponse:
    """`PUT /api/consultations/{id}/request`: the whole form with the version it was read at."""
    given = await body(request, Save)
    kwargs = msgspec.structs.asdict(given)
    kwargs["target"] = given.target.value() if given.target else None
    kwargs["consultation"] = consultation_id(request)
    _, after = await work(request).run(
        _audited, requesting.save_request, actor(request), "consultation.save", kwargs
    )
    return json_response(consultation_view(after))


def _delete(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> None:
    requesting.delete_draft(uow, actor=actor, consultation=consultation)
    audit(uow, actor, "consultation.delete_draft", f"consultation:{consultation}")


async def delete(request: web.Request) -> web.StreamResponse:
    """`DELETE /api/consultations/{id}`: a draft, the only thing that may be deleted."""
    await work(request).run(_delete, actor=actor(request), consultation=consultation_id(request))
    return no_content()


async def give_consent(request: web.Request) -> web.StreamResponse:
    """`POST …/consents`: 201 with the consent's id."""
    given = await body(request, ConsentBody)
    kwargs = {"consultation": consultation_id(request), "given": given.value()}
    consent, after = await work(request).run(
        _audited, consents.record_consent, actor(request), "consent.record", kwargs
    )
    return json_response({"id": consent.id, "consultation": consultation_view(after)}, status=201)


async def withdraw_consent(request: web.Request) -> web.StreamResponse:
    """`POST …/consents/{consent}/withdraw` {reason}."""
    given = await body(request, Because)
    kwargs = {
        "consultation": consultation_id(request),
        "consent": request.match_info["consent"],
        "reason": given.reason,
    }
    _, after = await work(request).run(
        _audited, consents.withdraw_consent, actor(request), "consent.withdraw", kwargs
    )
    return json_response(consultation_view(after))


def _end_share(uow: SqlUnitOfWork, *, study_uid: str, **kwargs: Any) -> Any:
    end_grants(uow, study_uid)
    return material.end_share(uow, study_uid=study_uid, **kwargs)


async def end_share(request: web.Request) -> web.StreamResponse:
    """`POST …/studies/{uid}/end` {reason}: the study is no longer part of the material."""
    given = await body(request, Because)
    kwargs = {
        "consultation": consultation_id(request),
        "study_uid": request.match_info["uid"],
        "reason": given.reason,
    }
    _, after = await work(request).run(_audited, _end_share, actor(request), "study.end_share", kwargs)
    request.app[keys.GRANTS].forget(study=request.match_info["uid"])
    return json_response(consultation_view(after))


async def parse_his(request: web.Request) -> web.StreamResponse:
    """`POST /api/his-text` {text}: pasted text of the hospital's system, sorted into the form's fields."""
    given = await body(request, Pasted)
    return json_response({"fields": parse_his_text(given.text)})


complete_stat = step(
    requesting.complete_stat, CompleteStat, "consultation.complete",
    lambda g: msgspec.structs.asdict(g) | {"patient": PatientId(g.patient) if g.patient else None},
)  # fmt: skip
submit = step(requesting.submit_request, Versioned, "consultation.submit")
resubmit = step(requesting.resubmit_request, Resubmit, "consultation.resubmit")
withdraw = step(requesting.withdraw_request, MaybeBecause, "consultation.withdraw")
take_over = step(requesting.take_over_consultation, Because, "consultation.take_over")
receive = step(triage.receive_request, Body, "consultation.receive")
send_back = step(
    triage.return_request, Items, "consultation.return",
    lambda g: {"items": _items(g), "note": g.note, "version": g.version},
)  # fmt: skip
reject = step(triage.reject_request, Because, "consultation.reject")
offer = step(
    triage.offer_consultation, OfferBody, "consultation.offer",
    lambda g: _place(g) | {"urgency": g.urgency, "version": g.version},
)  # fmt: skip
accept = step(triage.accept_offer, Body, "consultation.accept")
decline = step(triage.decline_offer, Because, "consultation.decline")
release = step(triage.release_consultation, Because, "consultation.release")
reassign = step(
    triage.reassign_consultation, Reassign, "consultation.reassign", lambda g: _place(g) | {"reason": g.reason}
)
escalate = step(triage.escalate_expired, MaybeBecause, "consultation.escalate")
cancel = step(triage.cancel_consultation, Cancel, "consultation.cancel")
convert = step(triage.convert_consultation, Convert, "consultation.convert")
enter_in_error = step(triage.mark_entered_in_error, Because, "consultation.enter_in_error")
propose_windows = step(
    scheduling.propose_windows, Windows, "consultation.windows",
    lambda g: {"windows": [scheduling.Window(start=w.start, end=w.end) for w in g.windows]},
)  # fmt: skip
schedule = step(scheduling.schedule_session, At, "consultation.schedule")
reschedule = step(scheduling.reschedule_session, Move, "consultation.reschedule")
check_in = step(scheduling.check_in, Body, "consultation.check_in")
no_show = step(scheduling.mark_no_show, MaybeBecause, "consultation.no_show")
start_review = step(scheduling.start_review, Body, "consultation.start_review")
request_material = step(
    material.request_material, Asked, "consultation.request_material", lambda g: {"items": _items(g)}
)
provide_material = step(material.provide_material, WithNote, "consultation.provide_material")
continue_without = step(material.continue_without, Because, "consultation.continue_without")
share_study = step(material.share_study, Study, "study.share")

STEPS: Mapping[str, Handler] = {
    "submit": submit, "resubmit": resubmit, "complete": complete_stat, "withdraw": withdraw, "take-over": take_over,
    "receive": receive, "return": send_back, "reject": reject, "offer": offer, "accept": accept, "decline": decline,
    "release": release, "reassign": reassign, "escalate": escalate, "cancel": cancel, "convert": convert,
    "enter-in-error": enter_in_error, "windows": propose_windows, "schedule": schedule, "reschedule": reschedule,
    "check-in": check_in, "no-show": no_show, "start-review": start_review, "request-material": request_material,
    "provide-material": provide_material, "continue-without": continue_without, "studies": share_study,
}  # fmt: skip
"""`POST /api/consultations/{id}/<name>`"""
