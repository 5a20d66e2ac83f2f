"""What a DICOMweb URL names, as the caller may see it, and what the caller can take."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from aiohttp import web

from dicom.archive import Archive
from dicom.errors import BadQueryError, IntegrityError, NotAcceptableError, NotFoundError, UnsupportedError, WorkerError
from dicom.model import InstanceRow
from dicom.web import MediaType, parse_accept
from server.dicomweb.answers import LEFT_OUT
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR

_MAX_FRAMES = 2000


async def rows_of(request: web.Request, action: str) -> tuple[Archive, list[InstanceRow]]:
    """The instances a URL names, once permission was decided and written down. NotFoundError if there are none."""
    match = request.match_info
    study, series, sop = match["study"], match.get("series"), match.get("instance")
    scope = await request.app[SCOPE_FOR](request, action, study)
    archive = request.app[ARCHIVE]
    if sop is not None:
        row = await archive.recent.instance(scope, study, series, sop)
        if action != "metadata" and not is_sound(archive, row):
            row = await asyncio.to_thread(archive.instance, scope, study, series, sop)  # a sound copy may have come
            archive.retriever.check_sound(row)
        return archive, [row]
    rows = await archive.recent.instances(scope, study, series)
    if not all(is_sound(archive, row) for row in rows):
        rows = await asyncio.to_thread(archive.instances, scope, study, series)
    if not rows:
        raise NotFoundError
    sound = [row for row in rows if is_sound(archive, row) or (action == "metadata" and row.metadata is not None)]
    if len(sound) < len(rows):  # the others can still be had, and the answer says that some are missing
        request[LEFT_OUT] = len(rows) - len(sound)
    if not sound:
        raise IntegrityError(code="damaged")
    return archive, sound


def is_sound(archive: Archive, row: InstanceRow) -> bool:
    """Whether nothing is known against the stored bytes."""
    try:
        archive.retriever.check_sound(row)
    except IntegrityError:
        return False
    return True


def accepted(request: web.Request) -> Sequence[MediaType]:
    """What the client takes, best first. The query parameter serves those that cannot set the header, and wins
    (PS3.18 §8.3.3.1).
    """
    return parse_accept(request.query.get("accept", "") or request.headers.get("Accept", ""))


def instance_url(base: str, row: InstanceRow) -> str:
    """The address of an instance below the service."""
    return f"{base}/studies/{row.study_uid}/series/{row.series_uid}/instances/{row.sop_uid}"


def disposition(name: str) -> dict[str, str]:
    """What came from outside is saved, never shown as ours."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def frame_numbers(text: str) -> list[int]:
    """`1,5,2` as numbers. BadQueryError for what is none."""
    parts = text.split(",")
    if len(parts) > _MAX_FRAMES or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise BadQueryError(code="bad_frame_list")
    numbers = [int(part) for part in parts]
    if min(numbers) < 1:
        raise BadQueryError(code="bad_frame_list")
    return numbers


@contextlib.contextmanager
def only_otherwise() -> Iterator[None]:
    """What cannot be made in the form asked for can still be had as stored: 406 with the reason."""
    try:
        yield
    except (UnsupportedError, WorkerError) as error:
        raise NotAcceptableError(code=error.reason) from error
