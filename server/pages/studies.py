"""The technician's pages: exam orders, upload, the site's studies, unmatched ones, quarantine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from consult import model as m
from consult.access import Action, authorize, may, open_consultation, open_order, surviving
from consult.patient import Patient, PatientId
from consult.people import Actor, Role
from consult.ports import UnitOfWork
from dicom.model import Scope
from server.api.common import ENCODER, actor, int_query, settings, work
from server.api.corrections import own_corrections
from server.api.orders import list_orders, order_view, places
from server.api.patients import with_identifiers
from server.api.studies import may_match, own_studies
from server.auth.audit import audit
from server.cases import patient_banner
from server.dicomweb.ports import ARCHIVE
from server.i18n import N_, _
from server.pages import render
from server.pages.removals import gone
from server.uploading import CHUNK_BYTES

# The DICOM modality codes (PS3.3 C.7.3.1.1.1) that clinics order, with what people call them.
MODALITIES: Mapping[str, str] = {
    "CT": N_("CT"), "MR": N_("磁共振"), "DX": N_("DR 摄片"), "CR": N_("CR 摄片"), "US": N_("超声"),
    "ECG": N_("心电图"), "MG": N_("钼靶"), "XA": N_("血管造影"), "NM": N_("核医学"), "PT": N_("PET"),
    "ES": N_("内镜"), "RF": N_("透视"), "SM": N_("病理切片"), "OT": N_("其他"),
}  # fmt: skip
PROCEDURES: Mapping[str, tuple[str, ...]] = {
    "CT": (N_("胸部 CT 平扫"), N_("头颅 CT 平扫"), N_("腹部 CT 平扫")),
    "MR": (N_("头颅磁共振平扫"), N_("腰椎磁共振平扫")),
    "DX": (N_("胸部正侧位片"), N_("腰椎正侧位片")),
    "CR": (N_("胸部正位片"),),
    "US": (N_("腹部超声"), N_("心脏超声"), N_("甲状腺超声")),
    "ECG": (N_("12 导联心电图"),),
}
METHODS: Mapping[str, str] = {
    "accession": N_("按检查号"), "patient_id": N_("按患者编号"), "manual": N_("人工确认"),
}  # fmt: skip
STUDY_STATES: Mapping[str, str] = {
    "": N_("全部"), "matched": N_("已匹配"), "unmatched": N_("未匹配"), "doubted": N_("有疑问"),
}  # fmt: skip
ORDER_STATES: Mapping[str, str] = {
    "": N_("全部"), "open": N_("待检查"), "done": N_("已有影像"), "voided": N_("已作废"),
}  # fmt: skip
QUARANTINE_STATES: Mapping[str, str] = {
    "open": N_("待处理"), "kept": N_("已保留原影像"), "taken": N_("已作为新影像收下"),
}  # fmt: skip
CORRECTION_KINDS: Mapping[str, str] = {
    "patient": N_("改到另一位患者"), "merge": N_("合并检查"), "move": N_("移动序列"), "split": N_("拆分检查"),
}  # fmt: skip
CORRECTION_STATES: Mapping[str, str] = {
    "planned": N_("进行中"), "done": N_("已生效"), "undoing": N_("进行中"), "undone": N_("已撤销"),
    "refused": N_("未生效"),
}  # fmt: skip
SOURCES: Mapping[str, str] = {"upload": N_("网页上传"), "stow": N_("DICOMweb")}


def size_text(megabytes: int) -> str:
    """`2 GB` or `500 MB`."""
    return f"{megabytes // 1024} GB" if megabytes % 1024 == 0 else f"{megabytes} MB"


async def upload_page(request: web.Request) -> web.StreamResponse:
    """`GET /upload[?order=]`: the drop area; with an order, whose exam it is stands above."""
    who = actor(request)

    def read(uow: UnitOfWork) -> dict[str, Any] | None:
        authorize(uow, who, Action.STUDIES_UPLOAD, who.organisation)
        if not (asked := request.query.get("order", "")):
            return None
        order = open_order(uow, who, m.OrderId(asked), Action.ORDER_READ)
        audit(uow, who, "order.read", f"order:{order.id}")
        return order_view(uow, order)

    order = await work(request).run(read)
    most = settings(request).uploads.instance_mb
    return await render(
        request, "upload.html", page="upload", tab="upload", order=order, limit=size_text(most),
        data={"limit": most << 20, "limit_text": size_text(most), "chunk": CHUNK_BYTES, "membership": who.membership,
              "organisation": who.organisation},
    )  # fmt: skip


def order_state(order: Mapping[str, Any]) -> str:
    """One of ORDER_STATES."""
    if order["voided_at"] is not None:
        return "voided"
    return "done" if order["studies"] else "open"


async def orders_page(request: web.Request) -> web.StreamResponse:
    """`GET /orders[?state=&modality=&text=]`."""
    who = actor(request)
    asked = {key: request.query.get(key, "")[:60].strip() for key in ("state", "modality", "text")}
    rows = await work(request).run(list_orders, actor=who)
    shown = [x | {"state": order_state(x)} for x in rows]
    counts = {key: sum(1 for x in shown if not key or x["state"] == key) for key in ORDER_STATES}
    wanted = asked["text"].casefold()
    shown = [
        x for x in shown
        if asked["state"] in {"", x["state"]}
        and asked["modality"] in {"", x["modality"]}
        and (not wanted or wanted in " ".join((x["accession"], x["procedure"], x["patient"]["name"])).casefold())
    ]  # fmt: skip
    return await render(
        request, "orders.html", page="orders", tab="order-list", orders=shown, filters=asked, counts=counts,
        states=ORDER_STATES, modalities=MODALITIES, total=len(rows),
    )  # fmt: skip


def _new_order(uow: UnitOfWork, *, actor: Actor, consultation: str, patient: str) -> dict[str, Any]:
    authorize(uow, actor, Action.ORDER_START, actor.organisation)
    found: Patient | None = None
    number = ""
    if consultation:
        opened = open_consultation(uow, actor, m.ConsultationId(consultation), Action.ORDER_WRITE)
        number = opened.consultation.number
        found = surviving(uow, uow.patients.get(opened.consultation.patient))
    elif patient:
        found = surviving(uow, uow.patients.get(PatientId(patient)))
        if not may(uow, actor, Action.PATIENT_FIND, found):
            found = None
    return {
        "patient": with_identifiers(uow, found) if found else None,
        "number": number,
        "places": places(uow, actor=actor),
    }


async def new_order_page(request: web.Request) -> web.StreamResponse:
    """`GET /orders/new[?consultation=|?patient=]`."""
    asked = {key: request.query.get(key, "")[:64] for key in ("consultation", "patient")}
    found = await work(request).read(_new_order, actor=actor(request), **asked)
    return await render(
        request, "orders_new.html", page="order-new", tab="order-list", modalities=MODALITIES, **found,
        data={
            "consultation": asked["consultation"] or None,
            "patient": msgspec.json.decode(ENCODER.encode(found["patient"])),
            "procedures": {key: [_(x) for x in names] for key, names in PROCEDURES.items()},
        },
    )


async def order_page(request: web.Request) -> web.StreamResponse:
    """`GET /orders/{id}`: the number large, to copy or print, and what came for it."""
    who = actor(request)

    def read(uow: UnitOfWork) -> tuple[dict[str, Any], dict[str, Any], bool]:
        order = open_order(uow, who, m.OrderId(request.match_info["id"]), Action.ORDER_READ)
        audit(uow, who, "order.read", f"order:{order.id}")
        patient = surviving(uow, uow.patients.get(order.patient))
        view = order_view(uow, order)
        view["state"] = order_state(view)
        return view, patient_banner(uow, patient), may(uow, who, Action.ORDER_WRITE, order)

    order, banner, writable = await work(request).run(read)
    return await render(
        request, "orders_one.html", page="order", tab="order-list", banner=banner, order=order, writable=writable,
        modalities=MODALITIES, states=ORDER_STATES, upload=who.role is Role.TECHNICIAN,
        removed=await gone(request, order["studies"]),
        data={"id": order["id"], "accession": order["accession"]},
    )  # fmt: skip


def study_state(row: Mapping[str, Any]) -> str:
    """One of STUDY_STATES."""
    if row["doubted"]:
        return "doubted"
    return "matched" if row["match"] else "unmatched"


async def _with_patients(request: web.Request, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = {x["match"]["patient"] for x in rows if x["match"]}

    def read(uow: UnitOfWork) -> dict[str, Patient]:
        return {x: surviving(uow, uow.patients.get(x)) for x in wanted}

    patients = await work(request).read(read)
    return [
        x | {"state": study_state(x), "patient": patients.get(x["match"]["patient"]) if x["match"] else None}
        for x in rows
    ]


async def studies_page(request: web.Request) -> web.StreamResponse:
    """`GET /studies[?state=&text=&limit=]`: what this site holds, newest first."""
    asked = {key: request.query.get(key, "")[:60].strip() for key in ("state", "text")}
    limit = int_query(request, "limit", 100, low=1, high=1000)
    rows = await _with_patients(request, await own_studies(request, waiting=False, limit=1000))
    counts = {key: sum(1 for x in rows if not key or x["state"] == key) for key in STUDY_STATES}
    wanted = asked["text"].casefold()
    shown = [x for x in rows if asked["state"] in {"", x["state"]} and (not wanted or wanted in _searched(x))]
    return await render(
        request, "studies.html", page="studies", tab="studies", studies=shown[:limit], filters=asked,
        counts=counts, states=STUDY_STATES, methods=METHODS, more=len(shown) > limit, limit=limit, total=len(rows),
        organisation=actor(request).organisation,
    )  # fmt: skip


def _searched(row: Mapping[str, Any]) -> str:
    patient = row["patient"]
    parts = [row["name"], row["patient_id"], row["accession"], row["description"], patient.name if patient else ""]
    return " ".join([*parts, *row["modalities"]]).casefold()


async def unmatched_page(request: web.Request) -> web.StreamResponse:
    """`GET /studies/unmatched`: doubted studies on top, then those nobody has claimed; the candidates come by JSON."""
    who = actor(request)
    rows = await own_studies(request, waiting=True, limit=200)
    for row, reason in zip(rows, await _doubts(request, rows), strict=True):
        row["doubt"] = reason
    quarantined = await asyncio.to_thread(request.app[ARCHIVE].quarantine, frozenset({who.organisation}))
    return await render(
        request, "unmatched.html", page="unmatched", tab="unmatched", studies=rows, quarantined=len(quarantined),
        counts={"unmatched": len(rows)}, modalities=MODALITIES,
        data={"studies": msgspec.json.decode(ENCODER.encode(rows)), "organisation": who.organisation},
    )  # fmt: skip


async def _doubts(request: web.Request, rows: list[dict[str, Any]]) -> list[str]:
    """Why the expert doubts the study; empty where nobody does."""

    def read(uow: UnitOfWork) -> list[str]:
        found = []
        for row in rows:
            reason = ""
            if row["doubted"]:
                for event in uow.events.of(f"study:{row['study']}"):
                    if event.trigger == "report_wrong_patient":
                        reason = event.reason or ""
            found.append(reason)
        return found

    return await work(request).read(read)


async def quarantine_page(request: web.Request) -> web.StreamResponse:
    """`GET /studies/quarantine`: other bytes under an identity that is held, and what that means."""
    who = actor(request)
    await work(request).run(may_match, actor=who)
    rows = await asyncio.to_thread(request.app[ARCHIVE].settling.quarantine, who.organisation)
    items = [
        {"id": x.id, "study": x.study_uid, "sop": x.sop_uid, "at": x.received_at, "source": _source(x.source),
         "state": x.state}
        for x in sorted(rows, key=lambda x: (x.state != "open", -x.id))
    ]  # fmt: skip
    return await render(
        request, "quarantine.html", page="quarantine", tab="studies", items=items, states=QUARANTINE_STATES
    )


async def corrections_page(request: web.Request) -> web.StreamResponse:
    """`GET /studies/corrections[?study=]`: what was corrected here, and the form for one study."""
    made = await own_corrections(request)
    rows = await own_studies(request, waiting=False, limit=500)
    asked = request.query.get("study", "")[:64]
    study = next((x for x in rows if x["study"] == asked), None)
    series: list[dict[str, Any]] = []
    if study is not None:
        scope = Scope(organisations=frozenset({actor(request).organisation}))
        found = await asyncio.to_thread(request.app[ARCHIVE].series, scope, asked)
        series = [
            {"uid": x.series_uid, "modality": x.modality, "number": x.number, "description": x.description,
             "instances": x.instance_count}
            for x in found
        ]  # fmt: skip
    return await render(
        request, "corrections.html", page="corrections", tab="studies", corrections=made, study=study, series=series,
        others=[x for x in rows if x["study"] != asked], kinds=CORRECTION_KINDS, states=CORRECTION_STATES,
        data={"study": study["study"] if study else ""},
    )  # fmt: skip


def _source(text: str) -> str:
    return _(SOURCES[kind]) if (kind := text.partition(":")[0]) in SOURCES else kind
