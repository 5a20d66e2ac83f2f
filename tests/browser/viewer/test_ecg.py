"""What stands on the ECG's canvas is what the device recorded: millivolts up, milliseconds across."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.browser.viewer import harness
from tests.browser.viewer.harness import waveform_json
from tests.browser.viewer.studies import ecg_study, uid
from tests.browser.viewer.test_images import drag, until

pytestmark = pytest.mark.browser
URL = f"/dicom-web/studies/{uid('ecg')}/series/{uid('ecgecg')}/instances/{uid('ecgecgwaveform_ecg.dcm')}/waveform"


def millivolts(lead):
    """(values in mV, samples per second) of a lead, by pydicom."""
    ds = ecg_study()[0]
    group = ds.WaveformSequence[0]
    names = [
        c.ChannelSourceSequence[0].CodeMeaning.removeprefix("Lead ").split(" (")[0]
        for c in group.ChannelDefinitionSequence
    ]
    unit = group.ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence[0].CodeValue
    return ds.waveform_array(0)[:, names.index(lead)] / {"uV": 1000, "mV": 1}[unit], float(group.SamplingFrequency)


async def opened(site, **size):
    page = await site.open(f"ecg={URL}", **size)
    await until(page, "Boolean(window.ecg && ecg.geometry())")
    return page


async def ink(page, *, top=0, bottom, right):
    """Alpha of the trace layer, zero outside the asked rows and columns (a whole sheet is megabytes)."""
    got = await page.evaluate(
        """([top, bottom, right]) => { const p = ecg.readPixels(); right = Math.min(right, p.width);
        bottom = Math.min(bottom, p.height); const a = new Uint8Array(right * (bottom - top));
        for (let y = top; y < bottom; y++) for (let x = 0; x < right; x++) a[(y - top) * right + x] = p.data[4 * (y * p.width + x) + 3];
        let s = ''; for (let i = 0; i < a.length; i += 8192) s += String.fromCharCode(...a.subarray(i, i + 8192));
        return [right, bottom, btoa(s)]; }""",
        [int(top), int(bottom), int(right)],
    )
    out = np.zeros((got[1], got[0]), np.uint8)
    out[int(top) :] = np.frombuffer(base64.b64decode(got[2]), np.uint8).reshape(-1, got[0])
    return out


async def lead_of(page, name, row=None):
    geometry = await page.evaluate("ecg.geometry()")
    lead = [one for one in geometry["leads"] if one["name"] == name and (row is None or one["row"] == row)][-1]
    return geometry, lead


def top_of(alpha, column, above, below):
    rows = np.flatnonzero(alpha[int(above) : int(below), column] > 127)
    return int(above) + rows[0] if len(rows) else None


@pytest.mark.parametrize("ratio", [1, 2])
async def test_peak_and_interval_on_the_canvas_are_the_files(site, ratio):
    site.expected = ("willReadFrequently",)     # it is the test that reads the canvas again and again
    page = await opened(site, scale=ratio)
    for layout, speed, gain in (("3x4", 25, 10), ("12x1", 50, 10), ("6x2", 25, 5)):
        await page.evaluate(f"ecg.setLayout('{layout}'), ecg.setSpeed({speed}), ecg.setGain({gain})")
        await compare(page, ratio, speed, gain)


async def compare(page, ratio, speed, gain):
    """Peaks of lead II on the canvas with the file's: within one pixel, up and across."""
    geometry, lead = await lead_of(page, "II")
    assert geometry["pxPerMv"] / geometry["pxPerMs"] == pytest.approx(gain / (speed / 1000))
    values, hz = millivolts("II")
    first = int(lead["from"] / 1000 * hz)
    last = min(int(lead["to"] / 1000 * hz), first + int(3 * hz))
    window = values[first:last]
    peaks = [
        at
        for at in range(50, len(window) - 50)
        if window[at] == window[at - 50 : at + 51].max() and window[at] > 0.6 * window.max()
    ]
    tall = 2 * geometry["pxPerMv"]
    right = lead["x0"] + 3000 * geometry["pxPerMs"]
    alpha = await ink(page, top=max(0, lead["baseline"] - tall), bottom=lead["baseline"] + 4, right=right)
    seen = []
    for at in peaks[:2]:
        middle = lead["x0"] + at / hz * 1000 * geometry["pxPerMs"]
        columns = range(round(middle) - 3, round(middle) + 4)
        ceiling = lead["baseline"] - 1.5 * window[at] * geometry["pxPerMv"]  # below the row above
        tops = {column: top_of(alpha, column, ceiling, lead["baseline"] + 2) for column in columns}
        tops = {column: top for column, top in tops.items() if top is not None}
        # A stroke as wide as the ratio has its middle half a width below its upper edge; the baseline's is at +0.5.
        height = lead["baseline"] + 0.5 - (min(tops.values()) + ratio / 2)
        assert height / geometry["pxPerMv"] == pytest.approx(window[at], abs=1 / geometry["pxPerMv"])
        highest = [column for column, top in tops.items() if top == min(tops.values())]
        seen.append(sum(highest) / len(highest))
    assert len(seen) == 2
    interval = (seen[1] - seen[0]) / geometry["pxPerMs"]
    assert interval == pytest.approx((peaks[1] - peaks[0]) / hz * 1000, abs=1 / geometry["pxPerMs"])


