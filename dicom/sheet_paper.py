"""A sheet as SVG, PNG or JPEG. Runs in worker processes only."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont
from pylopdf_fonts_zh_cn import sans_path

from dicom.charset import Charset, detect
from dicom.header import read_header
from dicom.pixels.annotate import patient_lines
from dicom.pixels.attributes import Attributes
from dicom.sheet import GRID, HEIGHT, WIDTH, Facts, Sheet

if TYPE_CHECKING:
    from dicom.workers.ops import Dataset

_FINE, _BOLD, _INK = "#f6d5d8", "#e59aa3", "#111111"
_DOTS = 12  # per millimetre while drawing; every two become one, which smooths the traces
_ECG = "1.2.840.10008.5.1.4.1.1.9.1."


def facts_of(dataset: Dataset, *, named: bool) -> Facts:
    """What goes around the traces: age and sex, device; name and number only where asked for (`named`)."""
    a = Attributes(dataset.walker)
    header = replace(read_header(dataset.window, dataset.syntax, dataset.budget), **dataset.named)  # type: ignore[arg-type]
    charset: Charset = detect(a.raw(0x00080005), [a.raw(tag) for tag in (0x00080070, 0x00081090)])
    age = _age(a.text(0x00101010), header.birth_date, header.study_date)
    lines = patient_lines(header)[:2] if named else []
    device = " ".join(filter(None, (charset.decode(a.raw(tag)).strip() for tag in (0x00080070, 0x00081090))))
    return Facts(
        lines=(*lines, " ".join(filter(None, (header.sex, age)))),
        device=device[:48],
        ecg=header.sop_class.startswith(_ECG),
    )


def _age(stated: str, born: str, study: str) -> str:
    """`074Y` as 74 Y; else from the dates, in whole years."""
    if len(stated) == 4 and stated[:3].isdecimal():
        return f"{int(stated[:3])} {stated[3]}"
    if len(born) == 8 and len(study) == 8 and born <= study:
        return f"{int(study[:4]) - int(born[:4]) - (study[4:] < born[4:])} Y"
    return ""


def to_svg(sheet: Sheet) -> bytes:
    """One A4 page in millimetres. Text is escaped; there is no script, style sheet or reference in it."""
    left, top, right, bottom = GRID
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}mm" height="{HEIGHT:g}mm"',
        f' viewBox="0 0 {WIDTH:g} {HEIGHT:g}"><rect width="{WIDTH:g}" height="{HEIGHT:g}" fill="#ffffff"/>',
    ]
    for step, colour, width in ((1, _FINE, 0.1), (5, _BOLD, 0.16)):
        lines = "".join(f"M{x:g} {top:g}V{bottom:g}" for x in np.arange(left, right + 0.1, step))
        lines += "".join(f"M{left:g} {y:g}H{right:g}" for y in np.arange(top, bottom + 0.1, step))
        out.append(f'<path d="{lines}" stroke="{colour}" stroke-width="{width}" fill="none"/>')
    for lines_of, width in ((sheet.traces, 0.25), (sheet.marks, 0.3)):
        style = f'stroke="{_INK}" stroke-width="{width}" fill="none"'
        out += [f'<path d="{_path(points)}" {style}/>' for points in lines_of]
    for text in sheet.texts:
        out.append(
            f'<text x="{text.x:.2f}" y="{text.y:.2f}" font-size="{text.size:g}" text-anchor="{text.anchor}" '
            f'font-family="Noto Sans SC, sans-serif" fill="{_INK}">{escape(_plain(text.words))}</text>'
        )
    return ("".join(out) + "</svg>").encode()


def _plain(words: str) -> str:
    """Without characters that XML cannot hold."""
    return "".join(c for c in words if c.isprintable())


def _path(points: NDArray[Any]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points.tolist())


def to_picture(sheet: Sheet, kind: str = "png", viewport: tuple[float, ...] | None = None) -> bytes:
    """PNG or JPEG of the page at 6 dots a millimetre, or as large as fits into the viewport (width, height)."""
    picture = Pictures.new("RGB", (round(WIDTH * _DOTS), round(HEIGHT * _DOTS)), "#ffffff")
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = (edge * _DOTS for edge in GRID)
    for step, colour, width in ((1, _FINE, 1), (5, _BOLD, 2)):
        for x in np.arange(left, right + 1, step * _DOTS).tolist():
            pen.line(((x, top), (x, bottom)), colour, width)
        for y in np.arange(top, bottom + 1, step * _DOTS).tolist():
            pen.line(((left, y), (right, y)), colour, width)
    for lines, width in ((sheet.traces, 3), (sheet.marks, 4)):
        for points in lines:
            pen.line([tuple(point) for point in (points * _DOTS).tolist()], _INK, width, joint="curve")
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for text in sheet.texts:
        place = (text.x * _DOTS, text.y * _DOTS)
        pen.text(place, _plain(text.words), _INK, _font(round(text.size * _DOTS)), anchor=anchors[text.anchor])
    size = (picture.width // 2, picture.height // 2)
    if viewport is not None:
        scale = min(viewport[0] / size[0], viewport[1] / size[1])
        size = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    small = picture.resize(size, Pictures.Resampling.BOX if viewport is None else Pictures.Resampling.BILINEAR)
    out = io.BytesIO()
    if kind == "png":
        small.save(out, "PNG", compress_level=6)
    else:
        small.save(out, "JPEG", quality=90)
    return out.getvalue()


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(sans_path(), size)
