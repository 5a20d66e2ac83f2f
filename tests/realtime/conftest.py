from collections.abc import AsyncIterator

import pytest

from tests.realtime.stage import speaking_chromium
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


@pytest.fixture(scope="module")
async def speaking(tmp_path_factory):
    """A Chromium whose fake microphone speaks, for the tests of one module."""
    chromium = speaking_chromium(tmp_path_factory.mktemp("speech"))
    yield chromium
    await chromium.close()
