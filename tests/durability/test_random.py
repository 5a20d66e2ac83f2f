"""kill -9 at fifty random moments, while two people talk, a technician uploads and an expert signs, all at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from consult import model as m
from tests.archive.files import make
from tests.durability.house import House
from tests.durability.tab import Cut, Room
from tests.durability.test_signing import next_case, sign

LIVES = 50
LONGEST = 0.5       # seconds; every tenth life may last six times as long, so that signatures come through
SEED = 20261122


@pytest.fixture(scope="module")
async def house(tmp_path_factory, launcher):
    house = House(tmp_path_factory.mktemp("random"), launcher)
    house.build(cases={m.State.CHECKED_IN: 1, m.State.REPORTING: 6 * LIVES})
    house.start()
    for who in ("doctor", "expert", "technician"):
        await house.browser(who)
    yield house
    await house.close()


class Life:
    """What the three do until the server dies."""

    def __init__(self, house: House, case: str, number: int) -> None:
        self.house, self.case = house, case
        self.files = iter(range(number * 1000, number * 1000 + 999))

    async def talk(self) -> None:
        doctor = await self.house.browser("doctor")
        room = await Room(doctor, self.case, await doctor.open_session(self.case)).connect()
        try:
            await room.hello()
            await room.enter()
            for _ in range(8):      # the room's own limit on how fast one may chat
                await room.chat("请看这里")
            await room.ws.receive()
            raise Cut
        finally:
            await room.close()

    async def upload(self) -> None:
        tab, n = await self.house.browser("technician"), next(self.files)
        data = make(f"1.2.9.{n}", study=f"1.2.{n // 1000}", series=f"1.2.{n // 1000}.1", pixels=n.to_bytes(4, "little"))
        if n % 2:
            await tab.stow(data)
        else:
            await tab.upload(data, piece=500)

    async def sign(self) -> None:
        await sign(self.house, next_case(self.house))


async def until_cut(step: Callable[[], Awaitable[None]]) -> None:
    try:
        while True:
            await step()
    except Cut:
        return


async def test_fifty_random_deaths_lose_nothing_acknowledged_and_leave_nothing_half(house):
    moments = random.Random(SEED)
    (case,) = house.cases[m.State.CHECKED_IN]
    await sign(house, next_case(house))
    for number in range(LIVES):
        life = Life(house, case, number)
        async with asyncio.TaskGroup() as group:
            for step in (life.talk, life.upload, life.sign):
                group.create_task(until_cut(step))
            await asyncio.sleep(moments.uniform(0, LONGEST if number % 10 else 6 * LONGEST))
            await asyncio.to_thread(house.kill)
        await asyncio.to_thread(house.start)
        house.inspect()
    said = house.acknowledged
    assert said.chats and said.instances and said.versions      # there was something to lose
    assert len(house.read(lambda uow: uow.meetings.sessions(case))) == 1
