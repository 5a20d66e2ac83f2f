"""What technicians set right without touching a stored byte: corrections of studies, decisions on quarantined files.

A correction is an overlay: what is stored stays, what is shown is computed by playing the corrections that are in force
in the order they were made. Every one of them, and every undoing, is a pack record that carries all of it, so that the
records of the highest generation alone say what holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from dicom.errors import CorrectionError
from dicom.model import InstanceRow, Overlay

Kind = Literal["patient", "merge", "move", "split"]
KINDS: tuple[Kind, ...] = ("patient", "merge", "move", "split")
Choice = Literal["open", "kept", "taken"]

# Attributes that a correction writes: keyword of the index → (tag, VR, whether it must be there even when empty).
PATIENT_TAGS: Mapping[str, tuple[int, str, bool]] = {
    "patient_name": (0x00100010, "PN", True),
    "patient_id": (0x00100020, "LO", True),
    "issuer_of_patient_id": (0x00100021, "LO", False),
    "birth_date": (0x00100030, "DA", True),
    "sex": (0x00100040, "CS", True),
}
STUDY_TAGS: Mapping[str, tuple[int, str, bool]] = {
    "study_date": (0x00080020, "DA", True),
    "study_time": (0x00080030, "TM", True),
    "accession": (0x00080050, "SH", True),
    "referring_physician": (0x00080090, "PN", True),
    "description": (0x00081030, "LO", False),
    "study_id": (0x00200010, "SH", True),
}
MODIFYING_SYSTEM = "HUIZHEN"  # (0400,0563)
STUDY_UID, SOP_UID = 0x0020000D, 0x00080018
_ISSUER_OF_ACCESSION = 0x00080051
# What else names the former patient (PS3.3 §C.7.1.1, §C.2.2, §C.2.3): left out once the patient is another one.
_OTHER_NAMES = (
    0x00100022, 0x00100024, 0x00100032, 0x00101000, 0x00101001, 0x00101002, 0x00101005, 0x00101010,
    0x00101040, 0x00101060, 0x00102154, 0x00104000,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A patient as DICOM writes one. Dates are YYYYMMDD; absent is ''."""

    patient_id: str
    patient_name: str
    issuer_of_patient_id: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """One correction of one organisation's studies. UIDs are those shown when it was made.

    patient: `study_uid` is shown as `person`. merge: all of `study_uid` is part of `target_uid`. move: `series` of it
    are. split: `series` of it are a study of their own, `target_uid`, with the attributes in `study`.
    """

    id: str
    organisation: str
    kind: Kind
    study_uid: str
    target_uid: str = ""
    series: tuple[str, ...] = ()
    person: Person | None = None
    study: Mapping[str, Any] = field(default_factory=dict)
    at: str  # when it was made, ISO 8601 in UTC
    by: str  # a membership id, never a name
    reason: str = ""
    made: int = 0  # generation of the record that made it: the order in which corrections are played
    undone: bool = False
    undone_at: str = ""
    undone_by: str = ""

    def moves(self, series_uid: str) -> bool:
        """Whether a series of `study_uid` goes to `target_uid`."""
        return self.kind == "merge" or (self.kind in {"move", "split"} and series_uid in self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a technician decided about a quarantined file; `open` takes a decision back."""

    organisation: str
    sop_uid: str
    digest: str  # of the quarantined dataset
    choice: Choice
    at: str
    by: str
    reason: str = ""


def to_json(correction: Correction) -> dict[str, Any]:
    """For the label of a pack record."""
    return asdict(correction)


def from_json(data: Mapping[str, Any]) -> Correction:
    """The inverse. Raises TypeError, KeyError for what is none."""
    values = {f.name: data[f.name] for f in fields(Correction) if f.name in data}
    values["series"] = tuple(values.get("series", ()))
    if values.get("person") is not None:
        values["person"] = Person(**values["person"])
    return Correction(**values)


def split_uid(correction: str) -> str:
    """The StudyInstanceUID of a study that a split makes: always the same for the same correction (PS3.5 §B.2)."""
    return _uid("study", correction)


def taken_uid(sop_uid: str, digest: str) -> str:
    """The SOP Instance UID of a quarantined dataset that is taken as an instance of its own."""
    return _uid("instance", sop_uid, digest)


def _uid(*parts: str) -> str:
    value = int.from_bytes(sha256("\x1f".join(parts).encode()).digest()[:16], "big")
    return f"2.25.{value}"


def in_force(corrections: Iterable[Correction]) -> list[Correction]:
    """Those that are not undone, in the order they are played."""
    return sorted((one for one in corrections if not one.undone), key=lambda one: one.made)


def shown_study(stored: str, series_uid: str, played: Sequence[Correction]) -> str:
    """The study under which a series of the stored study `stored` is shown. `played`: from `in_force`."""
    uid = stored
    for one in played:
        if one.study_uid == uid and one.moves(series_uid):
            uid = one.target_uid
    return uid


def person_of(study_uid: str, played: Sequence[Correction]) -> Person | None:
    """The patient given to a shown study; None: its own."""
    found = [one.person for one in played if one.kind == "patient" and one.study_uid == study_uid]
    return found[-1] if found else None


def last_touch(stored: str, series_uid: str, played: Sequence[Correction]) -> Correction | None:
    """The correction of latest effect on a stored series, for when and why its attributes were modified."""
    uid, last = stored, None
    for one in played:
        if one.study_uid == uid and one.moves(series_uid):
            uid, last = one.target_uid, one
    given = [one for one in played if one.kind == "patient" and one.study_uid == uid]
    return max([one for one in (last, *given) if one is not None], key=lambda one: one.made, default=None)


def component(study_uids: Iterable[str], corrections: Iterable[Correction]) -> set[str]:
    """The studies that corrections, undone ones too, connect with these."""
    edges = [{one.study_uid, one.target_uid} - {""} for one in corrections]
    found = set(study_uids)
    grown = True
    while grown:
        grown = False
        for edge in edges:
            if edge & found and not edge <= found:
                found |= edge
                grown = True
    return found


def overlay_of(
    base: Mapping[str, Any], shown: Mapping[str, Any], *, moved_to: str, corrected_person: bool, last: Correction
) -> Overlay:
    """What is shown otherwise than it is stored, of all instances of a stored study under a shown one.

    `base` and `shown`: attributes of the two studies by index column. `moved_to`: the shown UID where it differs.
    """
    wanted = dict(PATIENT_TAGS) if moved_to or corrected_person else {}
    if moved_to:
        wanted |= STUDY_TAGS
    changes: list[tuple[int, str, str]] = [(STUDY_UID, "UI", moved_to)] if moved_to else []
    removed: set[int] = set()
    for name, (tag, vr, required) in wanted.items():
        text = str(shown.get(name, ""))
        if text or required:
            changes.append((tag, vr, text))
        else:
            removed.add(tag)
    if any(base.get(name, "") != shown.get(name, "") for name in PATIENT_TAGS):
        removed |= {*_OTHER_NAMES}
    if moved_to and base.get("accession") != shown.get("accession"):
        removed.add(_ISSUER_OF_ACCESSION)
    return Overlay(changes=tuple(sorted(changes)), removed=tuple(sorted(removed)), at=last.at)


def shown_header(overlay: Overlay) -> dict[str, str]:
    """The changed attributes by the names of `dicom.model.Header`."""
    names = {tag: name for name, (tag, _, _) in {**PATIENT_TAGS, **STUDY_TAGS}.items()}
    names[0x00081030] = "study_description"
    out = {names[tag]: text for tag, _, text in overlay.changes if tag in names}
    return out | {names[tag]: "" for tag in overlay.removed if tag in names}


def shown_otherwise(row: InstanceRow) -> dict[str, Any] | None:
    """An instance's overlay as a worker takes it (`dicom.rewriting`)."""
    if row.overlay is None:
        return None
    one = row.overlay
    # By which door the values came that are replaced: Source of Previous Values (0400,0564), which names no person.
    source = row.source.partition(":")[0]
    return {"changes": [list(x) for x in one.changes], "removed": list(one.removed), "at": one.at, "source": source}


def modified_at(at: str) -> str:
    """Attribute Modification DateTime (0400,0562) of an ISO 8601 moment."""
    return datetime.fromisoformat(at).strftime("%Y%m%d%H%M%S.%f%z")


def shown_metadata(data: bytes, row: InstanceRow) -> bytes:
    """DICOM JSON of an instance as it is shown."""
    if row.overlay is None:
        return data
    found: dict[str, Any] = json.loads(data)
    named = sorted({*row.overlay.removed, *(tag for tag, _, _ in row.overlay.changes)})
    former = {key: found.pop(key) for tag in named if (key := f"{tag:08X}") in found}
    for tag, vr, text in row.overlay.changes:
        value: dict[str, Any] = {"vr": vr}
        if text:
            value["Value"] = [_person_json(text) if vr == "PN" else text]
        found[f"{tag:08X}"] = value
    note = {
        "04000550": {"vr": "SQ", "Value": [former]},
        "04000562": {"vr": "DT", "Value": [modified_at(row.overlay.at)]},
        "04000563": {"vr": "LO", "Value": [MODIFYING_SYSTEM]},
        "04000564": {"vr": "LO", "Value": [row.source.partition(":")[0]]},
        "04000565": {"vr": "CS", "Value": ["CORRECT"]},
    }
    earlier = found.get("04000561", {}).get("Value", [])
    found["04000561"] = {"vr": "SQ", "Value": [*earlier, note]}
    shown = {tag: found[tag] for tag in sorted(found)}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()


def _person_json(text: str) -> dict[str, str]:
    names = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {name: part for name, part in names if part}


def check_form(correction: Correction) -> None:
    """Raises CorrectionError for what can hold for no archive."""
    one = correction
    if one.kind not in KINDS or not one.study_uid:
        raise CorrectionError
    if (one.kind == "patient") != (one.person is not None):
        raise CorrectionError
    if one.kind in {"move", "split"} and (not one.series or len(one.series) > 1000):
        raise CorrectionError(code="no_series")
    if one.kind != "patient" and (not one.target_uid or one.target_uid == one.study_uid):
        raise CorrectionError(code="same_study")
