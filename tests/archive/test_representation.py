"""One resource, many representations: validators, parts, compression, HEAD (RFC 9110)."""

from __future__ import annotations

import gzip
import json

import pytest

from dicom.model import Scope
from tests.archive.files import real
from tests.archive.service import get, parts_of, service, url

__all__ = ["service"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
CT = "CT_small.dcm"
STORED = "multipart/related; type=application/octet-stream; transfer-syntax=*"


@pytest.fixture(autouse=True)
def _own_eyes(service):
    service.scope = Scope(organisations=frozenset({"A", "B"}), holder="A")
    service.asked.clear()


WAYS = [
    ("/metadata", "application/dicom+json", {}),
    ("/metadata", "application/json", {}),
    ("/metadata", "application/dicom+json", {"Accept-Encoding": "gzip"}),
    ("/metadata", "application/dicom+json", {"Host": "other.example"}),
    ("/frames/1", STORED, {}),
    ("/frames/1", "application/octet-stream", {}),
    ("/bulkdata/7FE00010", "application/octet-stream", {}),
    ("/bulkdata/7FE00010", "multipart/related; type=application/octet-stream", {}),
    ("/rendered", "image/jpeg", {}),
    ("/rendered", "image/png", {}),
    ("/rendered?quality=50", "image/jpeg", {}),
    ("/thumbnail", "image/jpeg", {}),
    ("", "application/dicom; transfer-syntax=*", {}),
    ("", "multipart/related; type=application/dicom; transfer-syntax=*", {}),
]


async def test_every_representation_has_a_strong_validator_of_its_own_and_the_same_bytes_again(service):
    seen = {}
    for rest, accept, headers in WAYS:
        response, body = await get(service, url(service, CT, rest), accept, **headers)
        assert response.status == 200, (rest, accept)
        etag = response.headers["ETag"]
        assert etag.startswith('"') and response.headers["Cache-Control"] == "private, no-cache"
        assert {"Accept", "Accept-Encoding"} <= {v.strip() for v in response.headers["Vary"].split(",")}
        again, same = await get(service, url(service, CT, rest), accept, **headers)
        assert (again.headers["ETag"], same) == (etag, body), (rest, accept)
        assert etag not in seen, (rest, accept, seen[etag])
        seen[etag] = (rest, accept)


async def test_who_has_it_is_told_so_only_after_permission_was_asked(service):
    for rest, accept, headers in WAYS:
        response, _ = await get(service, url(service, CT, rest), accept, **headers)
        known = {**headers, "If-None-Match": f'W/"x", {response.headers["ETag"]}'}
        service.asked.clear()
        response, body = await get(service, url(service, CT, rest), accept, **known)
        assert (response.status, body) == (304, b""), (rest, accept)
        assert len(service.asked) == 1, "a 304 is an access too"
        service.scope = Scope(organisations=frozenset({"C"}))
        for tag in (known["If-None-Match"], "*"):
            response, _ = await get(service, url(service, CT, rest), accept, **{**known, "If-None-Match": tag})
            assert response.status == 404, (rest, accept)
        service.scope = Scope(organisations=frozenset({"A"}))


async def test_a_frame_that_is_not_there_is_never_unchanged(service):
    response, _ = await get(service, url(service, CT, "/frames/9"), STORED, **{"If-None-Match": "*"})
    assert response.status == 404


async def test_head_tells_everything_but_the_body(service):
    for rest, accept, headers in WAYS:
        path = url(service, CT, rest)
        told = {"Accept-Encoding": "identity", "Accept": accept, **headers}
        full = await service.client.get(path, headers=told)
        body = await full.read()
        head = await service.client.head(path, headers=told)
        assert await head.read() == b"" and head.status == 200
        assert int(head.headers["Content-Length"]) == len(body), (rest, accept)
        for name in ("ETag", "Content-Type", "Vary", "Content-Encoding", "Accept-Ranges"):
            assert head.headers.get(name) == full.headers.get(name), (rest, name)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("0-0", 0, 1), ("100-199", 100, 200), ("32000-", 32000, 32768), ("-10", 32758, 32768), ("5-999999", 5, 32768)],
)
async def test_a_part_of_a_frame_is_the_same_part_of_the_whole(service, asked, start, stop):
    path = url(service, CT, "/frames/1")
    response, whole = await get(service, path, "application/octet-stream")
    assert len(whole) == 32768 and response.headers["Accept-Ranges"] == "bytes"
    part, body = await get(service, path, "application/octet-stream", Range=f"bytes={asked}")
    assert (part.status, body) == (206, whole[start:stop])
    assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/32768"
    assert part.headers["ETag"] == response.headers["ETag"]


async def test_parts_that_cannot_be_given_are_refused_or_ignored_as_the_standard_says(service):
    path, octets = url(service, CT, "/bulkdata/7FE00010"), "application/octet-stream"
    response, whole = await get(service, path, octets)
    etag = response.headers["ETag"]
    for asked in ("32768-", "99999-100000", "-0"):
        response, _ = await get(service, path, octets, Range=f"bytes={asked}")
        assert response.status == 416 and response.headers["Content-Range"] == "bytes */32768", asked
    for asked in ("bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=x-1"):
        response, body = await get(service, path, octets, Range=asked)
        assert (response.status, body) == (200, whole), asked
    response, body = await get(service, path, octets, Range="bytes=0-1", **{"If-Range": etag})
    assert (response.status, body) == (206, whole[:2])
    response, body = await get(service, path, octets, Range="bytes=0-1", **{"If-Range": '"older"'})
    assert (response.status, body) == (200, whole)
    multipart = "multipart/related; type=application/octet-stream"
    response, body = await get(service, path, multipart, Range="bytes=0-1")
    assert response.status == 200 and parts_of(response, body)[0][1] == whole


async def test_a_download_is_taken_up_where_it_stopped(service):
    path = url(service, CT)
    response, body = await get(service, path, "application/dicom; transfer-syntax=*", Range="bytes=1000-")
    assert response.status == 206 and body == real(CT)[1000:]


async def test_gzip_is_used_only_where_it_is_wanted(service):
    path = url(service, CT, "/metadata")
    _, plain = await get(service, path, None)
    for said, packed in (("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0, identity", False), ("", False)):
        response, body = await get(service, path, None, **{"Accept-Encoding": said})
        assert (response.headers.get("Content-Encoding") == "gzip") is packed, said
        assert (gzip.decompress(body) if packed else body) == plain


async def test_a_list_is_validated_too_and_changes_with_what_it_shows(service):
    path = "/dicom-web/studies?ModalitiesInStudy=CT"
    response, body = await get(service, path)
    assert len(json.loads(body)) == 1
    etag = response.headers["ETag"]
    response, _ = await get(service, path, None, **{"If-None-Match": etag})
    assert response.status == 304
    response, _ = await get(service, "/dicom-web/studies?ModalitiesInStudy=MR", None, **{"If-None-Match": etag})
    assert response.status == 200