async def test_the_calibration_pulse_is_one_millivolt_for_two_hundred_milliseconds(site):
    page = await opened(site)
    geometry, lead = await lead_of(page, "I")
    alpha = await ink(page, bottom=lead["baseline"] + 4, right=lead["x0"])
    left = alpha[: int(lead["baseline"]) + 2, : int(lead["x0"]) - 2] > 127
    columns = np.flatnonzero(left[: int(lead["baseline"] - 5)].any(axis=0))
    rows = np.flatnonzero(left[:, columns[0] : columns[-1]].any(axis=1))
    assert columns[-1] - columns[0] == pytest.approx(200 * geometry["pxPerMs"], abs=1.5)
    assert rows[-1] - rows[0] == pytest.approx(geometry["pxPerMv"], abs=1.5)


async def test_the_caliper_reads_what_the_paper_says(site):
    page = await opened(site)
    await page.focus(".ecg-sheet")
    await page.keyboard.press("c")
    box = await (await page.query_selector(".ecg-sheet")).bounding_box()
    geometry = await page.evaluate("ecg.geometry()")
    start = (box["x"] + 200, box["y"] + 300)
    end = (start[0] + round(800 * geometry["pxPerMs"]), start[1] - round(0.5 * geometry["pxPerMv"]))
    await drag(page, start, end)
    text = await page.inner_text(".ecg-live")
    ms, bpm, mv = (float(part.split()[0].replace("−", "-")) for part in text.split(" · "))
    assert ms == pytest.approx(800, abs=1 / geometry["pxPerMs"])
    assert bpm == pytest.approx(75, abs=1) and mv == pytest.approx(0.5, abs=0.02)
    await page.keyboard.press("Shift+ArrowRight")
    moved = float((await page.inner_text(".ecg-live")).split()[0])
    assert moved - ms == pytest.approx(10 / geometry["pxPerMs"], abs=1)
    await page.keyboard.press("Escape")
    assert await page.evaluate("document.querySelector('.ecg-live').textContent") == ""


