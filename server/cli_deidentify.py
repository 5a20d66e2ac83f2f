"""`huizhen dicom deidentify`: a study without identity, as part-10 files in a folder (PS3.15 Annex E)."""

from __future__ import annotations

import argparse
import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from dicom.deidentify import Options
    from dicom.model import InstanceRow
    from dicom.retrieve import Retriever

DATES = ("remove", "modified", "full")
WARNED = {
    "burned_in_said": "say that words are burned into the picture: look at each before it leaves the house",
    "burned_in_likely": "are of a kind that often has words burned into the picture: look at them",
}
REFUSED = {
    "document_not_cleaned": "documents and structured reports, whose text nobody can clean by rule",
    "identity_left": "still named the patient, in a place that no rule covers",
}


def add_deidentify(actions: Any) -> argparse.ArgumentParser:
    """The command and its options, below `huizhen dicom`."""
    command: argparse.ArgumentParser = actions.add_parser(
        "deidentify", help="a study without identity (PS3.15 Annex E), as files in a folder"
    )
    command.add_argument("study", help="Study Instance UID")
    command.add_argument("folder", type=Path, help="a new or empty folder outside the data folder")
    command.add_argument("--organisation", default="", help="id of the holder, where several hold the study")
    dates = "remove (default); modified: all of a patient moved alike; full: kept"
    command.add_argument("--dates", choices=DATES, default="remove", help=dates)
    command.add_argument("--keep-device", action="store_true", help="Retain Device Identity")
    command.add_argument("--keep-patient", action="store_true", help="Retain Patient Characteristics (sex, age, …)")
    descriptions = "Clean Descriptors: descriptions stay unless they name someone"
    command.add_argument("--keep-descriptions", action="store_true", help=descriptions)
    command.set_defaults(run=run_deidentify)
    return command


@dataclass(slots=True, kw_only=True)
class Exported:
    """What an export did: files written, what was refused and what must be looked at, by reason."""

    written: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)


def run_deidentify(options: argparse.Namespace) -> int:
    """Audited first, then read beside the running server; the archive itself is not touched."""
    from dicom.deidentify import Options
    from server.cli import EXIT_REFUSED, fail, installation_of
    from server.control import CommandRefused, execute

    settings = installation_of(options)
    target = options.folder.resolve()
    if target.is_relative_to(settings.data.resolve()):
        raise SettingsError("the export does not belong into the data folder")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SettingsError(f"{options.folder} is not an empty folder")
    wanted = Options(
        dates=options.dates, device=options.keep_device, patient=options.keep_patient, text=options.keep_descriptions
    )
    rows = rows_of(settings, options.study, options.organisation)
    if not rows:
        return fail("there is no such study")
    try:
        execute(settings, {"command": "deidentify", "study": options.study, "dates": wanted.dates})
    except CommandRefused as error:
        return fail(str(error))
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    done = asyncio.run(export(settings, rows, target, wanted))
    print(f"{done.written} of {len(rows)} instances written")
    for reason, count in sorted(done.refused.items()):
        print(f"{count} not written: {REFUSED.get(reason, reason)}")
    for reason, count in sorted(done.warned.items()):
        print(f"{count} {WARNED[reason]}")
    return EXIT_REFUSED if done.refused else 0


def rows_of(settings: Settings, study: str, organisation: str) -> list[InstanceRow]:
    """The instances of a study, of one holder if named, read from the index as it is."""
    from dicom.index.reader import IndexReader
    from dicom.model import Query, Scope

    path = settings.data / "archive" / "index.sqlite"
    if not path.is_file():
        raise SettingsError(f"{settings.data} holds no archive yet")
    reader = IndexReader(path)
    scope = Scope(organisations=frozenset({organisation})) if organisation else Scope.everything()
    try:
        return reader.instances(scope, Query(matches={"StudyInstanceUID": study}), 1 << 20)
    finally:
        reader.close()


async def export(settings: Settings, rows: list[InstanceRow], target: Path, options: Options) -> Exported:
    """Write what can be written. The secret that joins old and new identities is thrown away at the end."""
    from dataclasses import asdict

    from dicom.errors import DicomError
    from dicom.model import Limits
    from dicom.packs.read import PackReader
    from dicom.retrieve import Retriever
    from dicom.workers.pool import WorkerPool

    root, limits = settings.data / "archive", Limits()
    workers = WorkerPool(1, limits)
    packs = PackReader(root)
    retriever = Retriever(root, packs, workers, limits)
    key = secrets.token_bytes(32)
    done = Exported()
    await workers.start()
    try:
        for row in rows:
            try:
                made = await retriever.deidentified(row, key, asdict(options))
                name = f"{made['series'][-12:]}-{done.written + 1:06}.dcm"
                await asyncio.to_thread(_write, target / name, _pieces(retriever, row, made))
            except DicomError as error:
                done.refused[error.reason] += 1
                continue
            done.written += 1
            done.warned.update(made["warnings"])
    finally:
        await workers.close()
    return done


def _pieces(retriever: Retriever, row: InstanceRow, made: dict[str, Any]) -> Iterator[bytes]:
    """The head, then the pixels in pieces, as they are stored."""
    from dicom.retrieve import ByteRange

    yield made["head"]
    if made["pixels"] is not None:
        offset, length = made["pixels"]
        for start in range(0, length, 4 << 20):
            size = min(4 << 20, length - start)
            place = row.place.body_offset + offset + start
            yield retriever.read(ByteRange(pack=row.place.pack, offset=place, length=size))


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        for piece in pieces:
            file.write(piece)
