"""An instance or a series by its own UID: an index leads to it, and the answer is that of reading everything."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom.index import reader as index_reader
from dicom.index.reader import IndexReader
from dicom.model import Query, Scope
from tests.archive.test_scope import holdings, scopes, world

LEVELS = ("studies", "series", "instances")
SCOPES = {
    "one house": Scope(organisations=frozenset({"A"})),
    "one house, a study hidden": Scope(organisations=frozenset({"A"}), hidden=frozenset({"1.9"})),
    "two houses": Scope(organisations=frozenset({"A", "B"})),
    "shared studies": Scope(organisations=frozenset({"A"}), studies=frozenset({"1.1", "1.3"})),
    "everything": Scope.everything(),
}
KEYS = {
    "an instance": {"SOPInstanceUID": "1.2.1.1"},
    "instances": {"SOPInstanceUID": "1.2.1.1,1.4.1.2"},
    "a series": {"SeriesInstanceUID": "1.2.1"},
    "several series": {"SeriesInstanceUID": "1.2.1\\1.4.1"},
    "an instance of a series": {"SOPInstanceUID": "1.2.1.1", "SeriesInstanceUID": "1.2.1"},
    "a series of a study": {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1"},
}
# The tables by their aliases, read whole; or all of one organisation, which is as much in a house of its own.
READ_WHOLE = re.compile(r"SCAN (?:[sriab]|study|series|instance)\b|\(organisation=\?\)")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    path = tmp_path_factory.mktemp("named") / "index.sqlite"
    world(path, [("AB"[n % 2], f"1.{n}", 1, k, "X", "CT", "20260101", 0) for n in range(60) for k in (1, 2, 3)])
    opened = IndexReader(path)
    yield opened
    opened.close()


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("scope", SCOPES)
def test_no_table_is_read_whole_for_an_instance_or_a_series_by_its_uid(reader, scope, keys):
    asked = []
    with reader.connection() as connection:
        pass
    connection.set_trace_callback(asked.append)
    for level in LEVELS:
        assert getattr(reader, level)(SCOPES[scope], Query(matches=KEYS[keys]), 100) or scope == "shared studies"
    connection.set_trace_callback(None)
    statements = [one for one in asked if one.startswith(("SELECT", "WITH"))]
    assert len(statements) >= len(LEVELS)
    plan = [row[3] for one in statements for row in connection.execute(f"EXPLAIN QUERY PLAN {one}")]
    assert [line for line in plan if READ_WHOLE.search(line)] == []


UIDS = ["1.1.1", "1.1.2", "1.2.1", "1.3.2", "1.4.1", "1.9.9"]
named = st.fixed_dictionaries(
    {},
    optional={
        "SeriesInstanceUID": st.lists(st.sampled_from(UIDS), min_size=1, max_size=3).map(",".join),
        "SOPInstanceUID": st.lists(
            st.tuples(st.sampled_from(UIDS), st.integers(1, 3)).map(lambda x: f"{x[0]}.{x[1]}"), min_size=1, max_size=3
        ).map("\\".join),
        "StudyInstanceUID": st.sampled_from(["1.1", "1.2,1.3"]),
        "Modality": st.just("CT"),
    },
)


@pytest.mark.parametrize("unlimited", [False, True])
def test_the_answer_is_that_of_reading_everything(tmp_path, monkeypatch, unlimited):
    path = tmp_path / "index.sqlite"
    reader = IndexReader(path)
    narrowed = itertools.count()

    @settings(deadline=None, derandomize=True, max_examples=150)
    @given(rows=holdings, scope=scopes, matches=named, offset=st.integers(0, 1))
    def check(rows, scope, matches, offset):
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        world(path, rows)
        scope = Scope.everything() if unlimited else scope
        query = Query(matches=matches, offset=offset)
        for level in LEVELS:
            ask = getattr(reader, level)
            found = ask(scope, query, 100)
            with monkeypatch.context() as patch:
                patch.setattr(index_reader, "place", lambda *_: ("", []))
                assert ask(scope, query, 100) == found
            if found and "StudyInstanceUID" not in matches:
                next(narrowed)
        for idle in reader._idle:
            idle.close()  # the next world is another file
        reader._idle.clear()

    check()
    reader.close()
    assert next(narrowed) > 20


def test_a_series_is_found_by_an_instance_of_it(reader):
    scope = SCOPES["one house"]
    found = reader.series(scope, Query(matches={"SOPInstanceUID": "1.2.1.1"}), 100)
    assert [row.series_uid for row in found] == ["1.2.1"]
    assert reader.series(scope, Query(matches={"SOPInstanceUID": "1.3.1.1"}), 100) == []  # the other house's
    assert len(reader.series(scope, Query(matches={"InstanceNumber": "7"}), 100)) == 0
