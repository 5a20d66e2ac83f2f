"""Removing images after their retention: one proposes, another decides, the archive removes, the rows say so.

Proposal and decision are rows, audited, before the archive is asked; each study's row carries the id by which the
archive knows the removal. Whatever died in between is finished by `finish`, at the start and every minute.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from aiohttp import web

from consult.access import Action, authorize
from consult.errors import Invalid, NotFound
from consult.events import record
from consult.people import Actor
from consult.removing import same_person, why_kept, years_before
from dicom.archive import Archive
from dicom.errors import CorrectionError
from dicom.index import due
from dicom.index.life import series_shown
from dicom.index.removal import is_done
from dicom.life.removal import remove_study
from server import keys
from server.auth.audit import audit
from server.auth.grants import end_grants
from server.dicomweb.ports import ARCHIVE
from server.problems import Refused
from server.storage.removals import Hold, Removal, RemovalStudy
from server.storage.unit import SqlUnitOfWork

MOST = 200
"""Studies in one proposal."""


def refused(reason: str) -> Refused:
    """`removal_refused` with its reason (server/problems.py has the sentences)."""
    return Refused("removal_refused", reason=reason)


def before(app: web.Application) -> due.Before:
    """What is older than this may be removed."""
    end = years_before(app[keys.CLOCK](), app[keys.SETTINGS].archive.retention_years)
    return due.Before(day=f"{end.astimezone(app[keys.ZONE]):%Y%m%d}", moment=end)


def why_not(uow: SqlUnitOfWork, organisation: str, study_uid: str) -> str:
    """Why the clinical side keeps a study that the organisation holds: `on_hold`, or as `why_kept`; '' where it does
    not.
    """
    if uow.removals.held(organisation, [study_uid]):  # type: ignore[arg-type]
        return "on_hold"
    return why_kept(uow, study_uid)


# -- proposing and deciding


async def propose_removal(app: web.Application, actor: Actor, studies: Sequence[str], reason: str) -> Removal:
    """A technician proposes studies whose retention is over. Raises what `authorize` raises, Invalid, Refused
    `removal_refused` with the reason of the first study that may not be removed.
    """
    await app[keys.WORK].read(lambda uow: authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation))
    uids = tuple(dict.fromkeys(studies))
    wrong = [("studies", "required")] if not uids else []
    if not reason.strip():
        wrong.append(("reason", "required"))
    if wrong:
        raise Invalid(*wrong)
    found = [await _old_enough(app, actor.organisation, uid) for uid in uids]
    days = app[keys.SETTINGS].archive.removal_days
    return await app[keys.WORK].run(_propose, actor=actor, studies=found, reason=reason.strip(), days=days)


async def _old_enough(app: web.Application, organisation: str, uid: str) -> due.DueStudy:
    old = before(app)
    archive = app[ARCHIVE]
    found = await archive.read_index(lambda link: due.due_study(link, organisation, uid, old))
    if found is None or found.waits:
        raise refused(await archive.read_index(lambda link: due.why_not(link, organisation, uid, old)))
    return found


def _propose(
    uow: SqlUnitOfWork, *, actor: Actor, studies: Sequence[due.DueStudy], reason: str, days: int
) -> Removal:
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    organisation = actor.organisation
    if uow.removals.waiting(organisation, [x.study_uid for x in studies]):
        raise refused("proposed_already")
    for study in studies:
        if why := why_not(uow, organisation, study.study_uid):
            raise refused(why)
    row = Removal(
        id=uow.new_id(), organisation=organisation, reason=reason, proposed_by=actor.membership, proposed_at=uow.now,
        expires_at=uow.now + timedelta(days=days),
    )  # fmt: skip
    named = [
        RemovalStudy(
            id=uow.new_id(), removal=row.id, organisation=organisation, study_uid=x.study_uid,
            study_date=x.study_date, modalities=x.modalities, series=x.series, instances=x.instances,
        )
        for x in studies
    ]  # fmt: skip
    uow.removals.add(row, named)
    audit(uow, actor, "removal.propose", f"removal:{row.id}", detail={"studies": len(named)})
    for one in named:
        audit(uow, actor, "study.removal_propose", f"study:{one.study_uid}", detail={"removal": row.id})
    return row


async def approve_removal(app: web.Application, actor: Actor, id: str) -> Sequence[RemovalStudy]:
    """Another person of the organisation approves; what may still be removed is removed, the rest kept, each with its
    reason. Raises NotFound, Refused `removal_refused` (`same_person`, `expired`, `decided_already`, or the reason of
    the first study where none may be removed).
    """
    work, archive = app[keys.WORK], app[ARCHIVE]
    waiting = await work.read(_decidable, actor=actor, id=id)
    old = before(app)
    reasons = [await archive.read_index(partial(_changed, study=x, old=old)) for x in waiting]
    await work.run(_approve, actor=actor, id=id, reasons=reasons)
    await finish(app)
    found: Sequence[RemovalStudy] = (await work.read(lambda uow: uow.removals.studies(id)))[id]
    return found


def _changed(link: sqlite3.Connection, study: RemovalStudy, old: due.Before) -> str:
    """Why what the archive shows now is not what was proposed, or may not go; '' where nothing says so."""
    found = due.due_study(link, study.organisation, study.study_uid, old)
    if found is not None and (found.series, found.instances) != (study.series, study.instances):
        return "changed_meanwhile"  # a correction has moved something in or out
    return due.why_not(link, study.organisation, study.study_uid, old)


def _decidable(uow: SqlUnitOfWork, *, actor: Actor, id: str) -> Sequence[RemovalStudy]:
    """The studies of an open proposal that the actor may approve."""
    row = _open(uow, actor, id)
    if same_person(uow, actor, row.proposed_by):
        raise refused("same_person")
    return uow.removals.studies(id)[id]


def _open(uow: SqlUnitOfWork, actor: Actor, id: str) -> Removal:
    authorize(uow, actor, Action.REMOVALS_DECIDE, actor.organisation)
    row = uow.removals.get(id, actor.organisation)
    if row.state == "expired" or (row.state == "open" and row.expires_at <= uow.now):
        raise refused("expired")
    if row.state != "open":
        raise refused("decided_already")
    return row


def _approve(uow: SqlUnitOfWork, *, actor: Actor, id: str, reasons: Sequence[str]) -> None:
    studies = _decidable(uow, actor=actor, id=id)
    found = [
        said or why_not(uow, x.organisation, x.study_uid) for x, said in zip(studies, reasons, strict=True)
    ]
    if all(found):
        raise refused(found[0])
    row = uow.removals.get(id, actor.organisation)
    uow.removals.step(row, "approved", decided_by=actor.membership, decided_at=uow.now)
    audit(uow, actor, "removal.approve", f"removal:{id}", detail={"studies": len(studies)})


def refuse_removal(uow: SqlUnitOfWork, *, actor: Actor, id: str, reason: str) -> None:
    """Not removed after all; whoever proposed may say so too. Raises NotFound, Invalid, Refused `removal_refused`."""
    row = _open(uow, actor, id)
    if not reason.strip():
        raise Invalid(("reason", "required"))
    _keep_all(uow, row, "refused", decided_by=actor.membership, decided_at=uow.now, decided_reason=reason.strip())
    audit(uow, actor, "removal.refuse", f"removal:{id}")


def expire_removals(uow: SqlUnitOfWork) -> int:
    """Proposals that nobody has decided in time end; how many."""
    rows = uow.removals.overdue(uow.now)
    for row in rows:
        _keep_all(uow, row, "expired")
        audit(uow, None, "removal.expire", f"removal:{row.id}", organisation=row.organisation)
    return len(rows)


def _keep_all(uow: SqlUnitOfWork, row: Removal, state: str, **values: object) -> None:
    uow.removals.step(row, state, **values)
    for study in uow.removals.studies(row.id)[row.id]:
        uow.removals.end_study(study.id, "kept", at=uow.now, why=state)


# -- doing what was approved


async def finish(app: web.Application) -> int:
    """Everything approved is removed, or kept where something speaks against it now; how many studies came to an end.

    Safe to call at any time: the archive knows each removal by its id.
    """
    ended = 0
    await app[keys.ARCHIVE_STARTED].wait()
    async with app[ARCHIVE].settling.turn:  # no correction moves series meanwhile, and no hold is set
        for row, studies in await app[keys.WORK].read(_approved):
            for study in studies:
                await _remove(app, row, study)
                ended += 1
    return ended


def _approved(uow: SqlUnitOfWork) -> list[tuple[Removal, list[RemovalStudy]]]:
    rows = uow.removals.approved()
    studies = uow.removals.studies(*(row.id for row in rows))
    return [(row, [x for x in studies[row.id] if x.state == "waiting"]) for row in rows]


async def _remove(app: web.Application, row: Removal, study: RemovalStudy) -> None:
    archive, work, old = app[ARCHIVE], app[keys.WORK], before(app)
    organisation, uid = study.organisation, study.study_uid
    why = ""
    if not await archive.read_index(lambda link: is_done(link, study.id)):
        why = await archive.read_index(partial(_changed, study=study, old=old))
        why = why or await work.read(lambda uow: why_not(uow, organisation, uid))
        why = why or await _ask_archive(archive, row, study, old)
    await work.run(_ended, row=row, study=study, why=why)
    app[keys.GRANTS].forget(study=uid)


async def _ask_archive(archive: Archive, row: Removal, study: RemovalStudy, old: due.Before) -> str:
    try:
        await remove_study(
            archive, id=study.id, organisation=study.organisation, study_uid=study.study_uid,
            stored_before=old.moment, by=row.proposed_by, approved_by=row.decided_by or "", reason=row.reason,
        )  # fmt: skip
    except CorrectionError as error:
        return error.reason
    return ""


def _ended(uow: SqlUnitOfWork, *, row: Removal, study: RemovalStudy, why: str) -> None:
    if not uow.removals.end_study(study.id, "kept" if why else "removed", at=uow.now, why=why):
        return
    if all(x.state != "waiting" for x in uow.removals.studies(row.id)[row.id]):
        uow.removals.step(row, "done")
    uid, organisation = study.study_uid, study.organisation
    decided = uow.people.membership(row.decided_by).staff if row.decided_by else None
    detail = {"removal": row.id} | ({"reason": why} if why else {})
    audit(
        uow, None, "study.removed", f"study:{uid}", outcome="denied" if why else "ok", staff=decided,
        organisation=organisation, detail=detail,
    )  # fmt: skip
    if why:
        return
    end_grants(uow, uid)
    record(
        uow, None, f"study:{uid}", "remove_study", reason=row.reason,
        payload={"organisation": organisation, "removal": row.id},
    )  # fmt: skip
    uow.publish(f"study:{organisation}", {"study": uid, "removed": True})


# -- legal holds


async def set_hold(app: web.Application, actor: Actor, study_uid: str, reason: str) -> Hold:
    """While it is in force the organisation does not remove the study. Raises NotFound for what it does not hold,
    Invalid without a reason, Refused `removal_refused` (`on_hold`: it is under one).
    """
    async with app[ARCHIVE].settling.turn:  # not between a removal's last question and the removal
        await app[keys.WORK].read(lambda uow: authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation))
        await held_here(app, actor, study_uid)
        hold: Hold = await app[keys.WORK].run(_set_hold, actor=actor, study_uid=study_uid, reason=reason.strip())
        return hold


async def held_here(app: web.Application, actor: Actor, study_uid: str) -> None:
    """NotFound for a study that the actor's organisation does not hold."""
    if not await app[ARCHIVE].read_index(lambda link: series_shown(link, actor.organisation, study_uid)):
        raise NotFound(kind="study")


def _set_hold(uow: SqlUnitOfWork, *, actor: Actor, study_uid: str, reason: str) -> Hold:
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    if not reason:
        raise Invalid(("reason", "required"))
    if uow.removals.held(actor.organisation, [study_uid]):
        raise refused("on_hold")
    hold = Hold(
        id=uow.new_id(), organisation=actor.organisation, study_uid=study_uid, reason=reason, set_by=actor.membership,
        set_at=uow.now,
    )  # fmt: skip
    uow.removals.add_hold(hold)
    audit(uow, actor, "study.hold", f"study:{study_uid}", detail={"hold": hold.id})
    return hold


def lift_hold(uow: SqlUnitOfWork, *, actor: Actor, id: str, reason: str) -> None:
    """Ends a hold, with a reason. Raises NotFound, Invalid."""
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    hold = uow.removals.hold(id, actor.organisation)
    if not reason.strip():
        raise Invalid(("reason", "required"))
    uow.removals.lift_hold(id, by=actor.membership, at=uow.now, reason=reason.strip())
    audit(uow, actor, "study.hold_lift", f"study:{hold.study_uid}", detail={"hold": id})
