"""The server's side of `huizhen fetch`, on the local socket that only the owner of the data folder opens."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from consult.errors import Invalid, NotFound
from server import keys
from server.control import CommandRefused, place_of
from server.dimse.fetching import FetchFailedError, Wanted, check_wanted, note_asked
from server.dimse.running import FETCHER
from server.storage.devices import DeviceRow
from server.storage.unit import SqlUnitOfWork


def add_fetch_routes(app: web.Application, control: web.Application) -> None:
    """POST /fetch/search, POST /fetch/start, GET /fetch/{organisation}/{id}."""

    async def search(request: web.Request) -> web.Response:
        value = await request.json()
        try:
            wanted = check_wanted(Wanted(**{name: str(text) for name, text in value["wanted"].items()}))
            row = await app[keys.WORK].run(_archive, value, "archive.search", [])
            found = await app[FETCHER].search(row, wanted)
        except Invalid as error:
            return _refused(f"{error.fields[0][0]}: cannot be searched for")
        except CommandRefused as error:
            return _refused(str(error))
        except FetchFailedError as error:
            return _refused(f"the archive could not be asked: {error.reason}")
        return web.json_response({"studies": [
            {"study": one.study_uid, "name": one.patient_name, "patient_id": one.patient_id, "date": one.date,
             "modalities": list(one.modalities), "description": one.description, "instances": one.instances,
             "here": one.here}
            for one in found
        ]})  # fmt: skip

    async def start(request: web.Request) -> web.Response:
        value = await request.json()
        studies = [str(uid) for uid in value["studies"]]
        if not studies or not all(0 < len(uid) <= 64 and not uid.strip("0123456789.") for uid in studies):
            return _refused("--study: a Study Instance UID is needed")
        try:
            row = await app[keys.WORK].run(_archive, value, "archive.fetch", studies)
        except CommandRefused as error:
            return _refused(str(error))
        await app[keys.ARCHIVE_STARTED].wait()
        return web.json_response({"id": app[FETCHER].start(row, studies).id, "organisation": row.organisation})

    async def read(request: web.Request) -> web.Response:
        try:
            job = app[FETCHER].job(request.match_info["organisation"], request.match_info["id"])
        except NotFound:
            return _refused("there is no such job: was the server started again?")
        return web.json_response({"over": job.over, "studies": [
            {"study": x.study_uid, "state": x.state, "error": x.error, "completed": x.completed, "failed": x.failed,
             "remaining": x.remaining, "way": x.way}
            for x in job.pieces
        ]})  # fmt: skip

    control.router.add_post("/fetch/search", search)
    control.router.add_post("/fetch/start", start)
    control.router.add_get("/fetch/{organisation}/{id}", read)


def _refused(text: str) -> web.Response:
    return web.json_response({"refused": text}, status=409)


def _archive(uow: SqlUnitOfWork, value: dict[str, Any], action: str, studies: list[str]) -> DeviceRow:
    """The device of the organisation by its title or name, after the audit rows. Raises CommandRefused."""
    place = place_of(uow, str(value.get("organisation", "")))
    if place is None:
        raise CommandRefused("there is no such organisation")
    wanted = str(value.get("device", ""))
    found = [row for row in uow.devices.of(place.id) if row.host and wanted in {row.id, row.calling, row.name}]
    if len(found) != 1:
        raise CommandRefused("that organisation has no one device of this AE title or name with an address")
    note_asked(uow, None, found[0], action, studies)
    return found[0]
