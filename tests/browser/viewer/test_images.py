"""What a reader sees in the image viewer is what stands in the file."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.browser.viewer.studies import COLUMNS, ROWS, SLICES, SPACING, ct_slice, studies, uid

pytestmark = pytest.mark.browser
CT, MIXED = uid("ct"), uid("mixed")


async def until(page, expression, tries=200):
    """Wait for the page to say yes; Playwright's own waiting would need `unsafe-eval`."""
    for _ in range(tries):
        if await page.evaluate(expression):
            return
        await page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


async def opened(site, query, **size):
    page = await site.open(query, **size)
    await until(page, "Boolean(window.viewer && viewer.currentImage())")
    await page.evaluate("viewer.settled()")
    return page


async def pixels(page, cell="null"):
    """The canvas as (rows, columns, 4) bytes."""
    got = await page.evaluate(
        f"""(() => {{ const p = viewer.readPixels({cell}); let s = '';
        for (let i = 0; i < p.data.length; i += 8192) s += String.fromCharCode(...p.data.subarray(i, i + 8192));
        return [p.width, p.height, btoa(s)]; }})()"""
    )
    return np.frombuffer(base64.b64decode(got[2]), np.uint8).reshape(got[1], got[0], 4)


async def crop(page, rows, columns):
    """The image's own pixels at 1:1, by where the viewer says its corner pixel stands."""
    x, y = await page.evaluate("viewer.canvasPoint(0, 0)")
    box = await page.evaluate(
        "(() => { const b = document.querySelector('.vw-screen').getBoundingClientRect(); return [b.left, b.top]; })()"
    )
    ratio = await page.evaluate(
        "(() => { const c = document.querySelector('.vw-screen canvas'); return c.width / c.clientWidth; })()"
    )
    left, top = round((x - box[0]) * ratio - 0.5), round((y - box[1]) * ratio - 0.5)
    return (await pixels(page))[top : top + rows, left : left + columns, :3].astype(int)


