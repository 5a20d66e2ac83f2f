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


def is_explicit(uid: str) -> bool:
    """Whether elements carry a VR. Unknown syntaxes are explicit (PS3.5 §10)."""
    return uid != IMPLICIT_LE


def is_little(uid: str) -> bool:
    """Byte order of the dataset."""
    return uid != EXPLICIT_BE
