"""A part of `python -m tests.fuzz.scopes`: random worlds through the real doors, and an oracle that is able to object."""

from __future__ import annotations

import pytest

from tests.fuzz import scopes
from tests.fuzz._world import World


async def test_every_door_of_random_worlds_shows_what_the_oracle_permits_and_no_more():
    found = await scopes.explore(5)
    assert found.failures == []
    assert found.ran == 5
    assert found.seen["answers"] > 150


@pytest.mark.parametrize("wrong", ["too little", "too much"])
async def test_an_oracle_that_permits_something_else_objects(monkeypatch, wrong):
    real = World.permitted

    def other(self, who, purpose):
        seen = real(self, who, purpose)
        return seen[1:] if wrong == "too little" else [*self.held]

    monkeypatch.setattr(World, "permitted", other)
    found = await scopes.explore(3)
    assert found.failures
