"""The draft of a report: open, save, preview, approve, sign, revise. Its pictures: key_images.py. What is
signed: report_versions.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from consult import access, reporting
from consult import model as m
from consult.access import Action
from consult.errors import NotFound, Stale
from consult.people import Actor, MembershipId
from consult.ports import UnitOfWork
from consult.reviewing import review_of
from consult.revising import DRAFTING, pending_revision
from server import keys
from server.api.common import actor, body, json_response, now, settings, work
from server.api.consultations import _audited, consultation_id, consultation_view
from server.api.session import check_password, current
from server.auth import signin
from server.auth.audit import audit
from server.i18n import N_, _
from server.problems import Refused
from server.sheets import picture

PREVIEW = N_("预览 · 未签名")
UNFINISHED = N_("草稿 · 未填完")
_WRITING = (m.State.REPORTING, m.State.ASYNC_REVIEW, m.State.ACCEPTED)


class Draft(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    content: dict[str, Any]


class Versioned(msgspec.Struct, forbid_unknown_fields=True):
    version: int


class Sign(msgspec.Struct, forbid_unknown_fields=True):
    """`check`: nothing is signed; what is in the way is told, and whether a password is needed."""

    version: int
    password: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    check: bool = False


class Reviewer(msgspec.Struct, forbid_unknown_fields=True):
    membership: Annotated[str, Meta(max_length=64)]


class Because(msgspec.Struct, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]


class Empty(msgspec.Struct, forbid_unknown_fields=True):
    pass


def report_id(request: web.Request) -> m.ReportId:
    return m.ReportId(request.match_info["id"])


def verify_url(request: web.Request) -> Callable[[str], str]:
    """Code → the address printed on the paper: the first public one, else the one that this browser uses."""
    public = settings(request).public_urls
    base = public[0].rstrip("/") if public else f"{request.scheme}://{request.host}"
    return lambda code: f"{base}/verify/{code}"


def draft_view(uow: UnitOfWork, who: Actor, report: m.Report) -> dict[str, Any]:
    """Everything the editor needs."""
    consultation = uow.consultations.get(report.consultation)
    revision = pending_revision(uow, consultation)
    mine = report.author == who.membership
    author = uow.people.staff(uow.people.membership(report.author).staff)
    return {
        "id": report.id,
        "consultation": report.consultation,
        "version": report.version,
        "saved_at": report.saved_at,
        "content": report.content,
        "part": report.part,
        "author": author.name,
        "editable": mine and (consultation.state in DRAFTING or revision is not None),
        "signable": consultation.state in {m.State.REPORTING, m.State.ASYNC_REVIEW} or revision is not None,
        "revision": {"status": revision.status, "reason": revision.reason} if revision else None,
        "questions": [{"n": x.n, "text": x.text} for x in uow.consultations.questions(report.consultation)],
        "phrases": [{"field": x.field, "text": x.text} for x in reporting.phrases(consultation.service)],
        "review": review_of(uow, who, report) if mine else None,
        "next": next_to_write(uow, who, report.consultation),
    }


def next_to_write(uow: UnitOfWork, who: Actor, after: m.ConsultationId) -> dict[str, Any] | None:
    """The next report of mine that waits for writing or signing: the most urgent, then the longest waiting."""
    query = replace(
        access.worklist_query(uow, who, "sign"), offered_to=None, pool=None, states=_WRITING, limit=20
    )
    for row in uow.consultations.worklist(query, viewer=who):
        found = row.consultation
        written = found.state is not m.State.ACCEPTED or found.mode is m.Mode.STORED
        if found.id != after and row.mine and written:
            return {"consultation": found.id, "href": f"/consultations/{found.id}/report", "number": found.number}
    return None


def _open(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> dict[str, Any]:
    draft = reporting.open_report(uow, actor=actor, consultation=consultation)
    audit(uow, actor, "report.open", f"consultation:{consultation}", detail={"report": draft.id})
    return draft_view(uow, actor, draft)


async def open_draft(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/report`: my draft, made at the first opening; a reviewer gets the expert's."""
    await body(request, Empty)
    return json_response(await work(request).run(_open, actor=actor(request), consultation=consultation_id(request)))


