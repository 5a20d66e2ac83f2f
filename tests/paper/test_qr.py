"""The QR code, read back by an independent reading of ISO/IEC 18004 (no encoder code is used here)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.paper.qr import qr_matrix, qr_svg

# table 9, level M: total codewords, error correction codewords per block, number of blocks
TABLE = {1: (26, 10, 1), 2: (44, 16, 1), 3: (70, 26, 1), 4: (100, 18, 2), 5: (134, 24, 2), 6: (172, 16, 4),
         7: (196, 18, 4), 8: (242, 22, 4), 9: (292, 22, 5), 10: (346, 26, 5)}  # fmt: skip
ALIGN = {1: [], 2: [18], 3: [22], 4: [26], 5: [30], 6: [34], 7: [22, 38], 8: [24, 42], 9: [26, 46], 10: [28, 50]}
# annex C, table C.1: the fifteen format bits of level M, masks 0 to 7
FORMATS = ["101010000010010", "101000100100101", "101111001111100", "101101101001011",
           "100010111111001", "100000011001110", "100111110010111", "100101010100000"]  # fmt: skip


def function_module(version: int, row: int, column: int) -> bool:
    size = 17 + 4 * version
    if row == 6 or column == 6:
        return True
    if (row < 9 and column < 9) or (row < 9 and column >= size - 8) or (row >= size - 8 and column < 9):
        return True
    if version >= 7 and ((row < 6 and column >= size - 11) or (column < 6 and row >= size - 11)):
        return True
    centres = [6, *ALIGN[version]]
    corners = {(6, 6), (6, size - 7), (size - 7, 6)}
    return any(
        abs(row - r) <= 2 and abs(column - c) <= 2
        for r in centres for c in centres if version > 1 and (r, c) not in corners
    )  # fmt: skip


def read(matrix: list[list[bool]]) -> str:
    size = len(matrix)
    version = (size - 17) // 4
    # most significant bit first along row 8 (columns 0–5, 7, 8), then up column 8
    places = [(8, c) for c in (0, 1, 2, 3, 4, 5, 7, 8)] + [(r, 8) for r in (7, 5, 4, 3, 2, 1, 0)]
    mask = FORMATS.index("".join("1" if matrix[r][c] else "0" for r, c in places))
    rule = [
        lambda i, j: (i + j) % 2 == 0, lambda i, j: i % 2 == 0, lambda i, j: j % 3 == 0, lambda i, j: (i + j) % 3 == 0,
        lambda i, j: (i // 2 + j // 3) % 2 == 0, lambda i, j: (i * j) % 2 + (i * j) % 3 == 0,
        lambda i, j: ((i * j) % 2 + (i * j) % 3) % 2 == 0, lambda i, j: ((i + j) % 2 + (i * j) % 3) % 2 == 0,
    ][mask]  # fmt: skip
    bits = ""
    up = True
    column = size - 1
    while column > 0:
        if column == 6:
            column -= 1
        for row in range(size - 1, -1, -1) if up else range(size):
            for c in (column, column - 1):
                if not function_module(version, row, c):
                    bits += "1" if matrix[row][c] != rule(row, c) else "0"
        up = not up
        column -= 2
    total, correction, blocks = TABLE[version]
    words = [int(bits[i : i + 8], 2) for i in range(0, total * 8, 8)]
    short, longer = divmod(total - correction * blocks, blocks)
    sizes = [short] * (blocks - longer) + [short + 1] * longer
    split: list[list[int]] = [[] for _ in range(blocks)]
    queue = iter(words)
    for i in range(short + 1):
        for number, length in enumerate(sizes):
            if i < length:
                split[number].append(next(queue))
    checked = [list(block) for block in split]
    for _ in range(correction):
        for block in checked:
            block.append(next(queue))
    for block in checked:
        assert syndromes(block, correction) == [0] * correction
    data = "".join(f"{word:08b}" for block in split for word in block)
    assert data[:4] == "0100"
    width = 8 if version < 10 else 16
    count = int(data[4 : 4 + width], 2)
    start = 4 + width
    return bytes(int(data[start + 8 * i : start + 8 * i + 8], 2) for i in range(count)).decode()


LOG: dict[int, int] = {}
EXP: list[int] = []
value = 1
for power in range(255):
    EXP.append(value)
    LOG[value] = power
    value = value * 2 ^ (0x11D if value & 0x80 else 0)


def syndromes(block: list[int], count: int) -> list[int]:
    """The received polynomial at a^0 … a^(count-1); all zero for an undamaged block."""
    found = []
    for power in range(count):
        total = 0
        for word in block:
            total = EXP[(LOG[total] + power) % 255] ^ word if total else word
        found.append(total)
    return found


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=0x9FFF, exclude_categories=["Cs"]), max_size=60))
def test_what_is_written_can_be_read(text):
    assert read(qr_matrix(text)) == text


@pytest.mark.parametrize("length", [1, 14, 15, 26, 42, 62, 84, 106, 122, 152, 180, 181, 213])
def test_each_version_can_be_read_at_its_limits(length):
    text = ("https://huizhen.example/verify/" + "7KQM-3XWD-9RTA" * 16)[:length]
    assert read(qr_matrix(text)) == text


def test_too_long_an_address_is_refused():
    with pytest.raises(ValueError, match="too long"):
        qr_matrix("x" * 214)


def test_the_drawing_has_its_quiet_zone():
    assert 'viewBox="0 0 29 29"' in qr_svg("x")
    assert "M4 4h1" in qr_svg("x")
