"""What every request passes, outermost first: request id and access log, errors into answers, session, policy.

A handler runs only when the policy beside its route allows the caller. Nothing here looks at consultations: the
object's permission is the service's business (consult/access.py).
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import web

from server import keys
from server.auth.audit import audit
from server.auth.bearer import challenge, credential
from server.i18n import LANG, LANGUAGES, choose_language
from server.logs import REQUEST_ID
from server.policy import SAFE_METHODS, Policy
from server.problems import TABLE, Refused, problem, status_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ACCESS = logging.getLogger("huizhen.access")
LOG = logging.getLogger("huizhen.server")

CSP = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; worker-src 'self' blob:; connect-src 'self'; base-uri 'none'; object-src 'none'; "
    "frame-ancestors 'none'; form-action 'self'; report-uri /csp-report"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CSP,
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), geolocation=(), payment=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATUS_CODES = {
    400: "bad_request", 401: "signed_out", 403: "not_allowed", 404: "not_found", 405: "method",
    406: "not_acceptable", 409: "conflict", 412: "precondition", 413: "too_large", 415: "media_type",
    416: "range", 422: "invalid", 429: "too_many", 503: "busy", 507: "disk_full",
}  # fmt: skip
GIVEN_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
LANG_SECONDS = 365 * 24 * 3600
ARCHIVE_PATHS = ("/dicom-web", "/wado", "/api/uploads", "/api/studies", "/api/changes")
"""The archive's workers start in the background; these wait for them."""
MACHINE_PATHS = (
    *("/api/", "/dicom-web/", "/wado", "/events", "/socket"),
    *("/metrics", "/healthz", "/readyz", "/csp-report"),
)


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Believe a trusted proxy, give the request its id and language, time it, log it without any of its content."""
    settings = request.app[keys.SETTINGS]
    proxied = trusted(request.remote, settings.trusted_proxies)
    if proxied:
        request = believe_proxy(request)
    given = request.headers.get("X-Request-Id", "") if proxied else ""
    request_id = given if GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
    request[keys.REQUEST_ID] = request_id
    request[keys.CANONICAL] = canonical(request)
    request[keys.HEARD] = request.app[keys.HUB].mark()
    REQUEST_ID.set(request_id)
    wish = request.query.get("lang")
    LANG.set(
        choose_language(
            query=wish,
            cookie=request.cookies.get("lang"),
            accept=request.headers.get("Accept-Language", ""),
            default=settings.language,
        )
    )
    started = time.perf_counter()
    status = 499
    try:
        response = await handler(request)
        status = response.status
        if wish in LANGUAGES and not response.prepared:
            response.set_cookie(
                "lang", str(wish), max_age=LANG_SECONDS, samesite="Lax", secure=request.secure, path="/"
            )
        if not response.prepared:
            await add_headers(request, response)
        return response
    except web.HTTPException as error:
        status = error.status
        await add_headers(request, error)
        raise
    finally:
        note(request, status, time.perf_counter() - started)


def note(request: web.Request, status: int, seconds: float) -> None:
    """Count the request, and write its access line: route template and ids, no path, no query."""
    metrics = request.app[keys.METRICS]
    route = request[keys.CANONICAL]
    metrics.requests.labels(route, request.method if request.method in METHODS else "other", str(status)).inc()
    metrics.seconds.labels(route).observe(seconds)
    policy = policy_of(request)
    if policy is not None and policy.quiet and status < 500:
        return
    login, token = request.get(keys.LOGIN), request.get(keys.TOKEN)
    ACCESS.info(
        "request",
        extra={
            "method": request.method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "staff": str(login.actor.staff) if login else token.who if token else "",
        },
    )


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def canonical(request: web.Request) -> str:
    """The template of the matched route, never the path itself."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


def policy_of(request: web.Request) -> Policy | None:
    """The policy that routes.py put beside the matched route; None: there is no such route."""
    return request.app[keys.POLICIES].get(request.match_info.route)


def trusted(peer: str | None, networks: tuple[str, ...]) -> bool:
    """Whether forwarded headers from this peer are believed."""
    if not peer or not networks:
        return False
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


