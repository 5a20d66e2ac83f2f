"""Two devices in one room, and how original sound goes: without a browser (tests/realtime/sound.mjs)."""

import json
import math
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.frontend import node_program

RUNNER = Path(__file__).with_name("sound.mjs")
QUIET = -58.0                    # dBFS of a room where nobody speaks
SECONDS = 20
OFFER = (
    "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;stereo=1;useinbandfec=1;usedtx=1\r\n"
)


def ask(*questions: dict[str, Any]) -> list[Any]:
    done = subprocess.run(
        [str(node_program()), str(RUNNER)], input="\n".join(json.dumps(x) for x in questions), capture_output=True,
        text=True, check=False, timeout=45,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(x) for x in done.stdout.splitlines()]


def voice(chance: random.Random, *, talks: float = 0.7) -> list[float]:
    """Levels of somebody who speaks in phrases of syllables, one every 10 ms."""
    levels: list[float] = []
    speaking = True
    while len(levels) < SECONDS * 100 + 200:
        end = len(levels) + chance.randrange(40, 250)
        while len(levels) < end:
            if not speaking:
                levels.append(QUIET + chance.gauss(0, 2))
                continue
            syllable, peak = chance.randrange(9, 23), chance.gauss(-22, 5)
            levels += [peak - 18 * (2 * abs(x / syllable - 0.45)) ** 2 for x in range(syllable)]
            levels += [QUIET + chance.gauss(0, 2) for _ in range(chance.randrange(3))]
        speaking = chance.random() < talks
    return levels[: SECONDS * 100 + 200]


def silence(chance: random.Random) -> list[float]:
    return [QUIET + chance.gauss(0, 2) for _ in range(SECONDS * 100 + 200)]


def later(levels: list[float], ms: int, weaker: float) -> list[float]:
    steps = ms // 10
    return [-90.0] * steps + [x - weaker for x in levels[: len(levels) - steps]]


def both(*sounds: list[float]) -> list[float]:
    return [10 * math.log10(sum(10 ** (x / 10) for x in levels)) for levels in zip(*sounds, strict=True)]


def seen(levels: list[float], chance: random.Random) -> list[float]:
    """As an analyser reads 40 ms of it every 50 ms, not quite exactly."""
    return [
        10 * math.log10(sum(10 ** (x / 10) for x in levels[at - 4 : at]) / 4) + chance.gauss(0, 0.7)
        for at in range(100, SECONDS * 100 + 100, 5)
    ]


def heard(chance: random.Random, *pairs: tuple[list[float], list[float]]) -> list[bool]:
    """Of each pair of own and incoming sound: whether it is ever said that our own comes back."""
    return [True in x for x in ask(*({"own": seen(a, chance), "incoming": seen(b, chance)} for a, b in pairs))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ms", [80, 230, 500])
def test_speech_that_comes_back_is_found_whatever_the_delay(seed, ms):
    chance = random.Random(seed)
    own = voice(chance)
    assert heard(chance, (own, both(later(own, ms, 12), silence(chance)))) == [True]


@pytest.mark.parametrize("seed", range(3))
def test_two_seats_in_one_room_are_found_by_either_when_one_of_their_people_speaks(seed):
    chance = random.Random(seed)
    speaker = voice(chance)
    near, far = both(speaker, silence(chance)), both(later(speaker, 0, 15), silence(chance))
    # The speaker's device hears the other's microphone; the other's hears the speaker in the air, then over the line.
    assert heard(chance, (near, later(far, 150, 0)), (far, later(near, 150, 0))) == [True, True]


@pytest.mark.parametrize("seed", range(6))
def test_one_voice_two_voices_at_once_and_turns_are_no_echo(seed):
    chance = random.Random(seed)
    own, incoming = voice(chance), voice(chance)
    turns = [x if at // 300 % 2 else QUIET for at, x in enumerate(own)]
    answers = [QUIET if at // 300 % 2 else x for at, x in enumerate(incoming)]
    assert heard(
        chance, (own, silence(chance)), (silence(chance), incoming), (own, incoming), (turns, answers),
        (voice(chance, talks=1), voice(chance, talks=1)),
    ) == [False] * 5


@pytest.mark.parametrize("seed", range(3))
def test_a_loudspeaker_that_the_microphone_hears_is_not_taken_for_a_second_device(seed):
    chance = random.Random(seed)
    incoming = voice(chance)
    assert heard(chance, (both(later(incoming, 120, 8), silence(chance)), incoming)) == [False]


def test_a_steady_rhythm_on_both_sides_is_no_echo():
    chance = random.Random(1)
    beat = [-30 if at % 80 < 30 else QUIET for at in range(SECONDS * 100 + 200)]
    assert heard(chance, (beat, later(beat, 200, 5))) == [False]


def test_a_machine_too_busy_to_measure_says_nothing_it_cannot_know():
    chance = random.Random(2)
    own = voice(chance)
    echo = both(later(own, 150, 12), silence(chance))
    levels = {"own": seen(own, chance), "incoming": seen(echo, chance)}
    rarely, often = ask({**levels, "every": 5}, levels)
    assert (True in rarely, True in often) == (False, True)


def test_original_sound_takes_what_the_rung_leaves_and_low_rungs_are_for_speech():
    bad = {"concealed": 0.3, "loss": 0.1}
    full, small, thin, poor, capped, none = ask(
        {"wanted": True}, {"wanted": True, "report": {**bad, "kbps": 500}}, {"wanted": True, "report": {**bad, "kbps": 90}},
        {"wanted": True, "limit": {"mode": "speech"}}, {"wanted": True, "limit": {"kbps": 300}}, {"wanted": False},
    )
    assert full == {"rung": "video", "kbps": 128, "ptime": 20, "red": False, "original": True}
    assert small == {"rung": "small", "kbps": 64, "ptime": 20, "red": False, "original": True}
    assert (capped["rung"], capped["kbps"], capped["original"]) == ("small", 64, True)
    for low, rung in ((thin, "stills"), (poor, "audio")):
        assert (low["rung"], low["original"], low["kbps"] <= 32) == (rung, False, True)
    assert (none["original"], none["kbps"], none["red"]) == (False, 32, True)


def test_original_sound_is_asked_for_in_stereo_without_gaps_and_speech_in_one_channel():
    original, speech = ask({"sdp": OFFER, "original": True}, {"sdp": OFFER, "original": False})
    assert "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=128000;usedtx=0\r\n" in original
    assert "a=fmtp:63 111/111\r\n" in original
    assert speech == OFFER.replace("stereo=1;", "")
