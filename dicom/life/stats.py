"""Figures of an archive folder, read beside a running server."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom.index import compaction, life
from dicom.index.schema import connect_reader
from dicom.index.writer import packs_known
from dicom.packs.read import list_packs


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Sizes in bytes. `dead`: of packs, what no row points to (labels, records that were superseded)."""

    studies: int
    series: int
    instances: int
    datasets: int  # what several organisations hold is one
    quarantined: int
    held: dict[str, tuple[int, int]]  # organisation → (instances, bytes)
    packs: int
    sealed: int
    pack_bytes: int
    dead: int
    retired: int  # of the dead: of packs that were compacted and are kept a while
    damaged: int
    damaged_instances: tuple[life.Damaged, ...]
    missing: tuple[int, ...]  # packs the index knows and the disk does not
    scrub: dict[str, Any]  # began, finished, bytes, gaps


def stats_of(root: Path) -> Stats:
    """Read the index and the folder. Raises sqlite3.Error, OSError."""
    with contextlib.closing(connect_reader(root / "index.sqlite")) as connection:
        counts = life.counts(connection)
        known = packs_known(connection)
        on_disk = list_packs(root)
        size = sum(path.stat().st_size for path in on_disk.values())
        retired = compaction.retired(connection)
        return Stats(
            studies=counts["study"],
            series=counts["series"],
            instances=counts["instance"],
            datasets=counts["blob"],
            quarantined=counts["quarantine"],
            held=life.bytes_held(connection),
            packs=len(on_disk),
            sealed=sum(sealed for _, sealed in known.values()),
            pack_bytes=size,
            dead=max(size - life.live_bytes(connection), 0),
            retired=sum(on_disk[pack].stat().st_size for pack in set(retired) & set(on_disk)),
            damaged=life.damaged_count(connection),
            damaged_instances=tuple(life.damaged_instances(connection)),
            missing=tuple(sorted(set(known) - set(on_disk) - set(retired))),
            scrub=life.scrub_state(connection),
        )
