"""Recordings of a consultation: the list, saying what for, the film itself, and legal holds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from consult import attending
from consult import model as m
from consult import recording as rules
from consult.people import Actor
from consult.recording_state import ANSWERS, Kind, Recording, RecordingId, Stage
from server import keys
from server.api.common import actor, body, json_response, no_content, work
from server.auth.audit import audit
from server.dicomweb.ranges import UNSATISFIABLE, asked_range
from server.i18n import N_
from server.problems import Refused
from server.recording import vault
from server.recording.moments import open_moment
from server.recording.muxing import Span
from server.recording.shelf import Shelf
from server.sealing import SealError
from server.storage.unit import SqlUnitOfWork

PIECE = 256 * 1024
TOLD = ANSWERS | {Kind.RUNNING, Kind.PAUSED, Kind.STOPPED}


PURPOSES: Mapping[str, str] = {
    "care": N_("诊疗需要，回看会诊内容"), "report": N_("书写或核对报告"), "quality": N_("质量检查"),
    "dispute": N_("处理投诉或纠纷"),
}  # fmt: skip


class Purpose(msgspec.Struct, forbid_unknown_fields=True):
    purpose: Literal["care", "report", "quality", "dispute"]


class Held(msgspec.Struct, forbid_unknown_fields=True):
    held: bool
    reason: Annotated[str, msgspec.Meta(max_length=rules.REASON_LIMIT)]


def shelf(request: web.Request) -> Shelf:
    """What is stored."""
    return request.app[keys.SHELF]


def row_view(request: web.Request, recording: Recording) -> dict[str, Any]:
    """A recording in a list; nothing of its content."""
    return {
        "id": recording.id, "stage": recording.stage, "asked_at": recording.asked_at,
        "stopped_at": recording.stopped_at, "seconds": recording.milliseconds / 1000, "whole": recording.whole,
        "held": recording.held_at is not None, "progress": shelf(request).progress.get(recording.id),
    }


async def listed(request: web.Request) -> web.Response:
    """`GET /api/consultations/{id}/recordings` → {recordings}: how far each is; no content."""
    found = await work(request).read(
        rules.list_recordings, actor=actor(request), consultation=m.ConsultationId(request.match_info["id"])
    )
    return json_response({"recordings": [row_view(request, x) for x in found]})


async def play(request: web.Request) -> web.Response:
    """`POST /api/recordings/{id}/play` {purpose}: audited; lets the film be fetched for some hours.

    → {seconds, chat: [{at, name, text}], events: [{at, kind, name, body}]}, `at` in seconds of the film; `body` of
    shared views only.
    """
    given = await body(request, Purpose)
    viewer, identity = actor(request), RecordingId(request.match_info["id"])

    def run(uow: SqlUnitOfWork) -> dict[str, Any]:
        recording = rules.open_recording(uow, actor=viewer, id=identity)
        audit(uow, viewer, "recording.play", f"recording:{identity}", detail={"purpose": given.purpose})
        try:
            return timeline(uow, viewer, recording, key=shelf(request).key(recording))
        except SealError as error:
            raise Refused("integrity") from error

    return json_response(await work(request).run(run))


def timeline(uow: SqlUnitOfWork, viewer: Actor, recording: Recording, *, key: bytes) -> dict[str, Any]:
    """Chat, and what happened in the room and was shown there, where they are in the film. Raises SealError."""
    spans = [Span(at=at, began=began, seconds=seconds) for at, began, seconds in recording.spans]
    chat = [
        {"at": at, "name": line.name, "text": line.message.text}
        for line in attending.messages(uow, actor=viewer, consultation=recording.consultation)
        if running(spans, said := line.message.at.timestamp()) and (at := place(spans, said)) is not None
    ]
    names = {
        x.id: uow.people.staff(uow.people.membership(x.membership).staff).name
        for x in uow.meetings.seats(recording.session)
    }
    events = [
        {"at": at, "kind": kind, "name": name}
        for moment, kind, name in sorted(happened(uow, recording, names))
        if (at := place(spans, moment)) is not None
    ]
    shown = [*pictures(uow, recording, spans), *moments(uow, recording, spans, names, key)]
    return {
        "seconds": recording.milliseconds / 1000, "chat": chat,
        "events": sorted([*events, *shown], key=lambda x: float(x["at"])),
    }


def pictures(uow: SqlUnitOfWork, recording: Recording, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Pictures and papers that came while it ran."""
    return [
        {
            "at": place(spans, moment), "name": uow.people.staff(uow.people.membership(x.added_by).staff).name,
            "kind": "picture" if x.media_type.startswith("image/") else "document",
        }
        for x in uow.consultations.documents(recording.consultation)
        if x.voided_at is None and running(spans, moment := x.added_at.timestamp())
    ]


