"""Backup while everything runs, and restore into an empty folder.

The order makes the copy consistent: first the databases that speak of images, then what they name, then the index,
then the packs. Packs and named-by-digest files only grow, so a later backup into the same folder copies little, and one
that is interrupted leaves the former whole: its manifest goes on naming its own snapshot and sizes.

    manifest.json            sizes and SHA-256 of everything below
    snapshots/NAME/…         databases, the index, small folders
    packs/0000/00000001.pack the first so many bytes of each pack
    growing/NAME/ab/DIGEST   files named by the SHA-256 of their bytes
    lasting/NAME/ab/DIGEST   other large files, by the SHA-256 of what was copied; the manifest has their names
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from dicom.index.schema import connect_reader
from dicom.index.writer import get_fact, packs_known
from dicom.life.scrub import Findings, examine
from dicom.packs.append import FULL, pack_path, sync_directory, sync_new_directories
from dicom.packs.read import PackFile, list_packs

FORMAT = 1
_CHUNK = 4 << 20
_INDEX = "index.sqlite"
Tell = Callable[[int, int], None]


class BackupError(Exception):
    """The backup or the restore cannot be made; the text says why, for a console."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is copied beside the archive folder `archive`, by the name it has in the data folder.

    `databases`: SQLite files, taken first. `growing`: folders of files named by their SHA-256. `lasting`: folders of
    large files that seldom change. `small`: other folders.
    """

    archive: Path
    databases: Mapping[str, Path] = field(default_factory=dict)
    growing: Mapping[str, Path] = field(default_factory=dict)
    lasting: Mapping[str, Path] = field(default_factory=dict)
    small: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """What a backup or a restore did. `wrong`: what is not what it should be, by name."""

    packs: int
    copied: int  # bytes
    total: int  # bytes named by the manifest
    wrong: tuple[str, ...]


def copy_database(source: Path, target: Path) -> None:
    """A consistent snapshot of a SQLite file that others write to. Blocks."""
    reading = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
    with contextlib.closing(reading), contextlib.closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
    target.chmod(0o600)
    _sync(target)


def backup(sources: Sources, target: Path, *, now: datetime, tell: Tell = lambda _done, _total: None) -> BackupReport:
    """Copy everything into `target`, which may hold an earlier backup of the same archive. Blocks.

    Everything acknowledged before the call is in it. Raises BackupError, OSError (the target is full).
    """
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    former = read_manifest(target) if (target / "manifest.json").exists() else {}
    name = now.strftime("%Y%m%dT%H%M%S%fZ")
    snapshot = target / "snapshots" / name
    snapshot.mkdir(parents=True, mode=0o700)
    manifest: dict[str, Any] = {"format": FORMAT, "began": now.isoformat(), "snapshot": name, "files": {}}
    # Before the databases and after them: what is made of a file in between leaves both, whatever its row says.
    before = _lasting_of(sources, target, former.get("lasting", {}))
    for database, path in sources.databases.items():
        copy_database(path, snapshot / database)
        manifest["files"][database] = _described(snapshot / database)
    after = _lasting_of(sources, target, before)
    manifest["lasting"] = {folder: before[folder] | files for folder, files in after.items()}
    manifest["growing"] = {
        folder: _copy_growing(path, target / "growing" / folder) for folder, path in sources.growing.items()
    }
    for folder, path in sources.small.items():
        for file in sorted(item for item in path.rglob("*") if item.is_file()):
            where = f"{folder}/{file.relative_to(path)}"
            (snapshot / where).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _copy(file, snapshot / where)
            manifest["files"][where] = _described(snapshot / where)
    copy_database(sources.archive / _INDEX, snapshot / _INDEX)
    manifest["index"] = _described(snapshot / _INDEX)
    marks, manifest["archive"] = _marks(sources.archive / _INDEX)
    if former.get("archive", manifest["archive"]) != manifest["archive"]:
        shutil.rmtree(snapshot)
        raise BackupError(f"{target} holds the backup of another archive; name another folder")
    copied, wrong = _copy_packs(sources.archive, target, marks, former.get("packs", {}), manifest, tell)
    _write_manifest(target, manifest)
    for old in (target / "snapshots").iterdir():
        if old.name != name:
            shutil.rmtree(old)
    for pack, path in list_packs(target).items():
        if str(pack) not in manifest["packs"]:  # compacted since, and dropped
            path.unlink()
    named = {entry["sha256"] for files in manifest["lasting"].values() for entry in files.values()}
    for path in (target / "lasting").glob("*/??/*"):
        if path.name not in named:  # changed or removed since
            path.unlink()
    total = sum(entry["bytes"] for entry in manifest["packs"].values())
    return BackupReport(packs=len(manifest["packs"]), copied=copied, total=total, wrong=tuple(wrong))


def _marks(index: Path) -> tuple[dict[int, int], str]:
    """Pack → how far it is in the index by now: whole records, every acknowledged one among them."""
    with contextlib.closing(connect_reader(index)) as connection:
        marks = {pack: mark for pack, (mark, _) in packs_known(connection).items()}
        return marks, get_fact(connection, "archive") or ""


def _copy_packs(
    archive: Path, target: Path, marks: dict[int, int], former: dict[str, Any], manifest: dict[str, Any], tell: Tell
) -> tuple[int, list[str]]:
    copied, done, wrong = 0, 0, []
    total = sum(marks.values())
    manifest["packs"] = {}
    for pack, mark in sorted(marks.items()):
        path = pack_path(target, pack)
        sync_new_directories(path.parent, target)
        have = path.stat().st_size if path.exists() else 0
        known = former.get(str(pack))
        if known is not None and known["bytes"] > mark:
            raise BackupError(f"the backup holds more of pack {pack} than the archive does; name another folder")
        if known is None or known["bytes"] != mark or have < mark:
            try:
                copied += _extend(pack_path(archive, pack), path, min(have, mark), mark)
            except OSError as error:
                if error.errno in FULL:
                    raise
                mark = min(path.stat().st_size if path.exists() else 0, mark)  # what can be had of it is kept
                wrong.append(f"pack {pack}")
                path.touch(mode=0o600)
            found = Findings()
            for _ in examine(PackFile(path).read, pack, mark, iter(()), found):
                pass
            wrong += [f"pack {pack} at {offset}" for offset in found.gaps]
            known = {"bytes": mark, "sha256": _digest(path, mark)}
        manifest["packs"][str(pack)] = known
        done += mark
        tell(done, total)
    return copied, wrong


def _extend(source: Path, target: Path, start: int, end: int) -> int:
    """Append what `target` lacks of the first `end` bytes of `source`; what is there already is never written again."""
    with source.open("rb") as reading, _private(target, os.O_RDWR | os.O_CREAT | os.O_APPEND, "ab+") as writing:
        writing.truncate(start)
        writing.seek(0)
        for before in _chunks(reading, start):
            if writing.read(len(before)) != before:
                raise BackupError(f"{target.stem} differs from its copy in the backup; name another folder")
        reading.seek(start)
        left = end - start
        while left and (data := reading.read(min(_CHUNK, left))):
            writing.write(data)
            left -= len(data)
        writing.flush()
        os.fsync(writing.fileno())
    sync_directory(target.parent)
    if left:
        raise OSError(5, "the pack is shorter than the index says")
    return end - start


def _copy_growing(source: Path, target: Path) -> dict[str, int]:
    found = {}
    for file in sorted(source.glob("??/*")):
        if len(file.name) != 64:
            continue  # half written
        copy = target / file.parent.name / file.name
        with contextlib.suppress(FileNotFoundError):  # swept meanwhile: nothing names it
            size = file.stat().st_size
            if not copy.exists() or copy.stat().st_size != size:
                copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _copy(file, copy)
            found[file.name] = size
    return found


def _lasting_of(sources: Sources, target: Path, former: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        folder: _copy_lasting(path, target / "lasting" / folder, former.get(folder, {}))
        for folder, path in sources.lasting.items()
    }


def _copy_lasting(source: Path, target: Path, former: dict[str, Any]) -> dict[str, Any]:
    """Name below `source` → size, digest and stamp. One with the stamp it had is not read again."""
    found = {}
    for file in sorted(item for item in source.rglob("*") if item.is_file() and item.suffix != ".partial"):
        name = file.relative_to(source).as_posix()
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            seen = file.stat()
            stamp = [seen.st_size, seen.st_mtime_ns]
            known = former.get(name)
            if known is None or known["stamp"] != stamp or not _lasting(target, known).exists():
                target.mkdir(parents=True, exist_ok=True, mode=0o700)
                fresh = target / "copied.part"
                _copy(file, fresh)
                known = {**_described(fresh), "stamp": stamp}
                copy = _lasting(target, known)
                copy.parent.mkdir(exist_ok=True, mode=0o700)
                fresh.replace(copy)
                sync_directory(copy.parent)
            found[name] = known
    return found


def _lasting(folder: Path, entry: dict[str, Any]) -> Path:
    """Where the copy of such a file lies in a backup."""
    digest: str = entry["sha256"]
    return folder / digest[:2] / digest


def read_manifest(backup: Path) -> dict[str, Any]:
    """Raises BackupError where there is none that can be read."""
    try:
        manifest = json.loads((backup / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BackupError(f"{backup} holds no backup: manifest.json cannot be read") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BackupError(f"{backup} was written by another version of this program")
    return manifest


def restore(
    backup: Path, data: Path, *, keep_going: bool = False, tell: Tell = lambda _done, _total: None
) -> BackupReport:
    """Copy a backup into `data`, which must be empty or absent, checking every byte against the manifest. Blocks.

    The databases come last: an interrupted restore is no installation. Where something is wrong nothing is put in force
    and BackupError names it; with `keep_going` damaged packs are taken all the same, for a scrub to name what is lost.
    """
    manifest = read_manifest(backup)
    snapshot = backup / "snapshots" / manifest["snapshot"]
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(data.iterdir()):
        raise BackupError(f"{data} is not empty; a backup is restored into a new folder")
    total = sum(entry["bytes"] for entry in manifest["packs"].values())
    wrong: list[str] = []
    for folder, files in manifest["growing"].items():
        for name in files:
            copy = data / folder / name[:2] / name
            if not _take(backup / "growing" / folder / name[:2] / name, copy, None, name):
                wrong.append(f"{folder}/{name}")
    for folder, entries in manifest.get("lasting", {}).items():
        for name, entry in entries.items():
            if not _take(_lasting(backup / "lasting" / folder, entry), data / folder / name, None, entry["sha256"]):
                wrong.append(f"{folder}/{name}")
    done = 0
    for number, entry in manifest["packs"].items():
        copy = pack_path(data / "archive", int(number))
        if not _take(pack_path(backup, int(number)), copy, entry["bytes"], entry["sha256"]):
            wrong.append(f"pack {number}")
        done += entry["bytes"]
        tell(done, total)
    serious = [] if keep_going else list(wrong)
    files = {f"archive/{_INDEX}": (snapshot / _INDEX, manifest["index"])}
    files |= {name: (snapshot / name, entry) for name, entry in manifest["files"].items()}
    pending = []
    for name, (source, entry) in files.items():
        copy = data / f"{name}.restoring"
        if not _take(source, copy, entry["bytes"], entry["sha256"]):
            serious.append(name)
        pending.append((copy, data / name))
    if serious:
        raise BackupError("not what was backed up: " + ", ".join(sorted(serious)[:20]))
    for copy, name in pending:
        copy.replace(name)
    for folder in {path.parent for _, path in pending}:
        sync_directory(folder)
    return BackupReport(packs=len(manifest["packs"]), copied=done, total=total, wrong=tuple(wrong))


def _take(source: Path, target: Path, size: int | None, digest: str) -> bool:
    """Copy the first `size` bytes; whether they are what the manifest says."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    hasher = hashlib.sha256()
    try:
        reading = source.open("rb")
    except OSError:
        return False
    with reading, _private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "wb") as writing:
        for data in _chunks(reading, size):
            hasher.update(data)
            writing.write(data)
        writing.flush()
        os.fsync(writing.fileno())
    return hasher.hexdigest() == digest


def _private(path: Path, flags: int, mode: str) -> IO[bytes]:
    """For our owner alone: images, and the keys that sign."""
    return os.fdopen(os.open(path, flags | os.O_CLOEXEC, 0o600), mode)


def _chunks(file: IO[bytes], size: int | None) -> Iterator[bytes]:
    left = size if size is not None else 1 << 62
    while left and (data := file.read(min(_CHUNK, left))):
        left -= len(data)
        yield data


def _digest(path: Path, size: int | None = None) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        for data in _chunks(file, size):
            hasher.update(data)
    return hasher.hexdigest()


def _described(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": _digest(path)}


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all."""
    half = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, half)
    half.chmod(0o600)
    _sync(half)
    half.replace(target)
    sync_directory(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_manifest(target: Path, manifest: dict[str, Any]) -> None:
    half = target / "manifest.json.part"
    half.write_text(json.dumps(manifest, indent=1), encoding="ascii")
    half.chmod(0o600)
    _sync(half)
    half.replace(target / "manifest.json")
    sync_directory(target)
