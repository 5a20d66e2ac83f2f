"""What this service can do (PS3.18 §8.9, Annex H): WADL in XML or JSON, made from the routes themselves."""

from __future__ import annotations

import re
from typing import Any
from xml.sax.saxutils import quoteattr

from aiohttp import web

from dicom.errors import NotAcceptableError
from dicom.query import KEYS
from dicom.syntaxes import ENCODED, EXPLICIT_LE, FRAME_TYPES
from server.dicomweb.answers import PREFIX, base_url, dumps, guarded, not_modified, send_text, validator
from server.dicomweb.targets import accepted

WADL = "application/vnd.sun.wadl+xml"
_ROUTES: list[tuple[str, str, str]] = []
_SEARCH = ("limit", "offset", "fuzzymatching", "includefield")
_PICTURE = ("accept", "window", "viewport", "quality", "annotation")
MEDIA = {
    "search": ["application/dicom+json", "application/json"],
    "metadata": ["application/dicom+json", "application/json", 'multipart/related; type="application/dicom+xml"'],
    "store": ["application/dicom+json"],
    "download": [
        f"{lead}application/dicom{end}; transfer-syntax={syntax}"
        for lead, end in (("", ""), ('multipart/related; type="', '"'))
        for syntax in ("*", EXPLICIT_LE, *sorted(ENCODED))
    ],
    "frames": [
        f'multipart/related; type="application/octet-stream"; transfer-syntax={syntax}' for syntax in ("*", EXPLICIT_LE)
    ]
    + [f'multipart/related; type="{FRAME_TYPES[syntax]}"; transfer-syntax={syntax}' for syntax in sorted(ENCODED)],
    "bulkdata": ["application/octet-stream", 'multipart/related; type="application/octet-stream"'],
    "rendered": ["image/jpeg", "image/png", "image/svg+xml", "text/html", "video/mp4", "application/pdf", "text/xml"],
    "thumbnail": ["image/jpeg", "image/png"],
    "waveform": ["application/json"],
}
"""Media types by kind of resource."""


def describe(routes: list[tuple[str, str, Any, str]]) -> None:
    """Take the service's own list; the handlers module calls it once."""
    _ROUTES[:] = [(method, path, action) for method, path, _, action in routes if path.startswith(f"{PREFIX}/")]


def resources() -> list[dict[str, Any]]:
    """Path below the service, and per method its parameters and media types."""
    found: dict[str, list[dict[str, Any]]] = {}
    for method, path, action in _ROUTES:
        below = path.removeprefix(f"{PREFIX}/")
        if not below:
            continue
        last = below.rsplit("/", 1)[-1]
        kind = last if last in {"rendered", "thumbnail", "waveform", "metadata"} else action
        if "/bulkdata/" in below:
            kind = "bulkdata"
        elif last == "{frames}":
            kind = "frames"
        query = (
            _SEARCH + tuple(KEYS)
            if kind == "search"
            else _PICTURE
            if kind in {"rendered", "thumbnail"}
            else ("accept",)
        )
        found.setdefault(re.sub(r":[^}]*\}", "}", below), []).append(
            {"name": method, "query": list(query) if method == "GET" else [], "media": MEDIA[kind]}
        )
    return [{"path": path, "methods": methods} for path, methods in found.items()]


def _wadl(base: str) -> bytes:
    out = ['<?xml version="1.0" encoding="UTF-8"?>\n<application xmlns="http://wadl.dev.java.net/2009/02">']
    out.append(f"<resources base={quoteattr(base + '/')}>")
    for resource in resources():
        out.append(f"<resource path={quoteattr(resource['path'])}>")
        out += [f'<param name="{name}" style="template"/>' for name in re.findall(r"\{(\w+)\}", resource["path"])]
        for method in resource["methods"]:
            out.append(f'<method name="{method["name"]}"><request>')
            out += [f'<param name="{name}" style="query"/>' for name in method["query"]]
            out.append("</request><response>")
            out += [f"<representation mediaType={quoteattr(media)}/>" for media in method["media"]]
            out.append("</response></method>")
        out.append("</resource>")
    out.append("</resources></application>\n")
    return "".join(out).encode()


def _json(base: str) -> bytes:
    listed = [
        {
            "@path": resource["path"],
            "method": [
                {
                    "@name": method["name"],
                    "request": {"param": [{"@name": name, "@style": "query"} for name in method["query"]]},
                    "response": {"representation": [{"@mediaType": media} for media in method["media"]]},
                }
                for method in resource["methods"]
            ],
        }
        for resource in resources()
    ]
    return dumps({"application": {"resources": {"@base": f"{base}/", "resource": listed}}})


@guarded
async def retrieve_capabilities(request: web.Request) -> web.StreamResponse:
    """`OPTIONS /` and, for people, `GET /`: JSON unless WADL is preferred."""
    for entry in accepted(request):
        if entry.name in {"application/json", "application/*", "*/*", "application/dicom+json", "text/html"}:
            kind, make = "application/json", _json
            break
        if entry.name in {WADL, "application/xml", "text/xml"}:
            kind, make = WADL, _wadl
            break
    else:
        raise NotAcceptableError
    body = make(base_url(request))
    etag = validator("capabilities", kind, body, request.headers.get("Accept-Encoding", ""))
    if unchanged := not_modified(request, etag):
        return unchanged
    return await send_text(request, body, content_type=kind, etag=etag)
