"""Work and Hub: commit, then tell; nobody is told of what did not happen."""

import asyncio
import sqlite3
import threading

import pytest
from sqlalchemy import exc as sa_exc

from consult.errors import NotFound
from server.storage import engine, faults
from server.storage.errors import (
    DatabaseBusy,
    DatabaseInUse,
    DiskFull,
    Refused,
    Retry,
    StorageUnavailable,
    translate,
)
from server.work import TRIES
from tests.storage import samples as s


async def test_a_commit_is_told_and_a_failure_is_not(sql):
    def change(uow, *, fail):
        s.with_consultation(uow, "bad" if fail else "c1")
        uow.publish("worklist", {"consultation": "bad" if fail else "c1"})
        if fail:
            raise LookupError
        return "done"

    with sql.work.hub.subscribe({"worklist"}) as heard:
        with pytest.raises(LookupError):
            await sql.work.run(change, fail=True)
        assert await sql.work.run(change, fail=False) == "done"
        note = await heard.get()
        assert (note.topic, note.payload) == ("worklist", {"consultation": "c1"})
        assert heard._queue.empty()
    assert (await sql.work.read(lambda u: u.consultations.get("c1"))).id == "c1"
    with pytest.raises(NotFound):
        await sql.work.read(lambda u: u.consultations.get("bad"))


async def test_what_is_told_can_already_be_read(sql):
    with sql.work.hub.subscribe({"worklist"}) as heard:

        def change(uow):
            s.with_consultation(uow)
            uow.publish("worklist", {})

        told = asyncio.ensure_future(heard.get())
        await sql.work.run(change)
        await told
        assert await sql.work.read(lambda u: u.consultations.get("c1"))


async def test_a_caller_who_leaves_does_not_silence_the_commit(sql):
    inside, go_on = threading.Event(), threading.Event()

    def slow(uow):
        inside.set()
        go_on.wait(20)
        s.with_consultation(uow)
        uow.publish("worklist", {"n": 1})

    with sql.work.hub.subscribe({"worklist"}) as heard:
        caller = asyncio.ensure_future(sql.work.run(slow))
        await asyncio.to_thread(inside.wait, 20)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go_on.set()
        assert (await heard.get()).payload == {"n": 1}


def test_revoked_access_takes_the_grants_in_the_same_commit_and_tells_after_it(sql):
    from server.storage.grants import Grant

    told = []
    undo = sql.work.hub.on_revoke(lambda members, consultation: told.append((members, consultation)))
    sql.work.hub.on_revoke(lambda *_: 1 / 0)

    def grant(uow, digest, membership):
        uow.grants.add(
            Grant(
                digest=digest, membership=membership, study_uid="2.25.1", consultation="c1",
                created_at=uow.now, expires_at=s.after(days=30),
            )
        )

    def take(uow):
        before = len(told)
        uow.revoke(memberships=[s.EXPERT], consultation="c1")
        uow.revoke(memberships=[], consultation="c1")
        assert len(told) == before

    sql.run(s.with_consultation)
    sql.run(grant, "theirs", s.EXPERT)
    sql.run(grant, "mine", s.DOCTOR)
    sql.run(take)
    assert told == [(frozenset({s.EXPERT}), "c1")]
    assert sql.read(lambda u: u.grants.get("theirs", now=u.now)) is None
    assert sql.read(lambda u: u.grants.get("mine", now=u.now)).digest == "mine"
    undo()
    sql.run(take)
    assert len(told) == 1


def test_a_unit_inside_a_unit_is_refused_instead_of_waiting_for_itself(sql):
    with pytest.raises(RuntimeError, match="inside"):
        sql.run(lambda u: sql.work.run_sync(lambda v: None))
    with pytest.raises(RuntimeError, match="inside"):
        sql.read(lambda u: sql.work.read_sync(lambda v: None))


def test_the_moment_of_a_unit_stands_still_and_ids_do_not_repeat(sql):
    def look(uow):
        before = uow.now
        sql.clock.advance(hours=1)
        return before == uow.now, {uow.new_id() for _ in range(100)}

    still, ids = sql.read(look)
    assert still
    assert len(ids) == 100
    assert all(x[14] == "4" and len(x) == 36 for x in ids)


