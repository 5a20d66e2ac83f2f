"""What the tests of the archive's doors share: an import, the server that takes it, and what is then held."""

from __future__ import annotations

import io
import zipfile

import pytest
from aiohttp import web

from dicom.model import IngestResult, Scope
from server.control import control_app
from server.dicomweb.ports import ARCHIVE
from server.importing import Journal, import_folder, open_door


def zipped(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


def quiet(*_):
    return None


async def take(settings, folder, organisation, told=None):
    async with open_door(settings, organisation) as door:
        journal = Journal(settings, door.organisation, folder)
        finished = False
        try:
            found = await import_folder(
                folder, door, journal, progress=quiet,
                tell=lambda path, one: told is None or told.append((path.name, one.outcome, one.reason)),
            )  # fmt: skip
            finished = True
        finally:
            journal.close(finished=finished)
        return found


@pytest.fixture
async def serving(client, app, settings):
    """The application listens on its local socket too."""
    runner = web.AppRunner(control_app(app))
    await runner.setup()
    await web.UnixSite(runner, str(settings.control_socket)).start()
    yield app
    await runner.cleanup()
    settings.control_socket.unlink(missing_ok=True)


def held(app, organisation):
    return app[ARCHIVE].instances(Scope(organisations=frozenset({organisation})))


def refusing(reason):
    async def ingest(body, **_):
        async for _piece in body:
            pass
        return IngestResult(outcome="refused", reason=reason)

    return ingest
