"""The vault of a film: read from anywhere, written anew in places, and no byte of it changed unnoticed."""

import random

import pytest

from server.recording import vault

KEY = b"k" * 32


def test_any_range_is_read_as_it_was_written_with_places_written_anew(tmp_path):
    draw, path = random.Random(3), tmp_path / "film"
    plain = bytearray()
    with vault.Writer(path, KEY) as file:
        for _ in range(60):
            data = draw.randbytes(draw.choice([1, 700, 9000, vault.PIECE, 100_000]))
            at = draw.choice([len(plain), len(plain), draw.randrange(len(plain) + 1)])
            assert file.seek(at) == at
            file.write(data)
            plain[at : at + len(data)] = data
            assert file.tell() == at + len(data)
        file.seek(70_000)
        assert file.read(3) == plain[70_000:70_003]
        assert file.size == len(plain)
    assert vault.size(path, KEY) == len(plain)
    for _ in range(200):
        start, length = draw.randrange(len(plain) + 10), draw.randrange(200_000)
        assert vault.read(path, KEY, start, length) == plain[start : start + length]
    assert vault.read(path, KEY, 0, len(plain) + 1) == plain
    assert vault.read(path, KEY, len(plain), 1) == b""
    assert bytes(plain[1000:1040]) not in path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, vault.PIECE - 1, vault.PIECE, vault.PIECE + 1, 3 * vault.PIECE])
def test_a_changed_shortened_or_rearranged_file_is_refused_and_so_is_another_key(tmp_path, size):
    path, plain = tmp_path / "film", random.Random(size).randbytes(size)
    with vault.Writer(path, KEY) as file:
        file.write(plain)
    whole = path.read_bytes()
    assert vault.read(path, KEY, 0, size + 1) == plain
    with pytest.raises(vault.Damaged):
        vault.size(path, b"x" * 32)
    piece = vault._STORED
    broken = [whole[:-1], whole[: vault._START - 1], b"", b"\0" + whole[1:], whole[:30] + b"\x7f" + whole[31:]]
    if size > vault.PIECE:
        start = vault._START
        broken.append(whole[:start] + whole[start + piece :])
    if size == 3 * vault.PIECE:
        broken.append(whole[:start] + whole[start + piece : start + 2 * piece] + whole[start : start + piece] + whole[start + 2 * piece :])
    for data in broken:
        path.write_bytes(data)
        with pytest.raises(vault.Damaged):
            vault.read(path, KEY, 0, size + 1)


def test_a_vault_that_was_not_closed_is_none(tmp_path):
    path = tmp_path / "film"
    file = vault.Writer(path, KEY)
    file.write(bytes(200_000))
    with pytest.raises(vault.Damaged):
        vault.read(path, KEY, 0, 10)
    file.close()
    assert vault.read(path, KEY, 199_999, 10) == b"\0"
    with pytest.raises(FileExistsError):
        vault.Writer(path, KEY)
