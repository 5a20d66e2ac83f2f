from __future__ import annotations

import pytest_asyncio

from dicom.archive import Archive
from dicom.model import Scope


@pytest_asyncio.fixture
async def archive(tmp_path):
    """Without workers: enough for everything that needs no decoding, and quick to start."""
    opened = Archive.open(tmp_path / "archive", worker_count=0)
    await opened.start()
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def working_archive(tmp_path):
    """With one worker process."""
    opened = Archive.open(tmp_path / "archive", worker_count=1)
    await opened.start()
    yield opened
    await opened.close()


def seen_by(*organisations, studies=(), hidden=()):
    return Scope(organisations=frozenset(organisations), studies=frozenset(studies), hidden=frozenset(hidden))
