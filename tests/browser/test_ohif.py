"""OHIF, the viewer most integrators bring, on our DICOMweb under an API token: what it draws is what was stored."""

from __future__ import annotations

import asyncio
import base64
import io

import numpy as np
import pydicom
import pytest
from aiohttp.test_utils import TestServer
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.uid import XRayAngiographicImageStorage

from server import keys
from server.dicomweb.ports import ARCHIVE
from server.settings import Settings
from tests.browser.viewer.studies import ROWS, SLICES, adopt, ct_slice, ct_study, empty, stored
from tests.browser.viewer.test_images import windowed
from tests.city import PASSWORD
from tests.conftest import sign_in
from tests.ohif import Front, need_ohif

pytestmark = pytest.mark.browser
FRAMES = 8
MOST = 2.0     # of 255, on the average
CANVAS = "() => document.querySelector('canvas.cornerstone-canvas')?.toDataURL() ?? ''"
DRAWN = "[data-cy=viewport-overlay-bottom-left]"


def angiography():
    """A run of eight 16-bit frames in one object."""
    frames = np.concatenate([ct_slice(n) for n in range(1, FRAMES + 1)])
    ds = stored(frames, empty(XRayAngiographicImageStorage, "ct", "run", 1), signed=False)
    ds.Modality, ds.SeriesNumber, ds.SeriesDescription = "XA", 1, "冠脉造影"
    ds.Rows, ds.NumberOfFrames, ds.FrameTime, ds.FrameIncrementPointer = ROWS, FRAMES, 100, 0x00181063
    ds.WindowCenter, ds.WindowWidth = 1250, 2500
    return ds


def study():
    """One study: angiography, CT, ultrasound as a loop of JPEG frames and in colour, 12-lead ECG."""
    loop, doppler = adopt("examples_ybr_color.dcm", "ct", "loop", 3), adopt("examples_rgb_color.dcm", "ct", "doppler", 4)
    loop.SeriesDescription, doppler.SeriesDescription = "超声 电影", "超声 彩色"
    files = [angiography(), *ct_study()[:SLICES], loop, doppler, adopt("waveform_ecg.dcm", "ct", "ecg", 5)]
    for ds in files:
        ds.SpecificCharacterSet, ds.PatientName, ds.PatientID = "ISO_IR 192", "Zhou^XiaoYu=周^小雨", "DEV-77"
        ds.StudyDate, ds.StudyDescription = "20261122", "远程会诊"
    return files


@pytest.fixture
def settings(tmp_path):
    return Settings(data=tmp_path / "data", trusted_proxies=("127.0.0.1",))


@pytest.fixture
async def front(app, city, client):
    """OHIF and our DICOMweb under one address, as a proxy of the hospital's would serve them; the clinic holds `study`."""
    folder = need_ohif()
    await app[keys.ARCHIVE_STARTED].wait()
    for ds in study():
        file = io.BytesIO()
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
        result = await app[ARCHIVE].ingest(file.getvalue(), organisation=city.clinic, source="test")
        assert result.outcome == "stored"
    await sign_in(client, city.clinic_admin.login)
    given = {"name": "OHIF", "rights": ["search", "read"], "days": 30, "password": PASSWORD}
    async with client.post("/api/tokens", json=given) as answer:
        token = (await answer.json())["token"]
    front = Front(folder, str(client.make_url("/")).rstrip("/"), token)
    async with TestServer(front.app()) as server:
        front.url = str(server.make_url("/")).rstrip("/")
        yield front


@pytest.fixture
async def page(front, chromium):
    """A browser that reaches nothing but `front`, and has seen OHIF's tour."""
    context = await chromium.new_context(viewport={"width": 1366, "height": 768}, locale="en-GB")
    await context.route(lambda url: not url.startswith((front.url, "blob:", "data:")), lambda route: route.abort())
    await context.add_init_script("localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))")
    page = await context.new_page()
    page.set_default_timeout(45_000)
    yield page
    await context.close()


async def drawn(page) -> np.ndarray:
    """What stands on OHIF's canvas: (height, width, 3)."""
    url = await page.evaluate(CANVAS)
    if not url:
        return np.zeros((1, 1, 3), np.uint8)
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))


def apart(canvas: np.ndarray, wanted: np.ndarray) -> float:
    """Mean difference (0…255) of `wanted` and the canvas into whose middle it is fitted, both seen from four times as far
    away: the canvas is larger than the image, so its edges are smoothed."""
    height, width = canvas.shape[:2]
    rows, columns = wanted.shape[:2]
    scale = min(height / rows, width / columns)
    left, top = (width - columns * scale) / 2, (height - rows * scale) / 2
    far = {"size": (columns // 4, rows // 4), "resample": Image.Resampling.BOX}
    seen = Image.fromarray(canvas).resize(box=(left, top, left + columns * scale, top + rows * scale), **far)
    meant = Image.fromarray(np.broadcast_to(wanted, (rows, columns, 3)).round().astype(np.uint8)).resize(**far)
    return float(np.abs(np.asarray(seen, float) - np.asarray(meant, float)).mean())


async def until_drawn(page, wanted):
    """Until the canvas shows `wanted`; says how far away it stayed."""
    found = 255.0
    try:
        async with asyncio.timeout(45):
            while (found := apart(await drawn(page), wanted)) > MOST:
                await page.wait_for_timeout(100)
    except TimeoutError:
        pytest.fail(f"the canvas is {found:.1f} of 255 away")


def first_jpeg() -> np.ndarray:
    """The ultrasound's first frame, by Pillow."""
    with Image.open(io.BytesIO(next(generate_frames(study()[-3].PixelData, number_of_frames=30)))) as picture:
        return np.asarray(picture.convert("RGB"), float)


async def until_traced(page):
    """Until light traces run from the left end of the canvas to the right."""
    async with asyncio.timeout(45):
        while ((await drawn(page)).min(axis=2) > 150).any(axis=0).mean() < 0.95:
            await page.wait_for_timeout(100)


async def test_ohif_lists_the_study_and_draws_its_frames_its_colours_and_its_tracing(front, page, tmp_path):
    await page.goto(front.url)
    await page.dblclick("text=Zhou, XiaoYu")

    frame = windowed(ct_slice(1), 1250, 2500, intercept=0)[..., None]
    await until_drawn(page, frame)
    await page.wait_for_selector(f"{DRAWN}:has-text('2500')")

    await page.dblclick("[data-cy=study-browser-thumbnail] >> text=胸部 平扫")
    last = windowed(ct_slice(SLICES), 40, 400)[..., None]     # OHIF begins at the lowest position or the highest
    await until_drawn(page, last)
    await page.wait_for_selector(f"{DRAWN}:has-text('400')")

    await page.dblclick("[data-cy=study-browser-thumbnail] >> text=超声 电影")
    await until_drawn(page, first_jpeg())
    await page.dblclick("[data-cy=study-browser-thumbnail] >> text=超声 彩色")
    doppler = study()[-2].pixel_array.astype(float)
    assert np.abs(doppler - doppler.mean(axis=2, keepdims=True)).mean() > MOST     # its colours are told from greys
    await until_drawn(page, doppler)

    await page.dblclick("[data-cy=study-browser-thumbnail-no-image]")
    await until_traced(page)
    await page.screenshot(path=tmp_path / "ohif.png")

    assert {status for _, status in front.asked} <= {200, 304}
    paths = [path for path, _ in front.asked]
    assert any(path.endswith(f"/frames/{FRAMES}") for path in paths)
    # The address of the waveform was built for the host the browser sees, else it had gone elsewhere.
    assert sum("/bulkdata/54000100" in path for path in paths) == 1
