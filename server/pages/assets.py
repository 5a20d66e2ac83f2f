"""Static files: addresses with a digest of the content, long caching for those, compression once per file."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import mimetypes
import time
from functools import cache, partial
from pathlib import Path, PurePosixPath

from aiohttp import web
from markupsafe import Markup

from server.i18n import english
from server.problems import Refused

ROOT = Path(__file__).resolve().parent.parent.parent
STATIC = ROOT / "static"
FOLDERS = frozenset({"css", "js", "dist", "ecg", "img", "sounds"})
FILES = frozenset({"icon.svg", "manifest.webmanifest"})
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
PACKED = frozenset({".js", ".mjs", ".css", ".svg", ".json", ".wasm", ".webmanifest"})
FOREVER = "public, max-age=31536000, immutable"
WORDS = "i18n/en.js"
"""Made, not a file: the English of the browser's code, a classic script that runs before the modules that need it."""
LOOK_AGAIN_S = 0.5
"""A page names the same files dozens of times: the disk is asked once for all of them."""


@cache
def words_script() -> bytes:
    """The script behind `WORDS`: what static/js/i18n.js finds in `globalThis.words`."""
    texts = json.dumps(dict(english().browser), ensure_ascii=False, separators=(",", ":"))
    return f"globalThis.words={texts};\n".encode()


class Assets:
    """Knows each file's digest and, once asked for, its compressed form; both follow the file's time stamp."""

    def __init__(self, root: Path = STATIC) -> None:
        self.root = root
        self._known: dict[str, tuple[int, str]] = {}
        self._looked: dict[str, tuple[float, str | None]] = {}
        self._icons: dict[tuple[str, str], Markup] = {}
        self._packed: dict[str, tuple[str, bytes]] = {}

    def version(self, path: str) -> str | None:
        """Twelve characters that change with the file; None when there is no such file."""
        moment = time.monotonic()
        looked = self._looked.get(path)
        if looked is not None and moment - looked[0] < LOOK_AGAIN_S:
            return looked[1]
        version = self._digest(path)
        if version is not None:     # names of files that are not there come from anyone and are not kept
            self._looked[path] = (moment, version)
        return version

    def _digest(self, path: str) -> str | None:
        if path == WORDS:
            return hashlib.sha256(words_script()).hexdigest()[:12]
        file = self.root / path
        try:
            stamp = file.stat().st_mtime_ns
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                known = self._known[path] = (stamp, hashlib.sha256(file.read_bytes()).hexdigest()[:12])
        except OSError:
            return None
        return known[1]

    def url(self, path: str) -> str:
        """`/static/<path>?v=<digest>`; the plain address for a file that is not there (a test finds those)."""
        version = self.version(path)
        return f"/static/{path}?v={version}" if version else f"/static/{path}"

    def icon(self, name: str) -> Markup:
        """An icon of the sprite; decorative, so it is hidden from screen readers."""
        key = (self.url("dist/icons.svg"), name)
        made = self._icons.get(key)
        if made is None:
            made = Markup('<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>').format(*key)
            self._icons[key] = made
        return made

    def read(self, path: str) -> bytes:
        """The bytes behind a served path; blocks."""
        return words_script() if path == WORDS else (self.root / path).read_bytes()

    def packed(self, path: str, version: str) -> bytes:
        """The file's gzip form, made once per version; blocks, so only for worker threads."""
        known = self._packed.get(path)
        if known is None or known[0] != version:
            data = gzip.compress(self.read(path), 6, mtime=0)
            known = self._packed[path] = (version, data)
        return known[1]


ASSETS: web.AppKey[Assets] = web.AppKey("assets", Assets)


def served(path: str) -> bool:
    """Only what a browser runs: no build scripts, no hidden files, no way out of the folder."""
    if path == WORDS:
        return True
    parts = PurePosixPath(path).parts
    if not parts or any(part.startswith(".") for part in parts) or "\\" in path or path.startswith("/"):
        return False
    return parts[0] in FOLDERS if len(parts) > 1 else path in FILES


async def static_file(request: web.Request) -> web.StreamResponse:
    """GET /static/<path>: immutable under its digest, else revalidated by ETag (RFC 9110 §13)."""
    path = request.match_info["path"]
    assets = request.app[ASSETS]
    version = await asyncio.to_thread(assets.version, path) if served(path) else None
    if version is None:
        raise Refused("not_found")
    suffix = PurePosixPath(path).suffix
    headers = {
        "ETag": f'"{version}"',
        "Cache-Control": FOREVER if request.query.get("v") == version else "no-cache",
        "Content-Type": TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream",
    }
    if suffix in PACKED:
        headers["Vary"] = "Accept-Encoding"
    if any(tag.value == version for tag in request.if_none_match or ()):
        headers.pop("Content-Type")
        return web.Response(status=304, headers=headers)
    if suffix in PACKED and "gzip" in request.headers.get("Accept-Encoding", ""):
        data = await asyncio.get_running_loop().run_in_executor(None, partial(assets.packed, path, version))
        return web.Response(body=data, headers=headers | {"Content-Encoding": "gzip"})
    if path == WORDS:
        return web.Response(body=assets.read(path), headers=headers)
    return web.FileResponse(assets.root / path, headers=headers)
