"""The child of server/documents.py: reads one untrusted file on stdin, writes fresh pages on stdout, under rlimits.

Output: 4 bytes big endian length, JSON, pages. The JSON is {"source", "pages": [{size, media_type, width, height}]}
or {"refused"}.
"""

import io
import json
import resource
import struct
import sys
import warnings
from typing import Any

PDF_DPI = 150
MAX_PIXELS = 80_000_000


class Refused(Exception):
    pass


def main() -> None:
    max_side, max_pages, memory = (int(value) for value in sys.argv[1:4])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (25, 25))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    warnings.simplefilter("ignore")
    data = sys.stdin.buffer.read()
    try:
        is_pdf = data[:1024].lstrip().startswith(b"%PDF-")
        source, images = _pdf(data, max_side, max_pages) if is_pdf else _picture(data, max_side)
        head: dict[str, Any] = {"source": source, "pages": [entry for entry, _ in images]}
        body = b"".join(blob for _, blob in images)
    except Refused as refused:
        head, body = {"refused": str(refused)}, b""
    except MemoryError:
        head, body = {"refused": "too_many_pixels"}, b""
    except Exception:  # a decoder's own error: the file is not what it says
        head, body = {"refused": "damaged"}, b""
    packed = json.dumps(head).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(packed)) + packed + body)
    sys.stdout.buffer.flush()


def _picture(data: bytes, max_side: int) -> tuple[str, list[tuple[dict[str, Any], bytes]]]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # our own check below refuses with a reason
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
    except UnidentifiedImageError:
        raise Refused("not_supported") from None
    source = (image.format or "").lower()
    if image.width * image.height > MAX_PIXELS:
        raise Refused("too_many_pixels")
    upright = ImageOps.exif_transpose(image)
    return source, [_encode(upright, max_side, lossless=source == "png")]


def _pdf(data: bytes, max_side: int, max_pages: int) -> tuple[str, list[tuple[dict[str, Any], bytes]]]:
    import pypdfium2 as pdfium

    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        raise Refused("encrypted" if "password" in str(error).lower() else "damaged") from error
    if not len(document):
        raise Refused("empty")
    if len(document) > max_pages:
        raise Refused("too_many_pages")
    pages = []
    for page in document:
        width, height = page.get_size()
        scale = min(PDF_DPI / 72, max_side / max(width, height, 1))
        # Form data, scripts and annotations with actions are never initialised: only the page's drawing is rendered.
        pages.append(_encode(page.render(scale=scale).to_pil(), max_side, lossless=False))
        page.close()
    return "pdf", pages


def _encode(image: Any, max_side: int, *, lossless: bool) -> tuple[dict[str, Any], bytes]:
    from PIL import Image

    if max(image.size) > max_side:
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    if image.mode in {"RGBA", "LA", "PA"} or (image.mode == "P" and "transparency" in image.info):
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    if image.mode in {"I;16", "I", "F"}:
        raise Refused("not_supported")
    image = image.convert("L" if image.mode in {"1", "L"} else "RGB")
    fresh = Image.frombytes(image.mode, image.size, image.tobytes())  # pixels alone: no metadata, no profile
    out = io.BytesIO()
    if lossless:
        fresh.save(out, "PNG", compress_level=6)
    else:
        fresh.save(out, "JPEG", quality=88)
    blob = out.getvalue()
    media_type = "image/png" if lossless else "image/jpeg"
    return {"size": len(blob), "media_type": media_type, "width": fresh.width, "height": fresh.height}, blob


if __name__ == "__main__":
    main()
