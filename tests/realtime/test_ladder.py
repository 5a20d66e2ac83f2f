"""Speech first: the ladder's decisions, without a browser and without a clock (tests/realtime/ladder.mjs)."""

import json
import random
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

from server.frontend import node_program

RUNNER = Path(__file__).with_name("ladder.mjs")
RUNGS = ["video", "small", "stills", "audio", "telephone"]
WELL = {"concealed": 0.0, "loss": 0.0, "kbps": 1500}


def ask(*scenarios: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """What the ladder says to each scenario."""
    done = subprocess.run(
        [str(node_program()), str(RUNNER)], input="\n".join(json.dumps(x) for x in scenarios), capture_output=True,
        text=True, check=False, timeout=45,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(x) for x in done.stdout.splitlines()]


def seconds(*reports: dict[str, Any], begin: int = 1) -> list[list[Any]]:
    return [[(begin + n) * 1000, report] for n, report in enumerate(reports)]


def rungs(told: list[dict[str, Any]]) -> list[str]:
    return [x["rung"] for x in told]


def test_over_five_percent_in_a_second_goes_straight_to_the_rung_that_fits():
    fits = [
        ({"concealed": 0.3, "loss": 0.02, "kbps": 1200}, "small"),
        ({"concealed": 0.3, "loss": 0.02, "kbps": 240}, "stills"),
        ({"concealed": 0.3, "loss": 0.02, "kbps": 60}, "audio"),
        ({"concealed": 0.3, "loss": 0.5, "kbps": 600}, "audio"),    # the second began well: nothing is certain
        ({"concealed": 0.06}, "audio"),                             # nothing is known of what fits
        ({"loss": 0.2, "kbps": 1200}, "small"),                     # a browser that does not count concealment
    ]
    for (report, rung), told in zip(fits, ask(*({"reports": seconds(WELL, x)} for x, _ in fits)), strict=True):
        assert rungs(told) == ["video", rung], report


def test_over_two_percent_is_borne_for_one_second_not_for_two():
    some = {"concealed": 0.03, "loss": 0.02, "kbps": 700}
    alone, twice = ask({"reports": seconds(some, WELL, some, WELL)}, {"reports": seconds(some, some)})
    assert set(rungs(alone)) == {"video"}
    assert rungs(twice) == ["video", "small"]


def test_the_picture_pauses_while_what_was_lost_of_it_is_still_asked_for():
    bad = {"concealed": 0.3, "loss": 0.0, "kbps": 400}
    [told] = ask({"reports": seconds(bad, bad, WELL, WELL)})
    assert rungs(told) == ["small"] * 4                                 # what is told in between is of the rung before
    assert [x["video"] is None for x in told] == [True, True, False, False]
    assert told[2]["changed"]


def test_trouble_again_within_ten_seconds_leaves_speech_alone():
    bad = {"concealed": 0.3, "loss": 0.0, "kbps": 400}
    [told] = ask({"reports": seconds(bad, WELL, WELL, bad)})
    assert rungs(told)[-1] == "audio"
    assert told[-1]["video"] is None


def test_up_after_ten_good_seconds_by_a_probe_and_a_trial_of_one_rung():
    bad = {"concealed": 0.3, "loss": 0.5, "kbps": 60}
    [told] = ask({"reports": seconds(bad, *[WELL] * 60)})
    first = next(n for n, x in enumerate(told) if x["trial"])
    assert 10 <= first <= 13                                            # ten seconds after things settled
    assert told[first]["rung"] == "audio"                               # speech alone is made heavier
    assert told[first]["speech"]["red"]
    steps = [a for a, b in pairwise(rungs(told)) if a != b]
    assert steps == ["audio", "stills", "small"]                        # one at a time
    assert rungs(told)[-1] == "video"


def test_a_trial_that_fails_doubles_the_wait_to_two_minutes_at_most():
    wait = []
    [told] = ask({"line": {"kbps": 45, "loss": 0}, "seconds": 900})
    for before, after in pairwise(told):
        if after["wait"] != before["wait"]:
            wait.append(after["wait"])
    assert wait == [20_000, 40_000, 80_000, 120_000]


def test_redundancy_goes_on_under_loss_and_off_again_where_it_makes_things_worse():
    lost = {"concealed": 0.15, "loss": 0.2, "kbps": 30}
    better, worse = {"concealed": 0.03, "loss": 0.2, "kbps": 45}, {"concealed": 0.5, "loss": 0.5, "kbps": 30}
    helps, harms = ask(
        {"reports": seconds(*[lost] * 8, *[better] * 20)}, {"reports": seconds(*[lost] * 8, *[worse] * 8)}
    )
    assert not helps[0]["speech"]["red"]
    assert helps[-1]["speech"]["red"]
    assert [x["speech"]["ptime"] for x in (helps[0], helps[-1])] == [60, 20]
    assert harms[7]["speech"]["red"]
    assert not harms[-1]["speech"]["red"]


def test_when_nothing_can_be_understood_the_last_rung_is_the_telephone_and_it_is_left_again():
    gone = {"concealed": 0.6, "loss": 0.6, "kbps": 5}
    [told] = ask({"reports": seconds(*[gone] * 30, *[WELL] * 30)})
    assert rungs(told)[29] == "telephone"
    assert rungs(told)[-1] in {"audio", "stills"}


def test_what_was_chosen_bounds_the_ladder():
    bounds = [
        ({"mode": "auto"}, "video", "audio"),
        ({"mode": "clear"}, "video", "small"),
        ({"mode": "smooth"}, "small", "audio"),
        ({"mode": "speech"}, "audio", "audio"),
        ({"most": "audio"}, "audio", "audio"),                      # the other side wants no picture
        ({"kbps": 300}, "small", "audio"),
        ({"kbps": 100}, "stills", "audio"),
        ({"kbps": 40}, "audio", "audio"),
    ]
    worst = {"concealed": 0.3, "loss": 0.5, "kbps": 60}
    fine = ask(*({"reports": seconds(*[WELL] * 60), "limit": x} for x, _, _ in bounds))
    poor = ask(*({"reports": seconds(worst), "limit": x} for x, _, _ in bounds))
    for (limit, good, bad), well, badly in zip(bounds, fine, poor, strict=True):
        assert (rungs(well)[-1], rungs(badly)[-1]) == (good, bad), limit
        cap = limit.get("kbps", 10_000)
        assert all((x["video"] or {"kbps": 0})["kbps"] <= cap for x in well), limit


def test_on_any_line_that_carries_speech_little_of_it_is_lost():
    scenarios = []
    for seed in range(60):
        dice = random.Random(seed)
        line = {"kbps": round(dice.choice([45, 64, 100, 250, 700, 3000]) * dice.uniform(1, 1.3)), "loss": 0}
        missing = dice.choice([[], ["kbps"], ["loss"], ["concealed"]])
        scenarios.append({"line": line, "seconds": 300, "missing": missing})
    for scenario, told in zip(scenarios, ask(*scenarios), strict=True):
        assert sum(x["concealed"] for x in told[60:]) / 240 < 0.02, scenario
        steps = [RUNGS.index(a) - RUNGS.index(b) for a, b in pairwise(rungs(told))]
        assert max(steps) <= 1, scenario                                # up one rung at a time


def test_reports_without_any_figure_change_nothing():
    [told] = ask({"reports": seconds(*[{}] * 40)})
    assert not any(x["changed"] for x in told)


def test_what_was_written_before_a_cut_and_comes_after_it_takes_no_picture_away():
    spoilt = {"concealed": 0.9, "loss": 0.0, "kbps": 300}
    [told] = ask({"reports": [[1000, WELL], [4000, "silence"], [13_000, spoilt], [13_100, "back"], [13_200, spoilt],
                              [15_900, spoilt], [16_500, WELL], [17_500, spoilt]]})
    assert rungs(told)[:-1] == ["video"] * 7
    assert rungs(told)[-1] == "small"                                   # from then on the line is judged again


def test_a_fall_just_before_the_line_ended_is_taken_back():
    spoilt = {"concealed": 0.9, "loss": 0.0, "kbps": 300}
    [told] = ask({"reports": [[1000, WELL], [2000, spoilt], [4000, "silence"], [13_000, "back"], [17_000, WELL]]})
    assert rungs(told) == ["video", "small", "video", "video", "video"]
    assert told[2]["video"] is not None


def test_speech_under_loss_is_heavier_where_the_line_has_room():
    lost = {"concealed": 0.15, "loss": 0.2, "kbps": 700}
    narrow = {"concealed": 0.15, "loss": 0.2, "kbps": 60}
    wide, thin = ask({"reports": seconds(*[lost] * 12)}, {"reports": seconds(*[narrow] * 12)})
    assert rungs(wide)[-1] == rungs(thin)[-1] == "audio"
    assert wide[-1]["speech"] == {"kbps": 24, "ptime": 20, "red": True}
    assert thin[-1]["speech"] == {"kbps": 16, "ptime": 20, "red": True}


def test_speech_waits_for_what_comes_again_while_packets_get_lost():
    [told] = ask({"losses": [0, 0.01, 0.2, None, 0, 0.1, *[0] * 10]})
    assert told == [None, None, *[100] * 13, None]
