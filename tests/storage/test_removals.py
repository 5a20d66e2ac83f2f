"""Proposals to remove studies and legal holds on both engines: one waiting place per study, one step at a time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from consult.errors import Conflict, NotFound
from server.storage.removals import Hold, Removal, RemovalStudy
from tests.storage import samples as s

DAY = timedelta(days=1)
FIRST = Removal(
    id="r1", organisation=s.CLINIC, reason="x", proposed_by=s.DOCTOR, proposed_at=s.T0, expires_at=s.T0 + DAY
)


def study(n, removal="r1", uid=None):
    return RemovalStudy(
        id=f"{removal}-{n}", removal=removal, organisation=s.CLINIC, study_uid=uid or f"1.2.{n}", study_date=f"1990010{n}",
        modalities=("CT", "SR"), series=2, instances=30,
    )


def test_a_study_waits_in_one_proposal_at_a_time_and_ends_once(sql):
    sql.run(lambda u: u.removals.add(FIRST, [study(2), study(1)]))
    assert sql.read(lambda u: u.removals.studies("r1", "none")) == {"r1": [study(1), study(2)], "none": []}
    assert sql.read(lambda u: u.removals.waiting(s.CLINIC, ["1.2.1", "1.2.9"])) == {"1.2.1"}
    second = replace(FIRST, id="r2")
    with pytest.raises(Conflict):
        sql.run(lambda u: u.removals.add(second, [study(1, "r2")]))
    with pytest.raises(NotFound):
        sql.read(lambda u: u.removals.get("r2", s.CLINIC))
    assert sql.run(lambda u: u.removals.end_study("r1-1", "removed", at=s.T0 + DAY))
    assert not sql.run(lambda u: u.removals.end_study("r1-1", "kept", at=s.T0, why="on_hold"))
    assert sql.read(lambda u: u.removals.removed(["1.2.1", "1.2.2"])) == {"1.2.1": s.T0 + DAY}
    assert sql.read(lambda u: u.removals.removed([])) == {}
    sql.run(lambda u: u.removals.add(second, [study(1, "r2")]))


def test_a_proposal_takes_each_step_once_and_is_nobody_elses(sql):
    sql.run(lambda u: u.removals.add(FIRST, [study(1)]))
    with pytest.raises(NotFound):
        sql.read(lambda u: u.removals.get("r1", s.HOSPITAL))
    assert sql.read(lambda u: u.removals.overdue(s.T0)) == []
    assert sql.read(lambda u: u.removals.overdue(s.T0 + DAY)) == [FIRST]
    sql.run(lambda u: u.removals.step(FIRST, "approved", decided_by=s.EXPERT, decided_at=s.T0))
    with pytest.raises(NotFound):
        sql.run(lambda u: u.removals.step(FIRST, "refused"))
    (row,) = sql.read(lambda u: u.removals.approved())
    assert (row.decided_by, row.decided_at) == (s.EXPERT, s.T0)
    assert sql.read(lambda u: u.removals.of(s.CLINIC, "open")) == []
    assert sql.read(lambda u: u.removals.of(s.CLINIC, "open", "approved")) == [row]


def test_one_hold_is_in_force_per_study_and_holder_until_it_is_lifted(sql):
    hold = Hold(id="h1", organisation=s.CLINIC, study_uid="1.2.1", reason="x", set_by=s.DOCTOR, set_at=s.T0)
    sql.run(lambda u: u.removals.add_hold(hold))
    with pytest.raises(Conflict):
        sql.run(lambda u: u.removals.add_hold(replace(hold, id="h2")))
    sql.run(lambda u: u.removals.add_hold(replace(hold, id="h3", organisation=s.HOSPITAL)))
    assert sql.read(lambda u: u.removals.holds(s.CLINIC)) == [hold]
    assert sql.read(lambda u: u.removals.held(s.CLINIC, ["1.2.1", "1.2.2"])) == {"1.2.1"}
    sql.run(lambda u: u.removals.lift_hold("h1", by=s.EXPERT, at=s.T0 + DAY, reason="over"))
    with pytest.raises(NotFound):
        sql.run(lambda u: u.removals.lift_hold("h1", by=s.EXPERT, at=s.T0, reason="again"))
    with pytest.raises(NotFound):
        sql.read(lambda u: u.removals.hold("h1", s.HOSPITAL))
    assert sql.read(lambda u: u.removals.held(s.CLINIC, ["1.2.1"])) == frozenset()
    sql.run(lambda u: u.removals.add_hold(replace(hold, id="h2")))
