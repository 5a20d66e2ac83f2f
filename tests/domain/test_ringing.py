"""An emergency that nobody accepts: ring, message, telephone list, next pool; each once, whatever happens to the clock."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from consult import model as m
from consult import triage
from consult.people import LinkKind, OrgLink
from consult.requesting import start_stat
from consult.ringing import phone_list, rings, unanswered
from consult.rules import Deadlines, Rules
from tests.domain.world import HOSPITAL, OTHER_HOSPITAL, VERBAL, World, romanise

S, Outcome = m.State, m.OfferOutcome
ALARMS = ["ring_again", "tell_unanswered", "show_phones"]


def emergency(world: World) -> m.Consultation:
    return start_stat(world.uow, actor=world.doctor, patient=world.patient().id, consent=VERBAL, romanise=romanise)


def alarms(world: World, case: m.Consultation) -> list[str]:
    return [x for x in world.triggers(case) if x in ALARMS]


def tick(world: World, **step: float) -> None:
    """The clock goes on and the system's job runs, twice as after a restart."""
    world.wait(**step)
    triage.expire_offers(world.uow)
    triage.expire_offers(world.uow)


@pytest.mark.parametrize("minutes", [(1, 3, 5), (2, 4, 9)])
def test_it_gets_louder_step_by_step_at_the_minutes_of_the_site(minutes) -> None:
    steps = tuple(timedelta(minutes=x) for x in minutes)
    world = World(rules=Rules(deadlines=Deadlines(stat_steps=steps)))
    case = emergency(world)
    start = world.uow.now
    for n, minute in enumerate(minutes):
        before = start + timedelta(minutes=minute) - world.uow.now - timedelta(seconds=1)
        tick(world, seconds=before.total_seconds())
        assert alarms(world, case) == ALARMS[:n]
        tick(world, seconds=1)
        assert alarms(world, case) == ALARMS[: n + 1]
    assert world.get(case).state is S.TRIAGE                    # there is no other pool: the dispatcher has it
    assert [x.outcome for x in world.uow.offers.of(case.id)] == [Outcome.TIMED_OUT]


def test_each_step_is_an_event_of_the_system_and_tells_the_pages(world: World) -> None:
    case = emergency(world)
    world.uow.published.clear()
    tick(world, minutes=1)
    [event] = [x for x in world.uow.events.of(f"consultation:{case.id}") if x.trigger == "ring_again"]
    assert (event.membership, event.before, event.after) == (None, "offered", "offered")
    topics = [topic for topic, _payload in world.uow.published]
    assert {"worklist", f"consultation:{case.id}", "offer"} <= set(topics)
    offer = world.uow.offers.of(case.id)[0]
    assert rings(offer, world.uow.rules, world.uow.now) == 2
    assert rings(offer, world.uow.rules, world.uow.now - timedelta(seconds=1)) == 1


def test_a_tick_that_comes_late_takes_every_step_once(world: World) -> None:
    case = emergency(world)
    tick(world, minutes=20)
    assert alarms(world, case) == ALARMS
    assert world.get(case).state is S.TRIAGE


def test_the_next_pool_is_rung_from_the_beginning_and_the_clinic_keeps_the_numbers(world: World) -> None:
    world.uow.people.add_link(OrgLink(a=OTHER_HOSPITAL, b=HOSPITAL, kind=LinkKind.ALLIANCE, since=date(2020, 1, 1)))
    staff = world.uow.people.staff(world.second.staff)
    world.uow.people.save_staff(replace(staff, phone="13900000001"))
    case = emergency(world)
    tick(world, minutes=4)
    assert not phone_list(world.uow, world.get(case))
    tick(world, minutes=1)
    first, second = world.uow.offers.of(case.id)
    assert (first.organisation, first.outcome) == (HOSPITAL, Outcome.TIMED_OUT)
    assert (second.organisation, second.outcome) == (OTHER_HOSPITAL, Outcome.OPEN)
    listed = {(x.name, x.phone) for x in phone_list(world.uow, world.get(case))}
    assert listed == {(world.expert.name, ""), (world.second.name, "13900000001")}     # not who is off duty
    tick(world, minutes=1)
    assert alarms(world, case) == [*ALARMS, "ring_again"]
    triage.accept_offer(world.uow, actor=world.stranger, consultation=case.id)
    assert not phone_list(world.uow, world.get(case))
    tick(world, minutes=9)
    assert alarms(world, case) == [*ALARMS, "ring_again"]


def test_only_emergencies_that_nobody_has_taken_are_unanswered(world: World) -> None:
    urgent = world.offered(urgency=m.Urgency.URGENT)
    case = emergency(world)
    tick(world, minutes=3)

    def late(one: m.Consultation) -> bool:
        return unanswered(world.get(one), world.uow.offers.of(one.id)[-1], world.uow.rules, world.uow.now)

    assert (late(case), late(urgent)) == (True, False)
    triage.accept_offer(world.uow, actor=world.expert, consultation=case.id)
    assert not late(case)
    assert alarms(world, urgent) == []
