"""Every URL with its policy, on one page. A route without a policy stops start-up.

Each block belongs to one part of the product and imports its own handlers, so that parts can be added side by side.
A handler's own rights on the object (whose consultation?) are decided in the service by consult/access.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from aiohttp import web

from consult.people import Role
from server import keys
from server.policy import (
    ACCOUNT,
    CLINICAL,
    OPS,
    PUBLIC,
    REPORTS,
    SIGNED_IN,
    STATIC,
    Policy,
    Right,
    consultation,
    patient,
    roles,
    study,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path."""

    method: str
    path: str
    handler: Handler
    policy: Policy


def pages() -> Sequence[Route]:
    from server.pages import login, setup, worklist

    return (
        Route("GET", "/login", login.page, PUBLIC),
        Route("GET", "/setup", setup.page, PUBLIC),
        Route("GET", "/place", login.place_page, SIGNED_IN),
        Route("GET", "/password", login.password_page, ACCOUNT),
        Route("GET", "/", worklist.worklist, SIGNED_IN),
    )


def worklists() -> Sequence[Route]:
    from server.api import worklist

    return (
        Route("POST", "/api/worklist", worklist.worklist_rows, CLINICAL),
        Route("GET", "/api/shell", worklist.shell_state, SIGNED_IN),
    )


def admin() -> Sequence[Route]:
    from server.pages import admin as handlers

    managers = roles(Role.ORG_ADMIN, Role.PLATFORM_ADMIN, Role.AUDITOR)
    return (
        Route("GET", "/admin/staff", handlers.staff_page, managers),
        Route("GET", "/admin/organisations", handlers.organisations_page, managers),
        Route("GET", "/audit", handlers.audit_page, SIGNED_IN),
    )


def devices() -> Sequence[Route]:
    from server.api import devices as handlers
    from server.pages import devices as pages

    keepers = roles(Role.ORG_ADMIN)
    return (
        Route("GET", "/admin/devices", pages.page, keepers),
        Route("POST", "/api/devices", handlers.add, keepers),
        Route("PATCH", "/api/devices/{id}", handlers.change, keepers),
        Route("POST", "/api/devices/{id}/end", handlers.end, keepers),
        Route("POST", "/api/devices/{id}/echo", handlers.try_echo, keepers),
    )


def tokens() -> Sequence[Route]:
    from server.api import changes
    from server.api import tokens as handlers
    from server.pages import tokens as pages

    keepers = roles(Role.ORG_ADMIN)
    followers = replace(roles(Role.TECHNICIAN), name="changes", token=Right.SEARCH)
    return (
        Route("GET", "/admin/tokens", pages.page, keepers),
        Route("POST", "/api/tokens", handlers.make, keepers),
        Route("POST", "/api/tokens/{id}/end", handlers.end, keepers),
        Route("GET", "/api/changes", changes.changes, followers),
    )


def forwards() -> Sequence[Route]:
    from server.api import fetching
    from server.api import forwards as handlers
    from server.pages import fetching as fetch_pages
    from server.pages import forwards as pages

    keepers, technician = roles(Role.ORG_ADMIN), roles(Role.TECHNICIAN)
    destination = "/api/forward-destinations"
    return (
        Route("GET", "/admin/forwards", pages.page, keepers),
        Route("POST", destination, handlers.add_destination, keepers),
        Route("PATCH", f"{destination}/{{id}}", handlers.change_destination, keepers),
        Route("POST", f"{destination}/{{id}}/end", handlers.end_destination, keepers),
        Route("POST", f"{destination}/{{id}}/retry", handlers.retry, keepers),
        Route("POST", f"{destination}/{{id}}/drop", handlers.drop, keepers),
        Route("POST", "/api/forward-rules", handlers.add_rule, keepers),
        Route("POST", "/api/forward-rules/{id}/end", handlers.end_rule, keepers),
        Route("GET", "/studies/fetch", fetch_pages.page, technician),
        Route("POST", "/api/fetch/search", fetching.search, technician),
        Route("POST", "/api/fetch", fetching.start, technician),
        Route("GET", "/api/fetch/{id}", fetching.read, technician),
        Route("DELETE", "/api/fetch/{id}", fetching.cancel, technician),
    )


