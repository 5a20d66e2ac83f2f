"""`huizhen import FOLDER --organisation X`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

SAID = {"stored": "stored", "duplicate": "already there", "conflict": "quarantine", "refused": "refused"}


def add_import(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser("import", help="take a folder of DICOM files in; run again, it goes on")
    command.add_argument("folder", type=Path, help="a folder, a disc; zips inside are opened, links not followed")
    command.add_argument("--organisation", required=True, help="who holds the images: its id, name or short name")
    command.add_argument("--quiet", action="store_true", help="only what needs a person, and the summary")
    command.add_argument("--data", type=Path, help="data folder")
    command.set_defaults(run=run_import)


def run_import(options: argparse.Namespace) -> int:
    """Status 0 when every image is held, 1 when some were refused, are in quarantine, or the import stopped."""
    from server.cli import EXIT_REFUSED, fail, installation_of
    from server.control import CommandRefused
    from server.importing import ImportStoppedError, Journal, Summary, import_folder, open_door
    from server.taking import Taken, words

    settings = installation_of(options)
    folder = options.folder.resolve()
    if not folder.is_dir():
        return fail(f"{options.folder}: no such folder")

    def tell(path: Path, taken: Taken) -> None:
        if options.quiet and not taken.failed:
            return
        entry = f" [{taken.entry}]" if taken.entry else ""
        why = f"  {taken.reason}: {words(taken.reason)}" if taken.reason else ""
        wipe()
        print(f"{SAID[taken.outcome]:<13} {printable(path.relative_to(folder))}{entry}{why}", flush=True)

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total} files ", end="", file=sys.stderr, flush=True)

    async def work() -> Summary:
        async with open_door(settings, options.organisation) as door:
            journal = Journal(settings, door.organisation, folder)
            finished = False
            try:
                found = await import_folder(folder, door, journal, tell=tell, progress=progress)
                finished = True
            finally:
                journal.close(finished=finished)
            return found

    try:
        summary = asyncio.run(work())
    except (CommandRefused, ImportStoppedError) as error:
        wipe()
        return fail(str(error))
    except OSError as error:
        return fail(f"{options.folder}: {error.strerror or error}")
    wipe()
    for line in lines_of(summary):
        print(line)
    return EXIT_REFUSED if summary.failed else 0


def wipe() -> None:
    """Take the line of progress away."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def printable(path: Path) -> str:
    """A name as text that cannot steer a terminal."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def lines_of(summary: Any) -> list[str]:
    """The summary, in lines."""
    counts = ", ".join(f"{summary.outcomes[name]} {said}" for name, said in SAID.items())
    out = [counts + (f" ({summary.earlier} of these in an earlier run)" if summary.earlier else "")]
    out += [f"  {count} {reason}" for reason, count in sorted(summary.reasons.items())]
    if summary.studies:
        out.append(f"{len(summary.studies)} studies, {summary.unmatched} of them wait for a technician to match them")
    return out
