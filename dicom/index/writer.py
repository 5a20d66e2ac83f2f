"""Writing the index. The same functions serve a live commit, the replay of a pack's tail and a rescan."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from dicom.index.corrections import is_touched, note_arrival
from dicom.index.frames import pack_ranges
from dicom.index.names import fold, name_search, name_sound
from dicom.index.removing import remove_instance
from dicom.model import Header, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One instance record, from a label or from a live upload."""

    organisation: str
    source: str
    at: str
    digest: str
    generation: int
    header: Header
    place: Place | None  # None for custody: the bytes are there already
    stored_sop: str = ""  # the SOP Instance UID in the bytes, where the header's is of our making


def digest_of(connection: sqlite3.Connection, organisation: str, sop_uid: str) -> str | None:
    """Digest of what this organisation holds under the UID."""
    row = connection.execute(
        "SELECT b.digest FROM instance i JOIN blob b ON b.id = i.blob WHERE i.organisation = ? AND i.sop_uid = ?",
        (organisation, sop_uid),
    ).fetchone()
    return row[0].hex() if row else None


def has_blob(connection: sqlite3.Connection, digest: str) -> bool:
    """Whether the bytes are held by anyone, and not known to be damaged."""
    return (
        connection.execute(
            "SELECT 1 FROM blob b WHERE b.digest = ?"
            " AND NOT EXISTS (SELECT 1 FROM damage d WHERE d.pack = b.pack AND d.offset = b.offset)",
            (bytes.fromhex(digest),),
        ).fetchone()
        is not None
    )


def is_quarantined(connection: sqlite3.Connection, organisation: str, sop_uid: str, digest: str) -> bool:
    """Whether these other bytes are in quarantine already."""
    return (
        connection.execute(
            "SELECT 1 FROM quarantine WHERE organisation = ? AND sop_uid = ? AND digest = ?",
            (organisation, sop_uid, bytes.fromhex(digest)),
        ).fetchone()
        is not None
    )


def apply_holding(connection: sqlite3.Connection, holding: Holding) -> bool:
    """Enter an instance or a custody. Returns whether the study is new to the organisation. Idempotent."""
    h, place = holding.header, holding.place
    digest = bytes.fromhex(holding.digest)
    blob = _blob(connection, holding, digest, place)
    held = connection.execute(
        "SELECT id, blob, generation FROM instance WHERE organisation = ? AND sop_uid = ?",
        (holding.organisation, h.sop_uid),
    ).fetchone()
    connection.execute(
        "INSERT INTO custody VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (digest, holding.organisation, holding.source, holding.at, holding.generation),
    )
    if held is not None:
        if held[1] == blob or holding.generation <= held[2]:
            return False
        remove_instance(
            connection, held[0]
        )  # a rescan met an unacknowledged attempt first: the highest wins
    study, new = _study(connection, holding)
    series, new_series = _series(connection, holding, study)
    connection.execute(
        "INSERT INTO instance(series, blob, organisation, study_uid, series_uid, sop_uid, sop_class, number, modality,"
        " rows, columns, bits_allocated, samples, photometric, frames, has_waveform, document_type, source, stored_at,"
        " generation, stored_sop) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            *(
                series,
                blob,
                holding.organisation,
                h.study_uid,
                h.series_uid,
                h.sop_uid,
                h.sop_class,
                h.instance_number,
            ),
            *(h.modality, h.rows, h.columns, h.bits_allocated, h.samples, h.photometric, h.frames),
            *(int(h.has_waveform), h.document_type, holding.source, holding.at, holding.generation),
            holding.stored_sop or None,
        ),
    )
    modalities = _with_modality(connection, study, h.modality)
    connection.execute(
        "UPDATE study SET instance_count = instance_count + 1, series_count = series_count + ?, changed_at = ?,"
        " mixed_patients = mixed_patients OR patient_id <> ? OR birth_date <> ? OR name_search <> ? WHERE id = ?",
        (int(new_series), holding.at, h.patient_id, h.birth_date, name_search(h.patient_name), study),
    )
    if modalities is not None:  # an index holds them: written only when they change
        connection.execute("UPDATE study SET modalities = ? WHERE id = ?", (modalities, study))
    connection.execute(
        "INSERT INTO change(at, kind, organisation, study_uid, series_uid, sop_uid) VALUES (?, 'stored', ?, ?, ?, ?)",
        (holding.at, holding.organisation, h.study_uid, h.series_uid, h.sop_uid),
    )
    if is_touched(connection, holding.organisation, h.study_uid):
        named = {"patient_id": h.patient_id, "birth_date": h.birth_date, "patient_name": h.patient_name}
        note_arrival(connection, holding.organisation, h.study_uid, named)
        return False
    return new


