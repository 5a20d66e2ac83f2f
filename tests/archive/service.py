"""The DICOMweb routes alone, over an archive with a few real files, and how a client asks them."""

from __future__ import annotations

import email

import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from dicom.archive import Archive
from dicom.model import Scope
from server.dicomweb.handlers import ROUTES
from server.dicomweb.ports import ARCHIVE, LEAVES, SCOPE_FOR
from server.paper.leaf import Leaves
from tests.archive.files import real


class Service:
    def __init__(self, archive):
        self.archive = archive
        self.scope = Scope(organisations=frozenset({"A"}), holder="A")
        self.asked = []

    async def scope_for(self, request, action, study_uid):
        self.asked.append((action, study_uid))
        return self.scope


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory):
    archive = Archive.open(tmp_path_factory.mktemp("web"), worker_count=1)
    await archive.start()
    held = Service(archive)
    app = web.Application(client_max_size=1 << 30)
    app[ARCHIVE] = archive
    app[SCOPE_FOR] = held.scope_for
    app[LEAVES] = Leaves()
    for method, path, handler, _action in ROUTES:
        app.router.add_route(method, path, handler)
        if method == "GET":
            app.router.add_route("HEAD", path, handler)
    held.rows = {}
    for name in (
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "examples_ybr_color.dcm",
        "waveform_ecg.dcm",
        "JPEG2000.dcm",
        "MR_small_bigendian.dcm",
    ):
        organisation = "A" if name != "MR_small_bigendian.dcm" else "B"
        result = await archive.ingest(real(name), organisation=organisation, source="test")
        assert result.outcome == "stored"
        held.rows[name] = result
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        held.client = client
        yield held
    await archive.close()


def url(service, name, rest=""):
    r = service.rows[name]
    return f"/dicom-web/studies/{r.study_uid}/series/{r.series_uid}/instances/{r.sop_uid}{rest}"


async def get(service, path, accept=None, **headers):
    if accept is not None:
        headers["Accept"] = accept
    headers.setdefault("Accept-Encoding", "identity")
    response = await service.client.get(path, headers=headers)
    return response, await response.read()


def parts_of(response, body):
    kind = response.headers["Content-Type"]
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    boundary = message.get_boundary().encode()
    out = []
    for piece in body.split(b"--" + boundary)[1:-1]:
        head, _, data = piece.partition(b"\r\n\r\n")
        out.append((head.decode().strip(), data.removesuffix(b"\r\n")))
    return out
