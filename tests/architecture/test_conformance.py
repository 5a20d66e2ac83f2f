"""docs/conformance.md says what the code does, row by row."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from pydicom.uid import UID

from dicom import syntaxes as x
from dicom.charset import detect
from dicom.model import InstanceRow, Limits, PixelLayout, Place, SeriesRow, StudyRow
from dicom.part10 import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from dicom.query import KEYS, RETURNED
from dicom.web import FAILURE_REASONS, instance_json, series_json, study_json
from server.dicomweb.capabilities import MEDIA
from server.dicomweb.handlers import ROUTES

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "conformance.md"


def table(heading: str) -> list[list[str]]:
    """The cells of the table whose first line is `heading`, code marks taken away."""
    return rows_under(PAGE, heading)


def rows_under(page: Path, heading: str) -> list[list[str]]:
    """The same of any page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = lines.index(heading)
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows


def syntax_rows() -> list[tuple[str, str, str]]:
    """UID, decoded, encoded."""
    known = {*x.READABLE, *x.DECODED, *x.VIDEO, x.EXPLICIT_LE}
    order = sorted(known, key=lambda uid: [int(part) for part in uid.split(".")])
    readable = x.READABLE | x.DECODED
    return [
        (uid, "yes" if uid in readable else "no", "yes" if uid in {*x.ENCODED, x.EXPLICIT_LE} else "no")
        for uid in order
    ]


def returned() -> dict[str, list[str]]:
    """The tags of a search result at each level."""
    when = datetime.now(UTC)
    words = {f.name: "x" for f in (*fields(StudyRow), *fields(SeriesRow), *fields(InstanceRow))}
    counts = dict.fromkeys(
        ("number", "series_count", "instance_count", "rows", "columns", "bits_allocated", "samples", "frames", "blob"),
        1,
    )
    given = {**words, **counts, "modalities": ("CT",), "stored_at": when, "changed_at": when, "repaired": "",
             "mixed_patients": False, "has_waveform": False, "metadata": None, "pixels": PixelLayout(),
             "place": Place(pack=1, offset=0, prefix_length=0, body_length=1)}  # fmt: skip
    made = {}
    for level, kind, write in (
        ("study", StudyRow, study_json),
        ("series", SeriesRow, series_json),
        ("instance", InstanceRow, instance_json),
    ):
        made[level] = sorted(write(kind(**{f.name: given[f.name] for f in fields(kind)}), "http://x"))
    return made


def limits() -> list[tuple[str, str]]:
    """Name and value of every bound of the archive that is one number."""
    return [
        (f.name, f"{getattr(Limits(), f.name):g}" if isinstance(f.default, float) else str(f.default))
        for f in fields(Limits)
        if isinstance(getattr(Limits(), f.name), int | float)
    ]


def test_every_resource_is_listed_with_its_permission():
    want = [[method, re.sub(r":[^}]*\}", "}", path), action] for method, path, _, action in ROUTES]
    assert table("| method | path | permission |") == want


def test_every_media_type_is_listed():
    want = [[kind, ", ".join(f"`{media}`" for media in found).strip("`")] for kind, found in MEDIA.items()]
    assert table("| resource | media types |") == want


def test_transfer_syntaxes_are_told_as_they_are_handled():
    want = [[uid, UID(uid).name, decoded, encoded] for uid, decoded, encoded in syntax_rows()]
    assert table("| transfer syntax | name | decoded | encoded |") == want


def test_search_keys_and_returned_attributes_are_those_of_the_index():
    want = [[name, key.tag, key.vr, key.level, key.matching] for name, key in KEYS.items()]
    assert table("| keyword | tag | VR | level | matching |") == want
    got = {level: re.findall(r"\b[0-9A-F]{8}\b", text) for level, text in table("| level | attributes |")}
    assert got == returned()
    assert {level: sorted(tags) for level, tags in RETURNED.items()} == returned()


def test_reasons_limits_and_our_own_name_are_right():
    assert table("| code | Failure Reason |") == [[code, f"{number:04X}"] for code, number in FAILURE_REASONS.items()]
    assert [row[:2] for row in table("| limit | value | unit |")] == [list(row) for row in limits()]
    assert table("| Implementation Class UID | Implementation Version Name |") == [
        [IMPLEMENTATION_UID, IMPLEMENTATION_NAME]
    ]


def test_every_character_set_named_is_known():
    terms = [row[0] for row in table("| term |")]
    assert len(terms) >= 16
    for term in terms:
        found = detect(term.encode(), [b"\xff"])
        assert found.terms == (term,)
        assert found.decode(b"plain") == "plain"
    prose = PAGE.read_text(encoding="utf-8")
    numbers = {term.removeprefix("ISO_IR ") for term in terms if term.startswith("ISO_IR")}
    section = prose[prose.index("## 5 ") : prose.index("| term |")]
    assert all(re.search(rf"\b{number}\b", section) for number in numbers)
