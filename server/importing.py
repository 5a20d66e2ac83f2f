"""`huizhen import FOLDER`: a folder of images into the archive, through the running server or in this process.

A journal in the data folder remembers what is done, by digest and not by name: after a kill the same command goes on.
It only saves time. What counts is that the archive knows the same bytes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from consult.errors import ConsultError
from consult.model import AuditRow
from consult.people import OrganisationId
from dicom.archive import Archive
from dicom.model import IngestResult
from server import keys
from server.control import CommandRefused, place_of
from server.dicomweb.ports import ARCHIVE
from server.matching import match_studies
from server.settings import Settings, archive_limits
from server.storage.faults import archive_fault
from server.storage.unit import SqlUnitOfWork
from server.taking import UNREADABLE, Found, Store, Taken, TryLaterError, find_files, take_file
from server.work import Work

AT_ONCE = 4
SOURCE = "import"
JOURNAL_FIELDS = 4
BASE = "http://localhost"


class ImportStoppedError(Exception):
    """The import cannot go on; what is done stays done, and the text says what to do."""


class Door(Protocol):
    """Where the bytes go."""

    organisation: str

    @property
    def store(self) -> Store:
        """For one file; durable when it returns."""

    async def settle(self, studies: Mapping[str, int]) -> dict[str, str]:
        """Match and audit the studies that came in; study → how it was matched, '' where a technician must."""


@dataclass(slots=True)
class Summary:
    """Counts by outcome and, for what was not stored, by reason; the studies held with their instances."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    studies: Counter[str] = field(default_factory=Counter)
    earlier: int = 0
    failed: int = 0
    unmatched: int = 0

    def add(self, taken: Taken) -> None:
        self.outcomes[taken.outcome] += 1
        self.failed += taken.failed
        if taken.held:
            self.studies[taken.study] += 1
        else:
            self.reasons[taken.reason] += 1


class Journal:
    """Which files of this folder are done, for this organisation. One line each; a line cut by a kill is none."""

    def __init__(self, settings: Settings, organisation: str, folder: Path) -> None:
        name = hashlib.sha256(f"{organisation}\0{folder}".encode()).hexdigest()[:32]
        self._path = settings.data / "imports" / f"{name}.log"
        self._folder = folder
        self.done: dict[str, list[Taken]] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self._path.read_text(encoding="utf-8").splitlines(keepends=True):
                parts = line.rstrip("\n").split("\t")
                if line.endswith("\n") and len(parts) == JOURNAL_FIELDS:
                    key, outcome, reason, study = parts
                    self.done.setdefault(key, []).append(Taken(outcome=outcome, reason=reason, study=study))
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def key(self, file: Found) -> str:
        """A file as it is now: changed since, it is another."""
        name = os.fsencode(file.path.relative_to(self._folder))
        return hashlib.sha256(b"%s\0%d\0%d" % (name, file.size, file.changed)).hexdigest()[:32]

    def note(self, key: str, results: list[Taken]) -> None:
        """In one write, so that a zip is done as a whole or not at all."""
        lines = (f"{key}\t{one.outcome}\t{one.reason}\t{one.study}\n" for one in results)
        os.write(self._file, "".join(lines).encode())

    def close(self, *, finished: bool) -> None:
        os.close(self._file)
        if finished:
            self._path.unlink(missing_ok=True)


async def import_folder(
    folder: Path,
    door: Door,
    journal: Journal,
    *,
    tell: Callable[[Path, Taken], None],
    progress: Callable[[int, int], None],
) -> Summary:
    """Everything below `folder`. Raises ImportStoppedError; what was stored until then is told, kept and journalled."""
    summary, total = Summary(), await asyncio.to_thread(lambda: sum(1 for _ in find_files(folder)))
    closed: list[Path] = []
    files = _Shared(find_files(folder, closed=closed))
    seen = 0

    async def work() -> None:
        nonlocal seen
        while (file := await asyncio.to_thread(next, files, None)) is not None:
            key = journal.key(file)
            results = journal.done.get(key)
            if results is None:
                results = await take_file(file.path, door.store)
                journal.note(key, results)
                for one in results:
                    tell(file.path, one)
            else:
                summary.earlier += len(results)
            for one in results:
                summary.add(one)
            seen += 1
            progress(seen, max(total, seen))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
        for path in closed:
            one = Taken(outcome="refused", reason=UNREADABLE)
            summary.add(one)
            tell(path, one)
    except BaseExceptionGroup as problems:
        first = _first(problems)
        if isinstance(first, TryLaterError):
            raise ImportStoppedError(f"stopped: {first.reason}. Run the same command again to go on") from None
        if isinstance(first, aiohttp.ClientError | ConnectionError):
            raise ImportStoppedError("the server went away. Run the same command again to go on") from None
        raise first from None
    finally:
        if summary.studies:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                matched = await door.settle(summary.studies)
                summary.unmatched = sum(not method for method in matched.values())
    return summary


class _Shared:
    """A generator that several threads may ask, one after the other."""

    def __init__(self, inner: Iterator[Found]) -> None:
        self._inner, self._lock = inner, threading.Lock()

    def __iter__(self) -> Iterator[Found]:
        return self

    def __next__(self) -> Found:
        with self._lock:
            return next(self._inner)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    one: BaseException = group
    while isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    return one


# -- what both ways share, on the side that holds the archive


def begin_import(uow: SqlUnitOfWork, wanted: str, by: str) -> str:
    """The organisation by id, name or short name, and the audit row that an import begins. Raises CommandRefused."""
    place = place_of(uow, wanted)
    if place is None:
        raise CommandRefused(f"there is no organisation {wanted}")
    _note(uow, place.id, f"organisation:{place.id}", by=by)
    return str(place.id)


