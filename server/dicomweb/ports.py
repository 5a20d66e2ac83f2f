"""What DICOMweb needs from the application: the archive, and whose eyes a request looks through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from dicom.archive import Archive
from dicom.model import Scope
from server.paper.leaf import Leaves

ARCHIVE: web.AppKey[Archive] = web.AppKey("archive", Archive)

ScopeFor = Callable[[web.Request, str, str | None], Awaitable[Scope]]
"""`await scope_for(request, action, study_uid)`.

Decides permission, writes the audit row or issues the viewing grant, and returns what may be seen; it raises the HTTP
problem itself when the caller may not. `study_uid` is None for a search over studies and a store without a study.
For "store" the scope's `holder` is the organisation that will hold what is sent.

Actions: "search" (QIDO-RS), "metadata", "pixels" (frames, rendered, thumbnail, waveform, bulk data, a document),
"download" (original DICOM), "store" (STOW-RS).
"""

Stored = Callable[[str, str], None]
STORED: web.AppKey[Stored] = web.AppKey("stored")
"""`stored(organisation, study_uid)`: told after a store, so that somebody asks whose the study is. Must not block.
The archive by itself does without."""
LEAVES: web.AppKey[Leaves] = web.AppKey("leaves", Leaves)
SCOPE_FOR: web.AppKey[ScopeFor] = web.AppKey("scope_for")
