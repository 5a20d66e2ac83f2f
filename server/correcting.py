"""One correction from end to end: planned in the clinical database, made in the archive; matches and shares follow.

The clinical row comes first and is audited; the archive's record is what holds. Whatever died in between is finished
when the organisation's corrections are next looked at: the archive says whether it was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

from aiohttp import web

from consult import correcting
from consult.access import Action, authorize
from consult.correcting import Flow, Kind, Wanted
from consult.errors import ConsultError
from consult.patient import IdentifierSystem, PatientId, Sex
from consult.people import Actor
from dicom.archive import Archive
from dicom.corrections import Correction, Person, split_uid
from dicom.errors import CorrectionError, NotFoundError
from server import keys
from server.auth.audit import audit
from server.auth.grants import end_grants
from server.dicomweb.ports import ARCHIVE
from server.problems import Refused
from server.storage.corrections import StudyCorrection
from server.storage.unit import SqlUnitOfWork

LOG = logging.getLogger("huizhen.corrections")
_SEX = {Sex.MALE: "M", Sex.FEMALE: "F", Sex.OTHER: "O", Sex.UNKNOWN: ""}


@contextlib.asynccontextmanager
async def turn(request: web.Request, actor: Actor) -> AsyncIterator[None]:
    """One correction at a time, from its plan until matches and shares have followed; first what was cut off."""
    async with request.app[ARCHIVE].settling.turn:
        await _finish_begun(request, actor)
        yield


def _plan(
    uow: SqlUnitOfWork, *, actor: Actor, wanted: Wanted, series: tuple[str, ...]
) -> tuple[StudyCorrection, Person | None]:
    found = correcting.plan_correction(uow, actor=actor, wanted=wanted)
    new = uow.new_id()
    row = StudyCorrection(
        id=new,
        organisation=actor.organisation,
        kind=wanted.kind,
        study_uid=wanted.study_uid,
        target_uid=split_uid(new) if wanted.kind == "split" else wanted.target_uid,
        detail={"series": list(series), "patient": found.id if found else None},
        reason=wanted.reason.strip(),
        made_by=actor.membership,
        made_at=uow.now,
    )
    uow.corrections.add(row)
    audit(uow, actor, "study.correct", f"study:{row.study_uid}", detail={"kind": row.kind, "correction": new})
    if found is None:
        return row, None
    numbers = uow.patients.identifiers(found.id)
    local = [x for x in numbers if x.system is IdentifierSystem.LOCAL and x.issuer == actor.organisation]
    cards = [x for x in numbers if x.system is IdentifierSystem.CARD]
    # The number that this organisation's devices know, else the health card, else our own: never the identity document.
    number = next((x.value for x in (*local, *cards)), found.id)
    known = found.birth_date if found.birth_date and not found.birth_estimated else None
    person = Person(
        patient_id=number, patient_name=found.name, birth_date=f"{known:%Y%m%d}" if known else "", sex=_SEX[found.sex]
    )
    return row, person


async def make_correction(
    request: web.Request,
    actor: Actor,
    *,
    kind: Kind,
    study_uid: str,
    target_uid: str = "",
    series: tuple[str, ...] = (),
    patient: str | None = None,
    reason: str,
) -> StudyCorrection:
    """Raises what the services raise; Refused `correction_refused` with the archive's reason. Only within `turn`."""
    app, archive = request.app, request.app[ARCHIVE]
    wanted = Wanted(kind=kind, study_uid=study_uid, target_uid=target_uid, patient=_id(patient), reason=reason)
    row, person = await app[keys.WORK].run(_plan, actor=actor, wanted=wanted, series=series)
    study: dict[str, Any] = {}
    if kind == "split":
        study = await asyncio.to_thread(_attributes, archive, actor.organisation, study_uid)
    one = Correction(
        id=row.id, organisation=actor.organisation, kind=kind, study_uid=study_uid, target_uid=row.target_uid,
        series=series, person=person, study=study, at=_iso(row), by=actor.membership, reason=row.reason,
    )  # fmt: skip
    try:
        await archive.settling.correct(one)
    except CorrectionError as error:
        await app[keys.WORK].run(_refuse, actor=actor, row=row)
        raise Refused("correction_refused", reason=error.reason) from error
    await app[keys.WORK].run(_follow, actor=actor, row=row)
    _forget(request, row)
    return row


def _attributes(archive: Archive, organisation: str, study_uid: str) -> dict[str, Any]:
    try:
        return archive.settling.attributes(organisation, study_uid)
    except NotFoundError:
        return {}  # the archive refuses the correction and says so


def _id(patient: str | None) -> PatientId | None:
    return PatientId(patient) if patient else None