def _note(uow: SqlUnitOfWork, organisation: str, object: str, **detail: Any) -> None:
    """An audit row of the house itself: it has no person, but an organisation."""
    uow.audit.append(AuditRow(
        n=0, at=uow.now, membership=None, staff=None, organisation=OrganisationId(organisation),
        action="study.store", object=object, outcome="ok", detail=detail,
    ))  # fmt: skip


def note_studies(uow: SqlUnitOfWork, organisation: str, studies: Mapping[str, int], by: str) -> None:
    """One audit row for each study that came in."""
    for study, count in studies.items():
        _note(uow, organisation, f"study:{study}", by=by, instances=count)


async def settle(
    archive: Archive, work: Work, organisation: str, studies: Mapping[str, int], by: str
) -> dict[str, str]:
    """Audit and match what came in through a folder."""
    await work.run(note_studies, organisation, studies, by)
    return await match_studies(archive, work, OrganisationId(organisation), studies)


def taken_of(result: IngestResult) -> Taken:
    """An answer of the archive."""
    return Taken(outcome=result.outcome, reason=result.reason or "", study=result.study_uid)


def store_into(archive: Archive, organisation: str, source: str) -> Store:
    """For `take_file`: into this archive, for this organisation."""

    async def store(body: AsyncIterator[bytes]) -> Taken:
        return taken_of(await archive.ingest(body, organisation=organisation, source=source))

    return store


class OwnDoor:
    """No server runs: this process has opened database and archive."""

    def __init__(self, archive: Archive, work: Work, organisation: str) -> None:
        self._archive, self._work, self.organisation = archive, work, organisation
        self.store = store_into(archive, organisation, SOURCE)

    async def settle(self, studies: Mapping[str, int]) -> dict[str, str]:
        """See Door."""
        return await settle(self._archive, self._work, self.organisation, studies, SOURCE)


class ServerDoor:
    """Through the local socket of the server that runs."""

    def __init__(self, session: aiohttp.ClientSession, organisation: str) -> None:
        self._session, self.organisation = session, organisation

    async def store(self, body: AsyncIterator[bytes]) -> Taken:
        """See Door."""
        params = {"organisation": self.organisation}
        async with self._session.put(f"{BASE}/import", params=params, data=body) as answer:
            return Taken(**await _value(answer))

    async def settle(self, studies: Mapping[str, int]) -> dict[str, str]:
        """See Door."""
        value = {"organisation": self.organisation, "studies": dict(studies)}
        async with self._session.post(f"{BASE}/import/settle", json=value) as answer:
            return await _value(answer)


async def _value(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    value = await answer.json()
    if answer.status != web.HTTPOk.status_code:
        raise CommandRefused(str(value.get("refused", "the server refused")))
    return dict(value)


@contextlib.asynccontextmanager
async def open_door(settings: Settings, wanted: str) -> AsyncIterator[Door]:
    """The running server, else the data folder itself. Raises CommandRefused, StorageUnavailable."""
    if settings.control_socket.exists():
        connector = aiohttp.UnixConnector(str(settings.control_socket))
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            try:
                async with session.post(f"{BASE}/import/begin", json={"organisation": wanted}) as answer:
                    organisation = str((await _value(answer))["organisation"])
            except aiohttp.ClientConnectorError:
                pass  # a socket left behind by a server that was killed
            else:
                yield ServerDoor(session, organisation)
                return
    async with _own(settings, wanted) as door:
        yield door


@contextlib.asynccontextmanager
async def _own(settings: Settings, wanted: str) -> AsyncIterator[Door]:
    from server.storage import engine, migrations

    database = engine.open(settings.database_url)
    work = Work(database)
    try:
        await asyncio.to_thread(migrations.apply, database)
        organisation = await work.run(begin_import, wanted, SOURCE)
        archive = await asyncio.to_thread(
            lambda: Archive.open(settings.data / "archive", limits=archive_limits(settings), fault=archive_fault)
        )
        try:
            await archive.start()
            yield OwnDoor(archive, work, organisation)
        finally:
            await archive.close()
    finally:
        await asyncio.to_thread(work.close)


def add_import_routes(app: web.Application, control: web.Application) -> None:
    """The server's side of ServerDoor, on the local socket that only the owner of the data folder opens."""

    async def begin(request: web.Request) -> web.Response:
        value = await request.json()
        try:
            found = await app[keys.WORK].run(begin_import, str(value.get("organisation", "")), SOURCE)
        except CommandRefused as error:
            return web.json_response({"refused": str(error)}, status=409)
        return web.json_response({"organisation": found})

    async def store(request: web.Request) -> web.Response:
        await app[keys.ARCHIVE_STARTED].wait()
        organisation = request.query.get("organisation", "")
        try:
            await app[keys.WORK].read(lambda uow: uow.people.organisation(OrganisationId(organisation)))
        except ConsultError:
            return web.json_response({"refused": "there is no such organisation"}, status=409)
        taken = await store_into(app[ARCHIVE], organisation, SOURCE)(request.content.iter_any())
        return web.json_response({"outcome": taken.outcome, "reason": taken.reason, "study": taken.study})

    async def settled(request: web.Request) -> web.Response:
        value = await request.json()
        return web.json_response(
            await settle(app[ARCHIVE], app[keys.WORK], str(value["organisation"]), value["studies"], SOURCE)
        )

    control.router.add_post("/import/begin", begin)
    control.router.add_put("/import", store)
    control.router.add_post("/import/settle", settled)
