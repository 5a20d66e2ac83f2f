"""Whose eyes a DICOMweb request looks through (server/dicomweb/ports.py, SCOPE_FOR).

The first request for a study opens it: access is asked, one audit row and a viewing grant are committed, and only then
does a byte leave. Further requests run under the grant and are counted. Searches, downloads and stores are audited one
by one; who fetches a study instance by instance is audited once a minute, then with how many there were. Whatever is
refused looks like a study that does not exist, and is audited as denied.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

from aiohttp import web

from consult.access import Action, authorize
from consult.errors import ConsultError, NotFound
from consult.people import Actor
from consult.scoping import Purpose
from dicom.model import Scope, StudyRow
from server import keys
from server.auth.audit import audit
from server.auth.grants import study_scope
from server.auth.sessions import digest_of, new_token
from server.auth.tokens import Bearer, token_scope
from server.dicomweb.ports import ARCHIVE
from server.dicomweb.uri import PATH as URI_PATH
from server.problems import Refused
from server.storage.grants import Grant
from server.storage.unit import SqlUnitOfWork

PURPOSES = {"search": Purpose.LIST, "metadata": Purpose.LIST, "pixels": Purpose.PIXELS, "download": Purpose.DOWNLOAD}
UNDER_GRANT = frozenset({"metadata", "pixels", "search"})


def sees(scope: Scope, study_uid: str) -> bool:
    """The scope may hold the study: by name, or by the organisation (the archive knows what that one holds)."""
    return study_uid not in scope.hidden and (bool(scope.organisations) or study_uid in scope.studies)


def audited_scope(uow: SqlUnitOfWork, actor: Actor, action: str, study_uid: str | None) -> Scope | None:
    """Scope and audit row of one search or download, in one commit; None (and a denied row) when nothing is allowed."""
    scope = study_scope(uow, actor, study_uid, PURPOSES[action])
    subject = f"study:{study_uid}" if study_uid else f"organisation:{actor.organisation}"
    allowed = study_uid is None or sees(scope, study_uid)
    audit(uow, actor, f"study.{action}", subject, outcome="ok" if allowed else "denied")
    return scope if allowed else None


def store_scope(uow: SqlUnitOfWork, actor: Actor, study_uid: str | None) -> Scope | None:
    """The organisation that will hold what is sent: the actor's own, if they may upload there."""
    try:
        authorize(uow, actor, Action.STUDIES_UPLOAD, actor.organisation)
    except ConsultError:
        audit(uow, actor, "study.store", f"organisation:{actor.organisation}", outcome="denied")
        return None
    detail = {"study": study_uid} if study_uid else {}
    audit(uow, actor, "study.store", f"organisation:{actor.organisation}", detail=detail)
    return Scope(organisations=frozenset({actor.organisation}), holder=actor.organisation)


async def scope_for(request: web.Request, action: str, study_uid: str | None) -> Scope:
    """The provider. Refused `not_found` for what the caller may not see, `not_allowed` for a store they may not do."""
    token = request.get(keys.TOKEN)
    if token is not None:
        return await scope_for_token(request, token, action, study_uid)
    login = request.get(keys.LOGIN)
    if login is None:
        raise Refused("signed_out")
    app, work = request.app, request.app[keys.WORK]
    if action == "store":
        scope = await work.run(store_scope, login.actor, study_uid)
        if scope is None:
            raise Refused("not_allowed")
        return scope
    if study_uid is not None and action in UNDER_GRANT:
        frames = frames_asked(request) if action == "pixels" else 0
        scope = await app[keys.GRANTS].scope(login, study_uid, frames=frames)
        if scope is None and await opens(request, login.digest, login.actor, study_uid):
            scope = await app[keys.GRANTS].scope(login, study_uid, frames=frames)
        if scope is not None and sees(scope, study_uid):
            if frames:
                app[keys.METRICS].frames.inc(frames)
            # Under a grant one study is open and no other, whatever else the actor may see.
            return narrowed(scope, study_uid)
        if action == "pixels":
            await work.run(note_denied, login.actor, study_uid)
            raise Refused("not_found")
    if action == "download" and study_uid is not None and fetches_one(request):
        subject = f"study:{study_uid}"
        found = await app[keys.GRANTS].fetch(
            login.digest, login.actor.staff, login.actor.membership, study_uid,
            ask=partial(download_scope, actor=login.actor, study_uid=study_uid),
            begin=partial(audited_scope, actor=login.actor, action=action, study_uid=study_uid),
            note=lambda uow, detail: audit(uow, login.actor, "study.download", subject, detail=detail),
        )  # fmt: skip
    else:
        found = await work.run(audited_scope, login.actor, action, study_uid)
    if found is None:
        raise Refused("not_found")
    return found


def fetches_one(request: web.Request) -> bool:
    """Whether one instance is asked for, and not a series or study (WADO-URI knows nothing else)."""
    return "instance" in request.match_info or request[keys.CANONICAL] == URI_PATH


