"""Removing a study: what is removed, and what goes with it. Who may, and when, is decided elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dicom.index import life, removal
from dicom.model import Removal

if TYPE_CHECKING:
    from dicom.archive import Archive


async def remove_study(
    archive: Archive,
    *,
    id: str,
    organisation: str,
    study_uid: str,
    stored_before: datetime,
    by: str,
    approved_by: str,
    reason: str,
) -> None:
    """Tombstone all that is shown under a study to an organisation. Returns when that is durable.

    From then on no door shows it, no rescan brings it back, and compaction leaves its bytes behind. Others who hold
    the same bytes keep them. Asked again with the same id it does nothing. Raises CorrectionError with a reason of
    `Settler.remove`, DicomError.
    """
    if await archive.read_index(lambda link: removal.is_done(link, id)):
        return
    series = await archive.read_index(lambda link: life.series_shown(link, organisation, study_uid))
    one = Removal(
        id=id, organisation=organisation, study_uid=study_uid, series=tuple(sorted(series)), by=by,
        stored_before=stored_before.isoformat(timespec="milliseconds"),
        at=archive.now().isoformat(timespec="milliseconds"), approved_by=approved_by, reason=reason,
    )  # fmt: skip
    gone = await archive.settling.remove(one)
    await asyncio.to_thread(_forget_pictures, archive.root / "cache", gone)


def _forget_pictures(cache: Path, digests: Iterable[str]) -> None:
    for digest in digests:
        for path in (cache / digest[:2]).glob(f"{digest}-*"):
            path.unlink(missing_ok=True)
