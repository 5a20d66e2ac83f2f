"""The viewers on the real archive: what was uploaded through the front door is what is on screen."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from aiohttp import ClientSession, CookieJar, MultipartWriter

from tests.browser.viewer.studies import COLUMNS, ROWS, ct_slice, ct_study, mixed_study, studies, uid
from tests.browser.viewer.test_images import crop, until, windowed
from tests.city import PASSWORD

pytestmark = pytest.mark.browser


async def upload(house, person, datasets):
    """STOW-RS (PS3.18 §10.5) as the technician's own browser would."""
    origin = f"http://127.0.0.1:{house.port}"
    async with ClientSession(origin, cookie_jar=CookieJar(unsafe=True), headers={"Origin": origin}) as session:
        async with session.post("/api/login", json={"login": person.login, "password": PASSWORD}) as answer:
            csrf = (await answer.json())["csrf"]
        with MultipartWriter("related") as writer:
            for ds in datasets:
                file = io.BytesIO()
                pydicom.dcmwrite(file, ds, enforce_file_format=True)
                writer.append(file.getvalue(), {"Content-Type": "application/dicom"})
            kind = f'multipart/related; type="application/dicom"; boundary={writer.boundary}'
            headers = {"Content-Type": kind, "X-CSRF-Token": csrf}
            async with session.post("/dicom-web/studies", data=writer, headers=headers) as answer:
                assert answer.status == 200, await answer.text()


async def mounted(house, person, study):
    """A signed-in page of the shell with the viewer of `study` on it, opened as the reading room opens it."""
    page = await house.enter("tech", person)
    await page.evaluate(
        """async (uid) => {
          const { api } = await import('/static/js/api.js');
          const { mountViewer } = await import('/static/dist/viewer/viewer.js');
          for (const name of ['viewer', 'ecg']) {
            const link = document.createElement('link'); link.rel = 'stylesheet'; link.href = `/static/css/${name}.css`;
            await new Promise((done) => { link.onload = done; document.head.append(link); });
          }
          await api('POST', `/api/studies/${uid}/open`, {});
          const place = document.createElement('div'); place.style.cssText = 'position:fixed;inset:0;z-index:99';
          document.body.append(place);
          window.viewer = mountViewer(place, { studyUid: uid, globalKeys: true });
        }""",
        study,
    )
    await until(page, "Boolean(viewer.currentImage())")
    await page.evaluate("viewer.settled()")
    return page


async def test_an_uploaded_ct_is_on_screen_pixel_for_pixel(house, city):
    await upload(house, city.technician, ct_study())
    page = await mounted(house, city.technician, uid("ct"))
    await page.evaluate("viewer.setOneToOne()")
    await page.evaluate("viewer.settled()")
    assert np.abs(await crop(page, ROWS, COLUMNS) - windowed(ct_slice(1), 40, 400)[..., None]).max() <= 1.01
    await until(page, "document.querySelectorAll('.vw-thumb img').length === 2")


async def test_every_uploaded_object_opens_or_is_a_card(house, city):
    await upload(house, city.technician, mixed_study())
    page = await mounted(house, city.technician, uid("mixed"))
    await until(
        page, "document.querySelectorAll('.vw-card').length === 9 && !document.querySelector('.vw-card-waiting')"
    )
    for name in ("examples_rgb_color", "examples_palette", "examples_jpeg2k", "MR_small"):
        await page.click(f'[data-series="{uid("mixed" + name)}"]')
        await until(page, f"viewer.currentImage()?.seriesUid === '{uid('mixed' + name)}'")
    rgb = next(ds for ds in studies()[uid("mixed")] if ds.SeriesInstanceUID == uid("mixedexamples_rgb_color"))
    await page.click(f'[data-series="{rgb.SeriesInstanceUID}"]')
    await until(page, f"viewer.currentImage()?.seriesUid === '{rgb.SeriesInstanceUID}'")
    await page.evaluate("viewer.setOneToOne()")
    await page.evaluate("viewer.settled()")
    assert np.abs(await crop(page, rgb.Rows, rgb.Columns) - rgb.pixel_array.astype(int)).max() <= 1
    await page.click(f'[data-series="{uid("mixedecg")}"]')
    await page.wait_for_selector(".ecg-sheet canvas")
    await until(page, "document.querySelector('.ecg-select').options.length === 13")  # all, and twelve leads
    href = await page.get_attribute("a.vw-card", "href")
    status = await page.evaluate(
        "async (url) => { const a = await fetch(url); return [a.status, a.headers.get('Content-Type')]; }", href
    )
    assert status == [200, "application/pdf"]


async def test_the_reading_room_opens_the_study_and_fits_its_window(house, city, tmp_path):
    await upload(house, city.technician, ct_study())
    page = await house.enter("tech", city.technician, f"/studies/{uid('ct')}")
    await until(page, "Boolean(window.viewer?.currentImage())")
    await page.evaluate("viewer.settled()")
    await page.screenshot(path=tmp_path / "reading-room.png")
    box = await (await page.query_selector("#reading-room")).bounding_box()
    assert box["y"] + box["height"] == pytest.approx(768, abs=1) and box["width"] == pytest.approx(1366, abs=1)
    assert await page.evaluate("document.documentElement.scrollHeight") <= 768
    assert "还没有匹配到患者" in await page.inner_text(".reading-unmatched")
    await page.keyboard.press("PageDown")
    await until(page, "viewer.currentImage().index === 1")
