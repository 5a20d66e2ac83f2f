"""GET /consultations/{id}/room and the calls of that page which are no socket messages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import msgspec
from aiohttp import web

from consult import access, attending, meeting_view
from consult import model as m
from consult.errors import NotFound
from consult.patient import IdentifierSystem, Patient
from consult.people import Actor
from consult.ports import UnitOfWork
from server import keys, labels
from server.api.common import actor, body, json_response, now, settings, work
from server.auth.audit import audit
from server.auth.grants import open_study
from server.i18n import N_, _
from server.pages import render
from server.signalling.ice import ice_servers
from server.storage.unit import SqlUnitOfWork

# What of the request stands beside the video, in this order.
SUMMARY = (
    ("purpose", N_("会诊目的")),
    ("complaint", N_("主诉")),
    ("history", N_("现病史")),
    ("past_history", N_("既往史")),
    ("allergies", N_("过敏史")),
    ("examination", N_("体格检查")),
    ("diagnosis_text", N_("初步诊断")),
    ("treatment", N_("已做治疗")),
    ("medication", N_("用药")),
    ("laboratory", N_("检验结果")),
    ("imaging", N_("检查所见")),
    ("material_note", N_("资料说明")),
)
ENTERABLE = frozenset({
    m.State.ACCEPTED, m.State.SCHEDULED, m.State.CHECKED_IN, m.State.IN_SESSION, m.State.ASYNC_REVIEW,
    m.State.REPORTING, m.State.AWAITING_MATERIAL,
})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomPage:
    """What the template shows. `readable`: the request and the material may be seen now (a guest: once admitted)."""

    consultation: m.Consultation
    part: m.Part | None
    readable: bool
    banner: dict[str, Any] | None
    running: m.Session | None
    last: m.Session | None
    precheck: bool                       # the seat has passed it already
    actions: frozenset[access.Action]
    summary: tuple[tuple[str, str], ...]
    questions: tuple[m.Question, ...]
    documents: tuple[m.Document, ...]
    studies: tuple[str, ...]
    contacts: tuple[meeting_view.Contact, ...]
    kbps: int                            # what the viewer's place allows a seat; 0: any


def read_room(uow: UnitOfWork, *, viewer: Actor, consultation: m.ConsultationId) -> RoomPage:
    """Everything of the page that the viewer may see now. NotFound for anybody without a part in it."""
    opened = access.open_consultation(uow, viewer, consultation, access.Action.ROOM_ENTER)
    actions = access.allowed_actions(uow, viewer, opened.consultation)
    readable = access.Action.REQUEST_READ in actions
    sessions = uow.meetings.sessions(consultation)
    running = uow.meetings.running(consultation)
    parts = {x.part for x in uow.consultations.participants(consultation) if x.membership == viewer.membership}
    seat = uow.meetings.seat_of(running.id, viewer.membership) if running is not None else None
    request = uow.consultations.request(consultation) if readable else None
    content = request.content if request is not None else {}
    return RoomPage(
        consultation=opened.consultation,
        part=next((x for x in m.Part if x in parts), None),
        readable=readable,
        banner=banner_of(uow, opened.consultation) if readable else None,
        running=running,
        last=sessions[-1] if sessions else None,
        precheck=seat is not None and seat.precheck is not None,
        actions=actions,
        summary=tuple((label, str(content[key])) for key, label in SUMMARY if content.get(key)),
        questions=tuple(uow.consultations.questions(consultation)) if readable else (),
        documents=tuple(
            x for x in uow.consultations.documents(consultation) if x.voided_at is None and x.kind in SHOWN
        ) if access.Action.DOCUMENT_READ in actions else (),
        studies=tuple(
            x.study_uid for x in uow.consultations.shares(consultation)
            if x.study_uid not in opened.consultation.hidden_studies
        ) if access.Action.STUDIES_LIST in actions else (),
        contacts=attending.contacts(uow, actor=viewer, consultation=consultation),
        kbps=uow.people.organisation(viewer.organisation).room_kbps,
    )


SHOWN = frozenset({"document", "paper_ecg", "film"})


def banner_of(uow: UnitOfWork, consultation: m.Consultation) -> dict[str, Any]:
    """The patient banner of the shell."""
    patient: Patient = access.surviving(uow, uow.patients.get(consultation.patient))
    numbers = {x.system: x.value for x in uow.patients.identifiers(patient.id)}
    document = next(
        (numbers[x] for x in (IdentifierSystem.RESIDENT_ID, IdentifierSystem.PASSPORT, IdentifierSystem.OTHER_DOCUMENT)
         if x in numbers), "",
    )
    return {
        "patient": patient,
        "document": document[-4:],
        "card": numbers.get(IdentifierSystem.CARD, ""),
        "organisation": uow.people.organisation(consultation.organisation).short_name,
    }


async def page(request: web.Request) -> web.StreamResponse:
    """The room: precheck, lobby and the meeting itself are one page, told apart by its script."""
    viewer, identity = actor(request), m.ConsultationId(request.match_info["id"])

    def read(uow: SqlUnitOfWork) -> RoomPage:
        found = read_room(uow, viewer=viewer, consultation=identity)
        audit(uow, viewer, "room.open", f"consultation:{identity}")
        return found

    room = await work(request).run(read)
    state = room.consultation.state
    return await render(
        request, "room.html", page="room", banner=room.banner, room=room, state=state,
        enterable=state in ENTERABLE, service=_(labels.SERVICE[room.consultation.service]),
        data={
            "consultation": identity,
            "number": room.consultation.number,
            "part": room.part.value if room.part else "",
            "session": room.running.id if room.running else "",
            "last": room.last.id if room.last else "",
            "prechecked": room.precheck,
            "studies": room.studies,
            "documents": [
                {"id": x.id, "title": x.title, "kind": x.kind, "pages": x.pages, "original": bool(x.original)}
                for x in room.documents
            ],
            "pictures": access.Action.DOCUMENT_WRITE in room.actions,
            "picture_mb": settings(request).uploads.document_mb,
            "identity": identity_lines(room.banner),
            "readable": room.readable,
            "expert": access.Action.DRAFT_WRITE in room.actions,
            "invite": access.Action.ROOM_INVITE in room.actions,
            "finish": access.Action.ROOM_FINISH in room.actions,
            "contacts": [asdict(x) for x in room.contacts],
            "relay_only": settings(request).ice.relay_only,
            "kbps": min(filter(None, (settings(request).room.kbps, room.kbps)), default=0),
        },
    )


def identity_lines(banner: dict[str, Any] | None) -> list[str]:
    """Whose images these are, as the viewer writes it onto them."""
    if banner is None:
        return []
    patient = banner["patient"]
    first = f"{patient.name or _('未知患者')} {_(labels.SEX[patient.sex])}"
    return [first, *([_("证件后四位 {number}", number=banner["document"])] if banner["document"] else [])]


class Empty(msgspec.Struct, forbid_unknown_fields=True):
    """A body without fields: `{}`."""


class ChatBody(msgspec.Struct, forbid_unknown_fields=True):
    client_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=attending.TEXT_LIMIT)]


async def open_session(request: web.Request) -> web.StreamResponse:
    """POST /api/consultations/{id}/session: the running session, begun if there is none. {session, n}."""
    await body(request, Empty)
    viewer, identity = actor(request), m.ConsultationId(request.match_info["id"])

    def run(uow: SqlUnitOfWork) -> m.Session:
        session = attending.open_session(uow, actor=viewer, consultation=identity)
        audit(uow, viewer, "room.enter", f"consultation:{identity}", detail={"session": session.id})
        return session

    session = await work(request).run(run)
    return json_response({"session": session.id, "n": session.n})


async def ice(request: web.Request) -> web.StreamResponse:
    """GET /api/consultations/{id}/ice: {servers with fresh credentials, relay_only}, for the precheck."""
    viewer, identity = actor(request), m.ConsultationId(request.match_info["id"])
    await work(request).read(access.open_consultation, viewer, identity, access.Action.ROOM_ENTER)
    site = settings(request).ice
    servers = ice_servers(site, holder=viewer.membership, now=now(request))
    return json_response({"servers": servers, "relay_only": site.relay_only})


async def finish(request: web.Request) -> web.StreamResponse:
    """POST /api/sessions/{id}/finish."""
    await body(request, Empty)
    session = await work(request).run(
        attending.finish_session, actor=actor(request), session=m.SessionId(request.match_info["id"])
    )
    return json_response({"session": session.id, "ended_at": session.ended_at})


async def undo_finish(request: web.Request) -> web.StreamResponse:
    """POST /api/sessions/{id}/undo-finish: until a report is signed."""
    await body(request, Empty)
    session = await work(request).run(
        attending.undo_finish, actor=actor(request), session=m.SessionId(request.match_info["id"])
    )
    return json_response({"session": session.id, "ended_at": session.ended_at})


async def messages(request: web.Request) -> web.StreamResponse:
    """GET /api/consultations/{id}/messages: the chat as the viewer may see it, oldest first."""
    lines = await work(request).read(
        attending.messages, actor=actor(request), consultation=m.ConsultationId(request.match_info["id"])
    )
    return json_response({"messages": [line_view(line.message, line.name) for line in lines]})


async def send_message(request: web.Request) -> web.StreamResponse:
    """POST /api/consultations/{id}/messages: outside the room; the same client_id is stored once."""
    given = await body(request, ChatBody)
    viewer = actor(request)
    message = await work(request).run(
        attending.send_message, actor=viewer, consultation=m.ConsultationId(request.match_info["id"]),
        client_id=given.client_id, text=given.text,
    )
    return json_response(line_view(message, viewer.name))


def line_view(message: m.Message, name: str) -> dict[str, Any]:
    """A chat line for the browser, like the room's own."""
    return {
        "id": message.id, "client_id": message.client_id, "membership": message.membership, "name": name,
        "text": message.text, "at": message.at,
    }


async def view_study(request: web.Request) -> web.StreamResponse:
    """POST /api/consultations/{id}/studies/{uid}/view: audited opening with a viewing grant. {expires_at}."""
    await body(request, Empty)
    viewer, identity = actor(request), m.ConsultationId(request.match_info["id"])
    uid, login = request.match_info["uid"], request[keys.LOGIN]

    def run(uow: SqlUnitOfWork) -> Any:
        access.open_consultation(uow, viewer, identity, access.Action.PIXELS_READ)
        if uid not in {x.study_uid for x in uow.consultations.shares(identity)}:
            raise NotFound(kind="study")
        return open_study(
            uow, actor=viewer, login=login.digest, study_uid=uid,
            minutes=settings(request).access.viewing_grant_minutes, consultation=identity,
        )

    grant = await work(request).run(run)
    return json_response({"expires_at": grant.expires_at})