def removals() -> Sequence[Route]:
    from server.api import removals as handlers
    from server.pages import removals as pages

    technician, deciders = roles(Role.TECHNICIAN), roles(Role.TECHNICIAN, Role.ORG_ADMIN)
    return (
        Route("GET", "/studies/removals", pages.page, technician),
        Route("GET", "/admin/removals", pages.decider_page, roles(Role.ORG_ADMIN)),
        Route("POST", "/api/removals", handlers.propose, technician),
        Route("POST", "/api/removals/{id}/approve", handlers.approve, deciders),
        Route("POST", "/api/removals/{id}/refuse", handlers.refuse, deciders),
        Route("POST", "/api/holds", handlers.hold, technician),
        Route("POST", "/api/holds/{id}/lift", handlers.lift, technician),
    )


def api_session() -> Sequence[Route]:
    from server.api import events, session, setup

    return (
        Route("GET", "/events", events.events, ACCOUNT),
        Route("POST", "/api/login", session.sign_in, PUBLIC),
        Route("POST", "/api/logout", session.sign_out, ACCOUNT),
        Route("POST", "/api/logout/everywhere", session.sign_out_everywhere, SIGNED_IN),
        Route("GET", "/api/session", session.me, ACCOUNT),
        Route("POST", "/api/session/unlock", session.unlock, SIGNED_IN),
        Route("POST", "/api/place", session.change_place, SIGNED_IN),
        Route("POST", "/api/password", session.change_password, ACCOUNT),
        Route("POST", "/api/setup", setup.first_admin, PUBLIC),
    )


def api_people() -> Sequence[Route]:
    from server.api import audit, people

    readers = roles(Role.ORG_ADMIN, Role.PLATFORM_ADMIN, Role.AUDITOR)
    managers = roles(Role.ORG_ADMIN, Role.PLATFORM_ADMIN)
    platform = roles(Role.PLATFORM_ADMIN)
    return (
        Route("GET", "/api/organisations", people.organisations, SIGNED_IN),
        Route("POST", "/api/organisations", people.add_organisation, platform),
        Route("PATCH", "/api/organisations/{id}", people.change_organisation, managers),
        Route("POST", "/api/organisations/{id}/links", people.link_organisations, platform),
        Route("GET", "/api/organisations/{id}/staff", people.staff, readers),
        Route("POST", "/api/organisations/{id}/staff", people.add_person, managers),
        Route("POST", "/api/organisations/{id}/memberships", people.add_membership, managers),
        Route("PATCH", "/api/memberships/{id}", people.change_membership, managers),
        Route("POST", "/api/memberships/{id}/end", people.end_membership, managers),
        Route("PATCH", "/api/staff/{id}", people.change_person, managers),
        Route("POST", "/api/staff/{id}/disable", people.disable, managers),
        Route("POST", "/api/staff/{id}/enable", people.enable, managers),
        Route("POST", "/api/staff/{id}/password", people.reset_password, managers),
        Route("GET", "/api/audit", audit.rows, SIGNED_IN),
    )


def api_patients() -> Sequence[Route]:
    from server.api import patients
    from server.pages import patients as pages

    registering = roles(Role.CLINIC_DOCTOR, Role.TECHNICIAN)
    return (
        Route("GET", "/patients", pages.index, registering),
        Route("GET", "/patients/{id}", pages.page, patient("read")),
        Route("POST", "/api/patients/search", patients.search, CLINICAL),
        Route("POST", "/api/patients/duplicates", patients.duplicates, CLINICAL),
        Route("POST", "/api/patients", patients.register, CLINICAL),
        Route("GET", "/api/patients/{id}", patients.read, patient("read")),
        Route("PATCH", "/api/patients/{id}", patients.update, patient("write")),
        Route("POST", "/api/patients/{id}/merge", patients.merge, patient("merge")),
        Route("POST", "/api/patients/{id}/unmerge", patients.unmerge, patient("merge")),
    )


