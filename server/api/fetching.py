"""Looking into another archive and fetching from it, for technicians. What is looked for stands in bodies alone."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from consult.people import OrganisationId
from server.api.common import actor, body, json_response, no_content, work
from server.dimse.fetching import MOST_FOUND, MOST_STUDIES, FetchFailedError, Job, Wanted, check_wanted, open_archive
from server.dimse.running import FETCHER

Text = Annotated[str, Meta(max_length=100)]
Uid = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[0-9.]+$")]


class GivenSearch(msgspec.Struct, forbid_unknown_fields=True):
    device: Text
    patient_id: Text = ""
    patient_name: Text = ""
    accession: Text = ""
    date: Text = ""


class GivenFetch(msgspec.Struct, forbid_unknown_fields=True):
    device: Text
    studies: Annotated[tuple[Uid, ...], Meta(min_length=1, max_length=MOST_STUDIES)]


async def search(request: web.Request) -> web.Response:
    """POST /api/fetch/search → {"studies", "more", "error"}; `error` is a code where the archive could not be asked."""
    given = await body(request, GivenSearch)
    wanted = check_wanted(Wanted(
        patient_id=given.patient_id, patient_name=given.patient_name, accession=given.accession, date=given.date,
    ))  # fmt: skip
    row = await work(request).run(open_archive, actor=actor(request), device=given.device, action="archive.search")
    try:
        found = await request.app[FETCHER].search(row, wanted)
    except FetchFailedError as error:
        return json_response({"studies": [], "more": False, "error": error.reason})
    return json_response({"studies": found, "more": len(found) == MOST_FOUND, "error": ""})


async def start(request: web.Request) -> web.Response:
    """POST /api/fetch {"device", "studies"} → the job."""
    given = await body(request, GivenFetch)
    row = await work(request).run(
        open_archive, actor=actor(request), device=given.device, action="archive.fetch", studies=given.studies
    )
    return _shown(request.app[FETCHER].start(row, given.studies), status=201)


async def read(request: web.Request) -> web.Response:
    """GET /api/fetch/{id}: how far it is."""
    return _shown(_job(request))


async def cancel(request: web.Request) -> web.Response:
    """DELETE /api/fetch/{id}: what has come stays."""
    request.app[FETCHER].cancel(_job(request))
    return no_content()


def _job(request: web.Request) -> Job:
    organisation: OrganisationId = actor(request).organisation
    return request.app[FETCHER].job(organisation, request.match_info["id"])


def _shown(job: Job, *, status: int = 200) -> web.Response:
    return json_response({"id": job.id, "over": job.over, "studies": job.pieces}, status=status)