def download_scope(uow: SqlUnitOfWork, actor: Actor, study_uid: str) -> Scope | None:
    """What may be downloaded of the study now; None: nothing of it."""
    scope = study_scope(uow, actor, study_uid, Purpose.DOWNLOAD)
    return scope if sees(scope, study_uid) else None


def narrowed(scope: Scope, study_uid: str) -> Scope:
    """The same, without the other studies named in it."""
    return replace(scope, studies=scope.studies & {study_uid})


async def scope_for_token(request: web.Request, token: Bearer, action: str, study_uid: str | None) -> Scope:
    """The same for a token (its right was asked beside the route): what its organisation holds."""
    app, work = request.app, request.app[keys.WORK]
    if action == "download" and study_uid is not None and fetches_one(request):
        found = await app[keys.GRANTS].fetch(
            token.digest, token.staff, token.membership, study_uid,
            ask=partial(token_scope, token=token),
            begin=partial(audited_token_scope, token=token, action=action, study_uid=study_uid),
            note=lambda uow, detail: audit(
                uow, None, "study.download", f"study:{study_uid}", detail=detail, staff=token.who,
                organisation=token.organisation,
            ),
        )  # fmt: skip
        if found is None:
            raise Refused("not_found")
        return found
    if action not in {"metadata", "pixels"} or study_uid is None:
        return await work.run(audited_token_scope, token, action, study_uid)
    frames = frames_asked(request) if action == "pixels" else 0

    async def granted() -> Scope | None:
        read = partial(read_token_grant, token=token, study_uid=study_uid)
        return await app[keys.GRANTS].under(
            token.digest, token.staff, token.membership, study_uid, read, frames=frames
        )

    scope = await granted()
    if scope is None:
        seen = await work.read(token_scope, token)
        if await asyncio.to_thread(app[ARCHIVE].study, seen, study_uid) is None:
            await work.run(
                audit, None, "study.open", f"study:{study_uid}",
                outcome="denied", staff=token.who, organisation=token.organisation,
            )  # fmt: skip
            raise Refused("not_found")
        await work.run(open_for_token, token, study_uid, app[keys.SETTINGS].access.viewing_grant_minutes)
        scope = await granted()
    if scope is None or not sees(scope, study_uid):
        raise Refused("not_found")
    if frames:
        app[keys.METRICS].frames.inc(frames)
    return scope


def audited_token_scope(uow: SqlUnitOfWork, token: Bearer, action: str, study_uid: str | None) -> Scope:
    """Scope and audit row of one search, download or store by a token, in one commit."""
    subject = f"organisation:{token.organisation}"
    detail = {}
    if study_uid:
        if action == "store":
            detail = {"study": study_uid}
        else:
            subject = f"study:{study_uid}"
    audit(uow, None, f"study.{action}", subject, detail=detail, staff=token.who, organisation=token.organisation)
    return token_scope(uow, token)


def read_token_grant(uow: SqlUnitOfWork, token: Bearer, study_uid: str) -> tuple[Grant, Scope] | None:
    """The living grant of this token for the study, and what it still allows."""
    grant = uow.grants.held(token.digest, study_uid, now=uow.now)
    return None if grant is None else (grant, token_scope(uow, token))


def open_for_token(uow: SqlUnitOfWork, token: Bearer, study_uid: str, minutes: int) -> None:
    """Audit the opening and issue the grant under which images are only counted, in one commit."""
    uow.grants.add(
        Grant(
            digest=digest_of(new_token()),
            membership=token.membership,
            study_uid=study_uid,
            consultation=None,
            created_at=uow.now,
            expires_at=uow.now + timedelta(minutes=minutes),
            login=token.digest,
        )
    )
    audit(uow, None, "study.open", f"study:{study_uid}", staff=token.who, organisation=token.organisation)


async def seen_study(request: web.Request, actor: Actor, study_uid: str) -> StudyRow:
    """The study as the archive shows it to this person; NotFound where it is not theirs, or not held at all.

    Asked before a study is opened: a technician's scope is their organisation, and only the archive knows what that
    one holds. Without it an opening would be written down, and a grant given, for what is never shown.
    """
    scope = await request.app[keys.WORK].read(study_scope, actor, study_uid, Purpose.PIXELS)
    row = await asyncio.to_thread(request.app[ARCHIVE].study, scope, study_uid)
    if row is None:
        raise NotFound(kind="study")
    return row


async def opens(request: web.Request, login: str, actor: Actor, study_uid: str) -> bool:
    """Open the study for the caller; False when its images are not theirs to see."""
    minutes = request.app[keys.SETTINGS].access.viewing_grant_minutes
    try:
        await seen_study(request, actor, study_uid)
        await request.app[keys.GRANTS].open(login, actor, study_uid, minutes)
    except NotFound:
        return False
    return True


def note_denied(uow: SqlUnitOfWork, actor: Actor, study_uid: str) -> None:
    """Somebody asked for images that are not theirs."""
    audit(uow, actor, "study.open", f"study:{study_uid}", outcome="denied")


def frames_asked(request: web.Request) -> int:
    """How many frames a request names (`/frames/1,2,3`); one for everything else."""
    return request.match_info.get("frames", "1").count(",") + 1