def believe_proxy(request: web.Request) -> web.Request:
    """The request as the browser sent it to the trusted proxy: scheme, host and the last untrusted address."""
    networks = request.app[keys.SETTINGS].trusted_proxies
    changes: dict[str, Any] = {}
    scheme = request.headers.get("X-Forwarded-Proto", "").split(",")[-1].strip().lower()
    if scheme in {"http", "https"}:
        changes["scheme"] = scheme
    host = request.headers.get("X-Forwarded-Host", "").split(",")[-1].strip()
    if host:
        changes["host"] = host
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    while len(hops) > 1 and trusted(hops[-1], networks):
        hops.pop()
    if hops:
        changes["remote"] = hops[-1]
    return request.clone(**changes) if changes else request


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure becomes one well-formed answer in the caller's language; the unexpected is a 500 with the id."""
    try:
        if "\x00" in request.path or any("\x00" in value for value in request.query.values()):
            raise Refused("not_found")
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
        limit = request.client_max_size
        return await refuse(
            request, STATUS_CODES.get(error.status, "bad_request"), params={"limit": size_text(limit)}, headers=headers
        )
    except Refused as error:
        return await refuse(request, error.code, params=error.params, headers=error.headers, fields=error.fields)
    except (ConnectionResetError, BrokenPipeError):
        raise
    except Exception as error:
        return await answer_exception(request, error)


async def answer_exception(request: web.Request, error: Exception) -> web.StreamResponse:
    """Errors with a public code by the table; a full disk by its errno; anything else is our fault."""
    code = getattr(error, "code", None)
    if isinstance(code, str) and code in TABLE and status_of(code) < 500:
        params = getattr(error, "params", {})
        return await refuse(request, code, params=params, fields=getattr(error, "fields", ()))
    if disk_is_full(error):
        LOG.error("disk full", exc_info=error)
        return await refuse(request, "disk_full")
    if isinstance(error, OverflowError | UnicodeError):
        # A number or text no store can hold; it came from the request.
        return await refuse(request, "bad_request")
    if isinstance(code, str) and code in TABLE:
        LOG.warning("refused", extra={"code": code})
        return await refuse(request, code, params=getattr(error, "params", {}))
    LOG.error("unhandled", exc_info=error, extra={"route": request[keys.CANONICAL]})
    return await refuse(request, "internal")


def disk_is_full(error: BaseException | None) -> bool:
    """ENOSPC or EDQUOT anywhere in the chain of causes, or SQLite's own word for it."""
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if "database or disk is full" in str(error):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def size_text(limit: int) -> str:
    """A limit as people read it."""
    return f"{limit // 1048576} MB" if limit >= 1048576 else f"{limit // 1024} KB"


def wants_page(request: web.Request) -> bool:
    """Whether a person at a browser looks at the answer."""
    if request.path.startswith(MACHINE_PATHS):
        return False
    return "text/html" in request.headers.get("Accept", "")


async def refuse(
    request: web.Request,
    code: str,
    *,
    params: Any = None,
    headers: dict[str, str] | None = None,
    fields: Any = (),
) -> web.StreamResponse:
    """The refusal as a page or as problem+json (RFC 9457)."""
    value = problem(code, lang=LANG.get(), request_id=request[keys.REQUEST_ID], params=params, fields=fields)
    request.app[keys.METRICS].problems.labels(value["code"]).inc()
    if wants_page(request):
        if value["status"] == 401 and request.method in {"GET", "HEAD"}:
            raise web.HTTPSeeOther("/login?next=" + quote(request.path, safe="/"))
        if value["code"] == "must_change_password":
            raise web.HTTPSeeOther("/password?next=" + quote(request.path, safe="/"))
        from server.pages import render

        response: web.StreamResponse = await render(request, "error.html", status=value["status"], problem=value)
    else:
        response = web.json_response(value, status=value["status"], content_type="application/problem+json")
    response.headers.update(headers or {})
    response.headers["Cache-Control"] = "no-store"
    return response


