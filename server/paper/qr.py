"""A QR code (ISO/IEC 18004) of a short address: byte mode, error correction level M, versions 1 to 10.

Small enough to be our own: the paper needs one symbol of at most 213 bytes and nothing else.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

# ISO/IEC 18004 table 9, level M: (error correction bytes per block, ((blocks, data bytes per block), …))
_BLOCKS: Sequence[tuple[int, tuple[tuple[int, int], ...]]] = (
    (10, ((1, 16),)),
    (16, ((1, 28),)),
    (26, ((1, 44),)),
    (18, ((2, 32),)),
    (24, ((2, 43),)),
    (16, ((4, 27),)),
    (18, ((4, 31),)),
    (22, ((2, 38), (2, 39))),
    (22, ((3, 36), (2, 37))),
    (26, ((4, 43), (1, 44))),
)
# Annex E: centres of the alignment patterns
_ALIGNMENT: Sequence[tuple[int, ...]] = (
    (), (6, 18), (6, 22), (6, 26), (6, 30), (6, 34), (6, 22, 38), (6, 24, 42), (6, 26, 46), (6, 28, 50),
)  # fmt: skip
_MASKS: Sequence[Callable[[int, int], bool]] = (  # table 10, (row, column)
    lambda r, c: (r + c) % 2 == 0,
    lambda r, _c: r % 2 == 0,
    lambda _r, c: c % 3 == 0,
    lambda r, c: (r + c) % 3 == 0,
    lambda r, c: (r // 2 + c // 3) % 2 == 0,
    lambda r, c: r * c % 2 + r * c % 3 == 0,
    lambda r, c: (r * c % 2 + r * c % 3) % 2 == 0,
    lambda r, c: ((r + c) % 2 + r * c % 3) % 2 == 0,
)
_LEVEL_M = 0b00

_RUN = re.compile(r"0{5,}|1{5,}")
_FINDER = re.compile(r"(?=10111010000|00001011101)")

Matrix = list[list[bool]]


def qr_matrix(text: str) -> Matrix:
    """Rows of dark (True) and light modules, without the quiet zone. Raises ValueError above 213 bytes of UTF-8."""
    data = text.encode("utf-8")
    for version, (_, groups) in enumerate(_BLOCKS, start=1):
        capacity = sum(blocks * size for blocks, size in groups)
        header = 2 if version < 10 else 3
        if len(data) + header <= capacity:
            return _symbol(version, _interleave(version, _codewords(data, version, capacity)))
    raise ValueError("too long for this QR code")


def qr_svg(text: str) -> str:
    """The symbol as an SVG of one path with the quiet zone of four modules; vector, no fonts."""
    matrix = qr_matrix(text)
    side = len(matrix) + 8
    path = "".join(
        f"M{column + 4} {row + 4}h1v1h-1z"
        for row, line in enumerate(matrix)
        for column, dark in enumerate(line)
        if dark
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="0 0 {side} {side}">'
        f'<path d="{path}" fill="#000"/></svg>'
    )


def _codewords(data: bytes, version: int, capacity: int) -> bytes:
    length_bits = 8 if version < 10 else 16
    bits = f"{0b0100:04b}{len(data):0{length_bits}b}" + "".join(f"{byte:08b}" for byte in data)
    bits += "0" * min(4, capacity * 8 - len(bits))
    bits += "0" * (-len(bits) % 8)
    words = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    return words + bytes((0xEC, 0x11) * capacity)[: capacity - len(words)]


def _multiply(a: int, b: int) -> int:
    """Product in GF(2^8) modulo x^8+x^4+x^3+x^2+1 (clause 7.5.2)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


def _correction(block: bytes, count: int) -> bytes:
    generator = [1]
    root = 1
    for _ in range(count):
        grown = [*generator, 0]
        for i, coefficient in enumerate(generator):
            grown[i + 1] ^= _multiply(coefficient, root)
        generator = grown
        root = _multiply(root, 2)
    remainder = list(block) + [0] * count
    for i in range(len(block)):
        factor = remainder[i]
        for j, coefficient in enumerate(generator):
            remainder[i + j] ^= _multiply(coefficient, factor)
    return bytes(remainder[len(block) :])


def _interleave(version: int, words: bytes) -> bytes:
    correction, groups = _BLOCKS[version - 1]
    blocks: list[bytes] = []
    at = 0
    for count, size in groups:
        for _ in range(count):
            blocks.append(words[at : at + size])
            at += size
    checks = [_correction(block, correction) for block in blocks]
    longest = max(map(len, blocks))
    mixed = [block[i] for i in range(longest) for block in blocks if i < len(block)]
    mixed += [check[i] for i in range(correction) for check in checks]
    return bytes(mixed)


