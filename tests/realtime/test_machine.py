"""Rooms under broken lines, as a Hypothesis state machine and as seeded walks (tests/fuzz/rooms.py walks on for long).

Acknowledged chat is stored once and shown once to everyone inside, in its author's order; no reliable frame is missing
under an epoch; the seat stays the same; a guest in the lobby hears no chat; whoever was removed stays out.
"""

import logging
import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.realtime.history import PEOPLE, History, wander

ANYONE = st.sampled_from(PEOPLE)
FEW = st.integers(1, 4)


@pytest.fixture(autouse=True)
def failing_stores_are_meant():
    """The store fails on purpose, and the room says so in its log."""
    logger = logging.getLogger("huizhen.room")
    logger.disabled = True
    yield
    logger.disabled = False


class RoomMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.history = History()

    @rule(who=ANYONE)
    def says(self, who):
        self.history.say(who)

    @rule(who=ANYONE, what=st.sampled_from([("hand", {"up": True}), ("annotation", {"body": {"a": 1}}), ("enter", {})]))
    def sends(self, who, what):
        self.history.do(who, what[0], **what[1])

    @rule(who=ANYONE, count=FEW, twice=st.booleans(), turns=st.integers(1, 8))
    def frames_go_up(self, who, count, twice, turns):
        self.history.move_up(who, count, twice=twice, turns=turns)

    @rule(who=ANYONE, count=FEW)
    def frames_come_down(self, who, count):
        self.history.move_down(who, count)

    @rule(who=ANYONE, late=st.booleans())
    def a_line_breaks(self, who, late):
        self.history.cut(who, late=late)

    @rule(who=ANYONE)
    def a_page_comes_back(self, who):
        self.history.connect(who)

    @rule(who=ANYONE)
    def a_page_is_loaded_again(self, who):
        self.history.reload(who)

    @rule(index=st.integers(0, 3), count=FEW)
    def a_replaced_socket_delivers_late(self, index, count):
        self.history.straggle(index, count)

    @rule(times=st.integers(1, 2))
    def the_store_fails(self, times):
        self.history.store_fails(times)

    @rule()
    def the_hub_says_that_something_changed(self):
        self.history.hear_hub()

    @rule(seconds=st.sampled_from([0.2, 2.0, 7.0, 20.0]))
    def time_passes(self, seconds):
        self.history.pass_time(seconds)

    @rule()
    def the_server_restarts(self):
        self.history.restart()

    @rule()
    def the_guest_is_removed(self):
        self.history.remove_guest()

    def teardown(self):
        try:
            self.history.check()
        finally:
            self.history.close()


RoomMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)
TestRoomMachine = RoomMachine.TestCase


@pytest.mark.parametrize("seed", range(0, 60, 20))
def test_walks_of_which_each_can_be_run_again_by_its_seed(seed):
    for one in range(seed, seed + 20):
        history = History()
        try:
            wander(history, random.Random(one).randrange, 40)
            history.check()
        finally:
            history.close()
