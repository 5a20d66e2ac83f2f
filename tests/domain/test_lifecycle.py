"""The table of DOMAIN §3: written expectations, a walk over all of it, and random lives."""

from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consult import model as m
from consult.errors import Invalid, NotAllowed, WrongState
from consult.lifecycle import TABLE, TERMINAL, Guard, Puller, Trigger, deletable, step, steps
from consult.patient import PatientId
from consult.people import MembershipId, OrganisationId

S = m.State
NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
ALL_GUARDS = frozenset({Guard.COMPLETE, Guard.OPEN_OFFER, Guard.ANSWERED})


def a_consultation(state: m.State = S.DRAFT, **more) -> m.Consultation:
    more.setdefault("urgency", m.Urgency.ROUTINE)
    return m.Consultation(
        id=m.ConsultationId("c"), number="HZ1", patient=PatientId("p"), organisation=OrganisationId("o"),
        requested_by=MembershipId("m"), service=m.Service.CLINICAL, mode=m.Mode.LIVE, state=state,
        state_since=NOW, created_at=NOW, **more,
    )  # fmt: skip


def pull(consultation: m.Consultation, trigger: Trigger, by: Puller, *, now: datetime = NOW) -> m.Consultation:
    return step(
        consultation, trigger, now=now, by=by, reason="因为", fault="patient",
        missing=({"item": "心电图", "due": ""},), given=ALL_GUARDS,
    )  # fmt: skip


# What DOMAIN §3 says follows each state, by hand (self-steps and "entered in error" left out).
FOLLOWS = {
    S.DRAFT: {S.SUBMITTED},
    S.SUBMITTED: {S.TRIAGE, S.WITHDRAWN},
    S.TRIAGE: {S.OFFERED, S.RETURNED, S.REJECTED, S.WITHDRAWN, S.CONVERTED},
    S.RETURNED: {None, S.WITHDRAWN, S.EXPIRED},
    S.OFFERED: {S.ACCEPTED, S.TRIAGE, S.WITHDRAWN},
    S.ACCEPTED: {
        S.SCHEDULED, S.CHECKED_IN, S.IN_SESSION, S.ASYNC_REVIEW, S.OFFERED, S.RETURNED, S.CANCELLED, S.CONVERTED,
    },
    S.SCHEDULED: {S.CHECKED_IN, S.CANCELLED, S.NO_SHOW, S.OFFERED, S.RETURNED, S.CONVERTED},
    S.CHECKED_IN: {S.IN_SESSION, S.NO_SHOW, S.CANCELLED, S.CONVERTED},
    S.IN_SESSION: {S.REPORTING, S.AWAITING_MATERIAL, S.ASYNC_REVIEW, S.CONVERTED},
    S.ASYNC_REVIEW: {S.REPORTING, S.AWAITING_MATERIAL, S.IN_SESSION, S.OFFERED, S.CANCELLED, S.CONVERTED},
    S.AWAITING_MATERIAL: {None, S.CANCELLED, S.CONVERTED},
    S.REPORTING: {S.SIGNED, S.IN_SESSION, S.ASYNC_REVIEW, S.OFFERED, S.CANCELLED, S.CONVERTED},
    S.SIGNED: {S.DELIVERED},
    S.DELIVERED: {S.ACKNOWLEDGED},
    S.ACKNOWLEDGED: {S.FEEDBACK},
    S.FEEDBACK: {S.ARCHIVED},
    S.NO_SHOW: {S.SCHEDULED, S.CANCELLED, S.CONVERTED},
    S.EXPIRED: {S.TRIAGE, None, S.WITHDRAWN},
    S.ARCHIVED: set(), S.WITHDRAWN: set(), S.CANCELLED: set(), S.REJECTED: set(), S.CONVERTED: set(),
    S.ENTERED_IN_ERROR: set(),
}  # fmt: skip


@pytest.mark.parametrize("state", list(S))
def test_what_follows_a_state_is_what_the_domain_page_says(state: m.State) -> None:
    leads = {x.after for (before, _), x in TABLE.items() if before is state}
    assert leads - {state, S.ENTERED_IN_ERROR} == FOLLOWS[state]


