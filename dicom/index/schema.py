"""Tables of the index and their numbered migrations. A migration is never edited once released; add the next one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from dicom.index.grams import grams_json
from dicom.index.names import name_sound

MIGRATIONS: tuple[str, ...] = (
    # 1: the first shape
    """
CREATE TABLE fact(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pack(
  id INTEGER PRIMARY KEY,
  mark INTEGER NOT NULL,              -- everything before it is in this index
  sealed INTEGER NOT NULL DEFAULT 0   -- nothing behind the mark counts, nothing is appended
);
CREATE TABLE blob(
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,        -- SHA-256 of the dataset
  pack INTEGER NOT NULL, offset INTEGER NOT NULL, prefix_length INTEGER NOT NULL, body_length INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  transfer_syntax TEXT NOT NULL,
  pixel_kind TEXT NOT NULL, pixel_offset INTEGER NOT NULL, pixel_length INTEGER NOT NULL,
  pixel_frames INTEGER NOT NULL, frame_length INTEGER NOT NULL, pixel_keyword TEXT NOT NULL,
  ranges BLOB,                        -- encapsulated: zlib of packed frame table
  metadata_pack INTEGER, metadata_offset INTEGER, metadata_length INTEGER,
  metadata_state INTEGER NOT NULL DEFAULT 0   -- 0 wanted, 1 there, 2 could not be made
);
CREATE INDEX blob_metadata_wanted ON blob(id) WHERE metadata_state = 0;
CREATE TABLE study(
  id INTEGER PRIMARY KEY,
  organisation TEXT NOT NULL, study_uid TEXT NOT NULL,
  patient_id TEXT NOT NULL, issuer_of_patient_id TEXT NOT NULL,
  patient_name TEXT NOT NULL, name_search TEXT NOT NULL,
  referring_physician TEXT NOT NULL, referring_search TEXT NOT NULL,
  birth_date TEXT NOT NULL, sex TEXT NOT NULL,
  accession TEXT NOT NULL, issuer_of_accession TEXT NOT NULL,
  study_date TEXT NOT NULL, study_time TEXT NOT NULL, study_id TEXT NOT NULL, description TEXT NOT NULL,
  institution TEXT NOT NULL,
  modalities TEXT NOT NULL,           -- \\CT\\MR\\ in order
  series_count INTEGER NOT NULL, instance_count INTEGER NOT NULL,
  repaired TEXT NOT NULL, mixed_patients INTEGER NOT NULL DEFAULT 0, source TEXT NOT NULL,
  stored_at TEXT NOT NULL, changed_at TEXT NOT NULL,
  UNIQUE(organisation, study_uid)
);
CREATE INDEX study_by_date ON study(organisation, study_date DESC, study_time DESC, study_uid);
CREATE INDEX study_by_uid ON study(study_uid);
CREATE INDEX study_by_accession ON study(accession);
CREATE INDEX study_by_patient ON study(patient_id);
CREATE TABLE series(
  id INTEGER PRIMARY KEY,
  study INTEGER NOT NULL REFERENCES study(id),
  organisation TEXT NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL,
  modality TEXT NOT NULL, number INTEGER, description TEXT NOT NULL, body_part TEXT NOT NULL, laterality TEXT NOT NULL,
  series_date TEXT NOT NULL, series_time TEXT NOT NULL, manufacturer_model TEXT NOT NULL,
  instance_count INTEGER NOT NULL,
  UNIQUE(organisation, study_uid, series_uid)
);
CREATE INDEX series_by_uid ON series(study_uid, series_uid);
CREATE TABLE instance(
  id INTEGER PRIMARY KEY,
  series INTEGER NOT NULL REFERENCES series(id),
  blob INTEGER NOT NULL REFERENCES blob(id),
  organisation TEXT NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, sop_uid TEXT NOT NULL,
  sop_class TEXT NOT NULL, number INTEGER, modality TEXT NOT NULL,
  rows INTEGER, columns INTEGER, bits_allocated INTEGER, samples INTEGER, photometric TEXT NOT NULL, frames INTEGER,
  has_waveform INTEGER NOT NULL, document_type TEXT NOT NULL,
  source TEXT NOT NULL, stored_at TEXT NOT NULL, generation INTEGER NOT NULL,
  UNIQUE(organisation, sop_uid)
);
CREATE INDEX instance_by_study ON instance(study_uid, series_uid, sop_uid);
CREATE TABLE custody(
  digest BLOB NOT NULL, organisation TEXT NOT NULL, source TEXT NOT NULL, received_at TEXT NOT NULL,
  generation INTEGER NOT NULL, PRIMARY KEY(digest, organisation)
) WITHOUT ROWID;
CREATE TABLE quarantine(
  id INTEGER PRIMARY KEY,
  organisation TEXT NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, sop_uid TEXT NOT NULL,
  digest BLOB NOT NULL, source TEXT NOT NULL, received_at TEXT NOT NULL, state TEXT NOT NULL,
  pack INTEGER NOT NULL, offset INTEGER NOT NULL, prefix_length INTEGER NOT NULL, body_length INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  UNIQUE(organisation, sop_uid, digest)
);
CREATE TABLE change(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL, kind TEXT NOT NULL, organisation TEXT NOT NULL,
  study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, sop_uid TEXT NOT NULL
);
""",
    # 2: how a patient's name sounds, so that 曾^小明 is found as zeng, zengxiaoming and zxm
    """
ALTER TABLE study ADD COLUMN name_sound TEXT NOT NULL DEFAULT '';
UPDATE study SET name_sound = name_sound(patient_name);
""",
    # 3: what a scrub found wrong, by its place (a sound copy elsewhere makes the row moot); a pack's entries by offset
    """
CREATE TABLE damage(
  pack INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
  kind TEXT NOT NULL, digest BLOB NOT NULL, found_at TEXT NOT NULL, PRIMARY KEY(pack, offset)
) WITHOUT ROWID;
CREATE INDEX blob_by_place ON blob(pack, offset);
CREATE INDEX blob_by_metadata ON blob(metadata_pack, metadata_offset) WHERE metadata_pack IS NOT NULL;
CREATE INDEX quarantine_by_place ON quarantine(pack, offset);
""",
    # 4: corrections: what is shown stands in study, series and instance; what is stored beside it where it differs
    """
ALTER TABLE instance ADD COLUMN stored_study TEXT;
ALTER TABLE instance ADD COLUMN stored_sop TEXT;
ALTER TABLE instance ADD COLUMN overlay INTEGER;
CREATE INDEX instance_by_stored ON instance(stored_study) WHERE stored_study IS NOT NULL;
CREATE TABLE overlay(
  id INTEGER PRIMARY KEY,
  organisation TEXT NOT NULL, stored_study TEXT NOT NULL, study_uid TEXT NOT NULL,
  value TEXT NOT NULL,                -- JSON of dicom.model.Overlay
  UNIQUE(organisation, stored_study, study_uid, value)
);
CREATE TABLE correction(
  id TEXT PRIMARY KEY,
  organisation TEXT NOT NULL, made INTEGER NOT NULL, generation INTEGER NOT NULL,
  value TEXT NOT NULL                 -- JSON of dicom.corrections.Correction
) WITHOUT ROWID;
CREATE INDEX correction_by_organisation ON correction(organisation, made);
CREATE TABLE study_base(              -- a study that corrections have touched, as it was stored (or split off)
  organisation TEXT NOT NULL, study_uid TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(organisation, study_uid)
) WITHOUT ROWID;
CREATE TABLE series_base(
  organisation TEXT NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY(organisation, study_uid, series_uid)
) WITHOUT ROWID;
ALTER TABLE quarantine ADD COLUMN decision TEXT NOT NULL DEFAULT '{}';
ALTER TABLE quarantine ADD COLUMN decided INTEGER NOT NULL DEFAULT 0;
""",
    # 5: a search reads one of these alone, newest first, and looks at the studies themselves only for its page; the
    # first is as narrow as it can be, since a name's inner wildcard reads all of it
    """
DROP INDEX study_by_date;
CREATE INDEX study_listed ON study(
  organisation, study_date DESC, study_time DESC, study_uid, name_search, modalities
);
CREATE INDEX study_heard ON study(
  organisation, study_date DESC, study_time DESC, study_uid, name_search, patient_id, accession, description, name_sound
);
""",
    # 6: removals; what they cover comes back from no pack. And packs that were compacted and are kept a while
    """
CREATE TABLE removal(
  id TEXT PRIMARY KEY,
  organisation TEXT NOT NULL, generation INTEGER NOT NULL,
  value TEXT NOT NULL                 -- JSON of dicom.model.Removal
) WITHOUT ROWID;
CREATE TABLE tombstone(               -- every record of the stored series with a lower generation is gone
  organisation TEXT NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, generation INTEGER NOT NULL,
  PRIMARY KEY(organisation, study_uid, series_uid)
) WITHOUT ROWID;
CREATE TABLE retired(pack INTEGER PRIMARY KEY, at TEXT NOT NULL);
CREATE INDEX instance_by_blob ON instance(blob);
""",
    # 7: names by every three neighbouring characters (`dicom.index.grams`), whoever writes, renames or removes a study
    """
CREATE TABLE name_gram(gram TEXT NOT NULL, study INTEGER NOT NULL, PRIMARY KEY(gram, study)) WITHOUT ROWID;
INSERT INTO name_gram
  SELECT value, study.id FROM study, json_each(name_grams(name_search, name_sound)) ORDER BY value, study.id;
CREATE TRIGGER study_named AFTER INSERT ON study BEGIN
  INSERT INTO name_gram SELECT value, new.id FROM json_each(name_grams(new.name_search, new.name_sound));
END;
CREATE TRIGGER study_renamed AFTER UPDATE OF name_search, name_sound ON study
WHEN old.name_search <> new.name_search OR old.name_sound <> new.name_sound BEGIN
  DELETE FROM name_gram WHERE study = old.id
    AND gram IN (SELECT value FROM json_each(name_grams(old.name_search, old.name_sound)));
  INSERT INTO name_gram SELECT value, new.id FROM json_each(name_grams(new.name_search, new.name_sound));
END;
CREATE TRIGGER study_forgotten AFTER DELETE ON study BEGIN
  DELETE FROM name_gram WHERE study = old.id
    AND gram IN (SELECT value FROM json_each(name_grams(old.name_search, old.name_sound)));
END;
""",
    # 8: a series by its own UID, for those who ask for it without its study
    "CREATE INDEX series_by_itself ON series(series_uid);",
)


def connect_writer(path: Path) -> sqlite3.Connection:
    """The only connection that writes and checkpoints (SQLite before 3.51.3 may corrupt a WAL with two)."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.create_function("name_sound", 1, name_sound, deterministic=True)
    connection.create_function("name_grams", 2, grams_json, deterministic=True)  # the triggers call it
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    uri = path.resolve().as_uri() + "?mode=ro"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.row_factory = sqlite3.Row
    return connection


def checkpoint(connection: sqlite3.Connection) -> None:
    """Write the log into the index and empty it. Only the one writing connection may."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the tables to the newest shape, each step in its own transaction. Returns the version."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version(version INTEGER PRIMARY KEY, at TEXT NOT NULL)"
    )
    (current,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    if current > len(MIGRATIONS):
        raise RuntimeError("the archive index was written by a newer version of this program")
    connection.execute("PRAGMA temp_store = FILE")  # what a step sorts may be large
    for number, script in enumerate(MIGRATIONS[current:], start=current + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_version VALUES (?, strftime('%Y-%m-%dT%H:%M:%fZ'))", (number,)
            )
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    connection.execute("PRAGMA temp_store = MEMORY")
    return len(MIGRATIONS)


def _statements(script: str) -> list[str]:
    out, current = [], ""
    for line in script.splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            out.append(current)
            current = ""
    return out
