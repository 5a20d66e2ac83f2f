"""The feed of an organisation: numbered without gaps whoever writes at once, told apart from every other's."""

import threading
from concurrent.futures import ThreadPoolExecutor

WRITERS, EACH = 4, 5


def test_numbers_of_an_organisation_follow_one_another_under_concurrent_writers(sql):
    gate = threading.Barrier(WRITERS + 1)
    seen, wrong, done = [], [], threading.Event()

    def write(writer):
        gate.wait(timeout=20)
        for n in range(EACH):
            for organisation in ("A", "B"):
                sql.run(lambda u, o=organisation, n=n: u.changes.add(o, f"1.{writer}.{n}", "stored", u.now))

    def read():
        """What a caller who goes on from the last number sees, while the others write."""
        gate.wait(timeout=20)
        last, ended, rows = 0, False, ()
        while rows or not ended:
            ended = done.is_set()
            rows = sql.read(lambda u, last=last: u.changes.since("A", last, 100))
            for row in rows:
                wrong.extend([row.n] if row.n != last + 1 else [])
                last = row.n
                seen.append(row.study_uid)

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reader = pool.submit(read)
        try:
            for one in [pool.submit(write, x) for x in range(WRITERS)]:
                one.result()
        finally:
            done.set()
        reader.result(timeout=45)
    assert not wrong
    assert sorted(seen) == sorted(f"1.{writer}.{n}" for writer in range(WRITERS) for n in range(EACH))
    assert sql.read(lambda u: u.changes.newest("B")) == WRITERS * EACH
    assert sql.read(lambda u: u.changes.newest("C")) == 0


def test_what_the_pages_are_told_of_a_study_stands_in_the_feed_and_a_failure_does_not(sql):
    def tell(uow, *, fail=False):
        uow.publish("study:A", {"study": "1.1", "matched": True})
        uow.publish("study:A", {"study": "1.1"})
        uow.publish("study:A", {"order": "x"})
        uow.publish("study:B", {"study": "1.2", "hidden": True})
        uow.publish("study:A", {"study": "1.1", "matched": False})
        uow.publish("worklist", {"study": "1.1", "hidden": False})
        if fail:
            raise LookupError

    try:
        sql.run(tell, fail=True)
    except LookupError:
        assert sql.read(lambda u: u.changes.newest("A")) == 0
    sql.run(tell)
    told = sql.read(lambda u: u.changes.since("A", 0, 10))
    assert [(x.n, x.study_uid, x.kind) for x in told] == [(1, "1.1", "matched"), (2, "1.1", "voided")]
    assert [x.kind for x in sql.read(lambda u: u.changes.since("B", 0, 10))] == ["hidden"]