def test_every_state_is_reachable_from_a_draft() -> None:
    seen, waiting = {S.DRAFT}, deque([a_consultation(urgency=m.Urgency.STAT)])
    while waiting:
        here = waiting.popleft()
        for (before, trigger), one in TABLE.items():
            if before is here.state:
                after = pull(here, trigger, min(one.by))
                if after.state not in seen:
                    seen.add(after.state)
                    waiting.append(after)
    assert seen == set(S)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_nothing_leads_out_of_a_terminal_state(state: m.State) -> None:
    for trigger in Trigger:
        for by in Puller:
            with pytest.raises(WrongState):
                pull(a_consultation(state), trigger, by)


@pytest.mark.parametrize("state", [x for x in S if x not in TERMINAL])
def test_every_other_state_has_a_way_out_that_somebody_sees(state: m.State) -> None:
    people = set(Puller) - {Puller.SYSTEM, Puller.ADMIN, Puller.CLINIC_COLLEAGUE}
    waiting = a_consultation(state)
    outs = [
        x
        for x in steps(waiting, people)
        if TABLE[state, x].after is not state
    ]
    if state is S.SIGNED:                      # delivery is the same commit as the signature: nobody sees it
        assert steps(waiting, {Puller.SYSTEM}) == (Trigger.DELIVER,)
    else:
        assert outs


@pytest.mark.parametrize("state", list(S))
def test_only_a_draft_may_be_deleted(state: m.State) -> None:
    assert deletable(a_consultation(state)) is (state is S.DRAFT)


@pytest.mark.parametrize("state", list(S))
def test_an_illegal_step_is_refused_whoever_asks(state: m.State) -> None:
    for trigger in Trigger:
        if (state, trigger) not in TABLE:
            for by in Puller:
                with pytest.raises(WrongState) as caught:
                    pull(a_consultation(state), trigger, by)
                assert caught.value.params == {"state": state.value, "trigger": trigger.value}


@pytest.mark.parametrize(("state", "trigger"), sorted(TABLE))
def test_a_legal_step_is_refused_to_the_wrong_part(state: m.State, trigger: Trigger) -> None:
    for by in set(Puller) - TABLE[state, trigger].by:
        with pytest.raises(NotAllowed):
            pull(a_consultation(state, urgency=m.Urgency.STAT), trigger, by)


@pytest.mark.parametrize(
    ("state", "by", "back"),
    [
        (S.TRIAGE, Puller.DISPATCHER, S.TRIAGE),
        (S.ACCEPTED, Puller.ASSIGNED, S.ACCEPTED),
        (S.SCHEDULED, Puller.ASSIGNED, S.SCHEDULED),
    ],
)
def test_a_completed_request_goes_back_to_whoever_returned_it(state, by, back) -> None:
    returned = pull(a_consultation(state), Trigger.RETURN, by)
    assert (returned.state, returned.resume_to) == (S.RETURNED, back)
    again = pull(returned, Trigger.RESUBMIT, Puller.REFERRING)
    assert (again.state, again.resume_to, again.missing) == (back, None, ())


@pytest.mark.parametrize("state", [S.IN_SESSION, S.ASYNC_REVIEW])
def test_material_that_arrives_goes_back_to_where_it_was_asked_for(state) -> None:
    waiting = pull(a_consultation(state), Trigger.REQUEST_MATERIAL, Puller.ASSIGNED)
    assert waiting.state is S.AWAITING_MATERIAL
    assert pull(waiting, Trigger.PROVIDE_MATERIAL, Puller.TECHNICIAN).state is state
    assert pull(waiting, Trigger.CONTINUE_WITHOUT, Puller.ASSIGNED).state is state


def test_an_expired_request_that_is_completed_late_still_goes_back_to_whoever_asked() -> None:
    returned = pull(a_consultation(S.ACCEPTED), Trigger.RETURN, Puller.ASSIGNED)
    expired = pull(returned, Trigger.EXPIRE, Puller.SYSTEM)
    assert pull(expired, Trigger.RESUBMIT, Puller.REFERRING).state is S.ACCEPTED
    assert pull(expired, Trigger.ESCALATE, Puller.DISPATCHER).state is S.TRIAGE


def test_taking_over_in_the_middle_of_a_return_forgets_nothing() -> None:
    returned = pull(a_consultation(S.TRIAGE), Trigger.RETURN, Puller.DISPATCHER)
    taken = pull(returned, Trigger.TAKE_OVER, Puller.CLINIC_COLLEAGUE, now=NOW + timedelta(hours=1))
    assert taken == returned


