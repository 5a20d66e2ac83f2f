"""Puts the rooms into the application: notes of the hub, revocation, the sweep, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from consult.model import ConsultationId
from consult.people import MembershipId
from server import keys
from server.hub import SNAPSHOT, Note, Subscription
from server.media.janus import Janus
from server.media.packet_relay import PacketRelay
from server.media.seating import Seating
from server.recording.conducting import RecordingConductor
from server.recording.moments import Moments
from server.signalling import schema as s
from server.signalling.quality import Book
from server.signalling.room import Live, Room
from server.signalling.rooms import Rooms
from server.signalling.socket import Socket

ROOMS: web.AppKey[Rooms] = web.AppKey("rooms")
SWEEP_SECONDS = 1.0
RECORDING_SECONDS = 2.0
MOMENT_SECONDS = 1.0                     # shared views on the recording's timeline are kept so often


def install(app: web.Application) -> None:
    """Called once by the composition root, after storage."""
    app[ROOMS] = Rooms(services=app[keys.WORK], settings=app[keys.SETTINGS], clock=app[keys.CLOCK])
    app[ROOMS].handler.stepped = lambda rung: app[keys.METRICS].room_rungs.labels(rung).inc()
    if app[keys.SETTINGS].media.relay:
        app.cleanup_ctx.append(media_relay)
    app.cleanup_ctx.append(quality_reports)
    app.cleanup_ctx.append(live_rooms)
    app.on_shutdown.append(stop_rooms)


async def live_rooms(app: web.Application) -> AsyncIterator[None]:
    """Listen to the hub while the application runs."""
    rooms, hub, tasks = app[ROOMS], app[keys.HUB], app[keys.TASKS]
    subscription = hub.subscribe((), size=1024)
    rooms.follow = subscription.topics.add
    rooms.unfollow = subscription.topics.discard
    app[keys.STREAMS].told = rooms.logins_ended

    def revoked(memberships: frozenset[MembershipId], consultation: ConsultationId) -> None:
        tasks.once("rooms_revoke", rooms.revoked(memberships, consultation))

    forget = hub.on_revoke(revoked)
    listening = asyncio.create_task(listen(rooms, subscription))
    if app[keys.BACKGROUND]:
        tasks.every("rooms_sweep", SWEEP_SECONDS, rooms.sweep)
        tasks.every("rooms_beat", SWEEP_SECONDS, rooms.beat)
    yield
    forget()
    subscription.close()
    await listening


async def quality_reports(app: web.Application) -> AsyncIterator[None]:
    """How good every session is, counted while it runs and added to its rows; what is left goes there at the end."""
    rooms, metrics = app[ROOMS], app[keys.METRICS]
    book = Book(services=app[keys.WORK], clock=app[keys.CLOCK], told=metrics.count_line,
                set_up=metrics.room_setup.observe)
    recorded = rooms.handler.noticed             # of the recording, where there is one

    def noticed(room: Room, live: Live, message: s.ClientMessage) -> None:
        recorded(room, live, message)
        book.noticed(room, live, message)

    rooms.handler.noticed = noticed
    if app[keys.BACKGROUND]:
        app[keys.TASKS].every("room_quality", SWEEP_SECONDS, lambda: book.round(rooms.rooms))
    yield
    await book.close()


async def media_relay(app: web.Application) -> AsyncIterator[None]:
    """The relay for three and more seats: an earlier process's is taken over, a new one begins with its first room."""
    settings, rooms = app[keys.SETTINGS], app[ROOMS]
    backend = janus(app) if settings.media.backend == "janus" else packet_relay(app)
    seating = Seating(
        backend, rooms=lambda: list(rooms.rooms.values()), once=app[keys.TASKS].once, kbps=settings.room.kbps
    )
    rooms.made, rooms.handler.relay, rooms.handler.heard = seating.made, seating.offer, seating.heard
    if backend.topology == "janus":
        rooms.handler.reply, rooms.handler.renew = seating.reply, seating.restart
    if settings.recording.enabled:
        record_rooms(app, seating)
    await backend.adopt()
    yield
    await backend.close()


def packet_relay(app: web.Application) -> PacketRelay:
    """Our own relay, a child process."""
    settings, metrics = app[keys.SETTINGS], app[keys.METRICS]
    media = settings.media
    options = ["--port", str(media.port), "--log", settings.logs.format, "--most-cpu", str(media.most_cpu)]
    for name, values in (("--address", media.addresses), ("--public", media.public_addresses)):
        options += [x for value in values for x in (name, value)]
    return PacketRelay(settings.data / "media", options=options, died=metrics.media_relay_deaths.inc)


def janus(app: web.Application) -> Janus:
    """A Janus that somebody else starts; what records it is a relay of ours, which sends nobody anything."""
    settings, metrics = app[keys.SETTINGS], app[keys.METRICS]
    return Janus(
        settings.data / "media", url=settings.media.janus_url, died=metrics.media_relay_deaths.inc,
        recorder=packet_relay(app),
        secret=Path(settings.media.janus_secret_file).read_text(encoding="utf-8").strip(),
    )


def record_rooms(app: web.Application, seating: Seating) -> None:
    """Rooms may be recorded: the relay follows the consents in the rows."""
    settings, rooms, tasks, shelf = app[keys.SETTINGS], app[ROOMS], app[keys.TASKS], app[keys.SHELF]
    shelf.backend = seating.backend
    conductor = RecordingConductor(
        seating=seating, rooms=lambda: list(rooms.rooms.values()), folder=settings.recording_folder,
        keys=settings.key_folder, once=tasks.once, stopped=lambda: tasks.once("recordings", shelf.step()),
    )
    rooms.handler.recordings.conductor = conductor
    moments = Moments(writing=conductor, keys=settings.key_folder, clock=app[keys.CLOCK])
    rooms.handler.noticed = moments.noticed

    def made(room: Room) -> None:
        seating.made(room)
        conductor.made(room)

    rooms.made = made
    if app[keys.BACKGROUND]:
        tasks.every("recording_sweep", RECORDING_SECONDS, conductor.sweep)
        tasks.every("recording_moments", MOMENT_SECONDS, lambda: moments.save(rooms.rooms))


async def listen(rooms: Rooms, subscription: Subscription) -> None:
    """Every note about a consultation with a room; after dropped notes everything is read again."""
    async for note in subscription:
        await rooms.noted(None if note is SNAPSHOT else consultation_of(note), chat="message" in note.payload)


def consultation_of(note: Note) -> ConsultationId:
    """The consultation of a topic `consultation:<id>`."""
    return ConsultationId(note.topic.partition(":")[2])


async def stop_rooms(app: web.Application) -> None:
    """Before the handlers are waited for: browsers are told to come back to the next process."""
    app[ROOMS].close()
    await asyncio.sleep(0)


async def socket(request: web.Request) -> web.StreamResponse:
    """GET /socket. The login is checked again while the socket lives; its end closes the socket at once."""
    login = request[keys.LOGIN]
    served = Socket(
        request.app[ROOMS], actor=login.actor, login=login.digest, token=login.csrf, remote=request.remote,
        find=request.app[keys.SESSIONS].find,
    )
    forget = request.app[keys.STREAMS].add(login, served.revoke)
    try:
        return await served.serve(request)
    finally:
        forget()
