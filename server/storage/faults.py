"""Named points where a durability test kills the process. In service each call is one dictionary look-up."""

import os
import signal
from collections.abc import Callable

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


_armed = _parse(os.environ.get("HUIZHEN_FAULT", ""))
_hooks: list[Callable[[str], None]] = []


def fault(name: str) -> None:
    """Die by SIGKILL here when armed; tests may also add a hook that raises."""
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


def add_hook(hook: Callable[[str], None]) -> Callable[[], None]:
    """For tests: call `hook(point)` at every point until the returned function is called."""
    _hooks.append(hook)
    return lambda: _hooks.remove(hook)
