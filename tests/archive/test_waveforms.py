"""A waveform as a sheet: millimetres of time and voltage where a clinician would measure them."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pydicom
import pytest
from PIL import Image as Pictures

from dicom.elements import Window
from dicom.model import Limits
from dicom.part10 import split_file
from dicom.sheet import GAIN, SPEED, Facts, lay_out
from dicom.sheet_paper import facts_of, to_picture, to_svg
from dicom.waveform import Channel, Waveform, read_waveforms
from dicom.workers.ops import Dataset
from tests.archive.files import real
from tests.archive.service import get, service, url  # noqa: F401

pytestmark = pytest.mark.asyncio(loop_scope="module")


def opened(data):
    head = split_file(Window.of(data))
    body = memoryview(data)[head.dataset_start :]
    return Dataset({"syntax": head.transfer_syntax, "data": body, "length": len(body)}, Limits())


def channel(lead, values, unit="mV", **more):
    samples = np.asarray(values, np.float32)
    return Channel(lead=lead, unit=unit, samples=samples, raw=samples.astype("i2"), scale=1, offset=0, **more)


def wave(*channels, hz=500.0, **more):
    return (Waveform(sampling_hz=hz, channels=channels, **more),)


async def test_a_second_is_25_mm_and_a_millivolt_10_mm_from_the_leads_own_level():
    values = np.full(5000, 0.3)
    values[500] = 1.3  # at one second, a millivolt above the level
    names = ("I", "II", "III", "aVR", "aVL", "aVF", *(f"V{n}" for n in range(1, 7)))
    drawn = lay_out(wave(*(channel(name, values) for name in names)), Facts(ecg=True))
    assert len(drawn.traces) == 13
    first = drawn.traces[0]
    peak = first[first[:, 1].argmin()]
    assert peak[0] - first[0, 0] == pytest.approx(SPEED)
    assert first[0, 1] - peak[1] == pytest.approx(GAIN, abs=1e-5)
    rhythm = drawn.traces[-1]
    assert rhythm[-1, 0] - rhythm[0, 0] == pytest.approx(10 * SPEED, abs=0.1)
    second_column = drawn.traces[1]
    assert second_column[0, 0] - first[0, 0] == pytest.approx(2.5 * SPEED)
    pulse = drawn.marks[0]
    assert np.ptp(pulse[:, 1]) == GAIN and (pulse[:, 1] == pulse[:, 1].min()).sum() == 2
    raised = pulse[pulse[:, 1] == pulse[:, 1].min()]
    assert np.ptp(raised[:, 0]) == pytest.approx(0.2 * SPEED)


async def test_leads_stand_as_three_rows_of_four_and_a_rhythm_strip():
    names = ("V6", "V5", "V4", "V3", "V2", "V1", "aVF", "aVL", "aVR", "III", "II", "I")
    drawn = lay_out(wave(*(channel(name, np.zeros(5000)) for name in names)), Facts(ecg=True))
    rows = {}
    for text in drawn.texts:
        if text.words in names:
            rows.setdefault(text.y, []).append((text.x, text.words))
    assert [[name for _, name in sorted(row)] for _, row in sorted(rows.items())] == [
        ["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"], ["II"],
    ]  # fmt: skip


async def test_limb_leads_a_device_left_out_are_computed_and_said_to_be():
    one, two = np.zeros(5000), np.zeros(5000)
    one[100], two[100] = 0.5, 1.5
    chest = [channel(f"V{n}", np.zeros(5000)) for n in range(1, 7)]
    drawn = lay_out(wave(channel("I", one), channel("II", two), *chest), Facts(ecg=True))
    third = drawn.traces[8]  # the first lead of the third row
    assert third[0, 1] - third[100, 1] == pytest.approx(10.0, abs=1e-4)  # III = II - I
    assert any(text.words == "aVR aVL III aVF = I, II" for text in drawn.texts)


async def test_a_gap_leaves_the_paper_empty_and_a_later_lead_stands_later():
    values = np.zeros(1000)
    values[400:500] = -7
    (group,) = wave(channel("II", values, skew_ms=100.0), hz=100.0, padding=-7)
    drawn = lay_out((group,), Facts(ecg=True))
    assert [len(trace) for trace in drawn.traces] == [400, 490]  # the paper ends 100 ms before the lead does
    assert drawn.traces[0][0, 0] == pytest.approx(25 + 0.1 * SPEED)


async def test_any_other_waveform_is_stacked_and_fitted_with_its_own_unit():
    seconds = np.arange(60_000) / 1000
    pressure = channel("ABP", 80 + 40 * np.sin(seconds * 6), unit="mm[Hg]")
    flat = channel("CVP", np.full(60_000, 5.0), unit="mm[Hg]")
    drawn = lay_out(wave(pressure, flat, hz=1000.0), Facts())
    words = [text.words for text in drawn.texts]
    assert any(w.startswith("ABP ±40") and w.endswith("mm[Hg]") for w in words)
    assert any("4.167 mm/s" in w and "0–60 s / 60 s" in w and "mm/mV" not in w for w in words)
    upper, lower = drawn.traces
    assert len(upper) <= 5100 and np.ptp(upper[:, 1]) == pytest.approx(0.84 * 80, abs=1)
    assert np.ptp(lower[:, 1]) == 0 and lower[:, 1].min() > upper[:, 1].max()


async def test_thinning_a_long_trace_keeps_every_peak():
    values = np.zeros(600_000)
    values[123_457] = 5.0
    drawn = lay_out(wave(channel("EEG", values, unit="uV"), hz=1000.0), Facts())
    assert drawn.traces[0][:, 1].min() < drawn.traces[0][0, 1] - 50


async def test_a_real_ecg_carries_its_measurements_filters_age_and_no_name():
    with opened(real("waveform_ecg.dcm")) as dataset:
        facts = facts_of(dataset, named=False)
        drawn = lay_out(read_waveforms(dataset.walker), facts)
        named = facts_of(dataset, named=True)
    words = " | ".join(text.words for text in drawn.texts)
    for part in ("HR 61 bpm", "PR 161 ms", "QT/QTc 368/370 ms", "25 mm/s", "10 mm/mV", "0.05–300 Hz", "2013-01-25 10:59:19",
                 "RITMO SINUSALE", "42 Y"):  # fmt: skip
        assert part in words, part
    identity = [line for line in named.lines if line not in facts.lines and line]
    assert identity
    for line in identity:
        assert line not in words


async def test_svg_is_well_formed_and_escapes_what_a_device_wrote():
    name = 'V1</text><script>alert("x")</script>\x07&'
    drawn = lay_out(wave(channel(name, np.zeros(500))), Facts(ecg=True, device="<b>"))
    root = ET.fromstring(to_svg(drawn))
    assert {element.tag.split("}")[1] for element in root.iter()} == {"svg", "rect", "path", "text"}
    assert root.get("width") == "297mm"


async def test_the_picture_has_ink_where_the_trace_is():
    values = np.zeros(5000)
    values[1250:1300] = 1.0
    drawn = lay_out(wave(channel("II", values)), Facts(ecg=True))
    with Pictures.open(io.BytesIO(to_picture(drawn))) as picture:
        assert picture.size == (1782, 1260)
        x = round((25 + 2.55 * SPEED) * 6)
        column = np.asarray(picture.convert("L"))[:, x]
    dark = np.flatnonzero(column < 100)
    assert dark.size and abs(dark.mean() / 6 - (115 - GAIN)) < 0.3
    with Pictures.open(io.BytesIO(to_picture(drawn, "jpeg", (400.0, 400.0)))) as small:
        assert small.size == (400, 283)


async def test_rendered_gives_the_sheet_as_png_svg_or_pdf(service):  # noqa: F811
    path = url(service, "waveform_ecg.dcm", "/rendered")
    for accept, media, magic in (
        (None, "image/png", b"\x89PNG"), ("image/*", "image/png", b"\x89PNG"),
        ("image/jpeg", "image/jpeg", b"\xff\xd8"), ("image/svg+xml", "image/svg+xml", b"<svg"), ("application/pdf", "application/pdf", b"%PDF"),
    ):  # fmt: skip
        response, body = await get(service, path, accept)
        assert response.status == 200 and response.headers["Content-Type"] == media, body[:200]
        assert body.startswith(magic) and response.headers["ETag"]
    again, _ = await get(service, path, "application/pdf", **{"If-None-Match": response.headers["ETag"]})
    assert again.status == 304
    refused, body = await get(service, path, "text/html")
    assert refused.status == 406 and b"not_acceptable" in body
    _, plain = await get(service, path, "image/svg+xml")
    _, named = await get(service, path + "?annotation=patient", "image/svg+xml")
    assert len(re.findall(b"<text", named)) > len(re.findall(b"<text", plain))
    thumbnail, body = await get(service, url(service, "waveform_ecg.dcm", "/frames/1/rendered"))
    assert thumbnail.status == 422 and b"no_pixels" in body


@pytest.mark.parametrize("codec", ["gb18030", "utf-8"])
async def test_statements_and_leads_under_a_wrong_label_are_read_right(codec):
    ds = pydicom.dcmread(io.BytesIO(real("waveform_ecg.dcm")))
    ds.SpecificCharacterSet = "ISO_IR 100"
    for note in ds.WaveformAnnotationSequence:
        if "UnformattedTextValue" in note:
            note.UnformattedTextValue = "窦性心律不齐".encode(codec).decode("latin-1")
    channel = ds.WaveformSequence[0].ChannelDefinitionSequence[0]
    channel.ChannelLabel = "导联一".encode(codec).decode("latin-1")
    del channel.ChannelSourceSequence
    out = io.BytesIO()
    ds.save_as(out)
    with opened(out.getvalue()) as dataset:
        waves = read_waveforms(dataset.walker)
        drawn = lay_out(waves, facts_of(dataset, named=False))
    assert "窦性心律不齐" in [note.text for one in waves for note in one.annotations]
    assert "导联一" in [channel.lead for one in waves for channel in one.channels]
    assert any("窦性心律不齐" in text.words for text in drawn.texts)
