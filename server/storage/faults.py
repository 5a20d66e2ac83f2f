"""Named points where a durability test kills the process. In service each call is one dictionary look-up."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

POINTS = (
    "migration_before_commit",
    "unit_begun",
    "before_commit",
    "after_commit_before_publish",
    "after_commit_before_ack",
    "blob_before_fsync",
    "blob_before_rename",
    "blob_before_directory_fsync",
    "checkpoint",
    "upload_before_fsync",
    "upload_before_result",
    "key_before_fsync",
    "key_before_rename",
    "key_before_directory_fsync",
    "report_before_record",
    "report_after_record",
    "filing_before_filed",
)


def _parse(text: str) -> dict[str, int]:
    """`name` or `name:3` (the third time), comma separated."""
    armed: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, count = part.partition(":")
        armed[name] = int(count or 1)
    return armed


def _given(text: str) -> tuple[dict[str, int], Path | None]:
    """What HUIZHEN_FAULT arms: points at once, or with `@FILE` those that a test writes into the file later."""
    if text.startswith("@"):
        return {}, Path(text[1:])
    return _parse(text), None


_armed, _file = _given(os.environ.get("HUIZHEN_FAULT", ""))
_hooks: list[Callable[[str], None]] = []


def _look(file: Path) -> None:
    """Take what the test has written, once."""
    with suppress(FileNotFoundError):
        text = file.read_text(encoding="utf-8")
        file.unlink()
        _armed.clear()
        _armed.update(_parse(text))


def fault(name: str) -> None:
    """Die by SIGKILL here when armed; tests may also add a hook that raises."""
    if _file is not None:
        _look(_file)
    if not _armed and not _hooks:
        return
    for hook in _hooks:
        hook(name)
    left = _armed.get(name)
    if left is None:
        return
    if left > 1:
        _armed[name] = left - 1
        return
    os.kill(os.getpid(), signal.SIGKILL)


def archive_fault(name: str) -> None:
    """The archive's own points (dicom/faults.py) under `archive.`, so that equal names stay apart."""
    fault(f"archive.{name}")


def add_hook(hook: Callable[[str], None]) -> Callable[[], None]:
    """For tests: call `hook(point)` at every point until the returned function is called."""
    _hooks.append(hook)
    return lambda: _hooks.remove(hook)