def test_only_an_emergency_starts_without_an_appointment_or_check_in() -> None:
    with pytest.raises(WrongState):
        pull(a_consultation(S.ACCEPTED), Trigger.START, Puller.ASSIGNED)
    assert Trigger.START not in steps(a_consultation(S.ACCEPTED), set(Puller))
    stat = a_consultation(S.ACCEPTED, urgency=m.Urgency.STAT)
    assert pull(stat, Trigger.START, Puller.ASSIGNED).state is S.IN_SESSION


@pytest.mark.parametrize(
    ("state", "trigger", "by", "fields"),
    [
        (S.TRIAGE, Trigger.REJECT, Puller.DISPATCHER, {"reason"}),
        (S.ACCEPTED, Trigger.RELEASE, Puller.ASSIGNED, {"reason"}),
        (S.REPORTING, Trigger.REASSIGN, Puller.DISPATCHER, {"reason"}),
        (S.ACCEPTED, Trigger.CANCEL, Puller.REFERRING, {"reason", "fault"}),
        (S.DELIVERED, Trigger.TAKE_OVER, Puller.CLINIC_COLLEAGUE, {"reason"}),
        (S.DELIVERED, Trigger.ENTER_IN_ERROR, Puller.ADMIN, {"reason"}),
        (S.TRIAGE, Trigger.RETURN, Puller.DISPATCHER, {"items"}),
    ],
)
def test_steps_that_need_an_explanation_are_refused_without(state, trigger, by, fields) -> None:
    with pytest.raises(Invalid) as caught:
        step(a_consultation(state), trigger, now=NOW, by=by, reason="  ")
    assert {x[0] for x in caught.value.fields} == fields


@pytest.mark.parametrize(
    ("state", "trigger", "by"),
    [
        (S.DRAFT, Trigger.SUBMIT, Puller.REFERRING),
        (S.OFFERED, Trigger.ACCEPT, Puller.OFFERED),
        (S.REPORTING, Trigger.SIGN, Puller.ASSIGNED),
    ],
)
def test_steps_a_service_must_prove_are_refused_without_proof(state, trigger, by) -> None:
    with pytest.raises(WrongState):
        step(a_consultation(state), trigger, now=NOW, by=by, reason="x")


class Lives(RuleBasedStateMachine):
    """Random people pull random triggers; the state is always one the history explains."""

    def __init__(self) -> None:
        super().__init__()
        self.consultation = a_consultation()
        self.asked: m.State | None = None
        self.now = NOW

    @rule(urgency=st.sampled_from(list(m.Urgency)))
    @precondition(lambda self: self.consultation.state is S.DRAFT)
    def choose_urgency(self, urgency: m.Urgency) -> None:
        self.consultation = replace(self.consultation, urgency=urgency)

    @rule(data=st.data())
    def pull_something_legal(self, data: st.DataObject) -> None:
        open_steps = steps(self.consultation, set(Puller))
        assume(open_steps)
        self._pull(data.draw(st.sampled_from(open_steps)), None)

    @rule(trigger=st.sampled_from(list(Trigger)), by=st.sampled_from(list(Puller)))
    def pull_anything(self, trigger: Trigger, by: Puller) -> None:
        self._pull(trigger, by)

    def _pull(self, trigger: Trigger, by: Puller | None) -> None:
        self.now += timedelta(minutes=1)
        before = self.consultation
        one = TABLE.get((before.state, trigger))
        try:
            after = pull(before, trigger, by or min(one.by), now=self.now)
        except (WrongState, NotAllowed):
            assert self.consultation == before
            legal = one is not None and (by is None or by in one.by)
            assert not legal or one.guard is Guard.STAT
            return
        assert one is not None
        if one.after is None:
            assert after.state is self.asked
        else:
            assert after.state is one.after
        if one.remember:
            self.asked = before.state
        self.consultation = after

    @invariant()
    def missing_items_exist_only_while_they_are_awaited(self) -> None:
        awaited = {S.RETURNED, S.AWAITING_MATERIAL}
        assert bool(self.consultation.missing) is (self.consultation.state in awaited)

    @invariant()
    def somewhere_to_go_back_to_exists_exactly_while_it_is_needed(self) -> None:
        needed = {S.RETURNED, S.AWAITING_MATERIAL, S.EXPIRED}
        assert (self.consultation.resume_to is not None) is (self.consultation.state in needed)

    @invariant()
    def the_state_is_never_newer_than_now(self) -> None:
        assert self.consultation.state_since <= self.now


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