def is_known(connection: sqlite3.Connection, digest: str) -> bool:
    """Whether a row speaks of these bytes, damaged or not."""
    found = connection.execute("SELECT 1 FROM blob WHERE digest = ?", (bytes.fromhex(digest),)).fetchone()
    return found is not None


def move_blob(connection: sqlite3.Connection, holding: Holding) -> None:
    """The record's bytes for those who hold them still; nothing where nobody does."""
    if is_known(connection, holding.digest):
        _blob(connection, holding, bytes.fromhex(holding.digest), holding.place)


def _blob(connection: sqlite3.Connection, holding: Holding, digest: bytes, place: Place | None) -> int:
    row = connection.execute("SELECT id, generation FROM blob WHERE digest = ?", (digest,)).fetchone()
    if row is not None:
        if (
            place is not None and holding.generation >= row[1]
        ):  # a later copy of the same bytes: the highest wins; with the same number, what compaction wrote
            connection.execute(
                "UPDATE blob SET pack=?, offset=?, prefix_length=?, body_length=?, generation=? WHERE id=?",
                (
                    place.pack,
                    place.offset,
                    place.prefix_length,
                    place.body_length,
                    holding.generation,
                    row[0],
                ),
            )
        return int(row[0])
    if place is None:
        raise LookupError("custody of bytes that are not held")
    h, p = holding.header, holding.header.pixels
    cursor = connection.execute(
        "INSERT INTO blob(digest, pack, offset, prefix_length, body_length, generation, transfer_syntax, pixel_kind,"
        " pixel_offset, pixel_length, pixel_frames, frame_length, pixel_keyword, ranges)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            *(digest, place.pack, place.offset, place.prefix_length, place.body_length, holding.generation),
            *(h.transfer_syntax, p.kind.value, p.offset, p.length, p.frames, p.frame_length, p.keyword),
            pack_ranges(p.ranges),
        ),
    )
    return int(cursor.lastrowid or 0)


def _study(connection: sqlite3.Connection, holding: Holding) -> tuple[int, bool]:
    h = holding.header
    row = connection.execute(
        "SELECT id FROM study WHERE organisation = ? AND study_uid = ?", (holding.organisation, h.study_uid)
    ).fetchone()
    if row is not None:
        return int(row[0]), False
    cursor = connection.execute(
        "INSERT INTO study(organisation, study_uid, patient_id, issuer_of_patient_id, patient_name, name_search,"
        " referring_physician, referring_search, birth_date, sex, accession, issuer_of_accession, study_date,"
        " study_time, study_id, description, institution, modalities, series_count, instance_count, repaired, source,"
        " stored_at, changed_at, name_sound) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,0,?,?,?,?,?)",
        (
            *(holding.organisation, h.study_uid, h.patient_id, h.issuer_of_patient_id),
            *(
                h.patient_name,
                name_search(h.patient_name),
                h.referring_physician,
                fold(h.referring_physician),
            ),
            *(
                h.birth_date,
                h.sex,
                h.accession,
                h.issuer_of_accession,
                h.study_date,
                h.study_time,
                h.study_id,
            ),
            *(h.study_description, h.institution, f"\\{h.modality}\\" if h.modality else "\\"),
            *(h.repaired, holding.source, holding.at, holding.at, name_sound(h.patient_name)),
        ),
    )
    return int(cursor.lastrowid or 0), True