def _symbol(version: int, words: bytes) -> Matrix:
    size = 17 + 4 * version
    modules: Matrix = [[False] * size for _ in range(size)]
    fixed: Matrix = [[False] * size for _ in range(size)]

    def put(row: int, column: int, dark: bool) -> None:
        if 0 <= row < size and 0 <= column < size:
            modules[row][column] = dark
            fixed[row][column] = True

    for i in range(size):
        put(6, i, i % 2 == 0)
        put(i, 6, i % 2 == 0)
    for row, column in ((3, 3), (3, size - 4), (size - 4, 3)):
        for dr in range(-4, 5):
            for dc in range(-4, 5):
                put(row + dr, column + dc, max(abs(dr), abs(dc)) not in {2, 4})
    centres = _ALIGNMENT[version - 1]
    for row in centres:
        for column in centres:
            if (row, column) in {(6, 6), (6, size - 7), (size - 7, 6)}:
                continue
            for dr in range(-2, 3):
                for dc in range(-2, 3):
                    put(row + dr, column + dc, max(abs(dr), abs(dc)) != 1)
    _write_version(version, size, put)
    _write_format(0, size, put)  # reserves the places; the real bits follow with the mask
    _write_data(modules, fixed, words)

    best: tuple[int, Matrix] | None = None
    for mask, rule in enumerate(_MASKS):
        _write_format(mask, size, put)
        masked = [
            [dark != (not fixed[r][c] and rule(r, c)) for c, dark in enumerate(line)]
            for r, line in enumerate(modules)
        ]
        penalty = _penalty(masked)
        if best is None or penalty < best[0]:
            best = (penalty, masked)
    assert best is not None
    return best[1]


def _write_data(modules: Matrix, fixed: Matrix, words: bytes) -> None:
    size = len(modules)
    bits = iter("".join(f"{word:08b}" for word in words))
    upward = True
    for right in (*range(size - 1, 6, -2), *range(5, 0, -2)):
        rows = range(size - 1, -1, -1) if upward else range(size)
        for row in rows:
            for column in (right, right - 1):
                if not fixed[row][column]:
                    modules[row][column] = next(bits, "0") == "1"
        upward = not upward


def _write_format(mask: int, size: int, put: Callable[[int, int, bool], None]) -> None:
    """Fifteen bits, BCH(15,5), twice (clause 7.9), and the always dark module."""
    data = _LEVEL_M << 3 | mask
    rest = data
    for _ in range(10):
        rest = rest << 1 ^ (0x537 if rest >> 9 else 0)
    bits = (data << 10 | rest) ^ 0x5412
    for i in range(15):
        dark = bool(bits >> i & 1)
        first = (i, 8) if i < 6 else (i + 1, 8) if i < 8 else (8, 7) if i == 8 else (8, 14 - i)
        put(*first, dark)
        second = (8, size - 1 - i) if i < 8 else (size - 15 + i, 8)
        put(*second, dark)
    put(size - 8, 8, True)


def _write_version(version: int, size: int, put: Callable[[int, int, bool], None]) -> None:
    """Eighteen bits, BCH(18,6), from version 7 on (clause 7.10)."""
    if version < 7:
        return
    rest = version
    for _ in range(12):
        rest = rest << 1 ^ (0x1F25 if rest >> 11 else 0)
    bits = version << 12 | rest
    for i in range(18):
        dark = bool(bits >> i & 1)
        put(i // 3, size - 11 + i % 3, dark)
        put(size - 11 + i % 3, i // 3, dark)


def _penalty(matrix: Matrix) -> int:
    """Clause 7.8.3: runs, blocks, finder-like patterns, balance. Any mask can be read; this picks the easiest."""
    size = len(matrix)
    rows = ["".join("1" if dark else "0" for dark in line) for line in matrix]
    columns = ["".join(line) for line in zip(*rows, strict=True)]
    total = 0
    for line in (*rows, *columns):
        total += sum(len(run[0]) - 2 for run in _RUN.finditer(line)) + 40 * len(_FINDER.findall(line))
    inner = (1 << size - 1) - 1
    for above, below in pairwise(int(line, 2) for line in rows):
        level = above ^ below
        same = ~(above ^ above >> 1) & ~level & ~(level >> 1) & inner
        total += 3 * same.bit_count()
    dark = sum(line.count("1") for line in rows)
    return total + 10 * int(abs(dark * 20 - size * size * 10) / (size * size))