def api_consultations() -> Sequence[Route]:
    from server.api import consultations as c
    from server.api import feedback, requests
    from server.pages import consultation as pages
    from server.pages import request as form

    doctors = roles(Role.CLINIC_DOCTOR)
    return (
        Route("GET", "/consultations/new", form.new, doctors),
        Route("GET", "/api/consultations/{id}/feedback", feedback.read, consultation("feedback_read")),
        Route("POST", "/api/consultations/{id}/feedback", feedback.give, consultation("feedback")),
        Route("POST", "/api/consultations/{id}/rating", feedback.rate, consultation("rating")),
        Route("GET", "/consultations/{id}/edit", form.edit, consultation("write")),
        Route("GET", "/api/targets", requests.targets, doctors),
        Route("GET", "/api/consultations/{id}/request", requests.read, consultation("write")),
        Route("GET", "/api/consultations/{id}/timeline", requests.steps, consultation("read", also=(Role.AUDITOR,))),
        Route("GET", "/consultations/{id}", pages.page, consultation("read", also=(Role.ORG_ADMIN, Role.AUDITOR))),
        Route("GET", "/api/consultations/{id}/targets", pages.targets, consultation("offer")),
        Route("POST", "/api/consultations", c.start, roles(Role.CLINIC_DOCTOR)),
        Route("POST", "/api/consultations/stat", c.start_stat, roles(Role.CLINIC_DOCTOR)),
        Route("POST", "/api/his-text", c.parse_his, roles(Role.CLINIC_DOCTOR)),
        Route("PUT", "/api/consultations/{id}/request", c.save, consultation("write")),
        Route("DELETE", "/api/consultations/{id}", c.delete, consultation("delete")),
        Route("POST", "/api/consultations/{id}/consents", c.give_consent, consultation("consent")),
        Route(
            "POST", "/api/consultations/{id}/consents/{consent}/withdraw", c.withdraw_consent, consultation("consent")
        ),
        Route("POST", "/api/consultations/{id}/studies/{uid}/end", c.end_share, consultation("share")),
        *(
            Route("POST", f"/api/consultations/{{id}}/{name}", handler, consultation(name, also=(Role.ORG_ADMIN,)))
            for name, handler in c.STEPS.items()
        ),
    )


def api_documents() -> Sequence[Route]:
    from server.api import documents, uploads

    return (
        Route("GET", "/api/consultations/{id}/documents", documents.index, consultation("document")),
        Route("POST", "/api/consultations/{id}/documents", documents.add, consultation("document", limit=0)),
        Route("GET", "/api/documents/{id}/original", documents.original, consultation("document")),
        Route("GET", r"/api/documents/{id}/pages/{n:\d{1,4}}", documents.page, consultation("document")),
        Route("POST", "/api/documents/{id}/void", documents.void, consultation("document")),
        Route("POST", "/api/consultations/{id}/pictures", uploads.start_picture, consultation("picture")),
        Route("GET", "/api/pictures/{id}", uploads.read, consultation("picture")),
        Route("PUT", "/api/pictures/{id}", uploads.append, consultation("picture", limit=0)),
        Route("POST", "/api/pictures/{id}/finish", uploads.finish, consultation("picture")),
        Route("DELETE", "/api/pictures/{id}", uploads.cancel, consultation("picture")),
    )


def api_studies() -> Sequence[Route]:
    from server.api import corrections, orders, originals, studies, uploads
    from server.pages import studies as pages
    from server.pages import study as reading

    technician = roles(Role.TECHNICIAN)
    piece = replace(technician, name="upload", limit=0)
    ordering = roles(Role.CLINIC_DOCTOR, Role.TECHNICIAN)
    return (
        Route("POST", "/api/uploads", uploads.start, technician),
        Route("POST", "/api/uploads/whole", uploads.whole, piece),
        Route("GET", "/api/uploads/{id}", uploads.read, technician),
        Route("PUT", "/api/uploads/{id}", uploads.append, piece),
        Route("POST", "/api/uploads/{id}/finish", uploads.finish, technician),
        Route("DELETE", "/api/uploads/{id}", uploads.cancel, technician),
        Route("GET", "/api/orders", orders.index, ordering),
        Route("POST", "/api/orders", orders.create, ordering),
        Route("POST", "/api/orders/{id}/void", orders.void, ordering),
        Route("GET", "/upload", pages.upload_page, technician),
        Route("GET", "/orders", pages.orders_page, ordering),
        Route("GET", "/orders/new", pages.new_order_page, ordering),
        Route("GET", "/orders/{id}", pages.order_page, ordering),
        Route("GET", "/studies", pages.studies_page, technician),
        Route("GET", "/studies/unmatched", pages.unmatched_page, technician),
        Route("GET", "/studies/quarantine", pages.quarantine_page, technician),
        Route("GET", "/studies/corrections", pages.corrections_page, technician),
        Route("GET", "/studies/{uid}", reading.page, study("open")),
        Route("GET", "/api/studies", studies.index, technician),
        Route("GET", "/api/studies/{uid}", studies.read, technician),
        Route("GET", "/api/studies/{uid}/original", originals.download, study("download")),
        Route("GET", "/api/quarantine", studies.quarantine, technician),
        Route("GET", "/api/quarantine/{id}", corrections.compare, technician),
        Route("GET", "/api/quarantine/{id}/thumbnail", corrections.thumbnail, technician),
        Route("POST", "/api/quarantine/{id}", corrections.decide, technician),
        Route("GET", "/api/corrections", corrections.index, technician),
        Route("POST", "/api/corrections", corrections.create, technician),
        Route("POST", "/api/corrections/{id}/undo", corrections.undo, technician),
        Route("GET", "/api/studies/{uid}/candidates", studies.candidates, technician),
        Route("POST", "/api/studies/{uid}/match", studies.confirm, technician),
        Route("POST", "/api/studies/{uid}/unmatch", studies.undo, technician),
        Route("POST", "/api/studies/{uid}/settle", studies.settle, technician),
        Route("POST", "/api/studies/{uid}/wrong-patient", studies.doubt, study("doubt")),
    )


