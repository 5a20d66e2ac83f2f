"""Searching: Chinese names on any keyboard, ranges, paging, and what an answer owns up to."""

from __future__ import annotations

import functools
import json
import operator
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom import query as qido
from dicom.index import grams
from dicom.index import reader as index_reader
from dicom.index.pinyin import DOUBLE, SURNAMES
from dicom.index.reader import IndexReader
from dicom.index.removing import remove_instance
from dicom.index.schema import MIGRATIONS, connect_writer, migrate
from dicom.model import Query, Scope
from tests.archive.files import make
from tests.archive.service import get, service
from tests.archive.test_scope import world

__all__ = ["service"]
module_loop = pytest.mark.asyncio(loop_scope="module")
NAMES = {
    "1": "曾^小明",
    "2": "单^雄信",
    "3": "解^放",
    "4": "王^晓明",
    "5": "汪^小明",
    "6": "欧阳^娜娜",
    "7": "吕^布",
    "8": "WANG^XIAOMING=王^小明",
    "9": "尉迟^恭",
    "10": "Smith^John",
    "11": "乐乐",
    "12": "重庆^长",
}


@pytest.fixture(scope="module")
def find(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "index.sqlite"
    world(path, [("A", f"1.{n}", 1, 1, name, "CT", "20260101", 0) for n, name in NAMES.items()])
    reader = IndexReader(path)
    scope = Scope(organisations=frozenset({"A"}))

    def search(pattern, *, fuzzy=False):
        rows = reader.studies(scope, Query(matches={"PatientName": pattern}, fuzzy=fuzzy), 100)
        return {row.study_uid.removeprefix("1.") for row in rows}

    yield search
    reader.close()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("zeng*", {"1"}),                    # the surname's reading
        ("ceng*", {"1"}),                    # and the everyday one
        ("zeng xiao ming*", {"1"}),
        ("zengxiaoming*", {"1"}),
        ("zeng^xiaoming*", {"1"}),
        ("zxm*", {"1"}),
        ("*xiaoming*", {"1", "4", "5", "8"}),
        ("shan*", {"2"}),
        ("dan*", {"2"}),
        ("chan*", {"2"}),
        ("xie*", {"3"}),
        ("jie*", {"3"}),
        ("xie?fang*", {"3"}),
        ("ouyang*", {"6"}),
        ("ou yang nana*", {"6"}),
        ("ouyang nana*", {"6"}),
        ("oynn*", {"6"}),
        ("lv*", {"7"}),
        ("lu bu*", {"7"}),
        ("lyubu*", {"7"}),
        ("yuchi*", {"9"}),
        ("yue*", {"11"}),
        ("le*", {"11"}),
        ("smithj*", {"10"}),
        ("sj*", {"10"}),
        ("zhong*", {"12"}),
        ("chong*", {"12"}),
        ("王*", {"4", "8"}),                  # characters match characters
        ("*小明", {"1", "5", "8"}),
        ("王?明", {"4", "8"}),
        ("wang*", {"4", "5", "8"}),
        ("*", set(NAMES)),
    ],
)  # fmt: skip
def test_a_pattern_finds_names_by_character_pinyin_and_initials(find, pattern, expected):
    assert find(pattern) == find(pattern.upper()) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("wang xiao", {"4", "5", "8"}),
        ("xiaoming", {"1", "4", "5", "8"}),
        ("wangxm", set()),
        ("wxm", {"4", "5", "8"}),
        ("zeng", {"1"}),
        ("nana ouyang", {"6"}),
        ("王", {"4", "8"}),
        ("小明", {"1", "5", "8"}),
        ("john", {"10"}),
    ],
)
def test_fuzzy_takes_words_in_any_order_and_their_beginnings(find, words, expected):
    assert find(words, fuzzy=True) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("王^小明", {"8"}),
        ("王小明", {"8"}),
        ("汪^小明", {"5"}),
        ("王^晓明", {"4"}),
        ("wang^xiaoming", {"8"}),            # written so by the device
        ("zeng^xiaoming", set()),            # only sounds so
        ("zxm", set()),
        ("曾", set()),
    ],
)  # fmt: skip
def test_an_exact_name_never_matches_by_sound(find, name, expected):
    assert find(name) == expected


