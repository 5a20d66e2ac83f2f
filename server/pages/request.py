"""The request form: `/consultations/new` finds the patient (or opens an emergency), `…/{id}/edit` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from consult import consent as consents
from consult import model as m
from consult.access import Action, open_consultation, scope_for, surviving
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.scoping import Purpose
from server import labels
from server.api.common import actor, work
from server.api.documents import document_view
from server.api.orders import order_view
from server.api.patients import patient_view
from server.api.requests import form_view, page_data, serving_places
from server.cases import Case, patient_banner, read_case
from server.i18n import N_, _
from server.pages import render
from server.pages.consultation import CONSENT_SCOPES, RELATIONS, may_edit, study_cards

# (field of consult/forms.py, label, hint); long ones first of all what an expert reads first.
CONDITION = (
    ("complaint", N_("主诉"), N_("例如：胸痛 2 小时")),
    ("history", N_("现病史"), ""),
    ("past_history", N_("既往史"), ""),
    ("allergies", N_("过敏史"), ""),
    ("examination", N_("体格检查"), ""),
    ("diagnosis_text", N_("初步诊断"), ""),
    ("treatment", N_("已做治疗"), N_("用了什么、效果如何")),
    ("medication", N_("用药"), ""),
    ("laboratory", N_("检验结果"), ""),
    ("imaging", N_("检查所见"), ""),
)
MORE = (("personal_history", N_("个人史"), ""), ("family_history", N_("家族史"), ""), ("department", N_("科室"), ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Everything of the form, read in one unit of work. `candidates`: the patient's studies that may be included."""

    case: Case
    stored: dict[str, Any]
    patient: dict[str, Any]
    banner: dict[str, Any]
    places: dict[str, list[dict[str, Any]]]
    candidates: tuple[str, ...]
    orders: tuple[dict[str, Any], ...]


def read_form(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> Form:
    """The form for who may write it; NotFound, NotAllowed."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    case = read_case(uow, actor=actor, consultation=consultation)
    patient = surviving(uow, uow.patients.get(opened.consultation.patient))
    same = (patient.id, *(x.id for x in uow.patients.merged_from(patient.id)))
    matched = {x.study_uid for one in same for x in uow.studies.matches(patient=one)}
    seen = scope_for(uow, actor, None, Purpose.LIST)
    return Form(
        case=case,
        stored=form_view(uow, opened.consultation),
        patient=patient_view(patient, tuple(uow.patients.identifiers(patient.id))),
        banner=patient_banner(uow, patient),
        places={x.value: serving_places(uow, actor=actor, service=x) for x in m.Service},
        candidates=tuple(sorted((matched & seen.studies) - seen.hidden)),
        orders=tuple(order_view(uow, x) for x in uow.studies.orders(consultation=consultation)),
    )


def _places(uow: UnitOfWork, *, actor: Actor) -> dict[str, list[dict[str, Any]]]:
    return {x.value: serving_places(uow, actor=actor, service=x) for x in m.Service}


def consent_texts() -> list[dict[str, str]]:
    """The texts one may consent to, the current one first."""
    order = (consents.CURRENT_TEXT, consents.RESCUE_TEXT)
    return [{"version": x, "title": consents.TEXTS[x].title, "body": consents.TEXTS[x].body} for x in order]


async def new(request: web.Request) -> web.StreamResponse:
    """Who is it about? With `?urgency=stat`: the emergency, open in 30 seconds."""
    who = actor(request)
    if request.query.get("urgency") == "stat":
        places = await work(request).read(_places, actor=who)
        return await render(
            request,
            "request_stat.html",
            page="stat",
            text=consents.TEXTS[consents.RESCUE_TEXT],
            data=page_data({"places": places, "text_version": consents.RESCUE_TEXT, "me": who.name}),
        )
    return await render(request, "request_new.html", page="request-new")


def consent_view(consent: m.Consent) -> dict[str, Any]:
    """A consent for the list of the form."""
    return {
        "id": consent.id, "signer": consent.signer, "relation": consent.relation, "mode": consent.mode,
        "witnesses": consent.witnesses, "scopes": consent.scopes, "text_version": consent.text_version,
        "given_at": consent.given_at, "withdrawn": consent.withdrawn_at is not None,
    }  # fmt: skip


async def edit(request: web.Request) -> web.StreamResponse:
    """The form; elsewhere than where it may be written the way leads to the consultation."""
    who = actor(request)
    form = await work(request).run(
        read_form, actor=who, consultation=m.ConsultationId(request.match_info["id"])
    )
    found = form.case.consultation
    routable = found.state in {m.State.DRAFT, m.State.RETURNED, m.State.EXPIRED}
    emergency = found.urgency is m.Urgency.STAT and not routable
    if not may_edit(found):
        raise web.HTTPSeeOther(f"/consultations/{found.id}")
    shared = [x.study_uid for x in form.case.shares]
    cards = await study_cards(request, dict.fromkeys((*shared, *form.candidates)), found.hidden_studies)
    trigger = next((x for x in ("submit", "resubmit") if form.case.next(x)), "")
    return await render(
        request,
        "request.html",
        page="request",
        banner=form.banner,
        case=form.case,
        c=found,
        content=form.stored["content"]["content"],
        questions=form.stored["content"]["questions"],
        condition=CONDITION,
        more=MORE,
        studies=cards,
        shared=shared,
        orders=form.orders,
        routable=routable,
        trigger=trigger,
        data=page_data({
            "id": found.id,
            "number": found.number,
            "state": found.state,
            "trigger": trigger,
            "routable": routable,
            "emergency": emergency,
            "stored": form.stored,
            "patient": form.patient,
            "places": form.places,
            "documents": [document_view(x) for x in form.case.documents if x.voided_at is None],
            "consents": [consent_view(x) for x in form.case.consents],
            "shared": shared,
            "texts": consent_texts(),
            "labels": {
                "service": {x.value: _(y) for x, y in labels.SERVICE.items()},
                "relation": {x: _(y) for x, y in RELATIONS.items()},
                "consent": {x.value: _(y) for x, y in labels.CONSENT.items()},
                "scope": {x: _(y) for x, y in CONSENT_SCOPES.items()},
            },
        }),
    )

