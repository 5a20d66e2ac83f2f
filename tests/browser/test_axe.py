"""axe-core (WCAG 2.2 A and AA) finds no serious and no critical fault on any page; in English what words can change."""

from __future__ import annotations

import pytest

from tests.browser.touring import visited

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_no_page_shuts_anyone_out(lang):
    found = [f"{visit.name}: {fault}" for visit in await visited(lang) for fault in visit.axe]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_every_page_opens_without_a_console_error_or_a_csp_report(lang):
    found = [f"{visit.name}: {text}" for visit in await visited(lang) for text in (visit.failed, *visit.trouble) if text]
    assert not found, "\n".join(found)
