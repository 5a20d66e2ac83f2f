# ruff: noqa: S608 - values are always parameters; only our own column lists are put together
"""Corrections and decisions in the index. `study`, `series` and `instance` always hold what is shown, so that queries
need to know nothing of corrections; what was stored stands in `study_base` and `series_base`, for the few studies that
corrections have touched, and beside each instance where it differs.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from dicom import corrections as rules
from dicom.corrections import Correction, Decision
from dicom.errors import CorrectionError
from dicom.index.names import fold, name_search, name_sound
from dicom.index.removing import remove_instance
from dicom.model import Overlay, Place

_STUDY = (
    *("patient_id", "issuer_of_patient_id", "patient_name", "referring_physician", "birth_date", "sex", "accession"),
    *("issuer_of_accession", "study_date", "study_time", "study_id", "description", "institution", "repaired"),
    *("mixed_patients", "source", "stored_at", "changed_at"),
)
_SERIES = (
    *("modality", "number", "description", "body_part", "laterality", "series_date", "series_time"),
    "manufacturer_model",
)
# `+`: to be found by the study, not by walking all that the organisation holds.
_STORED = "+organisation = ?1 AND ((study_uid = ?2 AND stored_study IS NULL) OR stored_study = ?2)"


def corrections_of(connection: sqlite3.Connection, organisation: str) -> list[Correction]:
    """Every correction of an organisation, the undone ones too, in the order they were made."""
    rows = connection.execute(
        "SELECT value FROM correction WHERE organisation = ? ORDER BY made, id", (organisation,)
    )
    return [rules.from_json(json.loads(row[0])) for row in rows]


def is_touched(connection: sqlite3.Connection, organisation: str, study_uid: str) -> bool:
    """Whether a correction has ever named this study."""
    return (
        connection.execute(
            "SELECT 1 FROM study_base WHERE organisation = ? AND study_uid = ?", (organisation, study_uid)
        ).fetchone()
        is not None
    )


def shown_attributes(connection: sqlite3.Connection, organisation: str, study_uid: str) -> dict[str, Any] | None:
    """The attributes of a study as it is shown now; None if it is not."""
    return _row(connection, "study", _STUDY, "organisation = ? AND study_uid = ?", (organisation, study_uid))


def check_correction(connection: sqlite3.Connection, one: Correction) -> None:
    """Whether a new correction fits what is shown now. Raises CorrectionError with the reason."""
    rules.check_form(one)
    shown = _series_of(connection, one.organisation, one.study_uid)
    if not shown:
        raise CorrectionError(code="no_such_study")
    there = bool(_series_of(connection, one.organisation, one.target_uid)) if one.target_uid else False
    if one.kind in {"merge", "move"} and not there:
        raise CorrectionError(code="no_such_study")
    if one.kind == "split" and (there or is_touched(connection, one.organisation, one.target_uid)):
        raise CorrectionError(code="same_study")
    if not set(one.series) <= shown:
        raise CorrectionError(code="no_such_series")
    if one.series and set(one.series) == shown:
        raise CorrectionError(code="whole_study")


def check_undo(connection: sqlite3.Connection, organisation: str, correction: str) -> None:
    """Raises CorrectionError where it is not there, or undone already."""
    row = connection.execute(
        "SELECT value FROM correction WHERE id = ? AND organisation = ?", (correction, organisation)
    ).fetchone()
    if row is None or rules.from_json(json.loads(row[0])).undone:
        raise CorrectionError(code="no_such_correction")


def _series_of(connection: sqlite3.Connection, organisation: str, study_uid: str) -> set[str]:
    rows = connection.execute(
        "SELECT series_uid FROM series WHERE organisation = ? AND study_uid = ?", (organisation, study_uid)
    )
    return {row[0] for row in rows}


def apply_correction(connection: sqlite3.Connection, one: Correction, generation: int) -> None:
    """Enter a correction or its undoing, and show what follows from it. Idempotent; the highest generation wins."""
    changed = connection.execute(
        "INSERT INTO correction VALUES (?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET value = excluded.value,"
        " generation = excluded.generation WHERE excluded.generation > correction.generation",
        (one.id, one.organisation, one.made, generation, json.dumps(rules.to_json(one), ensure_ascii=False)),
    ).rowcount
    if not changed:
        return
    at = one.undone_at or one.at
    replay(connection, one.organisation, {one.study_uid, one.target_uid} - {""}, at=at)
    for uid in sorted({one.study_uid, one.target_uid} - {""}):
        connection.execute(
            "INSERT INTO change(at, kind, organisation, study_uid, series_uid, sop_uid)"
            " VALUES (?, 'corrected', ?, ?, '', '')",
            (at, one.organisation, uid),
        )


def note_arrival(connection: sqlite3.Connection, organisation: str, study_uid: str, header: Mapping[str, str]) -> None:
    """An instance of a touched study was entered as it is stored: show it where it belongs.

    `header`: its patient_id, birth_date and patient_name, which may differ from those of the stored study.
    """
    base = _base(connection, organisation, study_uid)
    if base is not None and (
        base["patient_id"] != header["patient_id"]
        or base["birth_date"] != header["birth_date"]
        or name_search(base["patient_name"]) != name_search(header["patient_name"])
    ):
        _keep_base(connection, organisation, study_uid, base | {"mixed_patients": 1})
    replay(connection, organisation, {study_uid})


def replay(connection: sqlite3.Connection, organisation: str, studies: Iterable[str], *, at: str = "") -> None:
    """Show the studies, and all that corrections connect with them, as the corrections in force say."""
    known = corrections_of(connection, organisation)
    connected = sorted(rules.component(studies, known))
    played = rules.in_force(known)
    for uid in connected:
        _ensure_base(connection, organisation, uid, known)
    bases = {uid: base for uid in connected if (base := _base(connection, organisation, uid)) is not None}
    stored = {
        uid: connection.execute(
            f"SELECT DISTINCT series_uid FROM instance WHERE {_STORED}", (organisation, uid)
        ).fetchall()
        for uid in connected
    }
    sources: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for uid in connected:
        for (series_uid,) in stored[uid]:
            sources[rules.shown_study(uid, series_uid, played), series_uid].append(uid)
    shown = {uid: _attributes(uid, bases, played) for uid in {uid for uid, _ in sources}}
    studies_ids = {uid: _study_row(connection, organisation, uid, shown[uid]) for uid in sorted(shown)}
    for (uid, series_uid), origins in sorted(sources.items()):
        first = uid if uid in origins else min(origins)
        series = _series_row(connection, studies_ids[uid], organisation, uid, series_uid, first)
        for origin in origins:
            overlay = _overlay(connection, organisation, origin, uid, series_uid, bases, shown[uid], played)
            connection.execute(
                f"UPDATE instance SET series = ?3, study_uid = ?4, stored_study = ?5, overlay = ?6 WHERE {_STORED}"
                " AND series_uid = ?7 AND (series <> ?3 OR study_uid <> ?4 OR overlay IS NOT ?6)",
                (organisation, origin, series, uid, origin if uid != origin else None, overlay, series_uid),
            )
    recount(connection, organisation, connected, at)


def _attributes(uid: str, bases: Mapping[str, dict[str, Any]], played: list[Correction]) -> dict[str, Any]:
    person = rules.person_of(uid, played)
    if person is None:
        return bases[uid]
    return bases[uid] | asdict(person) | {"mixed_patients": 0}


def _overlay(
    connection: sqlite3.Connection,
    organisation: str,
    stored: str,
    uid: str,
    series_uid: str,
    bases: Mapping[str, dict[str, Any]],
    shown: Mapping[str, Any],
    played: list[Correction],
) -> int | None:
    last = rules.last_touch(stored, series_uid, played)
    if last is None:
        return None
    person = rules.person_of(uid, played) is not None
    moved_to = uid if uid != stored else ""
    if not moved_to and not person:
        return None  # it went away and came back
    value = rules.overlay_of(bases[stored], shown, moved_to=moved_to, corrected_person=person, last=last)
    text = json.dumps(asdict(value), ensure_ascii=False)
    key = (organisation, stored, uid, text)
    connection.execute(
        "INSERT INTO overlay(organisation, stored_study, study_uid, value) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        key,
    )
    found = connection.execute(
        "SELECT id FROM overlay WHERE organisation = ? AND stored_study = ? AND study_uid = ? AND value = ?", key
    ).fetchone()
    return int(found[0])


def read_overlay(text: str | None, sop_uid: str, stored_sop: str | None, stored_at: str) -> Overlay | None:
    """What an instance shows otherwise: by corrections (`text`), and by a SOP Instance UID of our making."""
    changes: list[tuple[int, str, str]] = []
    found: dict[str, Any] = json.loads(text) if text else {"removed": (), "at": stored_at}
    changes += [(tag, vr, value) for tag, vr, value in found.get("changes", ())]
    if stored_sop is not None:
        changes.append((rules.SOP_UID, "UI", sop_uid))
    if not changes:
        return None
    return Overlay(changes=tuple(sorted(changes)), removed=tuple(found["removed"]), at=found["at"])


def _row(
    connection: sqlite3.Connection, table: str, columns: tuple[str, ...], where: str, values: tuple[Any, ...]
) -> dict[str, Any] | None:
    row = connection.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE {where}", values).fetchone()
    return dict(zip(columns, row, strict=True)) if row else None


def _base(connection: sqlite3.Connection, organisation: str, study_uid: str) -> dict[str, Any] | None:
    row = connection.execute(
        "SELECT value FROM study_base WHERE organisation = ? AND study_uid = ?", (organisation, study_uid)
    ).fetchone()
    return json.loads(row[0]) if row else None


def _keep_base(connection: sqlite3.Connection, organisation: str, study_uid: str, value: Mapping[str, Any]) -> None:
    connection.execute(
        "INSERT INTO study_base VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        (organisation, study_uid, json.dumps(value, ensure_ascii=False)),
    )


def _ensure_base(connection: sqlite3.Connection, organisation: str, uid: str, known: list[Correction]) -> None:
    """Remember a study and its series as they are stored, before anything of them is shown otherwise.

    A study that a split makes has the attributes the split gave it, also where instances of it came later.
    """
    if not is_touched(connection, organisation, uid):
        split = next((one for one in known if one.kind == "split" and one.target_uid == uid), None)
        value = dict(split.study) if split is not None else shown_attributes(connection, organisation, uid)
        if value is None:
            return
        _keep_base(connection, organisation, uid, value)
    # Only what is stored here as it is shown says how a series of this study is stored.
    for (series_uid,) in connection.execute(
        "SELECT DISTINCT i.series_uid FROM instance i WHERE +i.organisation = ? AND i.study_uid = ?"
        " AND i.stored_study IS NULL AND NOT EXISTS (SELECT 1 FROM series_base b WHERE"
        " b.organisation = i.organisation AND b.study_uid = i.study_uid AND b.series_uid = i.series_uid)",
        (organisation, uid),
    ).fetchall():
        key = (organisation, uid, series_uid)
        series = _row(connection, "series", _SERIES, "organisation = ? AND study_uid = ? AND series_uid = ?", key)
        connection.execute("INSERT INTO series_base VALUES (?, ?, ?, ?)", (*key, json.dumps(series)))


def _study_row(connection: sqlite3.Connection, organisation: str, uid: str, value: Mapping[str, Any]) -> int:
    columns = dict(value) | {
        "name_search": name_search(value["patient_name"]),
        "name_sound": name_sound(value["patient_name"]),
        "referring_search": fold(value["referring_physician"]),
    }
    row = connection.execute(
        "SELECT id FROM study WHERE organisation = ? AND study_uid = ?", (organisation, uid)
    ).fetchone()
    if row is not None:
        columns.pop("changed_at")
        sets = ", ".join(f"{name} = ?" for name in columns)
        connection.execute(f"UPDATE study SET {sets} WHERE id = ?", (*columns.values(), row[0]))
        return int(row[0])
    columns |= {
        "organisation": organisation, "study_uid": uid, "modalities": "\\", "series_count": 0, "instance_count": 0,
    }  # fmt: skip
    cursor = connection.execute(
        f"INSERT INTO study({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", tuple(columns.values())
    )
    return int(cursor.lastrowid or 0)


def _series_row(
    connection: sqlite3.Connection, study: int, organisation: str, uid: str, series_uid: str, stored: str
) -> int:
    """The row of a series under the study that shows it, described as it is under the study it is stored in."""
    (text,) = connection.execute(
        "SELECT value FROM series_base WHERE organisation = ? AND study_uid = ? AND series_uid = ?",
        (organisation, stored, series_uid),
    ).fetchone()
    columns = json.loads(text)
    row = connection.execute(
        "SELECT id FROM series WHERE organisation = ? AND study_uid = ? AND series_uid = ?",
        (organisation, uid, series_uid),
    ).fetchone()
    if row is not None:
        sets = ", ".join(f"{name} = ?" for name in columns)
        connection.execute(f"UPDATE series SET {sets}, study = ? WHERE id = ?", (*columns.values(), study, row[0]))
        return int(row[0])
    columns |= {
        "study": study, "organisation": organisation, "study_uid": uid, "series_uid": series_uid, "instance_count": 0,
    }  # fmt: skip
    cursor = connection.execute(
        f"INSERT INTO series({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", tuple(columns.values())
    )
    return int(cursor.lastrowid or 0)


def recount(connection: sqlite3.Connection, organisation: str, studies: list[str], at: str) -> None:
    """Counts and modalities of studies and their series as their instances say; what is empty goes."""
    for uid in studies:
        key = (organisation, uid)
        connection.execute(
            "UPDATE series SET instance_count = (SELECT count(*) FROM instance i WHERE i.study_uid = series.study_uid"
            " AND i.series_uid = series.series_uid AND +i.organisation = series.organisation)"
            " WHERE organisation = ? AND study_uid = ?",
            key,
        )
        connection.execute(
            "DELETE FROM series WHERE organisation = ? AND study_uid = ? AND instance_count = 0", key
        )
        found = connection.execute(
            "SELECT count(*), sum(instance_count) FROM series WHERE organisation = ? AND study_uid = ?", key
        ).fetchone()
        if not found[0]:
            connection.execute("DELETE FROM study WHERE organisation = ? AND study_uid = ?", key)
            continue
        modalities = connection.execute(
            "SELECT DISTINCT modality FROM instance WHERE +organisation = ? AND study_uid = ? AND modality <> ''"
            " ORDER BY modality",
            key,
        ).fetchall()
        connection.execute(
            "UPDATE study SET series_count = ?, instance_count = ?, modalities = ?, changed_at = max(changed_at, ?)"
            " WHERE organisation = ? AND study_uid = ?",
            (*found, "\\" + "".join(f"{one}\\" for (one,) in modalities), at, *key),
        )
        connection.execute(
            "DELETE FROM overlay WHERE organisation = ?1 AND (study_uid = ?2 OR stored_study = ?2) AND id NOT IN"
            " (SELECT i.overlay FROM instance i WHERE +i.organisation = ?1 AND i.study_uid = overlay.study_uid"
            " AND i.overlay IS NOT NULL)",
            key,
        )


# -- decisions on quarantined files


def check_decision(connection: sqlite3.Connection, one: Decision) -> None:
    """Raises CorrectionError where nothing of the kind waits, or where it is decided so already."""
    row = connection.execute(
        "SELECT state FROM quarantine WHERE organisation = ? AND sop_uid = ? AND digest = ?",
        (one.organisation, one.sop_uid, bytes.fromhex(one.digest)),
    ).fetchone()
    if row is None or row[0] == one.choice:
        raise CorrectionError(code="no_such_item")
    if row[0] != "open" and one.choice != "open":
        raise CorrectionError(code="decided_already")


def place_of(connection: sqlite3.Connection, one: Decision) -> tuple[Place, str]:
    """Where the quarantined bytes lie, and by which door they came. Raises LookupError."""
    row = connection.execute(
        "SELECT pack, offset, prefix_length, body_length, source FROM quarantine"
        " WHERE organisation = ? AND sop_uid = ? AND digest = ?",
        (one.organisation, one.sop_uid, bytes.fromhex(one.digest)),
    ).fetchone()
    if row is None:
        raise LookupError("a decision on what is not in quarantine")
    return Place(pack=row[0], offset=row[1], prefix_length=row[2], body_length=row[3]), str(row[4])


def apply_decision(connection: sqlite3.Connection, one: Decision, generation: int) -> bool:
    """Enter a decision; whether it is news. An instance that a former decision made is taken out again.

    The instance that `taken` makes is entered by the caller (`dicom.index.writer.apply_holding`). Idempotent.
    """
    changed = connection.execute(
        "UPDATE quarantine SET state = ?, decision = ?, decided = ?"
        " WHERE organisation = ? AND sop_uid = ? AND digest = ? AND decided < ?",
        (
            one.choice, json.dumps(asdict(one), ensure_ascii=False), generation,
            one.organisation, one.sop_uid, bytes.fromhex(one.digest), generation,
        ),
    ).rowcount  # fmt: skip
    if not changed:
        return False
    if one.choice != "taken":
        row = connection.execute(
            "SELECT id, study_uid, coalesce(stored_study, study_uid), series_uid FROM instance"
            " WHERE organisation = ? AND sop_uid = ? AND stored_sop = ?",
            (one.organisation, rules.taken_uid(one.sop_uid, one.digest), one.sop_uid),
        ).fetchone()
        if row is not None:
            remove_instance(connection, row[0])
            recount(connection, one.organisation, [row[1]], one.at)
            connection.execute(
                "INSERT INTO change(at, kind, organisation, study_uid, series_uid, sop_uid)"
                " VALUES (?, 'removed', ?, ?, ?, ?)",
                (one.at, one.organisation, row[1], row[3], rules.taken_uid(one.sop_uid, one.digest)),
            )
            if is_touched(connection, one.organisation, row[2]):
                replay(connection, one.organisation, {row[2]}, at=one.at)
    return True


