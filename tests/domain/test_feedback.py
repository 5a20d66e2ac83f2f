"""The loop closes: acknowledged → feedback → archived, told on the fakes and on the real store."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consult import model as m
from consult.errors import Conflict, Invalid, NotAllowed, NotFound, Stale, WrongState
from consult.feedback import (
    GivenFeedback,
    archive_unanswered,
    ask_for_feedback,
    give_feedback,
    rate_request,
    read_feedback,
)
from consult.feedback_entry import Adoption, Outcome, Side
from consult.people import Actor
from consult.ports import WorklistQuery
from consult.requesting import take_over_consultation
from tests.domain.world import World

GOOD = GivenFeedback(
    day=7, adoption=Adoption.ADOPTED, plan_changed=True, done="加用β受体阻滞剂", outcome=Outcome.IMPROVED, rating=5,
    comment="谢谢",
)  # fmt: skip


def give(world: World, case: m.Consultation, given: GivenFeedback = GOOD, **more: Any) -> m.Consultation:
    return give_feedback(world.uow, actor=more.pop("by", world.doctor), consultation=case.id, given=given, **more)


def unread(world: World, actor: Actor) -> bool:
    rows = world.uow.consultations.worklist(WorklistQuery(participant=actor.membership), viewer=actor)
    return [x.unread for x in rows] == [True]


def seen(world: World, case: m.Consultation, *actors: Actor) -> None:
    for actor in actors:
        world.uow.consultations.mark_read(case.id, actor.membership, at=world.uow.now)


def test_the_seven_day_answer_opens_feedback_and_leaves_the_thirty_day_one_due(world: World) -> None:
    case = world.acknowledged()
    acknowledged = world.uow.now
    world.wait(days=6)
    after = give(world, case, version=case.version)
    assert (after.state, after.due_at) == (m.State.FEEDBACK, acknowledged + timedelta(days=37))
    assert world.triggers(case)[-2:] == ["ask_feedback", "record_feedback"]
    (entry,) = read_feedback(world.uow, actor=world.expert, consultation=case.id)
    assert (entry.side, entry.day, entry.outcome, entry.done) == (Side.CLINIC, 7, Outcome.IMPROVED, "加用β受体阻滞剂")
    assert world.uow.events.of(f"consultation:{case.id}")[-1].payload == {
        "feedback": entry.id, "day": 7, "adoption": "adopted", "plan_changed": True, "outcome": "improved", "rating": 5,
    }  # fmt: skip


def test_the_thirty_day_answer_archives(world: World) -> None:
    case = world.acknowledged()
    give(world, case)
    world.wait(days=30)
    after = give(world, case, replace(GOOD, day=30, rating=None))
    assert (after.state, after.due_at) == (m.State.ARCHIVED, None)
    entries = read_feedback(world.uow, actor=world.expert, consultation=case.id)
    assert [(x.day, x.final) for x in entries] == [(7, False), (30, True)]
    with pytest.raises(WrongState):
        give(world, case, replace(GOOD, day=30))


@pytest.mark.parametrize("given", [replace(GOOD, final=True), replace(GOOD, outcome=Outcome.DIED)])
def test_where_nobody_follows_up_any_more_one_answer_archives(world: World, given: GivenFeedback) -> None:
    case = world.acknowledged()
    assert give(world, case, given).state is m.State.ARCHIVED
    assert world.triggers(case)[-2:] == ["ask_feedback", "give_feedback"]


def test_a_last_outcome_is_no_guess_unless_nobody_follows_up(world: World) -> None:
    case = world.acknowledged()
    world.wait(days=20, hours=23)
    with pytest.raises(Invalid) as caught:
        give(world, case, replace(GOOD, day=30))
    assert caught.value.fields == (("day", "outcome_too_early", {"day": 30, "date": "2026-12-14"}),)
    assert world.get(case).state is m.State.ACKNOWLEDGED
    assert give(world, case, replace(GOOD, day=30, final=True)).state is m.State.ARCHIVED


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"day": None}, ("day", "required")),
        ({"day": 14}, ("day", "unknown_choice")),
        ({"adoption": None}, ("adoption", "required")),
        ({"adoption": Adoption.PARTLY}, ("reason", "required")),
        ({"adoption": Adoption.NOT, "reason": " "}, ("reason", "required")),
        ({"adoption": Adoption.NOT, "reason": "长" * 501}, ("reason", "too_long", {"max": 500})),
        ({"plan_changed": None}, ("plan_changed", "required")),
        ({"outcome": None}, ("outcome", "required")),
        ({"done": "长" * 2001}, ("done", "too_long", {"max": 2000})),
        ({"rating": None}, ("rating", "required")),
        ({"rating": 0}, ("rating", "unknown_choice")),
        ({"rating": 6}, ("rating", "unknown_choice")),
        ({"comment": "长" * 1001}, ("comment", "too_long", {"max": 1000})),
    ],
)
def test_every_input_is_bounded(world: World, change: dict[str, Any], wrong: Any) -> None:
    case = world.acknowledged()
    with pytest.raises(Invalid) as caught:
        give(world, case, replace(GOOD, **change))
    assert caught.value.fields == (wrong,)
    assert world.uow.feedback.of(case.id) == []
    assert world.get(case) == case


def test_everything_that_is_missing_is_said_at_once(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        give(world, world.acknowledged(), GivenFeedback())
    assert [x[0] for x in caught.value.fields] == ["day", "adoption", "plan_changed", "outcome", "rating"]


def test_a_reason_is_kept_only_where_the_advice_was_not_wholly_adopted(world: World) -> None:
    case = world.acknowledged()
    give(world, case, replace(GOOD, reason="写了又改主意"))
    other = world.acknowledged()
    give(world, other, replace(GOOD, adoption=Adoption.PARTLY, reason=" 患者不愿住院 "))
    said = [world.uow.feedback.of(x.id)[0].reason for x in (case, other)]
    assert said == ["", "患者不愿住院"]


def test_the_same_day_is_told_once_and_a_stale_form_is_refused(world: World) -> None:
    case = world.acknowledged()
    give(world, case, version=case.version)
    with pytest.raises(Stale):
        give(world, case, version=case.version)
    with pytest.raises(Conflict) as caught:
        give(world, case)
    assert caught.value.params == {"reason": "feedback_given"}


def test_before_the_report_is_acknowledged_there_is_nothing_to_feed_back(world: World) -> None:
    with pytest.raises(WrongState):
        give(world, world.delivered())
    with pytest.raises(WrongState):
        rate_request(world.uow, actor=world.expert, consultation=world.reporting().id, rating=5)


def test_the_clinic_answers_for_itself_and_a_colleague_after_taking_over(world: World) -> None:
    case = world.acknowledged()
    with pytest.raises(NotAllowed):
        give(world, case, by=world.expert)
    for stranger in (world.colleague, world.dispatcher, world.second, world.technician, world.admin):
        with pytest.raises(NotFound):
            give(world, case, by=stranger)
        with pytest.raises(NotFound):
            read_feedback(world.uow, actor=stranger, consultation=case.id)
    give(world, case)
    take_over_consultation(world.uow, actor=world.colleague, consultation=case.id, reason="同事休假")
    world.wait(days=30)
    assert give(world, case, replace(GOOD, day=30, rating=None), by=world.colleague).state is m.State.ARCHIVED


def test_the_expert_rates_the_request_once_from_delivery_on_and_after_archiving_too(world: World) -> None:
    case = world.delivered()
    with pytest.raises(NotAllowed):
        rate_request(world.uow, actor=world.doctor, consultation=case.id, rating=5)
    for rating, code in ((None, "required"), (0, "unknown_choice"), (6, "unknown_choice")):
        with pytest.raises(Invalid) as caught:
            rate_request(world.uow, actor=world.expert, consultation=case.id, rating=rating)
        assert caught.value.fields == (("rating", code),)
    rate_request(world.uow, actor=world.expert, consultation=case.id, rating=2, comment=" 缺少既往心电图 ")
    (entry,) = read_feedback(world.uow, actor=world.doctor, consultation=case.id)
    assert (entry.side, entry.rating, entry.comment, entry.day) == (Side.EXPERT, 2, "缺少既往心电图", None)
    with pytest.raises(Conflict) as again:
        rate_request(world.uow, actor=world.expert, consultation=case.id, rating=5)
    assert again.value.params == {"reason": "already_rated"}
    archived = world.acknowledged()
    give(world, archived, replace(GOOD, final=True))
    assert rate_request(world.uow, actor=world.expert, consultation=archived.id, rating=5).state is m.State.ARCHIVED


def test_each_side_finds_the_others_words_unread(world: World) -> None:
    case = world.acknowledged()
    world.wait(days=7)
    ask_for_feedback(world.uow)
    seen(world, case, world.doctor, world.expert)
    give(world, case)
    assert unread(world, world.expert)
    assert not unread(world, world.doctor)
    seen(world, case, world.expert)
    rate_request(world.uow, actor=world.expert, consultation=case.id, rating=5)
    assert unread(world, world.doctor)
    assert not unread(world, world.expert)


def test_the_system_asks_after_a_week_and_archives_what_nobody_answers(world: World) -> None:
    case = world.acknowledged()
    acknowledged = world.uow.now
    world.wait(days=6, hours=23)
    assert ask_for_feedback(world.uow) == 0
    world.wait(hours=1)
    assert ask_for_feedback(world.uow) == 1
    asked = world.get(case)
    assert (asked.state, asked.due_at) == (m.State.FEEDBACK, acknowledged + timedelta(days=14))
    assert unread(world, world.doctor)
    seen(world, case, world.doctor, world.expert)
    world.wait(days=44, hours=23)
    assert (ask_for_feedback(world.uow), archive_unanswered(world.uow)) == (0, 0)
    world.wait(hours=1)
    assert archive_unanswered(world.uow) == 1
    assert world.get(case).state is m.State.ARCHIVED
    assert not unread(world, world.doctor)
    assert archive_unanswered(world.uow) == 0


def test_the_thirty_day_outcome_reaches_the_expert(world: World) -> None:
    """Their access must last beyond the day by which it is told."""
    case = world.acknowledged()
    give(world, case)
    world.wait(days=37)
    give(world, case, replace(GOOD, day=30))
    assert len(read_feedback(world.uow, actor=world.expert, consultation=case.id)) == 2
