"""GET /events: one stream of server-sent events per tab (WHATWG HTML §9.2). Payloads carry ids; pages fetch the rest.

The topics are asked in the query (`?topics=worklist,consultation:<id>`); each is allowed or left out by who asks.
`since` is how far the page had heard when it was drawn (`<body data-heard>`); the browser's own Last-Event-ID is newer.
`snapshot` says that something was missed: fetch anew. The stream ends with the login: a revocation sends `session` and
closes it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence

from aiohttp import web

from consult.access import Action, may
from consult.errors import NotFound
from consult.model import ConsultationId
from consult.people import Actor, Role
from consult.ports import UnitOfWork
from server import keys
from server.api.common import ENCODER
from server.auth.sessions import SignedIn
from server.hub import Note, Subscription
from server.problems import Refused

HEARTBEAT_SECONDS = 15.0
RECHECK_SECONDS = 1.0
MOST_TOPICS = 40
TOPIC = re.compile(r"[a-z]+(?::[A-Za-z0-9._-]{1,64})?")
SIGHTS = (Action.REQUEST_READ, Action.REQUEST_QUEUE, Action.REQUEST_STATUS)


def allowed_topics(uow: UnitOfWork, actor: Actor, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of `wanted` the actor may listen to; the others are silently left out, like things that do not exist."""
    return tuple(topic for topic in wanted if may_listen(uow, actor, topic))


def may_listen(uow: UnitOfWork, actor: Actor, topic: str) -> bool:
    """`worklist` and `session` everyone; `consultation:<id>` who sees it; `pictures:<id>` who reads its documents;
    `study:`, `inbox:` the own organisation.
    """
    kind, _colon, name = topic.partition(":")
    match kind:
        case "worklist" | "session":
            return not name
        case "consultation" | "pictures":
            try:
                consultation = uow.consultations.get(ConsultationId(name))
            except NotFound:
                return False
            sights = SIGHTS if kind == "consultation" else (Action.DOCUMENT_READ,)
            return any(may(uow, actor, action, consultation) for action in sights)
        case "study":
            return name == actor.organisation and actor.role in {Role.TECHNICIAN, Role.CLINIC_DOCTOR}
        case "inbox":
            return name == actor.organisation and actor.role is Role.CLINIC_DOCTOR
        case _:
            return False


def wanted_topics(request: web.Request) -> tuple[str, ...]:
    """The well-formed topics of the query, without repetition."""
    given = request.query.get("topics", "")
    topics = dict.fromkeys(part for part in given.split(",") if TOPIC.fullmatch(part))
    if len(topics) > MOST_TOPICS:
        raise Refused("bad_request")
    return tuple(topics)


def heard(request: web.Request) -> str:
    """The last thing this tab has heard; "" asks for nothing that was before."""
    return request.headers.get("Last-Event-ID", "") or request.query.get("since", "")


async def events(request: web.Request) -> web.StreamResponse:
    """The stream, until the tab or the login goes."""
    login = request[keys.LOGIN]
    topics = await request.app[keys.WORK].read(allowed_topics, login.actor, wanted_topics(request))
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    gone = asyncio.Event()
    gauge = request.app[keys.METRICS].event_streams
    take_out = request.app[keys.STREAMS].add(login, gone.set)
    gauge.inc()
    try:
        with request.app[keys.HUB].subscribe(topics, since=heard(request)) as subscription:
            await response.prepare(request)
            await response.write(b"retry: 2000\n: open\n\n")
            await pump(request, response, login, subscription, gone)
    except (ConnectionResetError, asyncio.CancelledError):
        pass                                    # the tab has gone
    finally:
        take_out()
        gauge.dec()
    return response


async def pump(
    request: web.Request,
    response: web.StreamResponse,
    login: SignedIn,
    subscription: Subscription,
    gone: asyncio.Event,
) -> None:
    """Write notes and heartbeats; look once a second whether the login still counts."""
    loop = asyncio.get_running_loop()
    quiet_since = loop.time()
    ending = asyncio.ensure_future(gone.wait())
    next_note = asyncio.ensure_future(subscription.get())
    try:
        while True:
            done, _pending = await asyncio.wait(
                {next_note, ending}, timeout=RECHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if ending in done or await request.app[keys.SESSIONS].find(login.digest, touch=False) is None:
                await response.write(encode(Note(topic="session", payload={"state": "ended"})))
                return
            if next_note in done:
                note = next_note.result()
                if note is None:
                    return                      # the server stops
                if await still_allowed(request, login, subscription, note):
                    await response.write(encode(note))
                    quiet_since = loop.time()
                next_note = asyncio.ensure_future(subscription.get())
            elif loop.time() - quiet_since >= HEARTBEAT_SECONDS:
                await response.write(b": still here\n\n")
                quiet_since = loop.time()
    finally:
        for future in (ending, next_note):
            future.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await future


async def still_allowed(
    request: web.Request, login: SignedIn, subscription: Subscription, note: Note
) -> bool:
    """A consultation one has left is heard no more; other topics hang on the login alone."""
    if not note.topic.startswith(("consultation:", "pictures:")):
        return True
    if await request.app[keys.WORK].read(allowed_topics, login.actor, (note.topic,)):
        return True
    subscription.topics.discard(note.topic)
    return False


def encode(note: Note) -> bytes:
    """One event; its type is the topic, its data {topic, payload}, its id where to go on."""
    data = ENCODER.encode({"topic": note.topic, "payload": note.payload})
    head = f"id: {note.id}\n" if note.id else ""
    return head.encode() + b"event: " + note.topic.encode() + b"\ndata: " + data + b"\n\n"
