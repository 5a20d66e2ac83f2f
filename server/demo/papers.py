"""Pictures of paper for the demo city: drawn signatures and a photographed paper ECG. All drawn here, none scanned."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from server import documents


def signature(name: str) -> Image.Image:
    """A scribble that is different for every name and nobody's."""
    picture = Image.new("L", (480, 160), 255)
    draw = ImageDraw.Draw(picture)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
    x, y = 40.0, 90.0
    points = [(x, y)]
    for _ in range(6 * max(2, len(name))):
        x = min(440.0, x + float(rng.uniform(-6, 34)))
        y = float(np.clip(y + rng.normal(0, 34), 24, 136))
        points.append((x, y))
    draw.line(_smooth(points), fill=30, width=4, joint="curve")
    return picture.filter(ImageFilter.GaussianBlur(0.6))


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Catmull-Rom through the points."""
    found = []
    padded = [points[0], *points, points[-1]]
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(8):
            t = step / 8
            x, y = (
                0.5 * (2 * b[i] + (c[i] - a[i]) * t + (2 * a[i] - 5 * b[i] + 4 * c[i] - d[i]) * t**2
                       + (3 * b[i] - a[i] - 3 * c[i] + d[i]) * t**3)
                for i in (0, 1)
            )  # fmt: skip
            found.append((x, y))
    return found


def paper_ecg(rr: float = 0.86) -> Image.Image:
    """A strip of ECG paper as a telephone photographs it: 25 mm/s, 10 mm/mV, slightly askew. 8 pixels per mm.

    `rr` is the time between two beats in seconds.
    """
    mm, width, height = 8, 1600, 900
    picture = Image.new("RGB", (width, height), (253, 240, 238))
    draw = ImageDraw.Draw(picture)
    for step, colour in ((1, (246, 208, 204)), (5, (232, 150, 146))):
        for x in range(0, width, mm * step):
            draw.line([(x, 0), (x, height)], fill=colour)
        for y in range(0, height, mm * step):
            draw.line([(0, y), (width, y)], fill=colour)
    font = ImageFont.load_default(22)
    for row, lead in enumerate(("II", "V1", "V5")):
        base = 220 + row * 260
        sign = -0.5 if lead == "V1" else 1.0
        trace = [(x, base - 10 * mm * sign * beat((x / (25 * mm)) % rr)) for x in range(20, width - 20)]
        draw.line(trace, fill=(24, 24, 40), width=3)
        draw.text((28, base - 130), lead, fill=(24, 24, 40), font=font)
    draw.text((28, 16), "SYNTHETIC  DEMO - NOT A PATIENT   25 mm/s  10 mm/mV", fill=(120, 20, 20), font=font)
    turned = picture.rotate(1.3, expand=True, fillcolor=(94, 84, 76), resample=Image.Resampling.BICUBIC)
    return turned.filter(ImageFilter.GaussianBlur(0.7))


def beat(t: float) -> float:
    """One heart beat, mV at `t` seconds: P, QRS, T as bells."""
    waves = ((0.12, 0.15, 0.022), (0.255, -0.12, 0.009), (0.28, 1.05, 0.011), (0.305, -0.25, 0.010), (0.52, 0.3, 0.045))
    return sum(height * math.exp(-(((t - at) / wide) ** 2) / 2) for at, height, wide in waves)


def file(picture: Image.Image, put: Callable[[bytes], str]) -> tuple[str, int]:
    """Keeps a picture as a document of one page: (digest, bytes). It is made of pixels alone, like every document."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=3)
    page = documents.Page(data=out.getvalue(), media_type="image/png", width=picture.width, height=picture.height)
    return documents.store(documents.Encoded(pages=(page,), source="png"), put)
