"""Words in a picture (PS3.18 §8.3.5.1.1): who the patient is, how it was taken. Runs in worker processes only."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont
from pylopdf_fonts_zh_cn import sans_path

from dicom.header import read_header
from dicom.model import Header
from dicom.pixels.attributes import Attributes

if TYPE_CHECKING:
    from dicom.workers.ops import Dataset

_LONGEST = 64


def annotate(picture: Pictures.Image, dataset: Dataset, wanted: tuple[str, ...]) -> Pictures.Image:
    """The picture with `patient` written at the upper left and `technique` at the upper right."""
    header = replace(read_header(dataset.window, dataset.syntax, dataset.budget), **dataset.named)  # type: ignore[arg-type]
    out = picture.convert("RGB")
    pen = ImageDraw.Draw(out)
    size = max(9, min(out.size) // 28)
    font = _font(size)
    margin = size // 2
    columns = []
    if "patient" in wanted:
        columns.append(("la", margin, patient_lines(header)))
    if "technique" in wanted:
        columns.append(("ra", out.width - margin, _technique(header, Attributes(dataset.walker))))
    for anchor, x, lines in columns:
        for i, line in enumerate(line for line in lines if line):
            place = (x, margin + i * size * 1.3)
            pen.text(
                place, line[:_LONGEST], font=font, fill="white", anchor=anchor, stroke_width=1, stroke_fill="black"
            )
    return out


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(sans_path(), size)


def patient_lines(h: Header) -> list[str]:
    """Name, patient ID, sex and birth date, a line each."""
    name = " ".join(group.replace("^", " ").strip() for group in reversed(h.patient_name.split("=")[:2]))
    return [name.strip(), h.patient_id, " ".join(part for part in (h.sex, _day(h.birth_date)) if part)]


def _technique(h: Header, a: Attributes) -> list[str]:
    numbers = [
        f"{name} {value}" for name, value in (("S", h.series_number), ("I", h.instance_number)) if value is not None
    ]
    tube = (("kV", a.numbers(0x00180060)), ("mA", a.numbers(0x00181151)), ("mm", a.numbers(0x00180050)))
    return [
        " ".join(part for part in (h.modality, _day(h.study_date)) if part),
        h.series_description,
        " ".join(numbers),
        "  ".join(f"{values[0]:g} {unit}" for unit, values in tube if values),
    ]


def _day(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else text
