"""Which failures `make test` tries once more."""

from __future__ import annotations

import pytest

from tests import run


@pytest.mark.parametrize(
    ("tests", "may"),
    [
        (["tests/realtime/test_room_browsers.py::test_x"], True),
        (["tests/browser/test_axe.py::test_x[zh]", "tests/durability/test_browsers.py::test_y"], True),
        (["tests/durability/test_random.py::test_x"], False),
        (["tests/browser/test_axe.py::test_x[zh]", "tests/web/test_words.py::test_y"], False),
        ([f"tests/browser/test_axe.py::test_{n}" for n in range(6)], False),
        ([], False),
    ],
)
def test_only_a_few_tests_that_play_in_browsers_get_a_second_try(tests, may):
    assert run.may_try_again(tests) is may


def test_what_failed_for_no_test_or_broke_off_stays_failed(monkeypatch):
    monkeypatch.setattr(run, "failed", lambda _name: [])
    assert run.again({"browsers": 1, "others": 0}) == 1
    monkeypatch.setattr(run, "failed", lambda _name: ["tests/browser/test_axe.py::test_x"])
    assert run.again({"browsers": 1, "others": 2}) == 2
    assert run.again({"browsers": 0, "others": 0}) == 0