def _read(uow: UnitOfWork, *, actor: Actor, report: m.ReportId) -> dict[str, Any]:
    draft, _opened = access.open_report(uow, actor, report, Action.DRAFT_READ)
    audit(uow, actor, "report.read_draft", f"consultation:{draft.consultation}", detail={"report": draft.id})
    return draft_view(uow, actor, draft)


async def read(request: web.Request) -> web.StreamResponse:
    """`GET /api/reports/{id}`: the draft as it is stored now."""
    return json_response(await work(request).run(_read, actor=actor(request), report=report_id(request)))


async def save(request: web.Request) -> web.StreamResponse:
    """`PUT /api/reports/{id}` {version, content} → {version, saved_at}; 409 stale when somebody was faster."""
    given = await body(request, Draft)
    saved = await work(request).run(
        reporting.save_report,
        actor=actor(request),
        report=report_id(request),
        version=given.version,
        content=given.content,
    )
    return json_response({"version": saved.version, "saved_at": saved.saved_at})


# ---- preview ---------------------------------------------------------------------------------------------------------


async def preview(request: web.Request) -> web.StreamResponse:
    """`POST /api/reports/{id}/preview` {version} → {pages, key, missing}: the paper as it stands now, as pictures.

    A draft that is not complete is stamped so, and what is missing is marked; `missing` names the fields.
    """
    given = await body(request, Versioned)
    who, report = actor(request), report_id(request)
    signing = request.app[keys.SIGNING]
    pdf, missing = await signing.preview(who, report, version=given.version, verify_url=verify_url(request))
    key = f"preview:{who.membership}:{report}:{given.version}:{now(request).timestamp():.3f}"

    async def made() -> bytes:
        return pdf

    pages = await request.app[keys.SHEETS].of(key, made, stamp=_(UNFINISHED if missing else PREVIEW))
    return json_response({"pages": len(pages), "key": key.rpartition(":")[2], "missing": missing})


async def preview_page(request: web.Request) -> web.StreamResponse:
    """`GET /api/reports/{id}/preview/{version}/{key}/{n}`: one page of a preview of mine, n from 1."""
    info, who = request.match_info, actor(request)
    key = f"preview:{who.membership}:{info['id']}:{info['version']}:{info['key']}"
    pages, n = request.app[keys.SHEETS].held(key) or (), int(info["n"])
    if not 1 <= n <= len(pages):
        raise NotFound(kind="page")
    return picture(pages[n - 1])


# ---- signing ---------------------------------------------------------------------------------------------------------


async def unlocked(request: web.Request, password: str | None) -> datetime:
    """The moment until which signing needs no password; Refused unlock_required, wrong_password, locked_out."""
    login = current(request)
    if password is None:
        if not login.unlocked(now(request)) or login.sign_unlocked_until is None:
            raise Refused("unlock_required")
        return login.sign_unlocked_until
    await check_password(request, password, field="password")
    until = await work(request).run(
        signin.unlock_signature,
        actor=login.actor,
        digest=login.digest,
        minutes=settings(request).session.sign_unlock_minutes,
    )
    request.app[keys.SESSIONS].forget(digest=login.digest)
    return until


def checked(request: web.Request) -> web.Response:
    """The answer to `check`: {unlocked_until}, null when the password will be needed."""
    login = current(request)
    return json_response({"unlocked_until": login.sign_unlocked_until if login.unlocked(now(request)) else None})