def _iso(row: StudyCorrection) -> str:
    return row.made_at.astimezone(UTC).isoformat(timespec="milliseconds")


def _refuse(uow: SqlUnitOfWork, *, actor: Actor, row: StudyCorrection) -> None:
    uow.corrections.step(row, "refused")
    audit(uow, actor, "study.correct_done", f"study:{row.study_uid}", outcome="denied", detail={"correction": row.id})


def _follow(uow: SqlUnitOfWork, *, actor: Actor, row: StudyCorrection) -> None:
    wanted = Wanted(
        kind=row.kind, study_uid=row.study_uid, target_uid=row.target_uid,  # type: ignore[arg-type]
        patient=_id(row.detail["patient"]), reason=row.reason,
    )  # fmt: skip
    former = correcting.follow_correction(uow, actor=actor, wanted=wanted)
    matched = {"former": former.patient, "former_order": former.order} if former else {"former": None}
    uow.corrections.step(row, "done", detail={**row.detail, **matched})
    _end_grants(uow, row)
    audit(uow, actor, "study.correct_done", f"study:{row.study_uid}", detail={"correction": row.id})


def _plan_undo(
    uow: SqlUnitOfWork, *, actor: Actor, id: str, flows: set[tuple[str, str]]
) -> StudyCorrection:
    row = uow.corrections.get(id, actor.organisation)
    if row.state != "done":
        raise Refused("correction_refused", reason="no_such_correction")
    moved = [Flow(source=source, target=target) for source, target in sorted(flows)]
    correcting.plan_undo(uow, actor=actor, flows=moved, made_at=row.made_at)
    uow.corrections.step(row, "undoing", undone_by=actor.membership, undone_at=uow.now)
    audit(uow, actor, "study.undo_correction", f"study:{row.study_uid}", detail={"correction": id})
    return uow.corrections.get(id, actor.organisation)


async def undo_correction(request: web.Request, actor: Actor, id: str) -> StudyCorrection:
    """Take it back. Raises NotFound, what the services raise, Refused `correction_refused`. Only within `turn`."""
    app, archive = request.app, request.app[ARCHIVE]
    flows = await asyncio.to_thread(archive.settling.flows, actor.organisation, id)
    row = await app[keys.WORK].run(_plan_undo, actor=actor, id=id, flows=flows)
    await archive.settling.undo(actor.organisation, id, by=actor.membership)
    await app[keys.WORK].run(_follow_undo, actor=actor, row=row)
    _forget(request, row)
    return row


def _follow_undo(uow: SqlUnitOfWork, *, actor: Actor, row: StudyCorrection) -> None:
    correcting.follow_undo(
        uow, actor=actor, kind=row.kind, study_uid=row.study_uid, target_uid=row.target_uid,  # type: ignore[arg-type]
        former=_id(row.detail.get("former")), order=row.detail.get("former_order"),
    )  # fmt: skip
    uow.corrections.step(row, "undone")
    _end_grants(uow, row)
    audit(uow, actor, "study.undo_correction_done", f"study:{row.study_uid}", detail={"correction": row.id})


def _end_grants(uow: SqlUnitOfWork, row: StudyCorrection) -> None:
    for uid in {row.study_uid, row.target_uid} - {""}:
        end_grants(uow, uid)


def _forget(request: web.Request, row: StudyCorrection) -> None:
    for uid in {row.study_uid, row.target_uid} - {""}:
        request.app[keys.GRANTS].forget(study=uid)


def _unfinished(uow: SqlUnitOfWork, *, actor: Actor) -> list[StudyCorrection]:
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    return list(uow.corrections.unfinished(actor.organisation))


async def _finish_begun(request: web.Request, actor: Actor) -> None:
    """What began and was cut off ends as the archive says. Only within `turn`: nothing else is under way."""
    app, archive = request.app, request.app[ARCHIVE]
    rows = await app[keys.WORK].read(_unfinished, actor=actor)
    if not rows:
        return
    known = {one.id: one for one in await asyncio.to_thread(archive.settling.corrections, actor.organisation)}
    for row in rows:
        made = known.get(row.id)
        if row.state == "planned":
            step = _refuse if made is None else _follow
        elif made is not None and not made.undone:
            await archive.settling.undo(actor.organisation, row.id, by=row.undone_by or actor.membership)
            step = _follow_undo
        else:
            step = _follow_undo
        try:
            await app[keys.WORK].run(step, actor=actor, row=row)
        except ConsultError as error:  # what cannot follow is tried again the next time, and holds up nothing else
            LOG.error("correction not finished", extra={"correction": row.id, "code": error.code})
            continue
        _forget(request, row)
