"""Pictures kept on disk. Losing them costs time and nothing else."""

from __future__ import annotations

import os
from pathlib import Path


def read_or_none(path: Path) -> bytes | None:
    """What is kept there; None where nothing is."""
    try:
        return path.read_bytes() or None
    except OSError:
        return None


def keep(path: Path, data: bytes) -> None:
    """A cache: failing to keep is no failure, and half a file is never seen."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def trim_cache(root: Path, limit: int) -> None:
    """Remove the oldest thumbnails beyond `limit` bytes."""
    files = [
        (path.stat().st_mtime, path.stat().st_size, path)
        for path in (root / "cache").glob("*/*")
        if path.is_file()
    ]
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
