"""The first consultation: clinic → expert → signed report back in the clinic, in three browsers, on real images."""

from __future__ import annotations

import pytest

from tests.browser import acts
from tests.browser.playing import perform

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
async def cast(tmp_path, passwords):
    async with perform(tmp_path, passwords) as cast:
        yield cast


async def test_a_patient_goes_from_the_request_to_the_report_in_the_inbox_live(cast):
    doctor = await cast.enter("clinic", cast.city.doctor)
    case = await acts.register_and_begin(cast, doctor)
    await acts.write_request(cast, doctor, live=True)
    await acts.submit(cast, doctor)
    await doctor.screenshot(path=cast.folder / "clinic.png")
