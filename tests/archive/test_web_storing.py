"""STOW-RS: a result for each instance with the standard's reasons, however the body is cut."""

from __future__ import annotations

import asyncio
import json

import pytest

from dicom.model import Scope
from tests.archive.files import make
from tests.archive.service import service

__all__ = ["service"]
MULTI = 'multipart/related; type="application/dicom"'
module_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def _own_eyes(service):
    service.scope = Scope(organisations=frozenset({"A", "B"}), holder="A")


def multipart(*bodies, boundary="XX"):
    out = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + body + b"\r\n"
        for body in bodies
    )
    return out + f"--{boundary}--\r\n".encode()


@module_loop
async def test_storing_answers_per_instance_with_the_standards_reasons(service):
    good, other = (
        make("1.9.1.1", study="1.9", series="1.9.1"),
        make("1.9.1.1", study="1.9", series="1.9.1", pixels=b"aaaa"),
    )
    body = multipart(good, b"no dicom at all", other)
    headers = {"Content-Type": f"{MULTI}; boundary=XX"}
    response = await service.client.post("/dicom-web/studies/1.9", data=body, headers=headers)
    answer = json.loads(await response.read())
    assert response.status == 202
    assert answer["00081199"]["Value"][0]["00081155"]["Value"] == ["1.9.1.1"]
    failed = answer["00081198"]["Value"]
    assert [(f["00081197"]["Value"], f["00000902"]["Value"]) for f in failed] == [
        ([0xC000], ["not_dicom"]),
        ([0x0110], ["other_bytes"]),
    ]
    response = await service.client.post("/dicom-web/studies", data=multipart(good), headers=headers)
    assert response.status == 200
    response = await service.client.post("/dicom-web/studies/1.8", data=multipart(good), headers=headers)
    assert response.status == 409
    response = await service.client.post(
        "/dicom-web/studies", data=good, headers={"Content-Type": "application/dicom"}
    )
    assert response.status == 200
    response = await service.client.post(
        "/dicom-web/studies", data=b"x", headers={"Content-Type": "text/plain"}
    )
    assert response.status == 415


@module_loop
async def test_a_store_cut_in_the_middle_keeps_what_was_whole(service):
    body = multipart(
        make("1.7.1.1", study="1.7", series="1.7.1"), make("1.7.1.2", study="1.7", series="1.7.1")
    )
    headers = {"Content-Type": "multipart/related; type=application/dicom; boundary=XX"}
    response = await service.client.post("/dicom-web/studies", data=body[: len(body) - 300], headers=headers)
    answer = json.loads(await response.read())
    assert response.status == 202
    assert [i["00081155"]["Value"] for i in answer["00081199"]["Value"]] == [["1.7.1.1"]]
    assert service.archive.study(service.scope, "1.7").instance_count == 1
    for junk in (b"", b"--XX", b"--XX\r\n", b"nothing", b"--XX--"):
        response = await service.client.post("/dicom-web/studies", data=junk, headers=headers)
        assert response.status == 400, junk


@module_loop
async def test_who_has_no_organisation_cannot_store(service):
    service.scope = Scope(studies=frozenset({"1.2.3"}))
    response = await service.client.post(
        "/dicom-web/studies", data=make(), headers={"Content-Type": "application/dicom"}
    )
    assert response.status == 422


async def test_multipart_is_read_right_however_it_is_cut_into_chunks():
    from dicom.web import Multipart

    bodies = [b"", b"\r\n--X", b"a" * 5000, b"\r\n--XX almost", bytes(range(256))]
    data = (
        b"preamble"
        + b"".join(b"\r\n--XXX\r\nContent-Type: application/dicom\r\n\r\n" + body for body in bodies)
        + b"\r\n--XXX--"
    )

    for size in (1, 2, 3, 7, 64, 100_000):

        async def stream(size=size):
            for start in range(0, len(data), size):
                yield data[start : start + size]

        parts = Multipart(stream(), "XXX")
        got = []
        while await parts.next_part() is not None:
            got.append(b"".join([chunk async for chunk in parts.body()]))
        assert got == bodies, size
    await asyncio.sleep(0)
