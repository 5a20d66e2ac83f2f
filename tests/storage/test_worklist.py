"""The worklist of both engines against a naive one in Python (the fakes), and what a search may tell."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consult import model as m
from consult.ports import WorklistQuery
from server.storage.unit import SqlUnitOfWork
from tests.domain.fakes import FakeUnitOfWork
from tests.storage import samples as s
from tests.storage.stores import START

HOUSES = (s.CLINIC, s.HOSPITAL, s.CENTRE)
PEOPLE = (s.DOCTOR, s.COLLEAGUE, s.EXPERT, s.SECOND)
STATES = (m.State.DRAFT, m.State.TRIAGE, m.State.OFFERED, m.State.REPORTING, m.State.ARCHIVED)
SPECIALTIES = ("", "cardiology", "neurology")

consultations = st.fixed_dictionaries(
    {
        "organisation": st.sampled_from(HOUSES),
        "target_organisation": st.none() | st.sampled_from(HOUSES),
        "state": st.sampled_from(STATES),
        "urgency": st.sampled_from(m.Urgency),
        "service": st.sampled_from((m.Service.ECG, m.Service.IMAGING)),
        "due_at": st.none() | st.sampled_from((s.after(seconds=1), s.after(seconds=3))),
        "patient": st.sampled_from((s.PATIENT, s.OTHER)),
    }
)
steps = st.one_of(
    st.tuples(st.just("take part"), st.sampled_from(PEOPLE), st.sampled_from((m.Part.REFERRING, m.Part.EXPERT))),
    st.tuples(st.just("leave"), st.sampled_from(PEOPLE), st.sampled_from((m.Part.REFERRING, m.Part.EXPERT))),
    st.tuples(st.just("offer"), st.sampled_from(HOUSES), st.none() | st.sampled_from(PEOPLE), st.sampled_from(SPECIALTIES)),
    st.tuples(st.just("close offers")),
    st.tuples(st.just("move"), st.sampled_from(STATES)),
    st.tuples(st.just("share"), st.sampled_from(("2.25.1", "2.25.2"))),
    st.tuples(st.just("document")),
    st.tuples(st.just("questions"), st.integers(0, 3)),
    st.tuples(st.just("form"), st.sampled_from(("会诊目的", ""))),
    st.tuples(st.just("read"), st.sampled_from(PEOPLE)),
)
stories = st.lists(st.tuples(st.integers(0, 5), steps), max_size=25)
maybe = st.none() | st.sampled_from(HOUSES)
queries = st.builds(
    WorklistQuery,
    organisation=maybe,
    participant=st.none() | st.sampled_from(PEOPLE),
    offered_to=st.none() | st.sampled_from(PEOPLE),
    pool=maybe,
    pool_specialties=st.sampled_from(((), ("cardiology",), ("cardiology", "neurology", "cardiology"))),
    centre=maybe,
    states=st.lists(st.sampled_from(STATES), max_size=3).map(tuple),
    service=st.none() | st.just(m.Service.ECG),
    urgency=st.none() | st.sampled_from(m.Urgency),
    other_organisation=maybe,
    since=st.none() | st.just(s.after(seconds=2)),
    until=st.none() | st.just(s.after(seconds=4)),
    due_before=st.none() | st.sampled_from((s.after(seconds=1), s.after(seconds=2))),
    text=st.sampled_from(("", "", "HZ-c", "c3")),
    sort=st.sampled_from(("urgency", "waiting", "updated")),
    limit=st.sampled_from((1, 3, 100)),
    offset=st.sampled_from((0, 0, 1, 4)),
)


def play(uow, values, story):
    """The same story on any implementation. Moments never repeat, so every order is decided."""
    tick = s.T0
    for n, more in enumerate(values):
        moment = s.after(seconds=n)
        uow.consultations.add(s.consultation(f"c{n}", created_at=moment, state_since=moment, **more))
    for step, (n, (verb, *rest)) in enumerate(story):
        if n >= len(values):
            continue
        tick += timedelta(minutes=1)
        perform(uow, f"c{n}", verb, rest, step, tick)


def perform(uow, id, verb, rest, step, tick):
    store = uow.consultations
    if verb == "take part":
        membership, part = rest
        if not any((x.membership, x.part) == (membership, part) for x in store.participants(id)):
            store.add_participant(s.participant(membership, part, consultation=id, since=tick))
    elif verb == "leave":
        store.end_participant(id, *rest, at=tick)
    elif verb == "offer":
        house, membership, specialty = rest
        if not any(x.outcome is m.OfferOutcome.OPEN for x in uow.offers.of(id)):
            uow.offers.add(
                s.offer(f"f{step}", consultation=id, organisation=house, membership=membership, specialty=specialty)
            )
    elif verb == "close offers":
        for x in uow.offers.of(id):
            if x.outcome is m.OfferOutcome.OPEN:
                uow.offers.save(replace(x, outcome=m.OfferOutcome.CANCELLED, closed_at=tick))
    elif verb == "move":
        store.save(replace(store.get(id), state=rest[0], state_since=tick))
    elif verb == "share":
        if rest[0] not in {x.study_uid for x in store.shares(id)}:
            store.add_share(m.StudyShare(consultation=id, study_uid=rest[0], by=None, since=tick))
    elif verb == "document":
        store.add_document(s.document(f"d{step}", consultation=id))
    elif verb == "questions":
        store.put_questions(id, [m.Question(consultation=id, n=k + 1, text="?") for k in range(rest[0])])
    elif verb == "form":
        n = len(store.requests(id)) + 1
        content = {"purpose": rest[0]}
        store.put_request(
            m.RequestVersion(consultation=id, n=n, content=content, saved_by=s.DOCTOR, saved_at=tick)
        )
    elif verb == "read":
        store.mark_read(id, rest[0], at=tick)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    values=st.lists(consultations, min_size=1, max_size=6),
    story=stories,
    asked=st.lists(queries, min_size=1, max_size=4),
    cut=st.integers(0, 25),
)
def test_the_worklist_lists_what_a_naive_one_lists(sql, values, story, asked, cut):
    naive = FakeUnitOfWork(now=START)
    s.seed(naive)
    with sql.work.database.write() as connection:
        uow = SqlUnitOfWork(connection, START, sql.work.rules)
        for part in (naive, uow):
            play(part, values, story[:cut])
        same(naive, uow, asked[:1])
        for part in (naive, uow):
            for step, (n, (verb, *rest)) in enumerate(story[cut:], start=cut):
                if n < len(values):
                    perform(part, f"c{n}", verb, rest, step, s.after(hours=1, minutes=step))
        same(naive, uow, asked)


def same(naive, uow, asked):
    for query in asked:
        for viewer in (s.AS_DOCTOR, s.AS_EXPERT):
            assert list(uow.consultations.worklist(query, viewer=viewer)) == list(
                naive.consultations.worklist(query, viewer=viewer)
            )
        assert dict(uow.consultations.counts(query)) == dict(+Counter(naive.consultations.counts(query)))


def test_a_worklist_without_a_scope_is_empty(store):
    store.run(s.with_consultation)
    assert list(store.read(lambda u: u.consultations.worklist(WorklistQuery(), viewer=s.AS_DOCTOR))) == []
    assert dict(store.read(lambda u: u.consultations.counts(WorklistQuery()))) == {}


@pytest.mark.parametrize("text", ["张小明", "小明", "zxm", "Zhang Xiao"])
def test_a_search_by_name_finds_only_rows_whose_name_is_shown(sql, text):
    def fill(uow):
        s.with_consultation(uow, "c1")
        s.with_consultation(uow, "c2")
        uow.consultations.add_participant(s.participant(consultation="c1"))

    sql.run(fill)
    query = WorklistQuery(organisation=s.CLINIC, text=text)

    def found(viewer):
        return [x.consultation.id for x in sql.read(lambda u: u.consultations.worklist(query, viewer=viewer))]

    assert found(s.AS_DOCTOR) == ["c1"]
    assert found(s.AS_COLLEAGUE) == []
    mine = replace(query, participant=s.DOCTOR)
    assert dict(sql.read(lambda u: u.consultations.counts(mine))) == {m.State.DRAFT: 1}
    assert dict(sql.read(lambda u: u.consultations.counts(query))) == {}


def test_the_offer_shown_is_the_one_to_the_viewer(sql):
    def fill(uow):
        s.with_consultation(uow, state=m.State.OFFERED, target_organisation=s.HOSPITAL)
        uow.offers.add(s.offer("to-expert", membership=s.EXPERT))
        uow.offers.add(s.offer("to-pool", made_at=s.after(minutes=1)))
        uow.offers.add(s.offer("to-centre", organisation=s.CENTRE, made_at=s.after(minutes=2)))

    sql.run(fill)

    def shown(viewer):
        query = WorklistQuery(centre=s.HOSPITAL)
        return sql.read(lambda u: u.consultations.worklist(query, viewer=viewer))[0].offer.id

    assert shown(s.AS_EXPERT) == "to-expert"
    assert shown(replace(s.AS_EXPERT, membership=s.SECOND)) == "to-pool"
    assert shown(s.AS_DOCTOR) == "to-centre"


def test_ten_thousand_consultations_are_listed_from_one_index(tmp_path):
    """No time is measured here (bench/ does); the plan must not walk the table of consultations."""
    from tests.storage.stores import SqlStore

    store = SqlStore(f"sqlite:///{tmp_path}/plan.db")
    store.run(s.seed)
    store.run(s.with_consultation)
    asked = []

    def listen(_connection, _cursor, statement, parameters, _context, _many):
        asked.append((statement, parameters))

    from sqlalchemy import event

    def plan(uow):
        event.listen(uow.link.connection, "before_cursor_execute", listen)
        query = WorklistQuery(
            participant=s.EXPERT, offered_to=s.EXPERT, pool=s.HOSPITAL, pool_specialties=("a",), states=STATES[:3]
        )
        uow.consultations.worklist(query, viewer=s.AS_EXPERT)
        uow.consultations.counts(query)
        event.remove(uow.link.connection, "before_cursor_execute", listen)
        return [
            str(row[3])
            for statement, parameters in asked
            for row in uow.link.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]

    lines = store.read(plan)
    store.close()
    assert len(asked) == 2
    walked = [line for line in lines if line.startswith("SCAN") and line not in {"SCAN together", "SCAN page"}]
    assert [line for line in walked if "scope_" not in line] == []
    assert any("ix_listing_page" in line for line in lines)
