from collections.abc import AsyncIterator

import pytest

from tests.realtime.world import Hall, World, make_world, turn_settings


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
async def hall(world: World) -> AsyncIterator[Hall]:
    hall = await Hall(world, turn_settings()).start()
    yield hall
    for browser in hall.browsers:
        if browser.ws is not None and not browser.ws.closed:
            await browser.ws.close()
    await hall.stop()