def moments(
    uow: SqlUnitOfWork, recording: Recording, spans: Sequence[Span], names: dict[m.SeatId, str], key: bytes
) -> list[dict[str, Any]]:
    """What was shown and done while it ran; a last one without a name where no more was kept."""
    found: list[dict[str, Any]] = []
    for row in uow.recordings.moments(recording.id):
        at = place(spans, row.at.timestamp())
        if at is None:
            continue
        if not row.sealed:
            found.append({"at": at, "kind": "full", "name": ""})
            continue
        shown = open_moment(key, row)
        told = {"at": at, "kind": shown.kind, "name": names.get(shown.seat, "")}
        found.append(told if shown.body is None else {**told, "body": shown.body})
    return found


def running(spans: Sequence[Span], moment: float) -> bool:
    """It was recorded then, and had not paused."""
    return any(span.began <= moment <= span.began + span.seconds for span in spans)


def happened(uow: SqlUnitOfWork, recording: Recording, names: dict[m.SeatId, str]) -> list[tuple[float, str, str]]:
    """(moment, kind, whose seat) of coming, going and consent."""
    found = []
    for stay in uow.meetings.attendances(recording.session):
        found.append((stay.entered_at.timestamp(), "entered", names.get(stay.seat, "")))
        if stay.left_at is not None:
            kind = "lost" if stay.reason == "lost" else "left"
            found.append((stay.left_at.timestamp(), kind, names.get(stay.seat, "")))
    for event in uow.recordings.events(recording.id):
        if event.kind in TOLD:
            found.append((event.at.timestamp(), event.kind.value, names.get(event.seat, "") if event.seat else ""))
    return found


def place(spans: Sequence[Span], moment: float) -> float | None:
    """Where a moment is in the film; while it paused, where it went on; None before the beginning and after the end."""
    if not spans or moment < spans[0].began - 1 or moment > spans[-1].began + spans[-1].seconds + 1:
        return None
    for span in spans:
        if moment <= span.began + span.seconds:
            return span.at + max(0.0, moment - span.began)
    return spans[-1].at + spans[-1].seconds


async def video(request: web.Request) -> web.StreamResponse:
    """`GET /api/recordings/{id}/video`: WebM, opened on the way, ranges as RFC 9110 §14; only after a purpose."""
    viewer, identity = actor(request), RecordingId(request.match_info["id"])
    recording = await work(request).read(_fetchable, viewer=viewer, id=identity)
    path = shelf(request).path(identity)
    try:
        key = await asyncio.to_thread(shelf(request).key, recording)
        total = await asyncio.to_thread(vault.size, path, key)
    except (SealError, vault.Damaged, OSError) as error:
        raise Refused("integrity") from error
    etag = f'"{identity}-{total}"'
    asked = asked_range(request, etag, total)
    headers = {
        "Content-Type": "video/webm", "Accept-Ranges": "bytes", "ETag": etag, "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    if asked == UNSATISFIABLE:
        raise Refused("range", headers={"Content-Range": f"bytes */{total}"})
    start, stop = asked or (0, total)
    if asked is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{total}"
    response = web.StreamResponse(status=206 if asked is not None else 200, headers=headers)
    response.content_length = stop - start
    await response.prepare(request)
    while start < stop and request.method != "HEAD":
        piece = await asyncio.to_thread(vault.read, path, key, start, min(PIECE, stop - start))
        if not piece:
            break
        await response.write(piece)
        start += len(piece)
    await response.write_eof()
    return response


def _fetchable(uow: SqlUnitOfWork, *, viewer: Actor, id: RecordingId) -> Recording:
    recording = rules.open_recording(uow, actor=viewer, id=id)
    rows = uow.audit.rows(object=f"recording:{id}", staff=viewer.staff, before=2**62, limit=50)
    if not any(x.action == "recording.play" and uow.now - x.at < rules.PLAYED_FOR for x in rows):
        raise Refused("recording_purpose")
    if recording.stage is not Stage.READY:
        raise Refused("wrong_state")
    return recording


async def hold(request: web.Request) -> web.Response:
    """`POST /api/recordings/{id}/hold` {held, reason}: a legal hold set or lifted."""
    given = await body(request, Held)
    viewer, identity = actor(request), RecordingId(request.match_info["id"])

    def run(uow: SqlUnitOfWork) -> None:
        rules.hold_recording(uow, actor=viewer, id=identity, held=given.held, reason=given.reason)
        audit(uow, viewer, "recording.hold" if given.held else "recording.hold_lift", f"recording:{identity}")

    await work(request).run(run)
    return no_content()
