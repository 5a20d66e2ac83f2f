"""Finding an expert, losing one, deadlines and appointments."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from consult import model as m
from consult import triage
from consult.access import Action, authorize
from consult.deadlines import accept_by, add_working_days, due_at
from consult.errors import Conflict, Invalid, NotAllowed, NotFound, Stale, WrongState
from consult.material import continue_without, provide_material, request_material
from consult.people import LinkKind, OrgLink
from consult.requesting import Target, resubmit_request
from consult.rules import Rules, WorkingCalendar
from consult.scheduling import (
    Window,
    check_in,
    checked_in_sides,
    mark_no_show,
    propose_windows,
    proposed_windows,
    reschedule_session,
    schedule_session,
    start_review,
)
from tests.domain.world import CLINIC, DIRECT, HOSPITAL, OTHER_HOSPITAL, World

S, Outcome = m.State, m.OfferOutcome


def outcomes(world: World, case) -> list[m.OfferOutcome]:
    return [x.outcome for x in world.uow.offers.of(case.id)]


def test_a_direct_request_needs_no_dispatcher(world: World) -> None:
    case = world.submitted(target=DIRECT)
    assert case.state is S.OFFERED
    assert world.triggers(case)[-3:] == ["submit", "receive", "offer"]
    assert triage.accept_offer(world.uow, actor=world.expert, consultation=case.id).state is S.ACCEPTED


def test_of_two_experts_who_accept_at_once_exactly_one_wins(world: World) -> None:
    case = world.offered()
    triage.accept_offer(world.uow, actor=world.expert, consultation=case.id)
    with pytest.raises(Conflict) as caught:
        triage.accept_offer(world.uow, actor=world.second, consultation=case.id)
    assert caught.value.params == {"reason": "already_accepted"}
    experts = [x for x in world.uow.consultations.participants(case.id) if x.part is m.Part.EXPERT]
    assert [x.membership for x in experts] == [world.expert.membership]


def test_the_loser_of_a_true_race_is_told_the_same(world: World, monkeypatch) -> None:
    case = world.offered()

    def somebody_was_faster(offer):
        raise Stale(version=offer.version + 1)

    monkeypatch.setattr(world.uow.offers, "save", somebody_was_faster)
    with pytest.raises(Conflict) as caught:
        triage.accept_offer(world.uow, actor=world.second, consultation=case.id)
    assert caught.value.params == {"reason": "already_accepted"}
    assert world.get(case).state is S.OFFERED


def test_who_was_not_asked_cannot_accept(world: World) -> None:
    case = world.offered()
    with pytest.raises(NotAllowed):
        triage.accept_offer(world.uow, actor=world.resting, consultation=case.id)
    with pytest.raises(NotFound):
        triage.accept_offer(world.uow, actor=world.stranger, consultation=case.id)
    named = world.submitted(target=DIRECT)
    with pytest.raises(NotAllowed):
        triage.accept_offer(world.uow, actor=world.second, consultation=named.id)


def test_a_pool_for_a_specialty_is_for_that_specialty(world: World) -> None:
    case = world.submitted(target=Target(addressing=m.Addressing.SPECIALTY, specialty="神经内科"))
    triage.offer_consultation(world.uow, actor=world.dispatcher, consultation=case.id, specialty="神经内科")
    with pytest.raises(NotAllowed):
        triage.accept_offer(world.uow, actor=world.expert, consultation=case.id)


def test_a_named_experts_decline_goes_to_their_pool_then_back_to_the_dispatcher(world: World) -> None:
    case = world.submitted(target=DIRECT)
    world.wait(minutes=1)
    after = triage.decline_offer(world.uow, actor=world.expert, consultation=case.id, reason="正在手术")
    assert (after.state, outcomes(world, case)) == (S.OFFERED, [Outcome.DECLINED, Outcome.OPEN])
    still = triage.decline_offer(world.uow, actor=world.expert, consultation=case.id, reason="正在手术")
    assert outcomes(world, case)[-1] is Outcome.OPEN
    assert still.state is S.OFFERED
    back = triage.decline_offer(world.uow, actor=world.second, consultation=case.id, reason="非本专业")
    assert (back.state, outcomes(world, case)[-1]) == (S.TRIAGE, Outcome.DECLINED)


def test_declining_needs_a_reason(world: World) -> None:
    with pytest.raises(Invalid):
        triage.decline_offer(world.uow, actor=world.expert, consultation=world.offered().id, reason=" ")


def test_an_offer_that_nobody_takes_goes_back_to_the_dispatcher(world: World) -> None:
    case = world.offered()
    world.wait(hours=23)
    assert triage.expire_offers(world.uow) == 0
    world.wait(hours=1)
    assert triage.expire_offers(world.uow) == 1
    assert (world.get(case).state, outcomes(world, case)) == (S.TRIAGE, [Outcome.TIMED_OUT])
    assert world.triggers(case)[-2:] == ["time_out", "requeue"]
    assert triage.expire_offers(world.uow) == 0


def test_an_urgent_request_climbs_to_the_next_hospital(world: World) -> None:
    world.uow.people.add_link(
        OrgLink(a=OTHER_HOSPITAL, b=HOSPITAL, kind=LinkKind.ALLIANCE, since=datetime(2020, 1, 1, tzinfo=UTC).date())
    )
    case = world.offered(urgency=m.Urgency.URGENT)
    world.wait(minutes=30)
    triage.expire_offers(world.uow)
    assert [x.organisation for x in world.uow.offers.of(case.id)] == [HOSPITAL, OTHER_HOSPITAL]
    assert triage.accept_offer(world.uow, actor=world.stranger, consultation=case.id).state is S.ACCEPTED


def test_releasing_closes_the_experts_access_at_once_and_asks_the_pool(world: World) -> None:
    case = world.reporting()
    released = triage.release_consultation(
        world.uow, actor=world.expert, consultation=case.id, reason="突发急诊"
    )
    assert released.state is S.OFFERED
    assert world.uow.revoked == [(frozenset({world.expert.membership}), case.id)]
    with pytest.raises(NotFound):
        authorize(world.uow, world.expert, Action.REQUEST_READ, released)
    assert triage.accept_offer(world.uow, actor=world.second, consultation=case.id).state is S.ACCEPTED
    assert triage.release_consultation(
        world.uow, actor=world.second, consultation=case.id, reason="也走了"
    ).state is S.OFFERED


def test_reassigning_takes_the_consultation_from_one_expert_to_another(world: World) -> None:
    case = world.accepted()
    moved = triage.reassign_consultation(
        world.uow, actor=world.dispatcher, consultation=case.id, reason="专家停诊",
        membership=world.second.membership,
    )  # fmt: skip
    assert (moved.state, moved.due_at is not None) == (S.OFFERED, True)
    assert world.uow.revoked == [(frozenset({world.expert.membership}), case.id)]
    with pytest.raises(NotFound):
        authorize(world.uow, world.expert, Action.PATIENT_READ, moved)
    triage.accept_offer(world.uow, actor=world.second, consultation=case.id)


def test_a_place_without_an_agreement_is_offered_nothing(world: World) -> None:
    case = world.submitted()
    for path, to in (("organisation", {"organisation": world.stranger.organisation}), ("membership", {"membership": world.stranger.membership})):
        with pytest.raises(Invalid) as caught:
            triage.offer_consultation(world.uow, actor=world.dispatcher, consultation=case.id, **to)
        assert caught.value.fields[0][:2] == (path, "not_linked")
    taken = world.accepted()
    with pytest.raises(Invalid):
        triage.reassign_consultation(
            world.uow, actor=world.dispatcher, consultation=taken.id, reason="x", membership=world.stranger.membership
        )
    assert world.get(taken).state is S.ACCEPTED
    assert world.uow.revoked == []
    triage.reassign_consultation(
        world.uow, actor=world.dispatcher, consultation=taken.id, reason="读片", membership=world.radiologist.membership
    )


def test_the_dispatcher_of_another_hospital_decides_nothing(world: World) -> None:
    case = world.submitted()
    for call in (
        lambda: triage.receive_request(world.uow, actor=world.other_dispatcher, consultation=case.id),
        lambda: triage.reject_request(world.uow, actor=world.other_dispatcher, consultation=case.id, reason="x"),
        lambda: triage.offer_consultation(world.uow, actor=world.other_dispatcher, consultation=case.id),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_rejection_needs_a_reason_and_is_final(world: World) -> None:
    case = world.submitted()
    with pytest.raises(Invalid):
        triage.reject_request(world.uow, actor=world.dispatcher, consultation=case.id, reason="")
    assert world.get(case).state is S.SUBMITTED
    rejected = triage.reject_request(world.uow, actor=world.dispatcher, consultation=case.id, reason="不属会诊范围")
    assert rejected.state is S.REJECTED


def test_a_decision_on_an_old_page_is_refused(world: World) -> None:
    case = world.submitted()
    triage.receive_request(world.uow, actor=world.dispatcher, consultation=case.id)
    with pytest.raises(Stale):
        triage.reject_request(
            world.uow, actor=world.dispatcher, consultation=case.id, reason="x", version=case.version
        )


def test_the_dispatcher_may_raise_the_urgency_and_the_deadline_follows(world: World) -> None:
    case = world.submitted()
    triage.offer_consultation(
        world.uow, actor=world.dispatcher, consultation=case.id, urgency=m.Urgency.URGENT
    )
    offered = world.get(case)
    assert offered.urgency is m.Urgency.URGENT
    assert offered.due_at == world.uow.now + timedelta(minutes=30)


def test_returned_requests_expire_when_the_last_item_is_overdue_and_can_be_taken_up_again(world: World) -> None:
    case = world.submitted()
    soon, later = world.uow.now + timedelta(hours=1), world.uow.now + timedelta(hours=5)
    triage.return_request(
        world.uow, actor=world.dispatcher, consultation=case.id,
        items=[{"item": "A", "due": soon.isoformat()}, {"item": "B", "due": later.isoformat()}],
    )  # fmt: skip
    assert world.get(case).due_at == soon
    world.wait(hours=2)
    assert triage.expire_returned(world.uow) == 0
    world.wait(hours=3)
    assert triage.expire_returned(world.uow) == 1
    assert world.get(case).state is S.EXPIRED
    assert triage.escalate_expired(world.uow, actor=world.dispatcher, consultation=case.id).state is S.TRIAGE


def test_missing_items_must_have_times_that_make_sense(world: World) -> None:
    case = world.submitted()
    past = (world.uow.now - timedelta(hours=1)).isoformat()
    with pytest.raises(Invalid) as caught:
        triage.return_request(
            world.uow, actor=world.dispatcher, consultation=case.id,
            items=[{"item": "A", "due": past}, {"item": "B", "due": "tomorrow"}],
        )  # fmt: skip
    assert [(x[0], x[1]) for x in caught.value.fields] == [("items.0.due", "not_in_future"), ("items.1.due", "wrong_kind")]
    assert world.get(case).state is S.SUBMITTED


def test_the_clock_stands_still_while_the_clinic_completes_the_request(world: World) -> None:
    case = world.submitted()
    before = case.due_at
    triage.return_request(world.uow, actor=world.dispatcher, consultation=case.id, items=[{"item": "A"}])
    world.wait(hours=7)
    back = resubmit_request(world.uow, actor=world.doctor, consultation=case.id)
    assert back.due_at == before + timedelta(hours=7)


def test_a_next_offer_does_not_restart_the_clock(world: World) -> None:
    case = world.submitted()
    world.wait(hours=2)
    triage.offer_consultation(world.uow, actor=world.dispatcher, consultation=case.id)
    assert world.get(case).due_at == case.due_at


@pytest.mark.parametrize(
    ("urgency", "service", "minutes"),
    [
        (m.Urgency.STAT, m.Service.CLINICAL, 3),
        (m.Urgency.URGENT, m.Service.CLINICAL, 30),
        (m.Urgency.URGENT, m.Service.ECG, 3),
        (m.Urgency.ROUTINE, m.Service.CLINICAL, 24 * 60),
    ],
)
def test_an_expert_shall_accept_within_the_time_of_its_class(world: World, urgency, service, minutes) -> None:
    case = replace(world.draft(), urgency=urgency, service=service)
    assert accept_by(case, Rules(), world.uow.now) == world.uow.now + timedelta(minutes=minutes)


def test_a_working_day_skips_weekends_and_holidays_and_keeps_the_time() -> None:
    friday = datetime(2026, 11, 27, 6, 0, tzinfo=UTC)
    monday = friday + timedelta(days=3)
    assert add_working_days(friday, 1, Rules()) == monday
    off = Rules(calendar=WorkingCalendar(holidays=frozenset({monday.date()})))
    assert add_working_days(friday, 1, off) == friday + timedelta(days=4)
    worked = Rules(calendar=WorkingCalendar(extra_days=frozenset({(friday + timedelta(days=1)).date()})))
    assert add_working_days(friday, 1, worked) == friday + timedelta(days=1)


def test_what_arrives_on_a_day_off_counts_from_the_next_opening() -> None:
    sunday_in_china = datetime(2026, 11, 28, 17, 0, tzinfo=UTC)        # 01:00 on Sunday there
    assert add_working_days(sunday_in_china, 1, Rules()) == datetime(2026, 12, 1, 0, 0, tzinfo=UTC)


def test_a_critical_report_is_to_be_acknowledged_in_ten_minutes(world: World) -> None:
    case = replace(world.draft(), state=S.DELIVERED)
    now = world.uow.now
    assert due_at(case, Rules(), now, critical=True) == now + timedelta(minutes=10)
    assert due_at(case, Rules(), now) == now + timedelta(hours=24)


# appointments


def test_the_clinic_proposes_and_the_expert_picks(world: World) -> None:
    case = world.accepted(mode=m.Mode.LIVE)
    at = world.uow.now + timedelta(days=1)
    window = Window(start=at, end=at + timedelta(hours=2))
    propose_windows(world.uow, actor=world.doctor, consultation=case.id, windows=[window])
    assert proposed_windows(world.uow, actor=world.expert, consultation=case.id) == (window,)
    scheduled = schedule_session(world.uow, actor=world.expert, consultation=case.id, at=at)
    assert (scheduled.state, scheduled.scheduled_at, scheduled.due_at) == (S.SCHEDULED, at, at)
    with pytest.raises(NotAllowed):
        schedule_session(world.uow, actor=world.doctor, consultation=world.accepted().id, at=at)


def test_windows_in_the_past_are_refused(world: World) -> None:
    case = world.accepted()
    past = world.uow.now - timedelta(hours=2)
    with pytest.raises(Invalid):
        propose_windows(
            world.uow, actor=world.doctor, consultation=case.id, windows=[Window(start=past, end=world.uow.now)]
        )
    with pytest.raises(Invalid):
        schedule_session(world.uow, actor=world.expert, consultation=case.id, at=past)


def test_both_sides_check_in_and_checking_in_twice_changes_nothing(world: World) -> None:
    case = world.accepted(mode=m.Mode.LIVE)
    schedule_session(world.uow, actor=world.expert, consultation=case.id, at=world.uow.now + timedelta(hours=1))
    first = check_in(world.uow, actor=world.doctor, consultation=case.id)
    assert checked_in_sides(world.uow, consultation=case.id) == {"requesting"}
    assert check_in(world.uow, actor=world.doctor, consultation=case.id) == first
    check_in(world.uow, actor=world.expert, consultation=case.id)
    assert checked_in_sides(world.uow, consultation=case.id) == {"requesting", "invited"}


def test_a_no_show_is_known_only_after_the_time_and_can_be_rescheduled(world: World) -> None:
    case = world.accepted()
    at = world.uow.now + timedelta(hours=1)
    schedule_session(world.uow, actor=world.expert, consultation=case.id, at=at)
    check_in(world.uow, actor=world.expert, consultation=case.id)
    with pytest.raises(WrongState):
        mark_no_show(world.uow, actor=world.expert, consultation=case.id)
    world.wait(hours=2)
    missed = mark_no_show(world.uow, actor=world.expert, consultation=case.id, reason="患者未到")
    assert missed.state is S.NO_SHOW
    again = reschedule_session(
        world.uow, actor=world.doctor, consultation=case.id, at=world.uow.now + timedelta(days=1), reason="明天可到"
    )
    assert again.state is S.SCHEDULED
    assert checked_in_sides(world.uow, consultation=case.id) == frozenset()


def test_an_expert_reads_without_video_and_asks_for_more(world: World) -> None:
    case = world.accepted()
    start_review(world.uow, actor=world.expert, consultation=case.id)
    request_material(world.uow, actor=world.expert, consultation=case.id, items=[{"item": "侧位片"}])
    back = provide_material(world.uow, actor=world.technician, consultation=case.id, note="已上传")
    assert back.state is S.ASYNC_REVIEW
    request_material(world.uow, actor=world.expert, consultation=case.id, items=[{"item": "旧片"}])
    with pytest.raises(Invalid):
        continue_without(world.uow, actor=world.expert, consultation=case.id, reason="")
    assert continue_without(
        world.uow, actor=world.expert, consultation=case.id, reason="找不到了"
    ).state is S.ASYNC_REVIEW


def test_more_material_may_be_asked_for_while_writing(world: World) -> None:
    case = world.reporting()
    waiting = request_material(world.uow, actor=world.expert, consultation=case.id, items=[{"item": "侧位片"}])
    assert (waiting.state, waiting.resume_to) == (S.AWAITING_MATERIAL, S.ASYNC_REVIEW)


# off the path


def test_cancelling_says_whose_side_it_lies_with(world: World) -> None:
    case = world.accepted()
    with pytest.raises(Invalid) as caught:
        triage.cancel_consultation(world.uow, actor=world.doctor, consultation=case.id, reason="", fault="nobody")
    assert {x[0] for x in caught.value.fields} == {"reason", "fault"}
    gone = triage.cancel_consultation(
        world.uow, actor=world.doctor, consultation=case.id, reason="患者已转院", fault="patient"
    )
    assert gone.state is S.CANCELLED
    assert world.uow.events.of(f"consultation:{case.id}")[-1].payload["fault"] == "patient"


def test_converting_makes_a_draft_that_replaces_it_with_everything_taken_along(world: World) -> None:
    case = world.accepted()
    fresh = triage.convert_consultation(
        world.uow, actor=world.expert, consultation=case.id, reason="需多学科", participation=m.Participation.MDT
    )
    assert (fresh.state, fresh.replaces, fresh.participation) == (S.DRAFT, case.id, m.Participation.MDT)
    assert (fresh.organisation, world.get(case).state) == (CLINIC, S.CONVERTED)
    assert len(world.uow.consultations.questions(fresh.id)) == 2
    assert authorize(world.uow, world.doctor, Action.REQUEST_WRITE, fresh)
    with pytest.raises(NotFound):
        authorize(world.uow, world.expert, Action.REQUEST_READ, fresh)


def test_entered_in_error_is_the_clinics_admins_alone_and_ends_the_experts_access(world: World) -> None:
    case = world.accepted()
    with pytest.raises(NotFound):
        triage.mark_entered_in_error(world.uow, actor=world.hospital_admin, consultation=case.id, reason="x")
    void = triage.mark_entered_in_error(world.uow, actor=world.admin, consultation=case.id, reason="开错患者")
    assert void.state is S.ENTERED_IN_ERROR
    with pytest.raises(NotFound):
        authorize(world.uow, world.expert, Action.REQUEST_READ, void)
