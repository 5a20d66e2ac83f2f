"""Key images for the page: their header is read before anything decodes them, then they travel inside an SVG.

The typesetter takes only text from us; an SVG whose single element is the picture as a data address is text.
"""

import base64
import struct

from consult.errors import Invalid

MAX_SIDE = 4096
_PNG = b"\x89PNG\r\n\x1a\n"


def image_svg(data: bytes, *, path: str) -> tuple[str, float]:
    """(SVG text, height ÷ width) of a PNG or JPEG; `path` names the field in the error.

    Raises Invalid("unusable_image") for any other format, a side above 4096 pixels, interlaced or 16-bit PNG,
    and CMYK JPEG (PDF/A would need its colour profile).
    """
    try:
        kind, width, height = _png(data) if data.startswith(_PNG) else _jpeg(data)
    except (ValueError, struct.error, IndexError):
        raise Invalid((path, "unusable_image")) from None
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise Invalid((path, "unusable_image"))
    encoded = base64.b64encode(data).decode("ascii")
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" xlink:href="data:image/{kind};base64,{encoded}"/></svg>'
    )
    return svg, height / width


def _png(data: bytes) -> tuple[str, int, int]:
    if data[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    width, height, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if depth > 8 or colour not in {0, 2, 3, 4, 6} or interlace:
        raise ValueError("unsupported PNG")
    return "png", width, height


def _jpeg(data: bytes) -> tuple[str, int, int]:
    """Walks the marker segments (ITU-T T.81 annex B) up to the frame header; baseline, extended, progressive."""
    if data[:3] != b"\xff\xd8\xff":
        raise ValueError("no JPEG")
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        if marker in {0xC0, 0xC1, 0xC2}:
            depth, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            if depth != 8 or components not in {1, 3}:
                raise ValueError("unsupported JPEG")
            return "jpeg", width, height
        if length < 2 or (0xC3 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}) or marker == 0xDA:
            raise ValueError("unsupported JPEG")
        at += 2 + length
    raise ValueError("no frame header")