async def test_keys_change_layout_speed_gain_and_a_click_enlarges_a_lead(site):
    page = await opened(site)
    await page.focus(".ecg-sheet")
    names = "ecg.geometry().leads.map((l) => l.name).join(' ')"
    assert await page.evaluate(names) == "I aVR V1 V4 II aVL V2 V5 III aVF V3 V6 II"
    await page.keyboard.press("2")
    assert await page.evaluate(names) == "I V1 II V2 III V3 aVR V4 aVL V5 aVF V6"
    await page.keyboard.press("v")
    assert (await page.evaluate(names)).startswith("aVL V1 I V2 -aVR")
    await page.keyboard.press("v")
    await page.keyboard.press("s")
    await page.keyboard.press("g")
    geometry = await page.evaluate("ecg.geometry()")
    assert geometry["pxPerMs"] * 1000 / geometry["mm"] == pytest.approx(50)
    assert geometry["pxPerMv"] / geometry["mm"] == pytest.approx(20)
    await page.keyboard.press("3")
    lead = (await page.evaluate("ecg.geometry()"))["leads"][6]
    box = await (await page.query_selector(".ecg-sheet")).bounding_box()
    await page.mouse.click(box["x"] + lead["x0"] + 30, box["y"] + lead["baseline"])
    assert await page.evaluate(names) == "V1"
    await page.keyboard.press("Escape")
    assert len((await page.evaluate(names)).split()) == 12


async def test_life_size_follows_the_calibrated_screen_and_is_remembered(site):
    page = await opened(site, width=1920, height=1080)
    await page.click("[aria-label=校准屏幕尺寸]")
    await page.evaluate(
        "(() => { const r = document.querySelector('.ecg-dialog input'); r.value = '342'; r.dispatchEvent(new Event('input')); })()"
    )
    await page.click(".ecg-dialog >> text=保存")
    assert (await page.evaluate("ecg.geometry()"))["mm"] == pytest.approx(342 / 85.6, rel=0.001)
    await page.reload()
    await until(page, "Boolean(window.ecg && ecg.geometry())")
    await page.click("[aria-label$=按屏幕实际尺寸显示]")
    assert (await page.evaluate("ecg.geometry()"))["mm"] == pytest.approx(342 / 85.6, rel=0.001)


async def test_the_header_tells_whose_tracing_it_is_and_what_the_device_measured(site):
    page = await opened(site)
    header = await page.inner_text(".ecg-header")
    for part in ("张三 男 56 岁", "2026-11-20 09:15", "心率 66 次/分", "QTc 409 ms", "窦性心律", "仅供参考"):
        assert part in header


async def test_the_ecg_goes_into_the_report_as_a_picture(site):
    page = await opened(site)
    await page.click(".ecg-keep")
    await until(page, "keyImages.length === 1")
    image = await page.evaluate("keyImages[0]")
    assert image["sopUid"] == uid("ecgecgwaveform_ecg.dcm")
    picture = Image.open(io.BytesIO(base64.b64decode(image["dataUrl"].split(",")[1])))
    assert picture.format == "PNG" and max(picture.size) == 1024


async def test_an_ecg_that_cannot_be_read_says_so_and_comes_back(site):
    site.expected = ("503",)
    site.archive.broken.add("/waveform")
    page = await site.open(f"ecg={URL}")
    await page.wait_for_selector(".ecg-message >> text=心电图")
    site.archive.broken.clear()
    await page.click(".ecg-message button")
    await until(page, "Boolean(ecg.geometry())")


async def test_where_the_device_had_no_signal_the_line_is_broken(site, monkeypatch):
    def with_gap(ds):
        answer = waveform_json(ds)
        lead = next(one for one in answer["leads"] if one["name"] == "II")
        raw = np.frombuffer(base64.b64decode(lead["samples"]), "<i2").copy()
        raw[1000:1500] = -32768
        return answer | {
            "leads": [
                one | {"samples": base64.b64encode(raw.tobytes()).decode(), "gap": -32768} if one is lead else one
                for one in answer["leads"]
            ]
        }

    monkeypatch.setattr(harness, "waveform_json", with_gap)
    page = await opened(site)
    await page.evaluate("ecg.setLayout('12x1')")
    geometry, lead = await lead_of(page, "II")
    alpha = await ink(page, top=lead["baseline"] - 5, bottom=lead["baseline"] + 20, right=lead["x1"])
    left, right = (round(lead["x0"] + ms * geometry["pxPerMs"]) for ms in (1000, 1500))
    assert not alpha[:, left + 2 : right - 2].any()
    assert alpha[:, right + 2 : right + 40].any()