def test_every_special_surname_is_found_by_its_own_reading(tmp_path):
    names = {
        **{f"{c}^某": reading for c, reading in SURNAMES.items()},
        **{f"{c}^某": "".join(r) for c, r in DOUBLE.items()},
    }
    world(tmp_path / "index.sqlite", [("A", f"1.{n}", 1, 1, name, "CT", "", 0) for n, name in enumerate(names)])
    reader = IndexReader(tmp_path / "index.sqlite")
    try:
        for name, reading in names.items():
            query = Query(matches={"PatientName": f"{reading} mou*"})
            found = reader.studies(Scope(organisations=frozenset({"A"})), query, 100)
            assert name in {row.patient_name for row in found}, (name, reading)
    finally:
        reader.close()


def test_an_index_of_the_last_release_learns_how_its_names_sound(tmp_path):
    path = tmp_path / "index.sqlite"
    connection = connect_writer(path)
    connection.execute("CREATE TABLE schema_version(version INTEGER PRIMARY KEY, at TEXT NOT NULL)")
    connection.executescript(MIGRATIONS[0])
    connection.execute("INSERT INTO schema_version VALUES (1, '')")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(study)") if row[1] != "id"]
    values = ["曾^小明" if c == "patient_name" else "=曾^小明=曾小明=" if c == "name_search" else 0 if "count" in c or c == "mixed_patients"
              else "A" if c == "organisation" else "1.1" if c == "study_uid" else "2026-01-01T00:00:00+00:00" if c.endswith("_at") else "\\" for c in columns]  # fmt: skip
    connection.execute(f"INSERT INTO study({','.join(columns)}) VALUES ({','.join('?' * len(columns))})", values)
    assert migrate(connection) == len(MIGRATIONS)
    connection.close()
    reader = IndexReader(path)
    found = reader.studies(Scope(organisations=frozenset({"A"})), Query(matches={"PatientName": "zengxiao*"}), 10)
    assert [row.study_uid for row in found] == ["1.1"]
    reader.close()
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT count(*) FROM schema_version").fetchone() == (len(MIGRATIONS),)
    plain.close()


WORDS = st.lists(st.sampled_from([*"王小明晓WANGXIM=^ *?[]", "zhang", "wei", "伟强", "𠮷"]), max_size=6).map("".join)


@pytest.mark.parametrize("organisations", [{"A"}, {"A", "B"}])
def test_a_name_is_found_by_its_pieces_exactly_where_reading_every_study_finds_it(tmp_path, monkeypatch, organisations):
    path = tmp_path / "index.sqlite"
    reader = IndexReader(path)
    scope = Scope(organisations=frozenset(organisations))
    chosen = set()

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(names=st.lists(WORDS, max_size=6), pattern=WORDS, fuzzy=st.booleans(), worth=st.integers(1, 6))
    def check(names, pattern, fuzzy, worth):
        world(path, [("AB"[n % 2], f"1.{n}", 1, 1, name, "CT", f"202601{n:02}", 0) for n, name in enumerate(names)])
        query = Query(matches={"PatientName": pattern} if pattern else {}, fuzzy=fuzzy)
        found = {}
        for way, ask in (("pieces", grams.candidates), ("reading", lambda *_: None)):
            with monkeypatch.context() as patch:
                patch.setattr(grams, "WORTH", worth)
                patch.setattr(index_reader, "candidates", ask)
                found[way] = [row.study_uid for row in reader.studies(scope, query, 100)]
            for idle in reader._idle:
                idle.close()  # the next world is another file
            reader._idle.clear()
        assert found["pieces"] == found["reading"]
        chosen.add(bool(found["pieces"]))

    check()
    reader.close()
    assert chosen == {True, False}


