"""Units that wait for the writer share one commit, and each still has a fate of its own."""

import asyncio
import threading
from contextlib import contextmanager

import pytest

from consult.errors import NotFound
from server.storage import faults
from server.storage.errors import DiskFull
from tests.storage import samples as s
from tests.storage.stores import SqlStore


@pytest.fixture
def lite(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path}/a.db")
    store.run(s.seed)
    yield store
    store.close()


async def crowd(store, *units, meanwhile=lambda: None):
    """What each unit came to, when all of them waited behind one that is at work; and the points that were passed."""
    inside, go_on, passed = threading.Event(), threading.Event(), []

    def slow(_uow):
        inside.set()
        go_on.wait(20)

    undo = faults.add_hook(passed.append)
    try:
        first = asyncio.ensure_future(store.work.run(slow))
        await asyncio.to_thread(inside.wait, 20)
        waiting = [asyncio.ensure_future(store.work.run(unit)) for unit in units]
        await asyncio.sleep(0)
        meanwhile()
        go_on.set()
        await first
        return await asyncio.gather(*waiting, return_exceptions=True), passed
    finally:
        undo()


def put(name, value=1):
    def unit(uow):
        uow.settings.put(name, value)
        uow.publish("worklist", {"name": name})
        return name

    return unit


async def test_they_share_one_commit_and_one_that_fails_takes_nobody_with_it(lite):
    def wrong(uow):
        uow.settings.put("wrong", 1)
        uow.publish("worklist", {"name": "wrong"})
        raise LookupError("mine alone")

    with lite.work.hub.subscribe({"worklist"}) as heard:
        found, passed = await crowd(lite, put("a"), wrong, put("b"), put("c"))
        assert [found[0], *found[2:]] == ["a", "b", "c"]
        assert isinstance(found[1], LookupError)
        assert [(await heard.get()).payload["name"] for _ in range(3)] == ["a", "b", "c"]
        assert heard._queue.empty()
    assert passed.count("before_commit") == 2
    assert [lite.read(lambda u, n=n: u.settings.get(n)) for n in ("a", "wrong", "b", "c")] == [1, None, 1, 1]


async def test_a_later_one_sees_what_an_earlier_one_did_and_its_audit_follows(lite):
    def count(uow):
        value = (uow.settings.get("n") or 0) + 1
        uow.settings.put("n", value)
        return value

    found, _passed = await crowd(lite, *[count] * 40)
    assert found == list(range(1, 41))


async def test_storage_trouble_in_one_leaves_the_others_to_try_alone(lite):
    with lite.work.database._raw() as raw:
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count={pages + 4}")
    found, _passed = await crowd(lite, put("a"), put("big", "x" * 200_000), put("b"))
    assert [found[0], found[2]] == ["a", "b"]
    assert isinstance(found[1], DiskFull)
    assert [lite.read(lambda u, n=n: u.settings.get(n)) for n in ("a", "big", "b")] == [1, None, 1]


async def test_one_who_left_before_its_turn_is_not_done(lite):
    inside, go_on = threading.Event(), threading.Event()

    def slow(_uow):
        inside.set()
        go_on.wait(20)

    first = asyncio.ensure_future(lite.work.run(slow))
    await asyncio.to_thread(inside.wait, 20)
    left = asyncio.ensure_future(lite.work.run(put("left")))
    stays = asyncio.ensure_future(lite.work.run(put("stays")))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, stays)
    assert lite.read(lambda u: (u.settings.get("left"), u.settings.get("stays"))) == (None, 1)


async def test_a_commit_that_fails_is_said_to_all_and_tried_by_nobody(lite, monkeypatch):
    real, runs = lite.work.database.write, []

    def fail():
        raise OSError(5, "I/O error")

    @contextmanager
    def broken(*, alone=False):
        with real(alone=alone) as connection:
            monkeypatch.setattr(connection, "commit", fail)
            yield connection

    def unit(uow):
        runs.append(uow)
        s.with_consultation(uow)

    def meanwhile():
        monkeypatch.setattr(lite.work.database, "write", broken)

    found, _passed = await crowd(lite, unit, put("b"), meanwhile=meanwhile)
    monkeypatch.undo()
    assert [type(x) for x in found] == [OSError, OSError]
    assert len(runs) == 1
    with pytest.raises(NotFound):
        lite.read(lambda u: u.consultations.get("c1"))
