"""What the relay passes on to a seat whose line is thin: pure figures, without packets and without a clock."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.relay.ladder import AUDIO, LONGEST_WAIT, RUNGS, SMALL, STILLS, VIDEO, Ladder, Report
from server.media.relay.load import Load
from server.media.relay.receiving import needs_of, worst

NEEDS = (700.0, 140.0, 90.0, 60.0)
GOOD = Report(concealed=0.0, loss=0.0, kbps=700.0)


def lived(ladder: Ladder, *, kbps: float, seconds: int, needs=NEEDS) -> list[tuple[int, float]]:
    """(rung, share lost) of each second on a line that carries so much."""
    found = []
    for second in range(1, seconds + 1):
        load = (needs[AUDIO] if ladder.hush else needs[ladder.at]) + ladder.probe
        loss = max(0.0, 1 - kbps / load)
        found.append((ladder.at, loss))
        ladder.hear(Report(concealed=loss, loss=loss, kbps=min(load, kbps)), needs, second * 1000.0)
    return found


@pytest.mark.parametrize(("report", "rung"), [
    (Report(concealed=0.3, loss=0.0, kbps=300), SMALL), (Report(concealed=0.3, loss=0.0, kbps=120), STILLS),
    (Report(concealed=0.3, loss=0.0, kbps=70), AUDIO), (Report(concealed=0.3, loss=0.5, kbps=600), AUDIO),
    (Report(concealed=0.06), AUDIO), (Report(loss=0.2, kbps=600), SMALL),
    (Report(concealed=0.3, loss=0.0, kbps=600, estimate=110), STILLS), (Report(concealed=0.03, kbps=700), VIDEO),
])
def test_down_at_once_to_what_fits(report, rung):
    ladder = Ladder()
    ladder.hear(report, NEEDS, 1000)
    assert ladder.at == rung


@pytest.mark.parametrize(("most", "cap", "rung"), [
    ("video", 0, VIDEO), ("small", 0, SMALL), ("audio", 0, AUDIO), ("telephone", 0, AUDIO),
    ("video", 700, VIDEO), ("video", 699, SMALL), ("video", 100, STILLS), ("video", 89, AUDIO), ("small", 5000, SMALL),
    ("audio", 5000, AUDIO),
])
def test_no_more_is_passed_on_than_is_wanted_and_it_is_said_to_be_a_choice(most, cap, rung):
    ladder = Ladder()
    ladder.limit(most=most, cap=cap, needs=NEEDS)
    assert (ladder.rung, ladder.chosen) == (RUNGS[rung], rung != VIDEO)
    told = [ladder.hear(GOOD, NEEDS, second * 1000.0) for second in range(1, 60)]
    assert not any(told)                                                # no trial of what nobody wants
    ladder.limit(most="video", cap=0, needs=NEEDS)
    assert (ladder.rung, ladder.chosen) == ("video", False)


def test_a_poor_line_beneath_the_limit_still_takes_away_and_gives_back_no_more_than_the_limit():
    ladder = Ladder()
    ladder.limit(most="small", cap=0, needs=NEEDS)
    ladder.hear(Report(concealed=0.3, loss=0.0, kbps=70), NEEDS, 1000)
    assert (ladder.rung, ladder.chosen) == ("audio", False)
    seen = set()
    for second in range(4, 120):
        ladder.hear(GOOD, NEEDS, second * 1000.0)
        seen.add(ladder.rung)
    assert (ladder.rung, ladder.chosen) == ("small", False)
    assert "video" not in seen


def test_pictures_that_weigh_now_more_now_less_than_the_limit_do_not_come_and_go():
    ladder, told = Ladder(), []
    for kbps in (620.0, 590.0, 610.0, 595.0, 470.0, 600.0, 601.0):
        ladder.limit(most="video", cap=600, needs=(kbps, *NEEDS[1:]))
        told.append(ladder.rung)
    assert told == ["small", "small", "small", "small", "video", "video", "small"]


def test_two_percent_is_borne_for_one_second_not_for_two():
    some = Report(concealed=0.03, loss=0.02, kbps=400)
    ladder = Ladder()
    assert not ladder.hear(some, NEEDS, 1000)
    assert not ladder.hear(GOOD, NEEDS, 2000)
    assert not ladder.hear(some, NEEDS, 3000)
    assert ladder.hear(some, NEEDS, 4000)
    assert ladder.rung == "small"


def test_up_by_padding_and_trial_one_rung_at_a_time():
    ladder = Ladder(at=AUDIO)
    told = [at for at, _ in lived(ladder, kbps=5000, seconds=90)]
    assert [a for a, b in pairwise(told) if a != b] == [AUDIO, STILLS, SMALL]
    assert told[-1] == VIDEO
    assert AUDIO in told[:10]


@pytest.mark.parametrize(("growth", "reached"), [(1.08, VIDEO), (1.0, SMALL)])
def test_a_trial_waits_for_an_estimate_that_rises_and_ends_where_it_stands_still(growth, reached):
    ladder, estimate, seen = Ladder(at=SMALL), 130.0, []
    for second in range(1, 36):
        estimate = min(estimate * growth, 1.5 * (NEEDS[ladder.at] + ladder.probe))      # as browsers do
        report = Report(concealed=0.0, loss=0.0, kbps=NEEDS[ladder.at], estimate=estimate)
        ladder.hear(report, NEEDS, second * 1000.0)
        seen.append(ladder.at)
    assert VIDEO in seen
    assert seen[-1] == reached
    assert (SMALL in seen[seen.index(VIDEO):]) is (reached == SMALL)


def test_a_trial_that_fails_doubles_the_wait():
    ladder = Ladder(at=AUDIO)
    waits = []
    for second in range(1, 900):
        load = NEEDS[ladder.at] + ladder.probe
        loss = max(0.0, 1 - 65 / load)
        ladder.hear(Report(concealed=loss, loss=loss, kbps=min(load, 65)), NEEDS, second * 1000.0)
        if not waits or waits[-1] != ladder.wait:
            waits.append(ladder.wait)
    assert waits == [10_000, 20_000, 40_000, 80_000, LONGEST_WAIT]
    assert ladder.at == AUDIO


def test_a_line_that_is_new_is_judged_only_when_it_has_settled():
    ladder = Ladder()
    ladder.back(1000)
    assert not ladder.hear(Report(concealed=0.9, kbps=10), NEEDS, 3900)
    assert ladder.hear(Report(concealed=0.9, kbps=10), NEEDS, 4100)


def test_reports_without_figures_change_nothing():
    ladder = Ladder()
    assert not any(ladder.hear(Report(), NEEDS, second * 1000.0) for second in range(60))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_on_any_line_that_carries_speech_little_of_it_is_lost_and_what_fits_is_reached(seed):
    dice = random.Random(seed)
    sound = dice.uniform(40, 120)
    needs = (sound + dice.uniform(150, 4000), sound + 60, sound + 20, sound)
    kbps = sound * 1.05 + dice.choice([0, 30, 80, 200, 5000]) * dice.uniform(1, 1.2)
    told = lived(Ladder(at=dice.choice([VIDEO, AUDIO])), kbps=kbps, seconds=400, needs=needs)
    assert sum(loss for _, loss in told[60:]) / 340 < 0.02
    assert max(a - b for (a, _), (b, _) in pairwise(told)) <= 1                 # up one rung at a time
    best = next(x for x in range(4) if needs[x] <= kbps)
    assert best <= min(at for at, _ in told[-200:]) + 1
    if kbps > 1.2 * needs[VIDEO]:
        assert told[-1][0] == VIDEO
    assert all(RUNGS[at] for at, _ in told)


def test_a_seat_whose_own_way_is_bad_is_nobody_elses_fault():
    assert worst({"a": 0.4, "b": 0.0}, {"a": 0.2, "b": 0.0}) == 0.0
    assert worst({"a": 0.4, "b": 0.1}, {"a": 0.0, "b": 0.0}) == 0.4
    assert worst({"a": 0.4, "b": 0.3}, {"a": 0.2, "b": 0.2}) == 0.3             # both: the better one tells most
    assert worst({"gone": 0.9}, {"a": 0.0}) is None
    assert worst({}, {}) is None


def test_rungs_need_less_and_less_whatever_is_sent():
    found = needs_of([(None, None)])
    assert list(found) == sorted(found, reverse=True)


def test_a_relay_is_busy_over_five_seconds_and_until_there_is_room_again():
    load = Load(80)
    used, told = 0.0, []
    for second, share in enumerate([0.9] * 4 + [0.9] * 3 + [0.75] * 6 + [0.5] * 8):
        used += share
        told.append(load.add(float(second), used))
    assert told[:5] == [False] * 5
    assert told[5]
    assert told[12]                                                             # 75 %: no room for more yet
    assert not told[-1]