def test_a_name_without_end_is_one_piece_and_still_found(tmp_path):
    name = "".join(chr(0x4E00 + 3 * n) for n in range(700))
    assert grams.grams(name) == [""]
    path = tmp_path / "index.sqlite"
    world(path, [("A", "1.1", 1, 1, name, "CT", "", 0), ("A", "1.2", 1, 1, "王^小明", "CT", "", 0)])
    reader = IndexReader(path)
    found = reader.studies(Scope(organisations=frozenset({"A"})), Query(matches={"PatientName": f"*{name[300:310]}*"}), 9)
    reader.close()
    assert [row.study_uid for row in found] == ["1.1"]


def test_what_a_study_was_called_is_forgotten_with_it(tmp_path):
    path = tmp_path / "index.sqlite"
    world(path, [("A", "1.1", 1, 1, "曾^小明", "CT", "", 0), ("A", "1.2", 1, 1, "王^小明", "CT", "", 0)])
    connection = connect_writer(path)
    pieces = "SELECT study, group_concat(gram, '') FROM name_gram GROUP BY study"
    before = dict(connection.execute(pieces).fetchall())
    assert "曾" in before[1] and "ZEN" in before[1] and "WAN" in before[2]
    connection.execute("UPDATE study SET name_search = '=李四=', name_sound = '=LI SI=' WHERE id = 1")
    after = dict(connection.execute(pieces).fetchall())
    assert after[2] == before[2] and "李四" in after[1] and not {"曾", "明", "Z"} & set(after[1])
    remove_instance(connection, 1)
    assert dict(connection.execute(pieces).fetchall()) == {2: before[2]}
    connection.close()


# -- over HTTP


@pytest.fixture(autouse=True)
def _own_eyes(request):
    if "service" in request.fixturenames:
        request.getfixturevalue("service").scope = Scope(organisations=frozenset({"S"}), holder="S")


async def put(service, n, **more):
    data = make(f"1.88.{n}.1.1", study=f"1.88.{n}", series=f"1.88.{n}.1", **more)
    assert (await service.archive.ingest(data, organisation="S", source="test")).outcome in {"stored", "duplicate"}


async def ask(service, query):
    response, body = await get(service, f"/dicom-web/studies?{query}", "application/dicom+json")
    assert response.status in {200, 204}, body
    uids = [s["0020000D"]["Value"][0].removeprefix("1.88.") for s in json.loads(body or b"[]")]
    return uids, response.headers.get("Warning", "")


@module_loop
async def test_ranges_limits_and_offsets_page_through_one_order(service):
    for n in range(1, 13):
        await put(
            service,
            n,
            StudyDate=f"202601{n:02}",
            StudyTime=f"{n + 7:02}3000",
            PatientID=f"P{n}",
            AccessionNumber=f"ACC{n:03}",
        )
    every, warning = await ask(service, "")
    assert every == [str(n) for n in range(12, 0, -1)] and not warning
    assert (await ask(service, "StudyDate=20260103-20260105"))[0] == ["5", "4", "3"]
    assert (await ask(service, "StudyDate=20260111-"))[0] == ["12", "11"]
    assert (await ask(service, "StudyDate=-20260102"))[0] == ["2", "1"]
    assert (await ask(service, "StudyTime=0800-0930"))[0] == ["2", "1"]
    assert (await ask(service, "AccessionNumber=ACC01?"))[0] == ["12", "11", "10"]
    assert (await ask(service, "00100020=P1*&limit=2&offset=1"))[0] == ["11", "10"]
    pages = [(await ask(service, f"limit=5&offset={offset}"))[0] for offset in (0, 5, 10, 15)]
    assert functools.reduce(operator.iadd, pages, []) == every