def api_reports() -> Sequence[Route]:
    from server.api import key_images
    from server.api import report_versions as v
    from server.api import reports as r
    from server.pages import inbox, report, verify
    from server.verifying import MOST_BYTES

    write = consultation("report")
    picture = consultation("report", limit=key_images.KEY_IMAGE_BODY)
    file = replace(PUBLIC, name="verify", limit=MOST_BYTES)
    return (
        Route("GET", "/consultations/{id}/report", report.page, consultation("report_read")),
        Route("GET", "/inbox", inbox.page, roles(Role.CLINIC_DOCTOR)),
        Route("GET", "/verify", verify.page, PUBLIC),
        Route("GET", "/verify/{code}", verify.page, PUBLIC),
        Route("POST", "/api/verify", v.check, file),
        Route("POST", "/api/verify/{code}", v.check, file),
        Route("POST", "/api/consultations/{id}/report", r.open_draft, write),
        Route("POST", "/api/consultations/{id}/key-images", key_images.append_key_image, picture),
        Route("POST", "/api/consultations/{id}/reviewer", r.ask_reviewer, write),
        Route("POST", "/api/consultations/{id}/reviewer/withdraw", r.withdraw_reviewer, write),
        Route("POST", "/api/consultations/{id}/amend", r.amend, consultation("revise")),
        Route("POST", "/api/consultations/{id}/append", r.append, consultation("revise")),
        Route("POST", "/api/consultations/{id}/drop-revision", r.drop_revision, consultation("revise")),
        Route("POST", "/api/consultations/{id}/acknowledge", v.acknowledge, consultation("acknowledge")),
        Route("GET", "/api/reports/{id}", r.read, write),
        Route("PUT", "/api/reports/{id}", r.save, write),
        Route("POST", "/api/reports/{id}/key-images", key_images.add_key_image, picture),
        Route("GET", "/api/reports/{id}/key-images/{digest:[0-9a-f]{64}}", key_images.key_image, write),
        Route("POST", "/api/reports/{id}/preview", r.preview, write),
        Route(
            "GET", r"/api/reports/{id}/preview/{version:\d{1,9}}/{key:[0-9.]{1,20}}/{n:\d{1,3}}", r.preview_page, write
        ),
        Route("POST", "/api/reports/{id}/sign", r.sign, consultation("sign")),
        Route("POST", "/api/reports/{id}/approve", r.approve, consultation("sign")),
        Route("POST", "/api/report-versions/{id}/open", v.pages, consultation("report_read")),
        Route("GET", r"/api/report-versions/{id}/pages/{n:\d{1,3}}", v.page, consultation("report_read")),
        Route("GET", "/api/report-versions/{id}/pdf", v.pdf, consultation("report_read")),
        Route("GET", "/api/report-versions/{id}/text", v.text, consultation("report_read")),
    )


