"""A part of `python -m tests.fuzz.scopes`: random worlds through the real doors, and an oracle that is able to object."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom.network import commitment
from server.dicomweb import storing
from server.dimse import backend
from tests.fuzz import _changes, scopes
from tests.fuzz._storing import arrival
from tests.fuzz._world import World

WORLDS = 10  # a hundredth of the search, about a second of the processor each


async def test_every_door_of_random_worlds_shows_what_the_oracle_permits_and_no_more():
    found = await scopes.explore(WORLDS)
    assert found.failures == []
    assert found.ran == WORLDS
    assert found.seen["answers"] > 1000
    assert found.seen["arrival"] > 5


@pytest.mark.parametrize("wrong", ["too little", "too much"])
async def test_an_oracle_that_permits_something_else_objects(monkeypatch, wrong):
    real = World.permitted

    def other(self, who, purpose):
        seen = real(self, who, purpose)
        return seen[1:] if wrong == "too little" else [*self.held]

    monkeypatch.setattr(World, "permitted", other)
    found = await scopes.explore(3)
    assert found.failures


async def all_places(house):
    return frozenset(x.id for x in await house._work.read(lambda uow: uow.people.organisations()))


def devices_see_every_house(monkeypatch, use):
    real = backend.House.allow

    async def allow(self, device, wanted, studies=()):
        scope = await real(self, device, wanted, studies)
        return replace(scope, organisations=await all_places(self)) if wanted == use else scope

    monkeypatch.setattr(backend.House, "allow", allow)


def other_houses_orders(monkeypatch):
    async def worklist(self, device):
        found = [await self._work.read(backend.scheduled, device=replace(device, organisation=x), zone=self._zone) for x in await all_places(self)]
        return [item for items in found for item in items]

    monkeypatch.setattr(backend.House, "worklist", worklist)


def another_reason_where_others_hold_it(monkeypatch):
    real = commitment.verify

    async def verify(archive, scope, pairs):
        outcome = await real(archive, scope, pairs)
        held = {row[0] for row in await archive.read_index(lambda link: link.execute("SELECT sop_uid FROM instance").fetchall())}
        return [0x0110 if one == 0x0112 and uid in held else one for one, (_, uid) in zip(outcome, pairs, strict=True)]

    monkeypatch.setattr(commitment, "verify", verify)


def duplicates_are_told(monkeypatch):
    real = storing.store_json

    def told(results, base, study):
        results = list(results)
        out = real(results, base, study)
        return out | ({"00000902": {"vr": "LO", "Value": ["known"]}} if any(x.outcome == "duplicate" for x in results) else {})

    monkeypatch.setattr(storing, "store_json", told)


@pytest.mark.parametrize(("leak", "word"), [
    (lambda patch: devices_see_every_house(patch, "find"), "C-FIND"),
    (lambda patch: devices_see_every_house(patch, "retrieve"), "brings"),
    (other_houses_orders, "worklist"),
    (another_reason_where_others_hold_it, "commitment"),
    (duplicates_are_told, "STOW"),
])  # fmt: skip
async def test_a_door_that_tells_of_other_houses_is_noticed(monkeypatch, leak, word):
    leak(monkeypatch)
    monkeypatch.setattr(scopes, "WHO", ["device0", "device1", "device2", "token0"])
    monkeypatch.setattr(_changes, "DEEDS", [arrival])
    found = await scopes.explore(4)
    assert any(word in line for line in found.failures), found.told()
