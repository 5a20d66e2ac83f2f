"""How a tablet gets the root certificate before it trusts us: one plain page on the port after ours (`--tls lan`).

Nothing else is served there, and nothing secret: the root is public. Whoever installs it compares the fingerprint with
the one on the server's console, because a plain page can be changed on its way.
"""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import jinja2
from aiohttp import web

from server import i18n
from server.i18n import choose_language
from server.pages import TEMPLATES
from server.settings import Settings

STYLES = Path(__file__).resolve().parent.parent / "static" / "css" / "base.css"
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}  # fmt: skip


def fingerprint(root: Path) -> str:
    """SHA-256 of the certificate in pairs of hexadecimal digits, as devices show it."""
    der = ssl.PEM_cert_to_DER_cert(root.read_text(encoding="ascii"))
    digits = hashlib.sha256(der).hexdigest().upper()
    return " ".join(digits[n : n + 2] for n in range(0, len(digits), 2))


def trust_app(settings: Settings, root: Path, port: int) -> web.Application:
    """The page and the certificate; `port` is where the encrypted pages are."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    templates.globals["_"] = i18n._
    template = templates.get_template("trust.html")
    mark, certificate = fingerprint(root), root.read_bytes()

    async def page(request: web.Request) -> web.Response:
        lang = choose_language(
            query=request.query.get("lang"), cookie=None, accept=request.headers.get("Accept-Language", ""),
            default=settings.language,
        )  # fmt: skip
        i18n.LANG.set(lang)
        host = request.url.host or "localhost"
        address = f"https://{f'[{host}]' if ':' in host else host}:{port}/"
        text = template.render(lang=lang, fingerprint=mark, address=address)
        return web.Response(text=text, content_type="text/html", headers=HEADERS)

    async def download(request: web.Request) -> web.Response:
        del request
        # Shown, not saved: iOS offers the profile only then.
        return web.Response(body=certificate, content_type="application/x-x509-ca-cert", headers=HEADERS)

    async def styles(request: web.Request) -> web.FileResponse:
        del request
        return web.FileResponse(STYLES, headers=HEADERS)

    app = web.Application(client_max_size=1024)
    app.router.add_get("/", page)
    app.router.add_get("/root.crt", download)
    app.router.add_get("/base.css", styles)
    return app
