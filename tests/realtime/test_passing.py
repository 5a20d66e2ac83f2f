"""What a browser on the relay tells of its line, and what the session's report has of it (static/js/room/passing.js)."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.frontend import node_program

RUNNER = Path(__file__).with_name("passing.mjs")


def second(n: int, *, lost: int = 0, path: str = "p1", since: int = 0) -> list[dict[str, Any]]:
    """Rows of getStats after `n` seconds: 100 packets of sound each, so many `lost` in all, on a path since `since`."""
    return [
        {"id": "t", "type": "transport", "selectedCandidatePairId": path},
        {"id": path, "type": "candidate-pair", "bytesSent": 5000 * (n - since), "bytesReceived": 9000 * (n - since),
         "currentRoundTripTime": 0.042},
        {"id": "other", "type": "candidate-pair", "bytesSent": 10, "bytesReceived": 10, "currentRoundTripTime": 0.9},
        {"id": "a", "type": "inbound-rtp", "kind": "audio", "packetsReceived": 100 * n - lost, "packetsLost": lost},
        {"id": "v", "type": "inbound-rtp", "kind": "video", "freezeCount": max(0, n - 2)},
    ]


def tell(mode: str, *seconds: list[dict[str, Any]], redundant: bool = True) -> dict[str, Any]:
    done = subprocess.run(
        [str(node_program()), str(RUNNER)], input=json.dumps({"mode": mode, "seconds": seconds, "redundant": redundant}),
        capture_output=True, text=True, check=False, timeout=45,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("mode", ["auto", "clear"])
def test_a_seat_on_the_relay_tells_loss_round_trip_and_freezes_whatever_it_chose(mode):
    told = tell(mode, second(1), second(2), second(3, lost=25))["told"]
    assert [x.get("loss") for x in told] == [0, 0.25]
    assert [x["concealed"] for x in told] == [0.04, 0.04]
    assert [x["rtt_ms"] for x in told] == [42, 42]
    assert [x["freezes"] for x in told] == [0, 1]
    assert all(("heard" in x) is (mode == "auto") for x in told)           # by this alone the relay takes pictures away


def test_a_figure_that_the_browser_lacks_is_left_out():
    without = [[x for x in second(n) if x["type"] != "transport"] for n in (1, 2)]
    [told] = tell("auto", *without)["told"]
    assert "rtt_ms" not in told


def test_bytes_are_counted_each_way_also_over_another_path():
    used = tell("auto", second(1), second(2), second(4, path="p2", since=3))["used"]
    assert used == {"sent": 2 * 5000 + 5000 + 10, "received": 2 * 9000 + 9000 + 10}


def missed(n: int, share: float) -> list[dict[str, Any]]:
    """The same where the relay has said that it missed so much of our sound."""
    return [*second(n), {"type": "remote-inbound-rtp", "kind": "audio", "fractionLost": share, "timestamp": n}]


def test_what_redundancy_bridges_on_the_way_to_the_relay_takes_no_picture_away():
    """A line that loses one packet in twenty; between two browsers nothing of it is heard, and the picture stays."""
    shares = [0.05, 0.02, 0.1, 0.04, 0.08, 0.06, 0.0, 0.05] * 5
    assert set(tell("auto", *(missed(n, x) for n, x in enumerate(shares, 1)))["rungs"]) == {"video"}
    alone = tell("auto", *(missed(n, x) for n, x in enumerate(shares, 1)), redundant=False)["rungs"]
    assert alone[-1] == "audio"                                            # nothing bridges it
    assert tell("auto", *(missed(n, 0.4) for n in range(1, 6)))["rungs"][-1] == "audio"
