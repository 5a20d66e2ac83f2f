"""Pictures that claim to be large, and pictures that are: what a worker process takes for them."""

from __future__ import annotations

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import pytest_asyncio
from pydicom.encaps import encapsulate

from dicom.elements import Window
from dicom.errors import UnsupportedError
from dicom.model import Limits
from dicom.part10 import split_file
from dicom.workers.pool import WorkerPool
from tests.archive.files import make, real

ROWS, COLUMNS = b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"
JPEG, LOSSLESS, JPEG_LS, JPEG_2000 = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 70, 80, 90))
PLAIN = {"format": "jpeg", "quality": 90, "window": None, "viewport": None, "annotation": ()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool():
    opened = WorkerPool(1, Limits())
    await opened.start()
    yield opened
    await opened.close()


def held_mb(pool, name: str) -> int:
    """What the worker holds (VmRSS), or held at most since it was told to count anew (VmHWM)."""
    text = Path(f"/proc/{pool.pids[0]}/status").read_text()
    return next(int(line.split()[1]) >> 10 for line in text.splitlines() if line.startswith(name))


async def ask(pool, data: bytes, path: Path, operation: str = "rendered", **more):
    """What the worker answers to a file, or why it does not; and how many MB it took for that."""
    head = split_file(Window.of(data))
    path.write_bytes(data)
    blob = {"syntax": head.transfer_syntax, "path": str(path), "offset": head.dataset_start, "length": len(data) - head.dataset_start}
    args = {"blob": blob, "frame": 1, "ranges": None, "rendering": PLAIN, **more}
    Path(f"/proc/{pool.pids[0]}/clear_refs").write_text("5")
    before = held_mb(pool, "VmRSS")
    try:
        answer = await pool.call(operation, args)
    except UnsupportedError as error:
        answer = error.reason
    return answer, held_mb(pool, "VmHWM") - before


def sized(data: bytes, rows: int, columns: int) -> bytes:
    """The dataset says another size."""
    out = bytearray(data)
    for tag, value in ((ROWS, rows), (COLUMNS, columns)):
        at = out.index(tag) + 8
        out[at : at + 2] = struct.pack("<H", value)
    return bytes(out)


def sized_jpeg(data: bytes, rows: int, columns: int) -> bytes:
    """The dataset and the JPEG or JPEG-LS in it say another size."""
    out = bytearray(sized(data, rows, columns))
    at = out.index(b"\xff\xd8\xff") + 2
    while not (0xC0 <= out[at + 1] <= 0xC3 or out[at + 1] == 0xF7):
        at += 2 + int.from_bytes(out[at + 2 : at + 4], "big")
    out[at + 5 : at + 9] = struct.pack(">HH", rows, columns)
    return bytes(out)


def sized_2000(data: bytes, rows: int, columns: int, *, tile: int) -> bytes:
    """The dataset and the JPEG 2000 in it say another size, in tiles of another size."""
    out = bytearray(sized(data, rows, columns))
    at = out.index(b"\xff\x4f\xff\x51") + 8
    out[at : at + 24] = struct.pack(">6I", columns, rows, 0, 0, tile, tile)
    return bytes(out)


def coded(syntax: str, stream: bytes, *, rows: int, columns: int, samples: int = 1, bits: int = 8) -> bytes:
    colours = {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0} if samples > 1 else {}
    return make(
        pixels=encapsulate([stream]), syntax=syntax, Rows=rows, Columns=columns, SamplesPerPixel=samples,
        BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, **colours,
    )  # fmt: skip


LIES = {
    "RLE of 65,535 × 4,096": (lambda: sized(real("MR_small_RLE.dcm"), 65535, 4096), "code_stream_damaged"),
    "RLE in colours of 16,000 × 8,000": (lambda: sized(real("SC_rgb_rle.dcm"), 16000, 8000), "code_stream_damaged"),
    "JPEG of 13,000 × 13,000": (lambda: sized_jpeg(real("SC_rgb_jpeg_dcmtk.dcm"), 13000, 13000), "code_stream_damaged"),
    "JPEG lossless of 16,000 × 16,000": (
        lambda: sized_jpeg(coded(LOSSLESS, bytes(imagecodecs.jpeg8_encode(np.zeros((8, 8), np.uint16), lossless=True)), rows=8, columns=8, bits=16), 15000, 15000),
        "code_stream_damaged",
    ),
    "JPEG-LS of 16,000 × 16,000": (lambda: sized_jpeg(real("MR_small_jpeg_ls_lossless.dcm"), 16000, 16000), "too_large_to_decode"),
    "JPEG 2000 in one tile of 16,000": (lambda: sized_2000(real("MR_small_jp2klossless.dcm"), 16000, 16000, tile=16000), "too_large_to_decode"),
    "JPEG 2000 of 9,000 × 9,000, a lie that would just fit": (
        lambda: sized_2000(real("MR_small_jp2klossless.dcm"), 9000, 9000, tile=9000), "too_large_to_decode",
    ),
    "JPEG 2000 in sixty thousand tiles": (lambda: sized_2000(real("MR_small_jp2klossless.dcm"), 2000, 2000, tile=8), "code_stream_damaged"),
}  # fmt: skip


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", LIES)
async def test_a_small_file_that_claims_to_be_a_large_picture_takes_no_memory_and_is_told_why(pool, tmp_path, name):
    make_file, reason = LIES[name]
    data = make_file()
    assert len(data) < 100_000
    for operation in ("rendered", "frame"):
        answer, taken = await ask(pool, data, tmp_path / "x", operation)
        assert answer == reason
        assert taken < 32


@pytest.mark.asyncio(loop_scope="module")
async def test_a_picture_longer_than_a_jpeg_can_be_is_told_why_and_drawn_as_png(pool, tmp_path):
    data = native(65535, 2)
    assert (await ask(pool, data, tmp_path / "x"))[0] == "too_large_to_decode"
    answer, _ = await ask(pool, data, tmp_path / "x", rendering={**PLAIN, "format": "png"})
    assert answer.startswith(b"\x89PNG")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_number_of_sixty_megabytes_is_not_read_as_thirty_million(pool, tmp_path):
    long = b"1\\" * (30 << 20)
    center = struct.pack("<HHI", 0x28, 0x1050, len(long)) + long
    data = make(syntax="1.2.840.10008.1.2")
    at = data.index(b"\xe0\x7f\x10\x00")
    answer, taken = await ask(pool, data[:at] + center + data[at:], tmp_path / "x")
    assert answer[:2] == b"\xff\xd8"
    assert taken < 32


def native(rows: int, columns: int, *, samples: int = 1, bits: int = 8, stored: int = 0, photometric: str = "", **more) -> bytes:
    line = np.random.default_rng(1).integers(0, 200, (1, columns, samples)).astype(f"u{bits // 8}")
    colours = {"PlanarConfiguration": 0} if samples > 1 else {}
    return make(
        pixels=np.repeat(line, rows, 0).tobytes(), Rows=rows, Columns=columns, SamplesPerPixel=samples, BitsAllocated=bits,
        BitsStored=stored or bits, HighBit=(stored or bits) - 1, PhotometricInterpretation=photometric or "MONOCHROME2",
        **colours, **more,
    )  # fmt: skip


LARGE = {
    "mammogram of 12 in 16 bits": lambda: native(5000, 5000, bits=16, stored=12),
    "the same with a sign": lambda: native(5000, 5000, bits=16, stored=12, PixelRepresentation=1),
    "shades of 8 bits": lambda: native(7000, 7000),
    "colours": lambda: native(4000, 4000, samples=3, photometric="RGB"),
    "colours as YBR": lambda: native(4000, 4000, samples=3, photometric="YBR_FULL"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", LARGE)
async def test_a_large_picture_takes_no_more_than_four_times_its_pixels(pool, tmp_path, name):
    data = LARGE[name]()
    answer, taken = await ask(pool, data, tmp_path / "x")
    assert answer[:2] == b"\xff\xd8"
    assert taken < 4 * (len(data) >> 20)


@pytest.mark.asyncio(loop_scope="module")
async def test_large_pictures_of_nothing_are_no_lies(pool, tmp_path):
    """Constant pictures: a few hundred bytes for 25 million pixels, as JPEG 2000 and JPEG-LS may."""
    blank = np.zeros((5000, 5000), np.uint16)
    small = np.zeros((3000, 3000, 3), np.uint8)
    for syntax, stream, shape, bits in (
        (JPEG_2000, imagecodecs.jpeg2k_encode(blank, codecformat="j2k"), blank.shape, 16),
        (JPEG_LS, imagecodecs.jpegls_encode(blank), blank.shape, 16),
        (LOSSLESS, imagecodecs.jpeg8_encode(blank, lossless=True), blank.shape, 16),
        (JPEG, imagecodecs.jpeg8_encode(small), small.shape, 8),
    ):
        data = coded(syntax, bytes(stream), rows=shape[0], columns=shape[1], samples=3 if len(shape) == 3 else 1, bits=bits)
        answer, _ = await ask(pool, data, tmp_path / "x")
        assert answer[:2] == b"\xff\xd8", (syntax, answer)


