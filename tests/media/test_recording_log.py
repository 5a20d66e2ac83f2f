"""The log of a recording: what its reader finds after kills, changes, omissions, and with another key."""

import secrets
import struct
import uuid

import pytest

from server.recording import log

KEY = bytes(range(32))
STREAM = log.Stream(at=1_000_000, stream=1, seat="a", kind="audio", clock=7, codecs={111: "opus"})


def written(folder, *, chunks=4, ended=True, key=KEY):
    made = log.Log(folder, recording=str(uuid.UUID(int=5)), key=key)
    for number in range(chunks):
        at = 1_000_000 + number * 500_000
        plain = log.said(STREAM, offset=0) + log.media(1, b"packet %d" % number, offset=20)
        plain += log.clock(1, 5 << 32, 48000 + number, offset=30)
        made.append(plain, first=at, last=at + 30, ended=ended and number == chunks - 1)
    made.close()
    return folder / f"{made.number:04}.log"


def read(folder, key=KEY):
    condition = log.Condition()
    found = list(log.read(folder, key, condition))
    return [int(x.data.split()[1]) for x in found if isinstance(x, log.Media)], condition, found


def test_what_was_written_is_read_and_nothing_of_it_stands_in_the_file(tmp_path):
    path = written(tmp_path)
    numbers, condition, found = read(tmp_path)
    assert numbers == [0, 1, 2, 3]
    assert condition.whole
    assert found[0] == STREAM
    assert found[1] == log.Media(at=1_000_020, stream=1, data=b"packet 0")
    assert found[2] == log.Clock(at=1_000_030, stream=1, ntp=5 << 32, timestamp=48000)
    data = path.read_bytes()
    assert b"packet" not in data
    assert KEY not in data
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_torn_end_costs_the_torn_chunk_alone(tmp_path):
    path = written(tmp_path)
    whole = path.read_bytes()
    size = len(whole) // 4
    for cut in (1, size // 2, size - 10):
        path.write_bytes(whole[: 3 * size + cut])
        numbers, condition, _ = read(tmp_path)
        assert numbers == [0, 1, 2]
        assert condition.unended == [1]
        assert condition.damaged == 0


def test_the_next_writer_begins_a_file_of_its_own_and_a_missing_file_is_noticed(tmp_path):
    written(tmp_path, chunks=1)
    middle = written(tmp_path, chunks=2, ended=False)
    written(tmp_path, chunks=3)
    numbers, condition, _ = read(tmp_path)
    assert numbers == [0, 0, 1, 0, 1, 2]
    assert (condition.unended, condition.missing) == ([2], [])
    middle.unlink()
    numbers, condition, _ = read(tmp_path)
    assert numbers == [0, 0, 1, 2]
    assert condition.missing == [2]
    assert not condition.whole


def test_no_chunk_can_be_dropped_moved_changed_or_given_another_time_unnoticed(tmp_path):
    path = written(tmp_path)
    whole = path.read_bytes()
    size = len(whole) // 4
    parts = [whole[x * size : (x + 1) * size] for x in range(4)]
    flipped = bytearray(whole)
    flipped[size + 100] ^= 1
    header = bytearray(whole)
    header[size + 46] ^= 1                                          # of the second chunk's time
    for broken in (
        parts[0] + parts[2] + parts[3], parts[0] + parts[2] + parts[1] + parts[3],
        parts[0] + parts[0] + parts[1] + parts[2] + parts[3], parts[1] + parts[2] + parts[3], bytes(flipped), bytes(header),
    ):
        path.write_bytes(broken)
        numbers, condition, _ = read(tmp_path)
        assert condition.damaged
        assert not condition.whole
        assert numbers == sorted(set(numbers))
    path.write_bytes(bytes(flipped))
    assert read(tmp_path)[0] == [0, 2, 3]                           # what is sound is read beyond it


def test_another_key_opens_nothing(tmp_path):
    written(tmp_path)
    numbers, condition, found = read(tmp_path, secrets.token_bytes(32))
    assert (numbers, found, condition.chunks) == ([], [], 0)
    assert condition.damaged == 4


@pytest.mark.parametrize("data", [b"", b"HZRL", b"HZRL\1" * 40, struct.pack("!4sBB", b"HZRL", 1, 1) + b"\xff" * 58 + b"x" * 99])
def test_whatever_stands_in_a_file_its_reader_ends(tmp_path, data):
    (tmp_path / "0001.log").write_bytes(data)
    assert read(tmp_path)[0] == []
