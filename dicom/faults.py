"""The named places where a power cut or a kill hurts most. Tests stop the process at each of them.

A hook `fault(name)` is called there; it may raise OSError (a failing disk) or end the process.
"""

from __future__ import annotations

from collections.abc import Callable

Fault = Callable[[str], None]

POINTS: tuple[str, ...] = (
    "stage.create",
    "stage.write",
    "stage.header",
    "stage.fsync",
    "stage.rename",
    "stage.dirsync",
    "pack.create",
    "pack.create.fsync",
    "pack.create.dirsync",
    "pack.write",
    "pack.write.half",
    "pack.write.done",
    "pack.fsync",
    "pack.fsync.done",
    "index.begin",
    "index.apply",
    "index.commit",
    "index.commit.done",
    "acknowledge",
    "checkpoint",
)

DROP_POINTS: tuple[str, ...] = ("drop.unlink", "drop.dirsync")
"""When a compacted pack goes; its copies pass the points of any pack."""


def no_fault(name: str) -> None:
    """The default: nothing happens."""