def windowed(stored, center, width, slope=1, intercept=-1024):
    """PS3.3 §C.11.2.1.2.1, eight bits."""
    value = stored * slope + intercept
    return np.clip(((value - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


@pytest.mark.parametrize("query", ["", "&cpu"], ids=["webgl", "processor"])
@pytest.mark.parametrize("ratio", [1, 2])
async def test_ct_pixels_on_screen_equal_the_file_under_its_window(site, query, ratio):
    page = await opened(site, f"study={CT}{query}", scale=ratio)
    await page.evaluate("viewer.setOneToOne()")
    await page.evaluate("viewer.settled()")
    shown = await crop(page, ROWS, COLUMNS)
    assert shown.shape == (ROWS, COLUMNS, 3)
    wanted = windowed(ct_slice(1), 40, 400)
    assert np.abs(shown - wanted[..., None]).max() <= 1.01


async def test_a_digit_sets_the_window_and_the_pixels_follow(site):
    page = await opened(site, f"study={CT}")
    await page.evaluate("viewer.setOneToOne()")
    await page.keyboard.press("1")
    await page.evaluate("viewer.settled()")
    assert await page.evaluate("viewer.currentImage().window") == {"center": -600, "width": 1500}
    assert np.abs(await crop(page, ROWS, COLUMNS) - windowed(ct_slice(1), -600, 1500)[..., None]).max() <= 1.01
    assert "窗宽 1500 窗位 -600" in await page.inner_text(".vw-br")
    await page.keyboard.press("0")
    assert await page.evaluate("viewer.currentImage().window") == {"center": 40, "width": 400}


async def test_wheel_keys_and_slider_go_through_the_stack(site):
    page = await opened(site, f"study={CT}")
    assert "第 1 / 12 幅" in await page.inner_text(".vw-bl")
    await page.mouse.move(700, 300)
    await page.mouse.wheel(0, 100)
    await until(page, "viewer.currentImage().index === 1")
    await page.keyboard.press("PageDown")
    await until(page, "viewer.currentImage().index === 2")
    await page.evaluate("viewer.setOneToOne()")
    await page.evaluate("viewer.settled()")
    assert np.abs(await crop(page, ROWS, COLUMNS) - windowed(ct_slice(3), 40, 400)[..., None]).max() <= 1.01
    await page.keyboard.press("End")
    await until(page, f"viewer.currentImage().index === {SLICES - 1}")
    await page.keyboard.press("ArrowDown")  # the end stays the end
    await page.evaluate("viewer.settled()")
    assert await page.evaluate("viewer.currentImage().sopUid") == uid(f"ctaxial{SLICES}")
    await page.focus(".vw-slider")
    await page.keyboard.press("Home")
    await until(page, "viewer.currentImage().index === 0")


async def drag(page, start, end, button="left"):
    await page.mouse.move(*start)
    await page.mouse.down(button=button)
    for part in (0.3, 0.6, 1):
        await page.mouse.move(start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part)
    await page.mouse.up(button=button)


async def reads(page, millimetres, within):
    """The line says so, once the engine has counted (it does so after each movement, and takes its time)."""
    said = "parseFloat(document.querySelector('.vw-cell svg').textContent)"
    await until(page, f"Math.abs({said} - {millimetres}) < {within}")


async def test_a_length_reads_the_millimetres_of_the_file(site):
    page = await opened(site, f"study={CT}")
    await page.evaluate("viewer.setOneToOne()")
    await page.keyboard.press("l")
    start, end = [await page.evaluate(f"viewer.canvasPoint({c}, {r})") for c, r in ((50, 100), (170, 190))]
    await drag(page, start, end)
    await reads(page, 150 * SPACING, within=0.6)  # 120 by 90 pixels
    await page.keyboard.press("Delete")
    await until(page, "!document.querySelector('.vw-cell svg').textContent.includes('mm')")


async def test_a_probe_reads_hounsfield_units(site):
    page = await opened(site, f"study={CT}")
    await page.evaluate("viewer.setOneToOne()")
    await page.keyboard.press("h")
    x, y = await page.evaluate("viewer.canvasPoint(70, 150)")
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move(x + 1, y)
    await page.mouse.up()
    await until(page, "document.querySelector('.vw-cell svg').textContent.includes('HU')")
    assert "36 HU" in await page.evaluate("document.querySelector('.vw-cell svg').textContent")  # the disc: 1060 - 1024


async def test_right_drag_windows_and_reset_brings_everything_back(site):
    page = await opened(site, f"study={CT}")
    before = await page.evaluate("viewer.viewerState()")
    await drag(page, (700, 300), (760, 340), button="right")
    await page.keyboard.press("i")
    await page.keyboard.press("o")
    await page.keyboard.press("+")
    changed = await page.evaluate("viewer.viewerState()")
    assert changed["window"] != before["window"]
    assert changed["presentation"]["invert"] and changed["presentation"]["rotation"] == 90
    assert changed["presentation"]["span"] < before["presentation"]["span"]
    await page.keyboard.press("r")
    assert await page.evaluate("viewer.viewerState()") == before


async def test_a_view_applied_on_another_screen_shows_the_same_part_of_the_image(site):
    one = await opened(site, f"study={CT}")
    await one.keyboard.press("3")
    await one.keyboard.press("+")
    await one.keyboard.press("PageDown")
    await until(one, "viewer.currentImage().index === 1")
    await drag(one, (700, 300), (740, 330), button="middle")
    await one.evaluate("viewer.settled()")
    state = await one.evaluate("viewer.viewerState()")
    two = await opened(site, f"study={CT}", width=820, height=1180)
    assert await two.evaluate("(state) => viewer.applyState(state)", state)
    await two.evaluate("viewer.settled()")
    got = await two.evaluate("viewer.viewerState()")
    assert got["image"] == state["image"] and got["window"] == state["window"]
    assert got["presentation"]["center"] == pytest.approx(state["presentation"]["center"], abs=0.1)
    assert got["presentation"]["span"] == pytest.approx(state["presentation"]["span"], rel=0.001)
    assert (await one.evaluate("states.length")) > 0
    assert (
        await two.evaluate("(state) => viewer.applyState({...state, image: {...state.image, sopUid: '2.25.1'}})", state)
        is False
    )


async def test_colour_ultrasound_is_in_colour_and_plays(site):
    page = await opened(site, f"study={MIXED}")
    assert "第 1 / 30 帧" in await page.inner_text(".vw-bl")
    await page.keyboard.press(" ")
    await until(page, "viewer.currentImage().index >= 3")
    await page.keyboard.press(" ")
    await page.evaluate("viewer.settled()")
    stopped = await page.evaluate("viewer.currentImage().index")
    await page.wait_for_timeout(150)
    assert await page.evaluate("viewer.currentImage().index") == stopped
    rgb = next(
        ds for ds in studies()[MIXED] if ds.SOPInstanceUID == uid("mixedexamples_rgb_colorexamples_rgb_color.dcm")
    )
    await page.evaluate(f"viewer.openSeries('{rgb.SeriesInstanceUID}')")
    await page.evaluate("viewer.settled()")
    await page.evaluate("viewer.setOneToOne()")
    await page.evaluate("viewer.settled()")
    shown = await crop(page, rgb.Rows, rgb.Columns)
    assert np.abs(shown - rgb.pixel_array.astype(int)).max() <= 1
    assert np.ptp(shown, axis=2).max() > 50  # there is colour in it


@pytest.mark.parametrize("name", ["examples_palette", "examples_jpeg2k", "MR_small"])
async def test_every_kind_of_image_opens(site, name):
    page = await opened(site, f"study={MIXED}")
    series = uid(f"mixed{name}")
    await until(page, f"Boolean(document.querySelector('[data-series=\"{series}\"]'))")
    await page.click(f'[data-series="{series}"]')
    await until(page, f"viewer.currentImage()?.seriesUid === '{series}'")
    await page.evaluate("viewer.settled()")
    assert (await pixels(page))[..., :3].std() > 5


async def test_film_lengths_are_said_to_be_at_the_detector(site):
    page = await opened(site, f"study={MIXED}")
    await page.click("text=胸片 正位")
    await until(page, "viewer.currentImage()?.modality === 'DX'")
    await page.evaluate("viewer.setOneToOne()")
    assert "探测器平面" in await page.inner_text(".vw-bl")
    await page.keyboard.press("l")
    await drag(page, *[await page.evaluate(f"viewer.canvasPoint({c}, 200)") for c in (100, 200)])
    await reads(page, 20, within=0.3)


async def test_documents_and_unknown_objects_are_cards_of_their_own(site):
    page = await opened(site, f"study={MIXED}")
    await until(page, "document.querySelectorAll('a.vw-card').length === 1")
    link = await page.get_attribute("a.vw-card", "href")
    assert link.endswith(f"/series/{uid('mixedpdf')}/instances/{uid('mixedpdf1')}/rendered")
    await until(
        page, "[...document.querySelectorAll('.vw-card:disabled')].some((c) => c.textContent.includes('不能在此显示'))"
    )


async def test_a_tracing_opens_in_its_panel_and_an_image_closes_it(site):
    page = await opened(site, f"study={MIXED}")
    await until(page, f"Boolean(document.querySelector('[data-series=\"{uid('mixedecg')}\"]'))")
    await page.click(f'[data-series="{uid("mixedecg")}"]')
    await page.wait_for_selector(".ecg-sheet canvas")
    await page.click(f'[data-series="{uid("mixedMR_small")}"]')
    await until(page, "viewer.currentImage()?.modality === 'MR'")
    assert await page.query_selector(".ecg-root") is None


async def test_layouts_show_several_series_and_one_cell_is_active(site):
    page = await opened(site, f"study={CT}")
    await page.keyboard.press("g")
    await until(page, "document.querySelectorAll('.vw-cell').length === 2 && Boolean(viewer.currentImage(1))")
    await page.evaluate("viewer.settled()")
    assert await page.evaluate("viewer.currentImage(0).seriesUid !== viewer.currentImage(1).seriesUid")
    await page.click(".vw-cell:nth-child(2)")
    assert await page.evaluate("viewer.currentImage().seriesUid") == uid("ctsmall")
    assert np.asarray(await pixels(page, 1))[..., :3].std() > 5
    await page.keyboard.press("g")
    await page.keyboard.press("g")
    assert await page.evaluate("document.querySelectorAll('.vw-cell').length") == 1
    assert await page.evaluate("viewer.currentImage().seriesUid") == uid("ctaxial")


async def test_the_key_image_is_cut_to_the_image_and_carries_the_window(site):
    page = await opened(site, f"study={CT}")
    await page.click(".vw-key-image")
    await until(page, "keyImages.length === 1")
    image = await page.evaluate("keyImages[0]")
    assert image["sopUid"] == uid("ctaxial1") and image["frame"] == 1
    assert image["window"] == {"center": 40, "width": 400}
    picture = Image.open(io.BytesIO(base64.b64decode(image["dataUrl"].split(",")[1])))
    assert picture.format == "PNG" and max(picture.size) <= 1024
    assert picture.width / picture.height == pytest.approx(COLUMNS / ROWS, rel=0.02)


async def test_a_frame_that_fails_says_why_and_comes_back(site):
    site.expected = ("503", "XMLHttpRequest")  # the engine reports its own
    end = f"/instances/{uid('ctaxial1')}/frames/1"
    site.archive.broken.add(end)
    page = await site.open(f"study={CT}")
    await page.wait_for_selector(".vw-failed")
    assert "影像服务暂时没有响应" in await page.inner_text(".vw-failed")
    site.archive.broken.clear()
    await page.click(".vw-failed button")
    await until(page, "Boolean(viewer.currentImage())")
    assert not await page.query_selector(".vw-failed")


async def test_a_study_that_cannot_be_read_says_so_and_can_be_tried_again(site):
    site.expected = ("404", "503")
    page = await site.open("study=2.25.404")
    await page.wait_for_selector(".vw-strip-text >> text=找不到这份影像")
    site.archive.broken.add("/series")
    page = await site.open(f"study={CT}")
    await page.wait_for_selector(".vw-strip >> text=影像服务暂时没有响应")
    site.archive.broken.clear()
    await page.click(".vw-strip button")
    await until(page, "Boolean(viewer.currentImage())")


async def test_a_destroyed_viewer_leaves_nothing_and_another_can_follow(site):
    page = await opened(site, f"study={CT}")
    await page.evaluate("viewer.destroy()")
    assert await page.evaluate("document.getElementById('place').childElementCount") == 0
    await page.evaluate(f"window.viewer = mountViewer(document.getElementById('place'), {{ studyUid: '{CT}' }}); 1")
    await until(page, "Boolean(viewer.currentImage())")
    assert await page.query_selector(".vw-key-image") is None  # nobody asked for key images


async def test_one_finger_follows_the_tool(site):
    page = await opened(site, f"study={CT}", touch=True, width=820, height=1180)
    before = await page.evaluate("viewer.currentImage().window")
    client = await page.context.new_cdp_session(page)
    for kind, y in (("touchStart", 500), ("touchMove", 540), ("touchMove", 580), ("touchMove", 620)):
        await client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": 400, "y": y}]})
        await page.wait_for_timeout(60)
    await client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    await until(page, f"viewer.currentImage().window.center !== {before['center']}")
    await page.keyboard.press("s")
    for kind, y in (("touchStart", 500), ("touchMove", 560), ("touchMove", 620), ("touchMove", 680)):
        await client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": 400, "y": y}]})
        await page.wait_for_timeout(60)
    await client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    await until(page, "viewer.currentImage().index > 0")
