"""Typed keys of everything the application carries. There are no globals: handlers get things from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from aiohttp import web

from server.metrics import Metrics
from server.policy import Policy
from server.settings import Settings

if TYPE_CHECKING:
    import jinja2

    from server.auth.bearer import Bearers
    from server.auth.grants import Grants
    from server.auth.passwords import Passwords, UnknownLogins
    from server.auth.sessions import Sessions, SignedIn
    from server.auth.streams import Streams
    from server.auth.tokens import Bearer
    from server.hub import Hub
    from server.recording.shelf import Shelf
    from server.sheets import Sheets
    from server.signing import Signing
    from server.storage.blobs import Blobs
    from server.tasks import Starting, Tasks
    from server.timekeeping import ClockWatch
    from server.uploading import Uploading
    from server.verifying import Verifying
    from server.work import Work

Clock = Callable[[], datetime]

SETTINGS = web.AppKey("settings", Settings)
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
ZONE = web.AppKey("zone", tzinfo)
CLOCK_WATCH: web.AppKey[ClockWatch] = web.AppKey("clock_watch")
METRICS = web.AppKey("metrics", Metrics)
POLICIES: web.AppKey[Mapping[web.AbstractRoute, Policy]] = web.AppKey("policies")
TEMPLATES: web.AppKey[jinja2.Environment] = web.AppKey("templates")
WORK: web.AppKey[Work] = web.AppKey("work")
HUB: web.AppKey[Hub] = web.AppKey("hub")
UPLOADING: web.AppKey[Uploading] = web.AppKey("uploading")
BLOBS: web.AppKey[Blobs] = web.AppKey("blobs")
"""Re-encoded documents and key images, named by their digest."""
SIGNING: web.AppKey[Signing] = web.AppKey("signing")
SHELF: web.AppKey[Shelf] = web.AppKey("shelf")
"""Recordings that have ended."""
SHEETS: web.AppKey[Sheets] = web.AppKey("sheets")
VERIFYING: web.AppKey[Verifying] = web.AppKey("verifying")
SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions")
PASSWORDS: web.AppKey[Passwords] = web.AppKey("passwords")
UNKNOWN_LOGINS: web.AppKey[UnknownLogins] = web.AppKey("unknown_logins")
BEARERS: web.AppKey[Bearers] = web.AppKey("bearers")
GRANTS: web.AppKey[Grants] = web.AppKey("grants")
STREAMS: web.AppKey[Streams] = web.AppKey("streams")
TASKS: web.AppKey[Tasks] = web.AppKey("tasks")
SETUP_CODE: web.AppKey[list[str]] = web.AppKey("setup_code")
"""The one-time code of the first set-up; empty once an administrator exists."""
BACKGROUND = web.AppKey("background", bool)
ARCHIVE_STARTED: web.AppKey[Starting] = web.AppKey("archive_started")
READY: web.AppKey[dict[str, Callable[[], bool]]] = web.AppKey("ready")
"""Parts that start in the background, and whether each is ready (/readyz)."""

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
LOGIN: web.RequestKey[SignedIn] = web.RequestKey("login")
TOKEN: web.RequestKey[Bearer] = web.RequestKey("token")
"""The API token that the request brought, instead of a login."""
LOGIN_ENDED: web.RequestKey[bool] = web.RequestKey("login_ended", bool)
"""The browser brought a session cookie that no longer counts: the answer says expired, not signed out."""
HEARD: web.RequestKey[str] = web.RequestKey("heard", str)
"""How far the browsers had been told when this request began (server/hub.py)."""
CANONICAL: web.RequestKey[str] = web.RequestKey("canonical", str)
