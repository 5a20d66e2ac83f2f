"""Transfer syntaxes (PS3.5 §10, PS3.6 Table A-1): what each means for reading bytes."""

from __future__ import annotations

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS_ANY = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
RLE = "1.2.840.10008.1.2.5"
STRUCTURED = "1.2.840.10008.5.1.4.1.1.88."  # all SR storage classes begin so, key object selection among them
HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")

NATIVE = frozenset({IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE})
JPEG_FAMILY = frozenset({JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS_ANY, JPEG_LOSSLESS})
JPEG_LS_FAMILY = frozenset({JPEG_LS, JPEG_LS_NEAR})
JPEG_2000_FAMILY = frozenset({JPEG_2000_LOSSLESS, JPEG_2000, *HTJ2K})

# Content type of one frame in its stored form (PS3.18 Table 8.7.3-5).
FRAME_TYPES = {
    JPEG_BASELINE: "image/jpeg",
    JPEG_EXTENDED: "image/jpeg",
    JPEG_LOSSLESS_ANY: "image/jpeg",
    JPEG_LOSSLESS: "image/jpeg",
    JPEG_LS: "image/jls",
    JPEG_LS_NEAR: "image/jls",
    JPEG_2000_LOSSLESS: "image/jp2",
    JPEG_2000: "image/jp2",
    HTJ2K[0]: "image/jphc",
    HTJ2K[1]: "image/jphc",
    HTJ2K[2]: "image/jphc",
    RLE: "image/dicom-rle",
}


VIDEO = {
    **{f"1.2.840.10008.1.2.4.{n}": "video/mpeg" for n in ("100", "100.1", "101", "101.1")},
    **{f"1.2.840.10008.1.2.4.{n}{f}": "video/mp4" for n in range(102, 107) for f in ("", ".1")},
    **{f"1.2.840.10008.1.2.4.{n}": "video/mp4" for n in (107, 108)},
}

# What we decode, and what we encode on request (PS3.18 §8.7.3.5); all but JPEG baseline without loss.
DECODED = frozenset({*JPEG_FAMILY, *JPEG_LS_FAMILY, *JPEG_2000_FAMILY, RLE, ENCAPSULATED_UNCOMPRESSED})
ENCODED = frozenset({JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000_LOSSLESS, HTJ2K[0]})
READABLE = NATIVE | {DEFLATED}  # datasets whose pixels are not encapsulated
# Media type of a single-frame or frame bulk data → what it means without a transfer syntax (Table 8.7.3-5).
DEFAULTS = {
    "image/jpeg": JPEG_LOSSLESS,
    "image/jls": JPEG_LS,
    "image/jp2": JPEG_2000_LOSSLESS,
    "image/jphc": HTJ2K[0],
    "image/dicom-rle": RLE,
}


def is_explicit(uid: str) -> bool:
    """Whether elements carry a VR. Unknown syntaxes are explicit (PS3.5 §10)."""
    return uid != IMPLICIT_LE


def is_little(uid: str) -> bool:
    """Byte order of the dataset."""
    return uid != EXPLICIT_BE