def _series(connection: sqlite3.Connection, holding: Holding, study: int) -> tuple[int, bool]:
    h = holding.header
    row = connection.execute(
        "UPDATE series SET instance_count = instance_count + 1"
        " WHERE organisation = ? AND study_uid = ? AND series_uid = ? RETURNING id",
        (holding.organisation, h.study_uid, h.series_uid),
    ).fetchone()
    if row is not None:
        return int(row[0]), False
    cursor = connection.execute(
        "INSERT INTO series(study, organisation, study_uid, series_uid, modality, number, description, body_part,"
        " laterality, series_date, series_time, manufacturer_model, instance_count)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,1)",
        (
            *(study, holding.organisation, h.study_uid, h.series_uid, h.modality, h.series_number),
            *(
                h.series_description,
                h.body_part,
                h.laterality,
                h.series_date,
                h.series_time,
                h.manufacturer_model,
            ),
        ),
    )
    return int(cursor.lastrowid or 0), True


def _with_modality(connection: sqlite3.Connection, study: int, modality: str) -> str | None:
    """The study's modalities with this one, None if it is among them."""
    (text,) = connection.execute("SELECT modalities FROM study WHERE id = ?", (study,)).fetchone()
    if not modality or f"\\{modality}\\" in text:
        return None
    return "\\" + "".join(f"{m}\\" for m in sorted({*filter(None, text.split("\\")), modality}))


def apply_quarantine(connection: sqlite3.Connection, holding: Holding) -> None:
    """Enter other bytes under a held identity."""
    h, place = holding.header, holding.place
    if place is None:
        raise LookupError("a quarantined instance has bytes")
    moved = connection.execute(  # by compaction
        "UPDATE quarantine SET pack = ?, offset = ? WHERE organisation = ? AND sop_uid = ? AND digest = ?"
        " AND generation = ?",
        (place.pack, place.offset, holding.organisation, h.sop_uid, bytes.fromhex(holding.digest), holding.generation),
    ).rowcount
    if moved:
        return
    connection.execute(
        "INSERT INTO quarantine(organisation, study_uid, series_uid, sop_uid, digest, source, received_at, state, pack,"
        " offset, prefix_length, body_length, generation)"
        " VALUES (?,?,?,?,?,?,?,'open',?,?,?,?,?) ON CONFLICT DO NOTHING",
        (
            *(holding.organisation, h.study_uid, h.series_uid, h.sop_uid, bytes.fromhex(holding.digest)),
            *(holding.source, holding.at, place.pack, place.offset, place.prefix_length, place.body_length),
            holding.generation,
        ),
    )
    connection.execute(
        "INSERT INTO change(at, kind, organisation, study_uid, series_uid, sop_uid)"
        " VALUES (?, 'quarantined', ?, ?, ?, ?)",
        (holding.at, holding.organisation, h.study_uid, h.series_uid, h.sop_uid),
    )


def apply_metadata(connection: sqlite3.Connection, digest: str, pack: int, offset: int, length: int) -> None:
    """Enter where the metadata of a dataset lies."""
    connection.execute(
        "UPDATE blob SET metadata_pack = ?, metadata_offset = ?, metadata_length = ?, metadata_state = 1"
        " WHERE digest = ?",
        (pack, offset, length, bytes.fromhex(digest)),
    )


def metadata_failed(connection: sqlite3.Connection, digest: str) -> None:
    """Do not try again on our own; asking for it still does."""
    connection.execute(
        "UPDATE blob SET metadata_state = 2 WHERE digest = ? AND metadata_state = 0", (bytes.fromhex(digest),)
    )


def set_mark(connection: sqlite3.Connection, pack: int, mark: int, *, sealed: bool) -> None:
    """Everything of `pack` before `mark` is in the index."""
    connection.execute(
        "INSERT INTO pack(id, mark, sealed) VALUES (?, ?, ?) ON CONFLICT(id) DO UPDATE SET"
        " mark = max(mark, excluded.mark), sealed = max(sealed, excluded.sealed)",
        (pack, mark, int(sealed)),
    )


def get_fact(connection: sqlite3.Connection, name: str) -> str | None:
    """A named value of the archive itself."""
    row = connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else None


def set_fact(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Set a named value."""
    connection.execute(
        "INSERT INTO fact VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value", (name, value)
    )


def packs_known(connection: sqlite3.Connection) -> dict[int, tuple[int, bool]]:
    """Pack id → (mark, sealed)."""
    return {row[0]: (row[1], bool(row[2])) for row in connection.execute("SELECT id, mark, sealed FROM pack")}
