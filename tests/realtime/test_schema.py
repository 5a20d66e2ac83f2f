"""The one schema against its documentation, the browser's names, and everything that may not be forgotten."""

import re
from pathlib import Path

import msgspec
import pytest

from consult.model import SeatState
from server.settings import Settings
from server.signalling import schema as s
from server.signalling.handling import Handler

ROOT = Path(__file__).resolve().parent.parent.parent
DOC = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
NAMES = (ROOT / "static/js/room/messages.js").read_text(encoding="utf-8")


def listed(constant: str) -> set[str]:
    body = re.search(rf"export const {constant} = \[(.*?)\];", NAMES, re.S)
    assert body, constant
    return set(re.findall(r"'(\w+)'", body[1]))


def doc_rows(*header: str) -> dict[str, list[str]]:
    """The rows of the page's table with these headings, by the first cell."""
    lines = DOC.splitlines()
    at = lines.index(f"| {' | '.join(header)} |") + 2
    rows = {}
    while at < len(lines) and lines[at].startswith("|"):
        row = [x.strip() for x in lines[at].strip("|").split("|")]
        rows[row[0].strip("`")] = row
        at += 1
    return rows


def test_every_message_of_a_browser_is_documented_with_its_fields_and_limits():
    rows = doc_rows("type", "fields", "numbered", "states", "who", "size", "rate")
    assert set(rows) == {s.name(kind) for kind in s.RULES}
    for kind, rule in s.RULES.items():
        _, fields, numbered, states, who, size, family = rows[s.name(kind)]
        assert re.findall(r"`(\w+)`", fields) == [
            x.name for x in msgspec.structs.fields(kind) if x.name != "n"
        ], s.name(kind)
        assert (numbered == "yes") is issubclass(kind, s.Reliable)
        assert (numbered == "newest") is issubclass(kind, s.Newest)
        assert set(states.split(", ")) == {str(x) for x in rule.states}
        assert who == ("host" if rule.host else "principals" if rule.parts == s.PRINCIPALS else "everyone")
        assert (int(size), family) == (rule.size, rule.family.value)


def test_every_message_of_the_server_is_documented_with_its_fields():
    rows = doc_rows("type", "fields", "numbered")
    assert set(rows) == {s.name(x) for x in s.SERVER_MESSAGES}
    for kind in s.SERVER_MESSAGES:
        _, fields, numbered = rows[s.name(kind)]
        assert re.findall(r"`(\w+)`", fields) == [x.name for x in msgspec.structs.fields(kind)], s.name(kind)
        assert (numbered == "yes") is kind.reliable


def test_every_rate_refusal_and_ending_is_documented():
    rows = doc_rows("rate", "per second", "burst")
    for family, rate in s.RATES.items():
        assert rows[family.value][1:] == [f"{rate.per_second:g}", str(rate.burst)]
    rows = doc_rows("code", "close code", "final")
    for code, number in s.CLOSE_CODES.items():
        assert rows[code.value][1:] == [str(number), "yes" if code in s.FINAL_CLOSES else ""]
    for refusal in s.Refusal:
        assert f"`{refusal.value}`" in DOC
    assert f"version {s.VERSION}" in DOC.splitlines()[0]


def test_the_browsers_names_are_the_schemas():
    assert listed("RELIABLE") == {s.name(x) for x in s.RULES if issubclass(x, s.Reliable)}
    assert listed("LOOSE") == {s.name(x) for x in s.RULES if not issubclass(x, s.Reliable)}
    assert listed("FROM_SERVER") == {s.name(x) for x in (*s.SERVER_MESSAGES, *s.RELAYED)}
    assert listed("FINAL") == {str(x) for x in s.FINAL_CLOSES}
    assert f"VERSION = {s.VERSION};" in NAMES


def test_every_name_the_browser_uses_is_one_of_the_schema():
    known = listed("RELIABLE") | listed("LOOSE")
    heard = listed("FROM_SERVER") | {"line", "ended"}
    for path in (ROOT / "static/js/room").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"signalling\.(?:send|loose)\('(\w+)'", text)) <= known, path.name
        assert set(re.findall(r"signalling\.on\('(\w+)'", text)) <= heard, path.name


def test_every_message_has_a_rule_a_rate_and_an_effect():
    subclasses = set()
    waiting = [s.ClientMessage]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__struct_config__.tag is not None and kind.__struct_config__.tag != kind.__name__:
                subclasses.add(kind)
    assert set(s.RULES) == subclasses
    assert {rule.family for rule in s.RULES.values()} == set(s.RATES)
    effects = Handler(Settings(), clock=lambda: None)._effects
    assert set(effects) == set(s.RULES) - {s.Hello}


def test_a_seat_that_was_removed_may_send_nothing():
    for kind, rule in s.RULES.items():
        assert SeatState.REMOVED not in rule.states, kind


@pytest.mark.parametrize("kind", list(s.RULES), ids=s.name)
def test_the_largest_legal_message_fits_its_own_limit_and_the_frame(kind):
    assert s.RULES[kind].size <= s.FRAME_LIMIT
