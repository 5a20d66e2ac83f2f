"""Random worlds of holdings, grants and queries: no answer, count or page shows what a slow separate oracle forbids."""

from __future__ import annotations

import sqlite3

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom.index import writer as index
from dicom.index.reader import IndexReader
from dicom.index.schema import connect_writer, migrate
from dicom.index.writer import Holding
from dicom.model import Header, PixelLayout, Place, Query, Scope

ORGANISATIONS = ["A", "B", "C"]
STUDIES = ["1.1", "1.2", "1.3", "1.4"]
NAMES = ["王^小明", "WANG^XIAOMING", "Li^Si=李^四", "欧阳^娜娜", ""]

holdings = st.lists(
    st.tuples(
        st.sampled_from(ORGANISATIONS),
        st.sampled_from(STUDIES),
        st.integers(1, 2),
        st.integers(1, 3),
        st.sampled_from(NAMES),
        st.sampled_from(["CT", "MR", "ECG"]),
        st.sampled_from(["20260101", "20260215", ""]),
        st.integers(0, 1),
    ),
    max_size=14,
)
scopes = st.builds(
    Scope,
    organisations=st.frozensets(st.sampled_from(ORGANISATIONS), max_size=2),
    studies=st.frozensets(st.sampled_from(STUDIES), max_size=2),
    hidden=st.frozensets(st.sampled_from(STUDIES), max_size=1),
)
queries = st.builds(
    Query,
    matches=st.dictionaries(
        st.sampled_from(
            [
                "PatientName",
                "StudyDate",
                "ModalitiesInStudy",
                "Modality",
                "StudyInstanceUID",
                "SOPInstanceUID",
            ]
        ),
        st.just(""),
        max_size=2,
    ),
    offset=st.integers(0, 2),
    fuzzy=st.booleans(),
)
VALUES = {
    "PatientName": ["王*", "WANG*", "*小*", "李四", "li^si", "*"],
    "StudyDate": ["20260101", "20260101-20260131", "-20260201", "20260102-"],
    "ModalitiesInStudy": ["CT", "CT\\MR", "E*"],
    "Modality": ["CT", "M?"],
    "StudyInstanceUID": ["1.1", "1.1,1.2", "1.9"],
    "SOPInstanceUID": ["1.1.1.1", "1.2.1.1,1.3.1.2"],
}


def world(path, rows):
    """Enter the holdings through the real index writer; returns what is held as plain tuples."""
    path.unlink(missing_ok=True)
    connection = connect_writer(path)
    connection.execute("PRAGMA synchronous = OFF")  # durability is another test's question
    migrate(connection)
    held = {}
    connection.execute("BEGIN")
    for generation, (organisation, study, series, number, name, modality, date, variant) in enumerate(
        rows, 1
    ):
        sop = f"{study}.{series}.{number}"
        if (organisation, sop) in held:
            continue
        digest = f"{hash((sop, variant)) & 0xFFFFFFFF:064x}"
        header = Header(
            study_uid=study,
            series_uid=f"{study}.{series}",
            sop_uid=sop,
            sop_class="1.2",
            transfer_syntax="1.2.840.10008.1.2.1",
            patient_name=name,
            modality=modality,
            study_date=date,
            pixels=PixelLayout(),
        )
        place = Place(pack=1, offset=64, prefix_length=0, body_length=1)
        index.apply_holding(
            connection,
            Holding(
                organisation=organisation,
                source="t",
                at="2026-01-01T00:00:00+00:00",
                digest=digest,
                generation=generation,
                header=header,
                place=place,
            ),
        )
        held[organisation, sop] = (study, f"{study}.{series}", sop, modality)
    connection.execute("COMMIT")
    connection.close()
    return held


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=holdings, scope=scopes, query=queries, data=st.data())
def test_answers_are_exactly_what_the_oracle_permits(tmp_path, rows, scope, query, data):
    matches = {key: data.draw(st.sampled_from(VALUES[key]), label=key) for key in query.matches}
    path = tmp_path / "index.sqlite"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    held = world(path, rows)
    # The oracle: plain Python over the holdings.
    allowed = [
        value
        for (organisation, _), value in held.items()
        if value[0] not in scope.hidden and (organisation in scope.organisations or value[0] in scope.studies)
    ]
    reader = IndexReader(path)
    try:
        every = reader.studies(scope, Query(), 1000)
        assert {row.study_uid for row in every} == {value[0] for value in allowed}
        for row in every:
            mine = [value for value in allowed if value[0] == row.study_uid]
            assert row.instance_count == len({value[2] for value in mine})
            assert row.series_count == len({value[1] for value in mine})
            assert set(row.modalities) == {value[3] for value in mine}
            assert scope.allows(row.organisation, row.study_uid)
        assert {row.series_uid for row in reader.series(scope, Query(), 1000)} == {
            value[1] for value in allowed
        }
        for row in reader.series(scope, Query(), 1000):
            assert row.instance_count == len({value[2] for value in allowed if value[1] == row.series_uid})
        assert sorted(row.sop_uid for row in reader.instances(scope, Query(), 1000)) == sorted(
            {value[2] for value in allowed}
        )
        # Any query answers with a subset, and pages are parts of one list.
        asked = Query(matches=matches, offset=query.offset, fuzzy=query.fuzzy)
        whole = Query(matches=matches, fuzzy=query.fuzzy)
        for search, column, place in (
            (reader.studies, "study_uid", 0),
            (reader.series, "series_uid", 1),
            (reader.instances, "sop_uid", 2),
        ):
            found = [getattr(row, column) for row in search(scope, whole, 1000)]
            assert set(found) <= {value[place] for value in allowed}
            assert len(found) == len(set(found))
            assert [getattr(row, column) for row in search(scope, asked, 1000)] == found[query.offset :]
        for (organisation, sop), value in held.items():
            row = reader.instance(scope, value[0], value[1], sop)
            assert (row is not None) == any(v[2] == sop for v in allowed)
            assert row is None or scope.allows(row.organisation, value[0])
            assert organisation
    finally:
        reader.close()


def test_readers_cannot_write(tmp_path):
    world(tmp_path / "index.sqlite", [])
    reader = IndexReader(tmp_path / "index.sqlite")
    try:
        with reader.connection() as connection:
            connection.execute("DELETE FROM instance")
    except sqlite3.OperationalError as error:
        assert "readonly" in str(error)
    else:
        raise AssertionError("a reader wrote")
    finally:
        reader.close()


def test_names_are_found_by_either_script_and_with_or_without_caret(tmp_path):
    rows = [("A", "1.1", 1, 1, "Li^Si=李^四", "CT", "", 0), ("A", "1.2", 1, 1, "LIU^SI", "CT", "", 0)]
    world(tmp_path / "index.sqlite", rows)
    reader = IndexReader(tmp_path / "index.sqlite")
    scope = Scope(organisations=frozenset({"A"}))

    def find(name, fuzzy=False):
        return {
            row.study_uid
            for row in reader.studies(scope, Query(matches={"PatientName": name}, fuzzy=fuzzy), 10)
        }

    assert find("李四") == find("李^四") == find("li^si") == find("LI SI") == {"1.1"}
    assert find("LI*") == {"1.1", "1.2"}
    assert find("LI") == set()  # an exact name is exact
    assert find("si", fuzzy=True) == {"1.1", "1.2"}
    assert find("[L]I*") == set()  # GLOB's own brackets mean nothing in DICOM
    reader.close()
