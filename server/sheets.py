"""Pages of a report as pictures. Our policy lets no page embed a PDF viewer, so a PDF is shown as what it prints.

A PDF is decoded in the child process of server/documents.py; the last few results stay in memory.
"""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from aiohttp import web

from server.documents import Page, reencode

KEPT = 12                  # reports of a few pages: some megabytes
SHEET_SIDE = 1755          # A4 at 150 dpi
Make = Callable[[], Awaitable[bytes]]


class Sheets:
    """Pictures of the PDFs shown last, by a key of the caller's."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Page, ...]] = OrderedDict()
        self._making: dict[str, asyncio.Lock] = {}

    async def of(self, key: str, pdf: Make, *, stamp: str = "") -> tuple[Page, ...]:
        """The pages of `await pdf()`, across each of them `stamp` when given. Raises what `pdf` raises."""
        lock = self._making.setdefault(key, asyncio.Lock())
        async with lock:
            try:
                found = self._kept.get(key)
                if found is None:
                    found = (await reencode(await pdf(), max_side=SHEET_SIDE)).pages
                    if stamp:
                        found = await asyncio.to_thread(lambda pages: tuple(stamped(x, stamp) for x in pages), found)
                    self._kept[key] = found
                self._kept.move_to_end(key)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
                return found
            finally:
                self._making.pop(key, None)

    def held(self, key: str) -> tuple[Page, ...] | None:
        """What was made for the key, if it is still here."""
        return self._kept.get(key)


def stamped(page: Page, words: str) -> Page:
    """The page with pale words across it, so that a picture of a preview cannot pass for the report. Blocks."""
    from PIL import Image, ImageDraw, ImageFont
    from pylopdf_fonts_zh_cn import sans_path

    paper = Image.open(io.BytesIO(page.data)).convert("RGB")
    font = ImageFont.truetype(sans_path(), paper.width // 14)
    mark = Image.new("L", paper.size, 0)
    pen = ImageDraw.Draw(mark)
    for part in (0.2, 0.5, 0.8):
        pen.text((paper.width / 2, paper.height * part), words, fill=52, font=font, anchor="mm")
    mark = mark.rotate(28, resample=Image.Resampling.BILINEAR)
    paper.paste(Image.new("RGB", paper.size, (150, 20, 15)), mask=mark)
    out = io.BytesIO()
    paper.save(out, "JPEG", quality=86)
    return Page(data=out.getvalue(), media_type="image/jpeg", width=paper.width, height=paper.height)


def picture(page: Page) -> web.Response:
    """A page as an answer, never kept by anybody."""
    return web.Response(
        body=page.data,
        content_type=page.media_type,
        headers={"Cache-Control": "private, no-store", "Content-Disposition": "inline"},
    )