@web.middleware
async def authorise(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find the session, then enforce the route's policy: signed in, role, own origin, token, this machine alone."""
    policy = policy_of(request)
    if policy is None:
        return await handler(request)           # 404 or 405 of the router itself
    if policy.local and not is_local(request):
        raise Refused("not_found")
    given = None if policy.local else credential(request)
    if given is not None:
        return await authorise_token(request, policy, given, handler)
    if not policy.quiet:
        await request.app[keys.SESSIONS].attach(request)
    login = request.get(keys.LOGIN)
    if policy.roles is not None and login is None:
        ways = challenge(request) if policy.token is not None else None
        raise Refused("session_expired" if request.get(keys.LOGIN_ENDED) else "signed_out", headers=ways)
    if login is not None and login.must_change and policy.roles is not None and not policy.temporary:
        raise Refused("must_change_password")
    mutation = request.method not in SAFE_METHODS or is_websocket(request)
    if mutation and policy.origin and not own_origin(request):
        raise Refused("foreign_origin")
    # A WebSocket cannot carry our header; its Origin is checked above and its first message carries the token.
    if mutation and policy.csrf and not is_websocket(request):
        given = request.headers.get("X-CSRF-Token", "")
        if login is None or not secrets.compare_digest(given.encode(), login.csrf.encode()):
            raise Refused("csrf")
    if not policy.allows(login.actor.role if login else None):
        raise Refused("not_allowed")
    return await handler(await ready(request, policy))


async def authorise_token(request: web.Request, policy: Policy, given: str, handler: Handler) -> web.StreamResponse:
    """The same for an API token: only where the route says so, only with the right it names; no cookie counts then."""
    if policy.token is None:
        raise Refused("token_scope")
    bearers = request.app[keys.BEARERS]
    token = await bearers.admit(request, given)
    request[keys.TOKEN] = token
    if policy.token not in token.rights:
        await request.app[keys.WORK].run(
            audit, None, "token.use", f"token:{token.id}",
            outcome="denied", staff=token.who, organisation=token.organisation,
        )  # fmt: skip
        raise Refused("token_scope")
    return await bearers.watch(request, token, handler(await ready(request, policy)))


async def ready(request: web.Request, policy: Policy) -> web.Request:
    """The request within the policy's limit; what needs the archive waits for its start."""
    if request[keys.CANONICAL].startswith(ARCHIVE_PATHS):
        await request.app[keys.ARCHIVE_STARTED].wait()
    if policy.limit is not None:
        request = request.clone(client_max_size=policy.limit or request.client_max_size)
    return request


def is_websocket(request: web.Request) -> bool:
    """Whether the browser asks for a WebSocket (RFC 6455 §4.1)."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def own_origin(request: web.Request) -> bool:
    """The Origin is one of ours: the address the browser asked, or one of settings.public_urls. No Origin: no."""
    origin = request.headers.get("Origin")
    if not origin or origin == "null":
        return False
    if origin == f"{request.scheme}://{request.host}":
        return True
    return any(origin == origin_of(url) for url in request.app[keys.SETTINGS].public_urls)


def origin_of(url: str) -> str:
    """scheme://host[:port] of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_local(request: web.Request) -> bool:
    """From this machine itself (and not merely from a proxy on it), or with the metrics token."""
    token = request.app[keys.SETTINGS].metrics_token
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token and secrets.compare_digest(given.encode(), token.encode()):
        return True
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return request.remote in {"", None}      # a local socket has no address


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer carries the security headers and the request id. Also the signal on_response_prepare, for streams
    and for answers made before our first middleware (which know no id). A WebSocket, of which nothing is shown or kept,
    goes without: it would hold them for hours.
    """
    headers = response.headers
    if isinstance(response, web.WebSocketResponse):
        headers.popall("Server", None)
        return
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    if request.secure:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    headers.setdefault("Cache-Control", "no-store")
    if request_id := request.get(keys.REQUEST_ID):
        headers["X-Request-Id"] = request_id
    headers.popall("Server", None)


MIDDLEWARES = (identify, answer_errors, authorise)