def test_a_unit_that_cannot_be_serialised_is_repeated_a_few_times(sql):
    runs = []

    def stubborn(uow, until):
        runs.append(uow)
        if len(runs) < until:
            raise Retry
        s.with_consultation(uow)
        return len(runs)

    assert sql.run(stubborn, TRIES) == TRIES
    runs.clear()
    with pytest.raises(DatabaseBusy):
        sql.run(stubborn, TRIES + 1)
    assert len(runs) == TRIES


def test_after_closing_work_is_unavailable(tmp_path):
    from tests.storage.stores import SqlStore

    store = SqlStore(f"sqlite:///{tmp_path}/a.db")
    store.close()
    with pytest.raises(StorageUnavailable):
        store.run(s.seed)


def test_a_second_process_may_read_but_not_write(tmp_path):
    from tests.storage.stores import SqlStore

    url = f"sqlite:///{tmp_path}/a.db"
    store = SqlStore(url)
    store.run(s.seed)
    with pytest.raises(DatabaseInUse):
        engine.open(url)
    beside = engine.open(url, readonly=True)
    with beside.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM organisation").scalar_one() == 3
    with pytest.raises(StorageUnavailable), beside.write():
        pass
    beside.close()
    store.close()


def test_the_log_is_emptied_by_a_checkpoint_and_at_the_end(tmp_path, monkeypatch):
    from server import work
    from tests.storage.stores import SqlStore

    monkeypatch.setattr(work, "CHECKPOINT_ABOVE", 1)
    store = SqlStore(f"sqlite:///{tmp_path}/a.db")
    seen = []
    undo = faults.add_hook(seen.append)
    store.run(s.seed)
    store.run(lambda u: None)
    undo()
    store.close()
    assert "checkpoint" in seen
    assert not (tmp_path / "a.db-wal").exists()
    connection = sqlite3.connect(tmp_path / "a.db")
    assert connection.execute("SELECT count(*) FROM organisation").fetchone() == (3,)
    connection.close()


def test_a_log_that_once_was_large_is_not_moved_at_every_commit(tmp_path, monkeypatch):
    from server import work
    from server.storage import engine
    from tests.storage.stores import SqlStore

    monkeypatch.setattr(work, "CHECKPOINT_ABOVE", 200_000)
    store = SqlStore(f"sqlite:///{tmp_path}/a.db")
    monkeypatch.setattr(engine, "CHECKPOINT_AFTER", 10)
    seen = []
    undo = faults.add_hook(seen.append)

    def step():
        store.run(lambda u: u.audit.append(s.audit("step")))

    while "checkpoint" not in seen:
        step()
    seen.clear()
    for _ in range(45):
        step()
    undo()
    assert 1 <= seen.count("checkpoint") <= 6
    store.close()


def test_a_full_disk_is_said_and_nothing_is_written(tmp_path):
    from tests.storage.stores import SqlStore

    store = SqlStore(f"sqlite:///{tmp_path}/a.db")
    store.run(s.seed)
    with store.work.database._raw() as raw:
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count={pages + 4}")

    def big(uow):
        s.with_consultation(uow)
        uow.settings.put("big", "x" * 200_000)

    with pytest.raises(DiskFull):
        store.run(big)
    with pytest.raises(NotFound):
        store.read(lambda u: u.consultations.get("c1"))
    store.run(lambda u: u.settings.put("small", 1))
    assert store.read(lambda u: u.settings.get("small")) == 1
    store.close()


class Driver(Exception):
    def __init__(self, sqlstate):
        super().__init__("张小明")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("40001", Retry), ("40P01", Retry), ("53100", DiskFull), ("55P03", DatabaseBusy), ("57014", DatabaseBusy),
        ("57P01", StorageUnavailable), (None, StorageUnavailable), ("42P01", Refused), ("22P02", Refused),
    ],
)  # fmt: skip
def test_postgresql_codes_get_our_names_without_their_text(state, expected):
    found = translate(sa_exc.OperationalError("SELECT 1", {}, Driver(state)))
    assert type(found) is expected
    assert "张小明" not in str(found)


def test_only_the_database_is_translated():
    error = LookupError()
    assert translate(error) is error


def test_an_address_that_is_no_database_of_ours_is_refused():
    for url in ("sqlite://", "sqlite:///:memory:", "mysql+pymysql://x/y"):
        with pytest.raises((ValueError, sa_exc.ArgumentError)):
            engine.open(url)


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "a.db").mkdir()
    with pytest.raises(StorageUnavailable):
        engine.open(f"sqlite:///{tmp_path}/a.db")
