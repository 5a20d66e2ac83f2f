"""For receivers of the default syntax alone: the same elements, and large values pass without being held."""

from __future__ import annotations

import itertools
import random
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.filereader import read_dataset

from dicom.archive import Archive
from dicom.elements import Window
from dicom.errors import RefusedError, UnsupportedError
from dicom.network import scu
from dicom.network.implicit import Later, Source, Span, check, to_implicit
from dicom.part10 import split_file
from dicom.retrieve import ByteRange
from dicom.syntaxes import EXPLICIT_LE
from tests.archive.conftest import archive, seen_by, working_archive
from tests.archive.files import FOLDER, make, real

__all__ = ["archive", "working_archive"]
NAMES = ["CT_small.dcm", "waveform_ecg.dcm", "reportsi.dcm", "MR_small_padded.dcm"]


def dataset_of(data: bytes) -> bytes:
    return data[split_file(Window.of(data)).dataset_start :]


def implicit_of(data: bytes, pieces=None) -> bytes:
    """`pieces`: how the dataset is given; ranges count from its first byte."""
    source = Source(pieces or [data], lambda span: data[span.offset : span.offset + span.length])
    check(source)
    steps = to_implicit(source)
    return b"".join(x if isinstance(x, bytes) else data[x.offset : x.offset + x.length] for x in steps)


@pytest.mark.parametrize("name", NAMES)
def test_the_implicit_form_of_an_instance_reads_the_same(name):
    ds = dcmread(FOLDER / name)
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT_LE
    read = read_dataset(BytesIO(implicit_of(dataset_of(real(name)))), is_implicit_VR=True, is_little_endian=True)
    assert [element.tag for element in read] == [element.tag for element in ds if element.tag.element]
    for element in read:
        if not element.tag.is_private:
            assert element == ds[element.tag], element.tag


@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_matter_how_the_dataset_is_cut_into_pieces(name):
    data, rolled = dataset_of(real(name)), random.Random(7)
    for cuts in (1, 5, 50):
        at = [0, *sorted(rolled.randrange(len(data)) for _ in range(cuts)), len(data)]
        pieces = [
            data[a:b] if rolled.random() < 0.5 else ByteRange(pack=1, offset=a, length=b - a)
            for a, b in itertools.pairwise(at)
        ]
        assert implicit_of(data, pieces) == implicit_of(data)


def test_what_is_still_to_be_made_is_stepped_over_and_passed_on_as_it_is_even_where_it_is_small():
    data = dataset_of(make(pixels=bytes(range(8)), Rows=1, Columns=2, NumberOfFrames=2))

    async def make_frame():
        raise AssertionError

    source = Source([data[:-4], Later(make=make_frame, length=4)], lambda _: b"")
    check(source)
    *_, last, end = to_implicit(source)
    assert (last, end) == (Span(len(data) - 8, 8), b"")
    assert [(start, length) for _, start, length in source.parts(last)] == [(len(data) - 8, 4), (0, 4)]


def test_a_dataset_that_cannot_be_walked_is_refused_before_anything_is_made_of_it():
    data = dataset_of(make())
    with pytest.raises(RefusedError) as told:
        check(Source([data[:-2]], lambda _: b""))
    assert told.value.reason == "truncated"


async def collected(archive: Archive, row) -> list[bytes]:
    return [chunk async for chunk in await scu._implicit(archive, row)]


async def test_a_large_instance_is_read_and_sent_piece_by_piece(archive, monkeypatch):
    data = make(pixels=bytes(range(256)) * (20 << 10), Rows=1024, Columns=1024, NumberOfFrames=2)
    assert (await archive.ingest(data, organisation="A", source="test")).outcome == "stored"
    (row,) = archive.instances(seen_by("A"))
    sizes, read = [], archive.read

    def watched(span):
        sizes.append(span.length)
        return read(span)

    monkeypatch.setattr(archive, "read", watched)
    chunks = await collected(archive, row)
    assert b"".join(chunks) == implicit_of(dataset_of(data))
    assert max(sizes) <= scu.CHUNK
    assert max(map(len, chunks)) <= scu.CHUNK


async def test_a_packed_film_is_unpacked_frame_after_frame(working_archive):
    result = await working_archive.ingest(real("examples_ybr_color.dcm"), organisation="A", source="test")
    assert result.outcome == "stored"
    (row,) = working_archive.instances(seen_by("A"))
    explicit = b"".join([x async for x in await scu.converted_file(working_archive, row, EXPLICIT_LE, meta=False)])
    chunks = await collected(working_archive, row)
    assert b"".join(chunks) == implicit_of(explicit)
    frame = row.rows * row.columns * 3
    assert row.pixels.frames > 2
    assert max(map(len, chunks)) <= frame

    async def short(*_):
        return bytes(frame - 2)

    working_archive.retriever.converted_frame = short
    with pytest.raises(UnsupportedError):
        await collected(working_archive, row)