def room() -> Sequence[Route]:
    from server.api import call_quality, invitees
    from server.pages import room as r
    from server.signalling.setup import socket

    return (
        Route("GET", "/consultations/{id}/room", r.page, consultation("room")),
        Route("GET", "/socket", socket, CLINICAL),
        Route("POST", "/api/consultations/{id}/session", r.open_session, consultation("room")),
        Route("POST", "/api/consultations/{id}/invitees", invitees.find, consultation("room")),
        Route("GET", "/api/consultations/{id}/ice", r.ice, consultation("room")),
        Route("GET", "/api/consultations/{id}/messages", r.messages, consultation("chat")),
        Route("GET", "/api/consultations/{id}/quality", call_quality.read, consultation("chat")),
        Route("POST", "/api/consultations/{id}/messages", r.send_message, consultation("chat")),
        Route("POST", "/api/consultations/{id}/studies/{uid}/view", r.view_study, consultation("view")),
        Route("POST", "/api/sessions/{id}/finish", r.finish, consultation("finish")),
        Route("POST", "/api/sessions/{id}/undo-finish", r.undo_finish, consultation("finish")),
    )


def recordings() -> Sequence[Route]:
    from server.api import recordings as handlers
    from server.pages import recordings as pages

    holders = roles(Role.AUDITOR, Role.ORG_ADMIN)
    return (
        Route("GET", "/consultations/{id}/recordings/{recording}", pages.page, consultation("recording")),
        Route("GET", "/recordings", pages.held_page, holders),
        Route("GET", "/api/consultations/{id}/recordings", handlers.listed, consultation("recording")),
        Route("POST", "/api/recordings/{id}/play", handlers.play, consultation("recording")),
        Route("GET", "/api/recordings/{id}/video", handlers.video, consultation("recording")),
        Route("POST", "/api/recordings/{id}/hold", handlers.hold, holders),
    )


TOKEN_RIGHTS = {
    "search": Right.SEARCH, "metadata": Right.READ, "pixels": Right.READ, "download": Right.READ, "store": Right.STORE,
}  # fmt: skip


def dicomweb() -> Sequence[Route]:
    from server.api import opening
    from server.dicomweb.handlers import ROUTES

    return (
        Route("POST", "/api/studies/{uid}/open", opening.open_for_viewing, study("open")),
        *(
            Route(method, path, handler, study(action, limit=0 if action == "store" else None, token=right))
            for method, path, handler, action in ROUTES
            for right in (TOKEN_RIGHTS[action],)
        ),
    )


def ops() -> Sequence[Route]:
    from server.api import ops as handlers
    from server.pages import assets

    return (
        Route("GET", "/healthz", handlers.healthz, STATIC),
        Route("GET", "/readyz", handlers.readyz, STATIC),
        Route("GET", "/metrics", handlers.metrics, OPS),
        Route("POST", "/csp-report", handlers.csp_report, REPORTS),
        Route("GET", "/root.crt", handlers.root_certificate, STATIC),
        Route("GET", "/static/{path:.+}", assets.static_file, STATIC),
    )


BLOCKS: tuple[Callable[[], Iterable[Route]], ...] = (
    pages, worklists, admin, devices, forwards, tokens, removals, api_session, api_people, api_patients,
    api_consultations, api_documents, api_studies, api_reports, room, recordings, dicomweb, ops,
)  # fmt: skip


def all_routes() -> tuple[Route, ...]:
    """Every route of every block, in the order they are tried."""
    return tuple(chain.from_iterable(block() for block in BLOCKS))


def install(app: web.Application) -> None:
    """Put the routes and their policies into the application; ValueError for a route without a policy or a twin."""
    policies: dict[web.AbstractRoute, Policy] = {}
    seen: set[tuple[str, str]] = set()
    for route in all_routes():
        if not isinstance(route.policy, Policy):
            raise TypeError(f"{route.method} {route.path} has no policy")
        if (route.method, route.path) in seen:
            raise ValueError(f"{route.method} {route.path} stands twice in routes.py")
        seen.add((route.method, route.path))
        added = app.router.add_route(route.method, route.path, route.handler)
        policies[added] = route.policy
        if route.method == "GET" and ("HEAD", route.path) not in seen:
            seen.add(("HEAD", route.path))
            policies[app.router.add_route("HEAD", route.path, route.handler)] = route.policy
    app[keys.POLICIES] = policies