@module_loop
async def test_an_answer_owns_up_to_what_it_leaves_out(service, monkeypatch):
    from dataclasses import replace

    for n in range(1, 6):
        await put(
            service,
            n,
            StudyDate=f"202601{n:02}",
            StudyTime=f"{n + 7:02}3000",
            PatientID=f"P{n}",
            AccessionNumber=f"ACC{n:03}",
        )
    found = len((await ask(service, ""))[0])
    monkeypatch.setattr(service.archive, "limits", replace(service.archive.limits, query_rows=found - 1))
    for query in ("", "limit=900"):
        uids, warning = await ask(service, query)
        assert len(uids) == found - 1 and "exceeded" in warning, query
    assert await ask(service, f"limit={found - 2}") == ((await ask(service, ""))[0][:-1], "")
    monkeypatch.setattr(service.archive, "limits", replace(service.archive.limits, query_rows=found))
    uids, warning = await ask(service, "")
    assert len(uids) == found and not warning, "exactly as many as there are"
    for query in (
        "00400275.00400009=X",
        "RequestAttributesSequence.ScheduledProcedureStepID=X",
        "00091001=1",
        "KVP=120",
    ):
        uids, warning = await ask(service, query)
        assert len(uids) == found and warning.startswith("299 ") and "ignored" in warning, query
    assert (await ask(service, "includefield=all&includefield=00081030,PatientSex"))[1] == ""
    assert "not returned" in (await ask(service, "includefield=00180060"))[1]
    for query in (
        "PatientName=Zh*",
        "PatientName=zhangs*",
        "PatientName=zs&fuzzymatching=true",
        "PatientName=%E5%BC%A0*",
    ):
        assert len((await ask(service, query))[0]) == found, query
    assert (await ask(service, "PatientName="))[0] == uids


@module_loop
async def test_what_is_asked_for_or_matched_above_comes_with_series_and_instances_from_the_index(service):
    for n in (71, 72):
        await put(service, n, PatientID=f"P{n}", StudyDescription=f"D{n}", SeriesDescription=f"S{n}", BodyPartExamined="HEAD")

    async def one(path):
        response, body = await get(service, f"/dicom-web/{path}")
        (value,) = json.loads(body)
        return value, response.headers.get("Warning", "")

    named = "includefield=StudyDescription,00081030,PatientID,SeriesDescription"
    plain, _ = await one("instances?SOPInstanceUID=1.88.72.1.1")
    assert set(plain) == qido.RETURNED["instance"]
    instance, warning = await one(f"instances?SOPInstanceUID=1.88.72.1.1&{named}")
    assert warning == "" and set(instance) - set(plain) == {"00081030", "00100020", "0008103E"}
    told = [instance[tag]["Value"] for tag in ("00081030", "00100020", "0008103E")]
    assert told == [["D72"], ["P72"], ["S72"]]
    series, warning = await one(f"series?SeriesInstanceUID=1.88.71.1&{named}")
    assert warning == "" and set(series) - qido.RETURNED["series"] == {"00081030", "00100020"}
    assert series["00081030"]["Value"] == ["D71"] and series["0008103E"]["Value"] == ["S71"]
    matched, _ = await one("instances?PatientID=P72")
    assert matched["00100020"]["Value"] == ["P72"] and "00081030" not in matched
    every, warning = await one("studies/1.88.72/series/1.88.72.1/instances?includefield=all")
    assert warning == ""
    assert set(every) == qido.RETURNED["study"] | qido.RETURNED["series"] | qido.RETURNED["instance"]
    assert every["00081190"] == plain["00081190"] and every["00180015"]["Value"] == ["HEAD"]


@pytest.mark.parametrize(
    ("level", "field", "warned"),
    [
        *(("study", tag, True) for tag in ("00081110", "00400244", "00400245", "00400275", "00080054", "00080201")),
        ("study", "Modality", True),
        ("study", "00280010", True),
        ("study", "00080061", False),
        ("series", "0008103e", False),
        ("series", "PatientName", False),
        ("series", "SOPClassUID", True),
        ("instance", "00201209", False),
        ("instance", "00180060", True),
    ],
)
@module_loop
async def test_a_field_that_no_answer_has_is_owned_up_to(service, level, field, warned):
    await put(service, 73)
    path = {"study": "studies", "series": "series", "instance": "instances"}[level]
    response, body = await get(service, f"/dicom-web/{path}?StudyInstanceUID=1.88.73&includefield={field}")
    assert ("not returned" in response.headers.get("Warning", "")) == warned
    key = qido.KEYS.get(field)
    assert ((key.tag if key else field.upper()) in json.loads(body)[0]) != warned
