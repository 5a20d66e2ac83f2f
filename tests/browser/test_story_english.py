"""The English product is English: outside what people of the city have written no Chinese character is left."""

from __future__ import annotations

import pytest

from tests.browser.touring import visited

pytestmark = [pytest.mark.browser, pytest.mark.slow]


async def test_no_han_character_is_left_on_any_page():
    found = [f"{visit.name}: {text}" for visit in await visited("en") for text in visit.han]
    assert not found, "\n".join(found)
