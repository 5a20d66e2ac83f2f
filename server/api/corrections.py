"""Corrections of studies and decisions on quarantined files, by the technicians of the organisation that holds them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from consult.access import Action, authorize, surviving
from consult.errors import NotFound
from consult.patient import PatientId
from consult.people import Actor
from dicom.archive import Archive
from dicom.errors import CorrectionError, DicomError, NotFoundError
from dicom.model import QuarantineRow
from server import keys
from server.api.common import actor, body, json_response, work
from server.auth.audit import audit
from server.correcting import make_correction, turn, undo_correction
from server.dicomweb.answers import guarded
from server.dicomweb.ports import ARCHIVE
from server.problems import Refused
from server.storage.corrections import StudyCorrection
from server.storage.unit import SqlUnitOfWork

Uid = Annotated[str, msgspec.Meta(pattern=r"^[0-9.]{1,64}$")]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
_DECISIONS: dict[str, Literal["open", "kept", "taken"]] = {"keep": "kept", "take": "taken", "open": "open"}


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["patient", "merge", "move", "split"]
    study: Uid
    reason: Reason
    target: Uid | None = None
    series: Annotated[list[Uid], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)
    patient: Id | None = None


class Decided(msgspec.Struct, forbid_unknown_fields=True):
    decision: Literal["keep", "take", "open"]
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


def correction_view(row: StudyCorrection, patients: dict[str, str]) -> dict[str, Any]:
    """One correction for a page; the patient by name."""
    return {
        "id": row.id, "kind": row.kind, "study": row.study_uid, "target": row.target_uid,
        "series": row.detail.get("series", []), "patient": patients.get(row.detail.get("patient") or "", ""),
        "reason": row.reason, "state": row.state, "at": row.made_at, "undone_at": row.undone_at,
    }  # fmt: skip


def _list(uow: SqlUnitOfWork, *, actor: Actor) -> list[dict[str, Any]]:
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    rows = uow.corrections.of(actor.organisation)
    wanted = {x.detail.get("patient") for x in rows} - {None}
    patients = {str(x): surviving(uow, uow.patients.get(PatientId(str(x)))).name for x in wanted}
    audit(uow, actor, "study.corrections", f"organisation:{actor.organisation}")
    return [correction_view(row, patients) for row in rows]


async def own_corrections(request: web.Request) -> list[dict[str, Any]]:
    """The organisation's corrections, the newest first; what was cut off is finished before."""
    who = actor(request)
    await work(request).read(lambda uow: authorize(uow, who, Action.STUDIES_MATCH, who.organisation))
    async with turn(request, who):
        return await work(request).run(_list, actor=who)


async def index(request: web.Request) -> web.StreamResponse:
    """`GET /api/corrections`."""
    return json_response({"corrections": await own_corrections(request)})


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /api/corrections` {kind, study, reason, target?, series?, patient?} → {id, study}: as shown now."""
    wanted, who = await body(request, Wanted), actor(request)
    await _held(request, who, wanted.study)
    async with turn(request, who):
        row = await make_correction(
            request, who, kind=wanted.kind, study_uid=wanted.study, target_uid=wanted.target or "",
            series=tuple(dict.fromkeys(wanted.series)), patient=wanted.patient, reason=wanted.reason,
        )  # fmt: skip
    return json_response({"id": row.id, "study": row.target_uid or row.study_uid}, status=201)


async def _held(request: web.Request, who: Actor, study_uid: str) -> None:
    """NotFound for what the technician's organisation does not hold; nothing is written down of it."""
    await work(request).read(lambda uow: authorize(uow, who, Action.STUDIES_MATCH, who.organisation))
    try:
        await asyncio.to_thread(request.app[ARCHIVE].settling.attributes, who.organisation, study_uid)
    except NotFoundError as error:
        raise NotFound(kind="study") from error


async def undo(request: web.Request) -> web.StreamResponse:
    """`POST /api/corrections/{id}/undo`."""
    who = actor(request)
    await work(request).read(lambda uow: authorize(uow, who, Action.STUDIES_MATCH, who.organisation))
    async with turn(request, who):
        row = await undo_correction(request, who, request.match_info["id"])
    return json_response({"id": row.id, "study": row.study_uid})


# -- quarantine


def _may(uow: SqlUnitOfWork, *, actor: Actor, action: str, study_uid: str, detail: dict[str, Any]) -> None:
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    audit(uow, actor, action, f"study:{study_uid}", detail=detail)


async def _item(request: web.Request) -> tuple[Archive, QuarantineRow]:
    who, archive = actor(request), request.app[ARCHIVE]
    await work(request).read(lambda uow: authorize(uow, who, Action.STUDIES_MATCH, who.organisation))
    try:
        number = int(request.match_info["id"][:18])
        return archive, await asyncio.to_thread(archive.settling.item, who.organisation, number)
    except (ValueError, NotFoundError) as error:
        raise NotFound(kind="quarantine") from error


def item_view(item: QuarantineRow) -> dict[str, Any]:
    """One quarantined file for a page."""
    return {
        "id": item.id, "study": item.study_uid, "series": item.series_uid, "sop": item.sop_uid, "state": item.state,
        "new_sop": item.new_sop_uid, "received_at": item.received_at, "decided_at": item.decided_at,
    }  # fmt: skip


@guarded
async def compare(request: web.Request) -> web.StreamResponse:
    """`GET /api/quarantine/{id}`: what differs between the held and the quarantined file."""
    archive, item = await _item(request)
    await work(request).run(
        _may, actor=actor(request), action="study.quarantine_compare", study_uid=item.study_uid,
        detail={"item": item.id},
    )  # fmt: skip
    return json_response(item_view(item) | {"differences": await archive.settling.compare(item)})


@guarded
async def thumbnail(request: web.Request) -> web.StreamResponse:
    """`GET /api/quarantine/{id}/thumbnail[?which=new]`: of the held file, or of the quarantined one."""
    archive, item = await _item(request)
    new = request.query.get("which") == "new"
    await work(request).run(
        _may, actor=actor(request), action="study.quarantine_compare", study_uid=item.study_uid,
        detail={"item": item.id, "picture": "new" if new else "held"},
    )  # fmt: skip
    row = await (archive.settling.quarantined(item) if new else archive.settling.held(item))
    data = await archive.thumbnail(row)
    headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=data, content_type="image/jpeg", headers=headers)


async def decide(request: web.Request) -> web.StreamResponse:
    """`POST /api/quarantine/{id}` {decision: keep | take | open, reason?}."""
    given = await body(request, Decided)
    archive, item = await _item(request)
    who = actor(request)
    await work(request).run(
        _may, actor=who, action="study.quarantine_decide", study_uid=item.study_uid,
        detail={"item": item.id, "decision": given.decision},
    )  # fmt: skip
    try:
        settled = await archive.settling.decide(
            who.organisation, item.id, _DECISIONS[given.decision], by=who.membership, reason=given.reason
        )
    except CorrectionError as error:
        raise Refused("correction_refused", reason=error.reason) from error
    except DicomError as error:
        raise Refused(error.code) from error
    request.app[keys.GRANTS].forget(study=item.study_uid)
    return json_response(item_view(settled))
