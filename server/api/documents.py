"""Documents of a consultation: taken in as fresh pictures (server/documents.py), shown page by page."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from consult import material
from consult import model as m
from consult.access import Action, open_consultation, open_document
from consult.errors import NotFound
from consult.people import Actor
from consult.ports import UnitOfWork
from server import documents, keys
from server.api.case_bodies import Because
from server.api.common import InvalidBody, actor, body, json_response, settings, work
from server.api.consultations import consultation_id
from server.auth.audit import audit
from server.problems import Refused

KINDS = frozenset({"document", "paper_ecg", "film", "consent", "signature"})
SHOWN = KINDS - {"consent", "signature"}
ENDINGS = {"image/jpeg": "jpg", "image/png": "png"}
FIELD_LIMIT = 1000


def document_view(document: m.Document) -> dict[str, Any]:
    """One document as JSON; its pages are at `/api/documents/{id}/pages/{n}`, n from 1.

    `original`: the bytes as the camera gave them are at `/api/documents/{id}/original`.
    """
    return {
        "id": document.id,
        "kind": document.kind,
        "title": document.title,
        "pages": document.pages,
        "size": document.size,
        "original": bool(document.original),
        "added_by": document.added_by,
        "added_at": document.added_at,
        "voided_at": document.voided_at,
        "voided_reason": document.voided_reason,
    }


async def _parts(request: web.Request) -> tuple[dict[str, str], bytes]:
    """The form's text fields and the file's bytes, both bounded; the client's file name is not looked at."""
    limit = settings(request).uploads.document_mb * 1024 * 1024
    if not request.content_type.startswith("multipart/form-data"):
        raise Refused("media_type")
    fields: dict[str, str] = {}
    data = bytearray()
    try:
        async for part in await request.multipart():
            name = getattr(part, "name", None)
            most = limit if name == "file" else FIELD_LIMIT
            taken = data if name == "file" else bytearray()
            while chunk := await part.read_chunk(65536):  # type: ignore[union-attr]
                taken += chunk
                if len(taken) > most:
                    raise Refused("too_large", limit=f"{settings(request).uploads.document_mb} MB")
            if name and name != "file" and len(fields) < 8:
                fields[name] = taken.decode("utf-8")
    except (ValueError, AttributeError, web.RequestPayloadError) as error:
        raise Refused("bad_request") from error
    return fields, bytes(data)


def _check(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> None:
    open_consultation(uow, actor, consultation, Action.DOCUMENT_WRITE)


def _add(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, given: dict[str, Any]
) -> m.Document:
    document = material.add_document(uow, actor=actor, consultation=consultation, **given)
    audit(uow, actor, "document.add", f"consultation:{consultation}", detail={"document": document.id})
    return document


def read_documents(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId
) -> list[tuple[m.Document, str]]:
    """What of a consultation's papers is shown (consents and signatures are not), with the name of who added it."""
    open_consultation(uow, actor, consultation, Action.DOCUMENT_READ)
    shown = [x for x in uow.consultations.documents(consultation) if x.voided_at is None and x.kind in SHOWN]
    return [(x, uow.people.staff(uow.people.membership(x.added_by).staff).name) for x in shown]


async def index(request: web.Request) -> web.StreamResponse:
    """`GET /api/consultations/{id}/documents`: {documents}, the newest last."""
    found = await work(request).read(read_documents, actor=actor(request), consultation=consultation_id(request))
    return json_response({"documents": [document_view(x) | {"by": name} for x, name in found]})


async def original(request: web.Request) -> web.StreamResponse:
    """`GET /api/documents/{id}/original`: the bytes as they came, to be saved; audited before the first byte."""
    document = m.DocumentId(request.match_info["id"])
    found = await work(request).run(_open, actor=actor(request), document=document, page=0)
    if not found.original:
        raise NotFound(kind="original")
    ending = ENDINGS.get(found.media_type, "bin")
    return web.FileResponse(
        request.app[keys.BLOBS].open(found.original),
        headers={
            "Content-Type": found.media_type,
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": f'attachment; filename="{found.id}.{ending}"',
            "Cache-Control": "private, no-store",
        },
    )


async def add(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/documents`, multipart: `file`, `kind`, `title`. 201 with the document."""
    who, consultation = actor(request), consultation_id(request)
    await work(request).read(_check, actor=who, consultation=consultation)
    fields, data = await _parts(request)
    kind = fields.get("kind", "document")
    if kind not in KINDS:
        raise InvalidBody(("kind", "choice"))
    encoded = await documents.reencode(data)
    digest, size = await asyncio.to_thread(documents.store, encoded, request.app[keys.BLOBS].put)
    document = await work(request).run(
        _add,
        actor=who,
        consultation=consultation,
        given={
            "kind": kind,
            "title": fields.get("title", "").strip()[:120],
            "media_type": encoded.pages[0].media_type,
            "digest": digest,
            "size": size,
            "pages": len(encoded.pages),
        },
    )
    return json_response(document_view(document), status=201)


def _open(uow: UnitOfWork, *, actor: Actor, document: m.DocumentId, page: int) -> m.Document:
    found, opened = open_document(uow, actor, document)
    detail = {"document": found.id, "page": page or "original"}
    audit(uow, actor, "document.read", f"consultation:{opened.consultation.id}", detail=detail)
    return found


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /api/documents/{id}/pages/{n}`: the picture of one page, audited before the first byte."""
    number = int(request.match_info["n"])
    document = m.DocumentId(request.match_info["id"])
    found = await work(request).run(_open, actor=actor(request), document=document, page=number)
    blobs = request.app[keys.BLOBS]
    pages = documents.pages_of(await asyncio.to_thread(blobs.open(found.digest).read_bytes))
    if not 1 <= number <= len(pages):
        raise NotFound(kind="page")
    entry = pages[number - 1]
    return web.FileResponse(
        blobs.open(entry["digest"]),
        headers={
            "Content-Type": entry["media_type"],
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": "inline",
            "Cache-Control": "private, no-store",
        },
    )


def _void(uow: UnitOfWork, *, actor: Actor, document: m.DocumentId, reason: str) -> m.Document:
    found = material.void_document(uow, actor=actor, document=document, reason=reason)
    audit(uow, actor, "document.void", f"consultation:{found.consultation}", detail={"document": found.id})
    return found


async def void(request: web.Request) -> web.StreamResponse:
    """`POST /api/documents/{id}/void` {reason}: it stays on record, struck out."""
    given = await body(request, Because)
    document = m.DocumentId(request.match_info["id"])
    found = await work(request).run(_void, actor=actor(request), document=document, reason=given.reason)
    return json_response(document_view(found))
