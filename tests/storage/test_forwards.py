"""The queue of forwarding on both engines: order, one row per instance and destination, what ends a row."""

from dataclasses import replace
from datetime import timedelta

import pytest

from consult.errors import NotFound, Stale
from server.storage.forwards import Destination, Item, Rule
from tests.storage import samples as s

NOW = s.T0


@pytest.fixture
def queue(sql):
    """A destination of the clinic, and a rule for it."""
    row = Destination(id="d", organisation=s.CLINIC, name="PACS", url="https://pacs.example", created_at=NOW, next_at=NOW)
    rule = Rule(id="r", organisation=s.CLINIC, destination="d", modalities=("CT",), created_at=NOW)
    sql.run(lambda u: (u.forwards.add_destination(row), u.forwards.add_rule(rule)))
    return sql


def put(sql, n, study="1.2", sop=None, digest="x"):
    item = Item(
        id=f"i{n}", destination="d", n=n, study_uid=study, sop_uid=sop or f"{study}.{n}", digest=digest, created_at=NOW,
        next_at=NOW,
    )
    return sql.run(lambda u: u.forwards.add_item(item))


def due(sql, at=NOW):
    return [item.id for item in sql.read(lambda u: u.forwards.due("d", at, limit=10))]


def test_an_instance_stands_once_in_a_queue_and_studies_come_in_the_order_of_arrival(queue):
    assert put(queue, 1, "1.2")
    assert put(queue, 2, "1.3")
    assert put(queue, 3, "1.2")
    assert not put(queue, 4, "1.2", sop="1.2.3")
    assert put(queue, 4, "1.2", sop="1.2.3", digest="other bytes")
    assert queue.read(lambda u: u.forwards.last_number("d")) == 4
    assert due(queue) == ["i1", "i3", "i4"]
    queue.run(lambda u: u.forwards.sent(["i1", "i3", "i4"], NOW))
    assert due(queue) == ["i2"]
    assert queue.read(lambda u: u.forwards.counts()) == {"d": {"sent": 3, "waiting": 1}}
    assert queue.read(lambda u: u.forwards.waiting()) == 1


def test_a_refused_instance_waits_by_itself_until_its_time_or_a_persons_word(queue):
    put(queue, 1)
    put(queue, 2)
    later = NOW + timedelta(hours=1)
    queue.run(lambda u: u.forwards.refused("i1", next_at=later, error="http_415"))
    assert due(queue) == ["i2"]
    assert due(queue, later) == ["i1", "i2"]
    (lot,) = queue.read(lambda u: u.forwards.lots(["d"]))
    assert (lot.study_uid, lot.waiting, lot.attempts, lot.last_error, lot.since) == ("1.2", 2, 1, "http_415", NOW)
    assert queue.run(lambda u: u.forwards.retry("d", NOW, study_uid="1.2")) == 2
    assert due(queue) == ["i1", "i2"]
    assert queue.run(lambda u: u.forwards.drop("d", "1.2", NOW)) == 2
    assert queue.run(lambda u: u.forwards.drop("d", "1.2", NOW)) == 0
    queue.run(lambda u: u.forwards.sent(["i1"], later))                 # an answer that came too late changes nothing
    assert queue.read(lambda u: u.forwards.item("i1")).state == "dropped"
    assert queue.run(lambda u: u.forwards.sweep(before=NOW)) == 0
    assert queue.run(lambda u: u.forwards.sweep(before=later)) == 2


def test_a_study_is_at_its_destination_when_the_address_has_named_all_of_it(queue):
    """What is said without naming it, by another address, or given up, is no proof; nor is an answer that is too new."""
    here, later = "https://pacs.example", NOW + timedelta(days=1)

    def arrived(after="", limit=9):
        way = queue.read(lambda u: u.forwards.destination("d"))
        return queue.read(lambda u: u.forwards.arrived(way, later, after=after, limit=limit))

    for n, study in enumerate(("1.1", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6"), 1):
        put(queue, n, study)
    queue.run(lambda u: (
        u.forwards.sent(["i1"], NOW, named_by=here), u.forwards.sent(["i3"], NOW), u.forwards.drop("d", "1.3", NOW),
        u.forwards.sent(["i5"], NOW, named_by="https://other.example"), u.forwards.sent(["i6"], later, named_by=here),
        u.forwards.sent(["i7"], NOW, named_by=here),
    ))  # fmt: skip
    assert arrived() == ["1.6"]
    queue.run(lambda u: u.forwards.sent(["i2"], NOW, named_by=here))
    assert arrived() == ["1.1", "1.6"]
    assert arrived(limit=1) == ["1.1"]
    assert arrived("1.1") == ["1.6"]
    assert [item.named_by for item in queue.read(lambda u: u.forwards.of_study("d", "1.1"))] == [here, here]
    assert queue.run(lambda u: u.forwards.forget_study("1.1", before=NOW)) == 0
    assert queue.run(lambda u: u.forwards.forget_study("1.1", before=later)) == 2
    assert arrived() == ["1.6"]


def test_what_comes_again_after_its_acknowledgement_waits_again(queue):
    put(queue, 1)
    item = queue.read(lambda u: u.forwards.item("i1"))
    later = NOW + timedelta(days=1)

    def again(at):
        return queue.run(lambda u: u.forwards.send_again(replace(item, n=7, next_at=later), acknowledged_before=at))

    assert not again(later)                         # it waits as it is
    queue.run(lambda u: u.forwards.sent(["i1"], NOW, named_by="https://pacs.example"))
    assert not again(NOW)                           # an index made anew tells of the first arrival again
    assert again(later)
    now = queue.read(lambda u: u.forwards.item("i1"))
    assert (now.state, now.n, now.attempts, now.ended_at, now.named_by) == ("waiting", 7, 0, None, "")
    assert due(queue, later) == ["i1"]


def test_how_the_way_is_going_does_not_disturb_who_edits_the_destination(queue):
    seen = queue.read(lambda u: u.forwards.destination("d"))
    queue.run(lambda u: u.forwards.reached("d", failures=3, next_at=NOW, error="timeout"))
    saved = queue.run(lambda u: u.forwards.save_destination(replace(seen, name="other")))
    assert (saved.version, saved.name) == (1, "other")
    with pytest.raises(Stale):
        queue.run(lambda u: u.forwards.save_destination(seen))


def test_a_rule_keeps_its_mark_and_ends(queue):
    queue.run(lambda u: u.forwards.move_mark("r", (7, "seven")))
    (rule,) = queue.read(lambda u: u.forwards.rules(s.CLINIC))
    assert (rule.mark, rule.mark_name, rule.modalities) == (7, "seven", ("CT",))
    queue.run(lambda u: u.forwards.save_rule(replace(rule, ended_at=NOW)))
    assert queue.read(lambda u: u.forwards.rules()) == []
    with pytest.raises(NotFound):
        queue.read(lambda u: u.forwards.rule("nobody"))
