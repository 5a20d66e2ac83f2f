"""Key images for the page: they are read through before the typesetter sees them, then travel inside an SVG.

The typesetter leaves a broken picture out without a word; a signature must not stand under a page that lost one.

The typesetter takes only text from us; an SVG whose single element is the picture as a data address is text.
"""

import base64
import struct
import zlib

from consult.errors import Invalid

MAX_SIDE = 4096
_PNG = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


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
    if depth > 8 or colour not in _CHANNELS or interlace or not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError("unsupported PNG")
    row = 1 + (width * depth * _CHANNELS[colour] + 7) // 8
    if _inflated(_chunks(data), limit=row * height) != row * height:
        raise ValueError("incomplete PNG")
    return "png", width, height


def _chunks(data: bytes) -> bytes:
    """The concatenated IDAT of a PNG whose chunks are whole, with right checksums, up to IEND (ISO/IEC 15948 §5)."""
    at = len(_PNG)
    pixels = []
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 4 : at + 8 + length]
        if zlib.crc32(body) != struct.unpack_from(">I", data, at + 8 + length)[0]:
            raise ValueError("damaged PNG")
        if kind == b"IDAT":
            pixels.append(body[4:])
        if kind == b"IEND":
            return b"".join(pixels)
        at += 12 + length


def _inflated(packed: bytes, *, limit: int) -> int:
    """How many bytes it unpacks to, counted a megabyte at a time and not much beyond `limit`."""
    unpack = zlib.decompressobj()
    total = 0
    try:
        while not unpack.eof and total <= limit:
            piece = unpack.decompress(packed, 1 << 20)
            packed = unpack.unconsumed_tail
            if not piece and not packed:
                break
            total += len(piece)
    except zlib.error:
        raise ValueError("damaged PNG") from None
    return total if unpack.eof else -1


def _jpeg(data: bytes) -> tuple[str, int, int]:
    """Walks the marker segments (ITU-T T.81 annex B) up to the frame header; baseline, extended, progressive."""
    if data[:3] != b"\xff\xd8\xff" or data[-2:] != b"\xff\xd9":
        raise ValueError("no whole JPEG")
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