async def sign(request: web.Request) -> web.StreamResponse:
    """`POST /api/reports/{id}/sign` {version, password?} → {version, n, code, consultation, next, unlocked_until}.

    Without the password 403 unlock_required, unless one was given in the last minutes (setting). With `check` nothing
    is signed: the same refusals of what is missing, else 200 {unlocked_until}.
    """
    given = await body(request, Sign)
    who, report = actor(request), report_id(request)

    def check(uow: UnitOfWork) -> None:
        reporting.prepare_signing(uow, actor=who, report=report, version=given.version)

    if given.check or (given.password is None and not current(request).unlocked(now(request))):
        # What is missing is told before anybody types a password.
        await work(request).read(check)
    if given.check:
        return checked(request)
    until = await unlocked(request, given.password)
    filed = await request.app[keys.SIGNING].sign(who, report, given.version, verify_url=verify_url(request))
    following = await work(request).read(next_to_write, who, filed.consultation)
    return json_response(
        {
            "version": filed.id,
            "n": filed.n,
            "code": filed.code,
            "consultation": filed.consultation,
            "next": following,
            "unlocked_until": until,
        }
    )


def _approve(uow: UnitOfWork, *, actor: Actor, report: m.ReportId, version: int) -> m.Consultation:
    found = reporting.approve_report(uow, actor=actor, report=report, version=version)
    audit(uow, actor, "report.approve", f"consultation:{found.id}", detail={"report": report, "version": version})
    return found


async def approve(request: web.Request) -> web.StreamResponse:
    """`POST /api/reports/{id}/approve` {version, password?}: the second signature, given to exactly this version.

    `check` as in `sign`.
    """
    given = await body(request, Sign)
    who, report = actor(request), report_id(request)

    def check(uow: UnitOfWork) -> None:
        draft, _opened = access.open_report(uow, who, report, Action.REPORT_SIGN)
        if draft.version != given.version:
            raise Stale(version=draft.version)

    await work(request).read(check)
    if given.check:
        return checked(request)
    await unlocked(request, given.password)
    found = await work(request).run(_approve, actor=who, report=report, version=given.version)
    return json_response(consultation_view(found))


async def withdraw_reviewer(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/reviewer/withdraw` {membership}: the invitation is taken back, or declined."""
    given = await body(request, Reviewer)
    kwargs = {"consultation": consultation_id(request), "membership": MembershipId(given.membership)}
    _, after = await work(request).run(
        _audited, reporting.withdraw_reviewer, actor(request), "report.withdraw_reviewer", kwargs
    )
    return json_response(consultation_view(after))


async def ask_reviewer(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/reviewer` {membership}: a colleague is asked for the second signature."""
    given = await body(request, Reviewer)
    kwargs = {"consultation": consultation_id(request), "membership": MembershipId(given.membership)}
    _participant, after = await work(request).run(
        _audited, reporting.ask_reviewer, actor(request), "report.ask_reviewer", kwargs
    )
    return json_response(consultation_view(after))


# ---- revisions -------------------------------------------------------------------------------------------------------


async def _revise(request: web.Request, service: Callable[..., m.Report], action: str) -> web.StreamResponse:
    given = await body(request, Because)
    kwargs = {"consultation": consultation_id(request), "reason": given.reason}
    draft, _after = await work(request).run(_audited, service, actor(request), action, kwargs)
    return json_response({"report": draft.id, "version": draft.version}, status=201)


async def amend(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/amend` {reason}: the signed report becomes a draft again; the old version stays."""
    return await _revise(request, reporting.amend_report, "report.amend")


async def append(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/append` {reason}: an addendum; everything else stays as it was signed."""
    return await _revise(request, reporting.append_report, "report.append")


async def drop_revision(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/drop-revision`: gives up what was opened and not signed."""
    await body(request, Empty)
    kwargs = {"consultation": consultation_id(request)}
    _none, after = await work(request).run(
        _audited, reporting.drop_revision, actor(request), "report.drop_revision", kwargs
    )
    return json_response(consultation_view(after))
