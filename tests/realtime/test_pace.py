"""How fast a picture goes beside speech: pieces and rests over simulated lines (static/js/pace.js)."""

import json
import subprocess
from pathlib import Path
from typing import Any

from server.frontend import node_program

RUNNER = Path(__file__).with_name("pace.mjs")
PHOTO = 400_000
KB = 1024


def send(*scenarios: dict[str, Any]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [str(node_program()), str(RUNNER)], input="\n".join(json.dumps({"size": PHOTO, "rtt": 60, **x}) for x in scenarios),
        capture_output=True, text=True, check=False, timeout=45,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(x) for x in done.stdout.splitlines()]


def test_a_good_line_carries_a_picture_at_once():
    [sent] = send({"rung": "video", "kbps": 8000})
    assert sent["seconds"] < 2
    assert all(x["pause"] == 0 for x in sent["pieces"])


def test_on_a_thin_line_no_piece_keeps_speech_waiting_long_and_the_line_rests_between():
    for rung, share in (("small", 1 / 2), ("stills", 1 / 3), ("audio", 1 / 4)):
        for kbps in (40, 150):
            [sent] = send({"rung": rung, "kbps": kbps})
            steady = sent["pieces"][3:-1]
            assert max(x["bytes"] for x in steady) <= 32 * KB
            assert max(x["took"] for x in steady) < 700, (rung, kbps)       # 2 KB, the least, over 40 kbit/s
            busy = sum(x["took"] for x in steady) / sum(x["took"] + x["pause"] for x in steady)
            assert abs(busy - share) < 0.01
    thin, = send({"rung": "audio", "kbps": 40})
    assert thin["seconds"] < 15 * 60                                        # and yet it arrives


def test_a_line_that_is_only_far_away_gets_the_largest_pieces_of_its_rung():
    [sent] = send({"rung": "stills", "kbps": 2000, "rtt": 100})
    assert max(x["bytes"] for x in sent["pieces"]) == 16 * KB


def test_while_speech_suffers_pieces_are_smallest_and_rests_longer():
    well, ill = send({"rung": "stills", "kbps": 200}, {"rung": "stills", "kbps": 200, "bad": [0] * 6 + [0.1] * 4})
    assert well["pieces"][7]["bytes"] > 2 * KB
    for piece in ill["pieces"][6:10]:
        assert piece["bytes"] == 2 * KB
        assert piece["pause"] > 5 * piece["took"]
    assert ill["pieces"][12]["bytes"] > 2 * KB                              # well again


def test_where_nobody_speaks_nothing_is_held_back():
    call, none = send({"rung": "audio", "kbps": 40}, {"rung": "telephone", "kbps": 40})
    assert none["seconds"] < call["seconds"] / 2
    assert sum(x["pause"] for x in none["pieces"]) == 0
