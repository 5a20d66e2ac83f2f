"""When a silent path is restarted, with which credentials, and that a change of network is not waited out."""

import json
import subprocess
from pathlib import Path
from typing import Any

from server.frontend import node_program

RUNNER = Path(__file__).with_name("reconnect.mjs")
STEADY = list(range(500, 3001, 500))


def watch(**scenario: Any) -> list[list[Any]]:
    done = subprocess.run(
        [str(node_program()), str(RUNNER)], input=json.dumps({"lead": True, "seconds": 20, **scenario}),
        capture_output=True, text=True, check=False, timeout=45,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def when(did: list[list[Any]], what: str) -> list[int]:
    return [at for at, name, _ in did if name == what]


def test_a_path_that_beats_is_left_alone_also_when_the_network_changed():
    assert watch(beats=list(range(500, 20_001, 500)), network=[5000]) == []


def test_three_seconds_of_silence_restart_then_after_three_six_and_twelve_more_and_at_last_all_is_made_anew():
    did = watch(beats=STEADY, seconds=50)
    asked = [(at, x["attempt"], x["rebuild"]) for at, name, x in did if name == "ask"]
    assert asked == [(6000, 1, False), (9000, 2, False), (15_000, 3, False), (27_000, 4, True), (39_000, 5, True)]


def test_every_restart_takes_fresh_credentials_of_the_relay():
    did = watch(beats=STEADY, seconds=30)
    assert [more for _, name, more in did if name == "restart"] == [["new 1"], ["new 2"], ["new 3"]]
    assert [more for _, name, more in did if name == "start"] == [["new 4"]]


def test_who_does_not_lead_takes_them_too_and_asks_the_other():
    did = watch(beats=STEADY, seconds=8, lead=False)
    assert [name for _, name, _ in did] == ["ask", "fresh"]
    assert did[1][2] == ["new 1"]


def test_without_fresh_ones_the_old_ones_are_tried():
    assert [more for _, name, more in watch(beats=STEADY, seconds=7, gone=True) if name == "restart"] == [None]


def test_on_another_network_the_first_missing_beat_is_enough():
    [asked] = when(watch(beats=STEADY, network=[3100], seconds=7), "ask")
    assert asked == 5000                                # without it 6000: the beat of 3500 is missing
    late = [*STEADY, 3150]                              # what was under way when the network changed
    assert when(watch(beats=late, network=[3100], seconds=7), "ask") == [5000]


def test_a_change_of_network_long_before_a_silence_is_not_its_cause():
    beats = list(range(500, 12_001, 500))
    assert when(watch(beats=beats, network=[3100], seconds=16), "ask") == [15_000]
