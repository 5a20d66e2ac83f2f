"""Sharp pictures for a consultation: begun here, sent in pieces like every upload, and filed as its documents.

The room stays on the line meanwhile, however thin: the browser chooses the size of the pieces (static/js/pace.js), a
piece that arrived is on disk, and the others are told how far it is. The bytes as the camera gave them are kept beside
the fresh picture that is shown.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from consult import material
from consult import model as m
from consult.access import Action, Opened, open_consultation
from consult.errors import Invalid
from consult.people import Actor
from server import documents
from server.auth.audit import audit
from server.documents import Budget, DocumentRefused
from server.hub import Hub
from server.problems import Refused
from server.storage.blobs import Blobs
from server.storage.faults import fault
from server.storage.unit import SqlUnitOfWork
from server.storage.uploads import Upload
from server.work import Work

KINDS = frozenset({"document", "paper_ecg", "film"})
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")     # JPEG and PNG: what cameras and browsers give
MOST_OPEN = 20                                       # of one person for one consultation
AT_ONCE = 2                                          # processes that decode: each may take a gigabyte
STEPS = 20                                           # so often the others are told of one picture's way


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a picture will be once it is here: `kind` is one of KINDS, `title` a short label."""

    consultation: m.ConsultationId
    kind: str
    title: str


def topic(consultation: m.ConsultationId) -> str:
    """Where the way of its pictures is told (server/hub.py)."""
    return f"pictures:{consultation}"


def check_picture(uow: SqlUnitOfWork, actor: Actor, consultation: m.ConsultationId) -> Opened:
    """Whoever may add documents may send pictures, to the last piece. Raises NotFound, NotAllowed."""
    return open_consultation(uow, actor, consultation, Action.DOCUMENT_WRITE)


def begin_picture(uow: SqlUnitOfWork, *, actor: Actor, size: int, given: Given) -> Upload:
    """An upload of `size` bytes for a consultation that is not closed. Raises Refused `pictures_waiting` when too many
    of one's own are on their way already.
    """
    opened = check_picture(uow, actor, given.consultation)
    material.check_open(opened.consultation)
    if given.kind not in KINDS:
        raise Invalid(("kind", "unknown_choice"))
    present = [x for x in uow.consultations.documents(given.consultation) if x.voided_at is None]
    material.check_number(len(present))
    waiting = [x for x in uow.uploads.of(actor.membership, states=("open",)) if x.consultation == given.consultation]
    if len(waiting) >= MOST_OPEN:
        raise Refused("pictures_waiting", most=MOST_OPEN)
    upload = Upload(
        id=uow.new_id(), organisation=actor.organisation, membership=actor.membership,
        consultation=given.consultation, kind=given.kind, title=given.title, size=size,
        created_at=uow.now, touched_at=uow.now,
    )  # fmt: skip
    uow.uploads.add(upload)
    return upload


class Pictures:
    """Files what has arrived whole, and tells the others how far the rest is. One instance per application.

    `budget`: what all that comes in may take of memory. A picture is decoded when its turn has come.
    """

    def __init__(self, work: Work, blobs: Blobs, hub: Hub, budget: Budget) -> None:
        self._work, self._blobs, self._hub, self._budget = work, blobs, hub, budget
        self._decoding = asyncio.Semaphore(AT_ONCE)

    def tell(self, upload: Upload, *, before: int, received: int) -> None:
        """Something more of it is on disk; said at every twentieth of a picture."""
        if upload.consultation is None or before * STEPS // upload.size == received * STEPS // upload.size:
            return
        self._hub.publish(topic(upload.consultation), {
            "upload": upload.id, "membership": upload.membership, "received": received, "size": upload.size,
        })

    async def file(self, actor: Actor, upload: Upload, path: Path) -> Upload:
        """The picture at `path` becomes a document. Raises DocumentRefused; asked again, refuses again."""
        try:
            if not (await asyncio.to_thread(_start_of, path)).startswith(MAGIC):
                raise DocumentRefused("not_supported")
            async with self._decoding, documents.reencoding(path, self._budget) as encoded:
                digest, size = await asyncio.to_thread(documents.store, encoded, self._blobs.put)
                media_type = encoded.pages[0].media_type
        except DocumentRefused:
            await self._work.run(_refuse, actor=actor, upload=upload)
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise
        original = await asyncio.to_thread(self._blobs.put_file, path)
        given = material.GivenDocument(
            kind=upload.kind, title=upload.title, media_type=media_type, digest=digest, size=size, original=original,
        )
        fault("upload_before_result")
        done = await self._work.run(_file, actor=actor, upload=upload, given=given)
        await asyncio.to_thread(path.unlink, missing_ok=True)
        return done


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _file(uow: SqlUnitOfWork, *, actor: Actor, upload: Upload, given: material.GivenDocument) -> Upload:
    assert upload.consultation is not None
    opened = check_picture(uow, actor, upload.consultation)
    document = material.file_document(uow, actor, opened, given)
    detail = {"document": document.id, "original": given.original}
    audit(uow, actor, "document.add", f"consultation:{upload.consultation}", detail=detail)
    return _settle(uow, upload, state="done", document=document.id)


def _refuse(uow: SqlUnitOfWork, *, actor: Actor, upload: Upload) -> Upload:
    assert upload.consultation is not None
    check_picture(uow, actor, upload.consultation)
    return _settle(uow, upload, state="cancelled", document="")


def _settle(uow: SqlUnitOfWork, upload: Upload, *, state: str, document: str) -> Upload:
    """The way of the picture ends here, and whoever watched it hears so."""
    assert upload.consultation is not None
    result = {"instances": [], "studies": [], "document": document}
    done = replace(upload, state=state, received=upload.size, result=result, touched_at=uow.now)
    uow.publish(topic(upload.consultation), {
        "upload": upload.id, "membership": upload.membership, "received": upload.size, "size": upload.size,
        "document": document,
    })
    return uow.uploads.save(done)
