"""What no shipped file shows: every kind of window, table, palette, sign and overlay, against pydicom's own functions."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.uid import ExplicitVRBigEndian

from dicom.errors import CannotRenderError
from dicom.pixels.luts import expand_segments
from server.dicomweb.reasons import TEXTS
from tests.archive.files import make
from tests.archive.test_compatibility import picture

RAMP = np.arange(-2048, 2048, dtype="<i2").reshape(64, 64)


def image(pixels, **attributes):
    """An image with these stored values, as bytes and as pydicom reads it."""
    array = np.asarray(pixels)
    shape = {"Rows": array.shape[0], "Columns": array.shape[1]}
    bits = {"BitsAllocated": 8 * array.itemsize, "BitsStored": 8 * array.itemsize, "HighBit": 8 * array.itemsize - 1}
    signed = {"PixelRepresentation": int(array.dtype.kind == "i"), "SamplesPerPixel": 3 if array.ndim == 3 else 1}
    data = make(pixels=array.tobytes(), **{**shape, **bits, **signed, **attributes})
    return data, pydicom.dcmread(io.BytesIO(data))


def lut(first, bits, values, *, signed=False):
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [len(values), first, bits])
    item.add_new(0x00283006, "US", list(values))
    return item


def window(center, width, function=None):
    found = {"WindowCenter": center, "WindowWidth": width}
    return {**found, "VOILUTFunction": function} if function else found


@pytest.mark.parametrize("slope, intercept", [(1, 0), (0.5, -100), (2, 1000)])
@pytest.mark.parametrize(
    "voi",
    [window(40, 400), window(-600, 1), window(0.5, 2.5), *(window(10, 350, f) for f in ("LINEAR_EXACT", "SIGMOID"))],
    ids=str,
)
def test_windows_of_every_function_give_pydicoms_values_after_the_rescale(voi, slope, intercept):
    data, ds = image(RAMP, RescaleSlope=slope, RescaleIntercept=intercept, **voi)
    plain = Dataset()
    plain.update({"PhotometricInterpretation": "MONOCHROME2", "BitsStored": 8, "PixelRepresentation": 0, **voi})
    want = apply_windowing(apply_modality_lut(ds.pixel_array, ds), plain)
    assert np.abs(picture(data) - want).max() <= 0.51


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_modality_and_voi_tables_give_pydicoms_values(bits):
    top = 2**bits - 1
    modality = lut(-2048, 16, [min(4095, i + 7) for i in range(4096)], signed=True)
    curve = [round(top * (i / 999) ** 2) for i in range(1000)]
    data, ds = image(RAMP, ModalityLUTSequence=[modality], VOILUTSequence=[lut(1500, bits, curve)])
    want = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds) / top * 255
    assert np.abs(picture(data) - want).max() <= 0.51


def test_a_table_of_12_bits_that_claims_16_is_not_shown_black():
    data, _ = image(RAMP.astype("<u2") & 4095, VOILUTSequence=[lut(0, 16, range(4096))])
    assert picture(data).max() == 255


def test_tables_of_bytes_hold_one_or_two_entries_a_word():
    entries = bytes(range(255, 155, -1))
    for raw in (entries, np.frombuffer(entries, "u1").astype("<u2").tobytes()):
        item = Dataset()
        item.add_new(0x00283002, "US", [100, 20, 8])
        item.add_new(0x00283006, "OW", raw)
        data, _ = image(np.array([[0, 20, 21, 119, 200]], "<u2"), VOILUTSequence=[item])
        assert picture(data).tolist() == [[255, 255, 254, 156, 156]]


def test_a_voi_table_wins_over_a_window_and_starts_below_zero_where_values_do():
    table = lut(-1024, 12, range(4096), signed=True)
    data, ds = image(RAMP, VOILUTSequence=[table], **window(0, 10))
    assert np.abs(picture(data) - apply_voi_lut(ds.pixel_array, ds) / 4095 * 255).max() <= 0.51


def test_monochrome1_and_an_inverse_shape_turn_black_to_white_and_padding_stays_black():
    stored = np.array([[0, 50, 100, 255]], "<u2")
    for attributes in ({"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}):
        data, _ = image(stored, PixelPaddingValue=255, **attributes, **window(50, 100, "LINEAR_EXACT"))
        assert picture(data).tolist() == [[255, 127, 0, 0]]


def test_padding_does_not_count_for_the_range_in_use():
    data, _ = image(np.array([[-2000, 0, 50, 100]], "<i2"), PixelPaddingValue=-2000)
    assert picture(data).tolist() == [[0, 0, 128, 255]]


def test_an_image_of_eight_bits_shows_its_whole_range_and_counts_the_range_in_use():
    stored = np.array([[0, 10, 20]], "u1")
    assert picture(image(np.repeat(stored, 2, 0))[0])[0].tolist() == [0, 10, 20]
    assert picture(image(np.repeat(stored, 2, 0), Modality="NM")[0])[0].tolist() == [0, 128, 255]
    assert picture(image(np.array([[-128, 0, 127, 127]], "i1"))[0]).tolist() == [[0, 128, 255, 255]]


def test_bits_outside_the_stored_ones_do_not_show_and_a_high_bit_at_the_top_is_heeded():
    stored = np.array([[0, 1000, 4095, 2048]], "<u2")
    attributes = {"BitsStored": 12, **window(2048, 4096)}
    clean = picture(image(stored, HighBit=11, **attributes)[0])
    assert picture(image(stored | 0xA000, HighBit=11, **attributes)[0]).tolist() == clean.tolist()
    assert picture(image(stored << 4, HighBit=15, **attributes)[0]).tolist() == clean.tolist()
    assert picture(image(stored, HighBit=15, **attributes)[0]).tolist() == clean.tolist()  # the label alone is wrong
    signed = np.array([[-2048, -1, 0, 2047]], "<i2") & 0x0FFF
    assert picture(image(signed, PixelRepresentation=1, HighBit=11, BitsStored=12)[0]).tolist() == [[0, 127, 128, 255]]


def test_float_pixels_show_and_what_is_no_number_is_black():
    values = np.array([[0.0, 0.5, 1.0, np.nan, np.inf, -9.0]], "<f4")
    data = make(Rows=1, Columns=6, BitsAllocated=32, BitsStored=None, HighBit=None, PixelRepresentation=None,
                PixelData=None, FloatPixelData=values.tobytes(), FloatPixelPaddingValue=-9.0)  # fmt: skip
    assert picture(data).tolist() == [[0, 128, 255, 0, 0, 0]]


def test_wide_integers_are_windowed():
    data, _ = image(np.array([[0, 1 << 20, 1 << 21]], "<u4"))
    assert picture(data).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 10])
def test_palettes_give_pydicoms_colours(bits, first):
    stored = np.arange(256, dtype="u1").reshape(16, 16)
    tables = [bytes(range(100)), bytes(range(50, 150)), bytes(range(155, 255))]
    if bits == 16:
        tables = [(np.frombuffer(table, "u1").astype("<u2") * 257).tobytes() for table in tables]
    data, ds = image(stored, PhotometricInterpretation="PALETTE COLOR", **palette(tables, 100, first, bits))
    want = apply_color_lut(ds.pixel_array, ds)
    assert picture(data).tolist() == (want >> (bits - 8)).tolist()


def palette(tables, count, first, bits, segmented=""):
    found = {}
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        found[f"{colour}PaletteColorLookupTableDescriptor"] = [count, first, bits]
        found[f"{segmented}{colour}PaletteColorLookupTableData"] = table
    return found


def test_segmented_palettes_give_pydicoms_colours():
    """Discrete, linear and indirect segments, in bytes and in words."""
    stored = np.arange(256, dtype="u1").reshape(16, 16)
    narrow = bytes([0, 3, 1, 5, 9, 1, 60, 200, 0, 2, 7, 8])
    wide = np.array([0, 3, 300, 5000, 900, 1, 60, 65000], "<u2").tobytes()
    for data, count, bits in ((narrow, 65, 8), (wide, 63, 16)):
        kinds = {"PhotometricInterpretation": "PALETTE COLOR"}
        made, ds = image(stored, **kinds, **palette([data] * 3, count, 0, bits, "Segmented"))
        want = apply_color_lut(ds.pixel_array, ds)
        assert picture(made).tolist() == (want >> (bits - 8)).tolist()
    again = [0, 2, 10, 20, 1, 2, 40, 2, 2, 0, 0, 0, 0]  # the first two segments once more
    assert expand_segments(again, wide=False) == [10, 20, 30, 40, 10, 20, 30, 40]
    assert expand_segments([0, 2, 10, 20, 1, 2, 40, 2, 1, 8, 0], wide=True) == [10, 20, 30, 40, 40, 40]
    with pytest.raises(CannotRenderError, match="lut_damaged"):
        expand_segments([1, 2, 40], wide=False)  # a line from nowhere
    with pytest.raises(CannotRenderError, match="lut_damaged"):
        expand_segments([0, 1, 5, 2, 1, 3, 0, 0, 0], wide=False)  # a reference to itself


def test_a_supplemental_palette_colours_the_upper_values_of_a_gray_image():
    stored = np.array([[0, 100, 200, 201]], "<u2")
    colours = palette([bytes([9, 1]), bytes([8, 2]), bytes([7, 3])], 2, 200, 8)
    data, _ = image(stored, PixelPresentation="COLOR", **colours, **window(100, 200, "LINEAR_EXACT"))
    assert picture(data).tolist() == [[[0, 0, 0], [128, 128, 128], [9, 8, 7], [1, 2, 3]]]


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_by_pixel_and_by_plane_are_the_same(planar):
    colours = np.arange(4 * 4 * 3, dtype="u1").reshape(4, 4, 3)
    stored = colours.transpose(2, 0, 1) if planar else colours
    data, _ = image(colours, PhotometricInterpretation="RGB", PlanarConfiguration=planar, PixelData=stored.tobytes())
    assert picture(data).tolist() == colours.tolist()


def test_luminance_and_chrominance_become_red_whatever_their_depth():
    for kind, photometric, red in (("u1", "YBR_FULL", (76, 85, 255)), ("<u2", "YBR_FULL", (19595, 21710, 65535))):
        stored = np.tile(np.array(red, kind), (2, 2, 1))
        got = picture(image(stored, PhotometricInterpretation=photometric, PlanarConfiguration=0)[0])
        assert np.abs(got.astype(int) - [255, 0, 0]).max() <= 1, (kind, got)
    partial = bytes([81, 81, 90, 240]) * 2  # PS3.3 §C.7.6.3.1.2: 8-bit red
    data = make(Rows=2, Columns=2, BitsAllocated=8, BitsStored=8, HighBit=7, SamplesPerPixel=3, PlanarConfiguration=0,
                PhotometricInterpretation="YBR_PARTIAL_422", PixelData=partial)  # fmt: skip
    assert np.abs(picture(data).astype(int) - [255, 0, 0]).max() <= 2


def test_colours_of_few_and_of_many_bits_fill_the_range():
    deep = np.full((2, 2, 3), 0x0FFF, "<u2")
    rgb = {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    assert picture(image(deep, BitsStored=12, HighBit=11, **rgb)[0]).min() == 255
    assert picture(image(np.full((2, 2, 3), 15, "u1"), BitsStored=4, HighBit=3, **rgb)[0]).min() == 255


def test_a_retired_colour_model_is_refused_by_name():
    data, _ = image(np.zeros((2, 2, 3), "u1"), PhotometricInterpretation="HSV", PlanarConfiguration=0)
    with pytest.raises(CannotRenderError, match="photometric_retired"):
        picture(data)


def overlay(rows, columns, bits, *, origin=(1, 1), kind="G", **more):
    plane = np.packbits(np.asarray(bits, "u1").ravel(), bitorder="little").tobytes()
    values = [(0x10, "US", rows), (0x11, "US", columns), (0x40, "CS", kind), (0x50, "SS", list(origin))]
    values += [(0x100, "US", 1), (0x102, "US", 0), (0x3000, "OW", plane + b"\0" * (len(plane) % 2))]
    return [*values, *((int(tag[1:], 16), *value) for tag, value in more.items())]


def with_overlay(data, elements, group=0x6000):
    ds = pydicom.dcmread(io.BytesIO(data))
    for tag, vr, value in elements:
        ds.add_new((group, tag), vr, value)
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def test_overlay_graphics_are_drawn_where_they_lie_and_regions_are_not():
    data, _ = image(np.zeros((3, 4), "u1"))
    cross = [[1, 0], [0, 1]]
    drawn = picture(with_overlay(data, overlay(2, 2, cross, origin=(2, 3))))
    assert np.argwhere(drawn == 255).tolist() == [[1, 2], [2, 3]]
    outside = picture(with_overlay(data, overlay(2, 2, cross, origin=(0, 4)), group=0x6010))
    assert np.argwhere(outside == 255).tolist() == []
    assert picture(with_overlay(data, overlay(2, 2, cross, kind="R"))).max() == 0
    two = overlay(2, 2, [[0, 0], [0, 0], *cross], x15=("IS", 2), x51=("US", 1))
    assert picture(with_overlay(data, two)).max() == 0  # the second frame's, and this is the first


def test_an_overlay_in_an_unused_bit_is_drawn_and_taken_out_of_the_values():
    stored = np.array([[5, 5 | 0x8000, 5, 5]], "<u2")
    data, _ = image(stored, BitsStored=12, HighBit=11, **window(100, 101))
    elements = [(0x10, "US", 1), (0x11, "US", 4), (0x40, "CS", "G"), (0x50, "SS", [1, 1])]
    elements += [(0x100, "US", 16), (0x102, "US", 15)]
    assert picture(with_overlay(data, elements)).tolist() == [[0, 255, 0, 0]]


def test_each_frame_of_an_enhanced_image_has_its_own_rescale_and_window():
    shared, frame = Dataset(), Dataset()
    transform, voi = Dataset(), Dataset()
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 2, -100, "US"
    voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = 0, 200, "LINEAR_EXACT"
    shared.PixelValueTransformationSequence = [transform]
    frame.FrameVOILUTSequence = [voi]
    groups = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": [frame]}
    data, _ = image(np.array([[0, 25, 50, 100]], "<u2"), NumberOfFrames=1, **groups, **window(9, 9))
    assert picture(data).tolist() == [[0, 64, 128, 255]]


def test_bits_in_big_endian_words_are_the_same_picture():
    stored = np.array([[1, 2], [3, 4]], ">u2")
    data, _ = image(np.array([[1, 2], [3, 4]], "<u2"))
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID, ds.PixelData = ExplicitVRBigEndian, stored.tobytes()
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, little_endian=False, implicit_vr=False)
    assert picture(out.getvalue()).tolist() == picture(data).tolist()


def test_every_reason_that_dicomweb_gives_has_words_for_a_person():
    root = Path(__file__).parents[2]
    names = ("pixels/*", "workers/ops", "waveform", "sheet", "structured", "conversion", "retrieve", "web")
    files = [*(path for name in names for path in (root / "dicom").glob(f"{name}.py"))]
    files += (root / "server" / "dicomweb").rglob("*.py")
    codes = {code for file in files for code in re.findall(r'code="(\w+)"', file.read_text("utf-8"))}
    assert len(codes) > 30
    assert not codes - set(TEXTS)
