"""A document is re-encoded from its pixels or refused with a reason."""

import io
import json

import pytest
from PIL import Image, ImageDraw

from server.documents import DocumentRefused, pages_of, reencode, store


def picture(size=(640, 480), fmt="JPEG", mode="RGB", **kwargs) -> bytes:
    image = Image.new(mode, size, "white")
    ImageDraw.Draw(image).rectangle((10, 10, 200, 120), fill=200 if mode == "L" else (200, 0, 0) if mode == "RGB" else None)
    out = io.BytesIO()
    image.save(out, fmt, **kwargs)
    return out.getvalue()


async def test_a_photograph_keeps_its_picture_and_loses_its_metadata():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    exif[0x010F] = "Camera of Zhang"
    encoded = await reencode(picture(exif=exif))
    (page,) = encoded.pages
    assert (page.width, page.height) == (480, 640)
    assert b"Camera of Zhang" not in page.data
    assert not Image.open(io.BytesIO(page.data)).getexif()


async def test_what_follows_the_picture_is_gone():
    encoded = await reencode(picture(fmt="PNG") + b"<script>alert(1)</script>")
    assert encoded.source == "png"
    assert b"script" not in encoded.pages[0].data


async def test_each_page_of_a_pdf_becomes_a_picture():
    out = io.BytesIO()
    pages = [Image.new("RGB", (595, 842), colour) for colour in ("white", "red")]
    pages[0].save(out, "PDF", save_all=True, append_images=pages[1:])
    encoded = await reencode(out.getvalue())
    assert encoded.source == "pdf"
    assert len(encoded.pages) == 2
    red = Image.open(io.BytesIO(encoded.pages[1].data)).getpixel((50, 50))
    assert red[0] > 240
    assert red[1] < 16


async def test_storing_puts_pages_first_and_the_manifest_last():
    encoded = await reencode(picture())
    order = []
    digest, size = store(encoded, lambda data: order.append(data) or str(len(order)))
    assert digest == "2"
    assert size == len(encoded.pages[0].data)
    assert pages_of(order[-1])[0]["digest"] == encoded.pages[0].digest
    assert json.loads(order[-1])["pages"][0]["width"] == 640


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just a text file", "not_supported"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "not_supported"),
        (b"GIF89a" + bytes(64), "not_supported"),
        (picture()[:300], "damaged"),
        (b"%PDF-1.7\n" + bytes(2000), "damaged"),
        (b"x" * (30 * 1024 * 1024 + 1), "too_large"),
        (picture((12000, 9000), "PNG", "1"), "too_many_pixels"),
    ],
)
async def test_what_is_no_document_is_refused_with_a_reason(data, reason):
    with pytest.raises(DocumentRefused) as refused:
        await reencode(data)
    assert refused.value.reason == reason
