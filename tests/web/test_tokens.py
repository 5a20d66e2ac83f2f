"""API tokens: what programs may do with one, where none is taken, and that it is dead at once when it has ended."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import re

import pydicom
import pytest
from aiohttp import MultipartWriter
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass

from consult.events import record
from dicom.model import Scope
from server import keys
from server.auth.people import actor_of
from server.dicomweb.ports import ARCHIVE, STORED
from server.routes import all_routes
from tests.city import PASSWORD
from tests.conftest import sign_in
from tests.web.test_viewing import CT, STUDY

ALL = ["search", "read", "store"]
SERIES = "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322"
INSTANCE = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
FRAME = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}/frames/1"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def basic(token, user="anyone"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}


async def make(browser, name="PACS", rights=ALL, days=30, password=PASSWORD):
    """(status, answer) of a new token."""
    given = {"name": name, "rights": rights, "days": days, "password": password}
    async with browser.post("/api/tokens", json=given) as answer:
        return answer.status, await answer.json()


@pytest.fixture
async def token(client, city):
    """A token of the clinic with every right; `client` is its administrator."""
    await sign_in(client, city.clinic_admin.login)
    status, made = await make(client)
    assert status == 201, made
    return made


@pytest.fixture
async def outside(open_browser):
    """A program: no cookies."""
    return await open_browser()


@pytest.fixture
async def held(app, city):
    """The clinic holds a CT."""
    await app[keys.ARCHIVE_STARTED].wait()
    found = await app[ARCHIVE].ingest(CT.read_bytes(), organisation=city.clinic, source="test")
    assert found.outcome == "stored"


async def get(browser, path, headers=None, **more):
    """(status, code of the refusal, headers)."""
    async with browser.get(path, headers=headers, allow_redirects=False, **more) as answer:
        raw = await answer.read()
        code = json.loads(raw).get("code") if "problem" in answer.content_type else ""
        return answer.status, code, answer.headers


async def rows_of(app, **where):
    return await app[keys.WORK].read(lambda uow: uow.audit.rows(limit=1000, **where))


@pytest.mark.parametrize("way", ["bearer", "basic"])
async def test_a_dicom_program_stores_searches_and_reads_with_a_token(way, app, city, token, outside):
    url, secret = str(outside.make_url("/dicom-web")), token["token"]

    def use():
        if way == "bearer":
            program = DICOMwebClient(url, headers=bearer(secret))
        else:
            program = DICOMwebClient(url, session=create_session_from_user_pass("pacs", secret))
        ct = pydicom.dcmread(CT)
        answer = program.store_instances([ct])
        assert answer.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == INSTANCE
        (found,) = program.search_for_studies(search_filters={"PatientID": "1CT1"})
        assert found["0020000D"]["Value"] == [STUDY]
        assert program.retrieve_instance(STUDY, SERIES, INSTANCE).PixelData == ct.PixelData
        assert program.retrieve_study_metadata(STUDY)[0]["00280010"]["Value"] == [128]
        assert program.retrieve_instance_frames(STUDY, SERIES, INSTANCE, [1]) == [ct.PixelData]

    app[STORED].__self__._seconds = 0
    with app[keys.HUB].subscribe({f"study:{city.clinic}"}) as heard:
        await asyncio.to_thread(use)
        async with asyncio.timeout(45):     # whose it is was asked, as of what a device sends
            assert (await heard.get()).payload == {"study": STUDY}
    rows = await rows_of(app, staff=f"token:{token['id']}")
    assert [row.action for row in rows] == ["study.store", "study.search", "study.download", "study.open"]
    assert {(row.organisation, row.membership, row.outcome) for row in rows} == {(city.clinic, None, "ok")}
    grants = await app[keys.WORK].read(lambda uow: uow.grants.of(city.clinic_admin.membership, now=uow.now))
    await app[keys.GRANTS].flush()
    assert len(grants) == 1
    async with outside.get("/wado", headers=bearer(secret), params={
        "requestType": "WADO", "studyUID": STUDY, "seriesUID": SERIES, "objectUID": INSTANCE,
    }) as answer:
        assert (answer.status, answer.content_type) == (200, "image/jpeg")


async def test_a_token_does_what_it_was_made_for_and_no_more(app, client, token, outside, held):
    for right, allowed in (("search", {"search", "changes"}), ("read", {"frame", "metadata", "file"}), ("store", {"store"})):
        _status, made = await make(client, name=right, rights=[right])
        headers = bearer(made["token"])
        answers = {
            "search": await get(outside, "/dicom-web/studies", headers),
            "changes": await get(outside, "/api/changes", headers),
            "metadata": await get(outside, f"/dicom-web/studies/{STUDY}/metadata", headers),
            "frame": await get(outside, FRAME, headers),
            "file": await get(outside, f"/dicom-web/studies/{STUDY}", headers),
        }
        with MultipartWriter("related") as writer:
            writer.append(CT.read_bytes(), {"Content-Type": "application/dicom"})
            kind = f'multipart/related; type="application/dicom"; boundary={writer.boundary}'
            sent = {"Content-Type": kind, "Origin": "https://elsewhere.example", "X-CSRF-Token": ""} | headers
            async with outside.post("/dicom-web/studies", data=writer, headers=sent) as answer:
                code = (await answer.json()).get("code", "")
                answers["store"] = (answer.status, code, answer.headers)
        assert {name for name, found in answers.items() if found[0] == 200} == allowed
        assert {found[:2] for name, found in answers.items() if name not in allowed} == {(403, "token_scope")}
        denied = [row for row in await rows_of(app, staff=f"token:{made['id']}") if row.outcome == "denied"]
        assert {row.action for row in denied} == {"token.use"}


PART = re.compile(r"\{(\w+)(?::(?:[^{}]|\{[\d,]+\})*)?\}")
TAKEN = ("/dicom-web/", "/wado", "/api/changes")


async def test_only_dicomweb_wado_and_the_feed_take_tokens(token, outside):
    """Whether the token is any good is not even looked at elsewhere."""
    wrong = []
    for route in all_routes():
        if route.path.startswith(TAKEN) or route.policy.local:
            continue
        path = PART.sub(lambda part: {"lang": "en", "digest": "0" * 64}.get(part[1], "1"), route.path)
        for given in (token["token"], "hz_" + "A" * 43):
            async with outside.request(route.method, path, headers=bearer(given), allow_redirects=False) as answer:
                text = await answer.text()
                if answer.status != 403 or (answer.content_type.endswith("json") and "token_scope" not in text):
                    wrong.append(f"{route.method} {path}: {answer.status}")
    assert wrong == []
    assert [route.path for route in all_routes() if route.policy.token and not route.path.startswith(TAKEN)] == []


async def test_beside_a_token_no_cookie_counts_and_without_one_the_address_says_how_to_come_in(
    open_browser, city, client, token, outside, held
):
    _status, made = await make(client, name="only search", rights=["search"])
    technician = await open_browser()
    await sign_in(technician, city.technician.login)
    assert (await get(technician, FRAME))[0] == 200
    assert (await get(technician, FRAME, bearer(made["token"])))[:2] == (403, "token_scope")
    assert (await get(technician, FRAME, bearer("hz_" + "A" * 43)))[:2] == (401, "token_refused")
    # What a proxy asked for itself is none of ours.
    assert (await get(technician, FRAME, basic("its own password")))[0] == 200
    status, code, headers = await get(outside, "/dicom-web/studies")
    assert (status, code) == (401, "signed_out")
    assert headers["WWW-Authenticate"] == 'Basic realm="huizhen", charset="UTF-8", Bearer realm="huizhen"'
    for browser in ({"Sec-Fetch-Mode": "cors"}, {"User-Agent": "Mozilla/5.0"}):
        _s, _c, headers = await get(outside, "/dicom-web/studies", browser)
        assert headers["WWW-Authenticate"] == 'Bearer realm="huizhen"'      # it shows no window of its own
    assert "WWW-Authenticate" not in (await get(outside, "/api/session"))[2]


async def test_a_token_in_the_address_is_never_taken(token, outside):
    for name in ("token", "access_token", "Authorization", "accept"):
        for path in ("/dicom-web/studies", "/api/changes", "/wado"):
            assert (await get(outside, path, params={name: token["token"]}))[:2] == (401, "signed_out")
    assert (await get(outside, "/dicom-web/studies", {"X-Token": token["token"], "Cookie": f"huizhen={token['token']}"}))[0] == 401


async def test_revoked_expired_and_orphaned_tokens_are_refused_alike(app, city, clock, client, token, open_browser, outside):
    _status, short = await make(client, name="short", days=1)
    headers = bearer(token["token"])
    assert (await get(outside, "/dicom-web/studies", headers))[0] == 204
    assert (await get(outside, "/dicom-web/studies", bearer(short["token"])))[0] == 204

    other = await open_browser()
    await sign_in(other, city.hospital_admin.login)
    async with other.post(f"/api/tokens/{token['id']}/end", json={}) as answer:
        assert answer.status == 404
    async with client.post(f"/api/tokens/{token['id']}/end", json={}) as answer:
        assert answer.status == 204
    async with client.post(f"/api/tokens/{token['id']}/end", json={}) as answer:
        assert answer.status == 404
    status, code, given = await get(outside, "/dicom-web/studies", headers)
    assert (status, code) == (401, "token_refused")
    assert 'error="invalid_token"' in given["WWW-Authenticate"]
    clock.advance(days=1)
    assert (await get(outside, "/dicom-web/studies", bearer(short["token"])))[:2] == (401, "token_refused")
    assert [row.object for row in await rows_of(app, organisation=city.clinic) if row.action == "token.use"] == [
        f"token:{token['id']}", f"token:{short['id']}",
    ]

    await sign_in(client, city.clinic_admin.login)
    _status, orphan = await make(client, name="orphan")
    assert (await get(outside, "/dicom-web/studies", bearer(orphan["token"])))[0] == 204
    platform = await open_browser()
    await sign_in(platform, city.platform_admin.login)
    async with platform.post(f"/api/memberships/{city.clinic_admin.membership}/end", json={}) as answer:
        assert answer.status == 200
    assert (await get(outside, "/dicom-web/studies", bearer(orphan["token"])))[:2] == (401, "token_refused")


async def test_whoever_sends_wrong_tokens_waits_while_those_that_work_go_on(app, clock, client, token, outside):
    working = bearer(token["token"])
    assert (await get(outside, "/api/changes", working))[0] == 200
    limit = app[keys.SETTINGS].session.lockout_failures
    for n in range(limit):
        assert (await get(outside, "/api/changes", basic(f"hz_{n}")))[:2] == (401, "token_refused")
    status, code, headers = await get(outside, "/api/changes", bearer("hz_more"))
    assert (status, code) == (429, "too_many")
    assert int(headers["Retry-After"]) == app[keys.SETTINGS].session.lockout_seconds
    assert (await get(outside, "/api/changes", working))[0] == 200
    _status, fresh = await make(client, name="fresh")
    assert (await get(outside, "/api/changes", bearer(fresh["token"])))[0] == 429
    clock.advance(seconds=int(headers["Retry-After"]))
    assert (await get(outside, "/api/changes", bearer(fresh["token"])))[0] == 200


async def test_what_is_being_sent_breaks_off_when_the_token_ends(app, city, client, token, monkeypatch):
    bearers, noticed = app[keys.BEARERS], asyncio.Event()
    find = bearers.find

    async def told(digest, **more):
        found = await find(digest, **more)
        if found is None:
            noticed.set()
        return found

    monkeypatch.setattr(bearers, "find", told)
    big = pydicom.dcmread(CT)
    big.Rows = big.Columns = 4096
    big.PixelData = bytes(4096 * 4096 * 2)
    file = io.BytesIO()
    big.save_as(file)
    await app[keys.ARCHIVE_STARTED].wait()
    assert (await app[ARCHIVE].ingest(file.getvalue(), organisation=city.clinic, source="test")).outcome == "stored"
    url = client.make_url(f"/dicom-web/studies/{STUDY}")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    writer.write(
        f"GET {url.path} HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {token['token']}\r\n"
        f"Accept: {accept}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    promised = int(head.lower().partition(b"content-length: ")[2].split()[0])
    assert promised > 33_000_000
    async with client.post(f"/api/tokens/{token['id']}/end", json={}) as answer:
        assert answer.status == 204
    # Nothing is read until the server has noticed; what the sockets hold may come, the rest never does.
    received = 0
    try:
        async with asyncio.timeout(45):
            await noticed.wait()
            while chunk := await reader.read(1 << 16):
                received += len(chunk)
    except ConnectionResetError:
        pass
    assert received < promised
    writer.close()


async def test_what_is_being_received_breaks_off_too(app, client, token):
    url = client.make_url("/dicom-web/studies")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        f"POST {url.path} HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {token['token']}\r\n"
        'Content-Type: multipart/related; type="application/dicom"; boundary=b\r\nContent-Length: 1000000\r\n\r\n'
        "--b\r\nContent-Type: application/dicom\r\n\r\n".encode() + CT.read_bytes()
    )
    async with asyncio.timeout(45):
        while not await rows_of(app, staff=f"token:{token['id']}"):
            pass                            # until it has begun
        async with client.post(f"/api/tokens/{token['id']}/end", json={}) as answer:
            assert answer.status == 204
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
    writer.close()
    scope = Scope(unlimited=True)
    assert await asyncio.to_thread(app[ARCHIVE].studies, scope) == []


async def test_other_organisations_and_doubted_studies_look_like_absent_ones(app, city, open_browser, token, outside, held):
    hospital = await open_browser()
    await sign_in(hospital, city.hospital_admin.login)
    _status, theirs = await make(hospital)
    absent = "1.2.3"

    async def seen(secret, study):
        found = []
        for path in (
            f"/dicom-web/studies/{study}", f"/dicom-web/studies/{study}/metadata", f"/dicom-web/studies/{study}/rendered",
            f"/dicom-web/studies/{study}/series", f"/dicom-web/studies/{study}/thumbnail",
            f"/dicom-web/studies?StudyInstanceUID={study}",
        ):
            async with outside.get(path, headers=bearer(secret)) as answer:
                value = (await answer.read()).decode("latin-1").replace(study, "UID")
                found.append((answer.status, value if "request_id" not in value else json.loads(value)["code"]))
        return found

    nothing = await seen(theirs["token"], absent)
    assert {status for status, _ in nothing} == {404, 204}
    assert await seen(theirs["token"], STUDY) == nothing
    assert {status for status, _ in await seen(token["token"], STUDY)} == {200}

    def doubt(uow):
        actor = actor_of(uow.people.staff(city.technician.staff), uow.people.membership(city.technician.membership))
        record(uow, actor, f"doubts:{city.clinic}", "report_wrong_patient", payload={"study": STUDY})

    await app[keys.WORK].run(doubt)
    app[keys.GRANTS].forget(study=STUDY)
    assert await seen(token["token"], STUDY) == await seen(token["token"], absent)


async def test_the_administrator_gives_a_password_and_the_token_is_kept_nowhere(app, city, caplog, client, open_browser, outside):
    await sign_in(client, city.clinic_admin.login)
    assert (await make(client, password=""))[0] == 422
    status, problem = await make(client, password="wrong")
    assert (status, problem["code"]) == (403, "wrong_password")
    for wrong, field in (({"name": " "}, "name"), ({"rights": []}, "rights"), ({"rights": ["all"]}, "rights"), ({"days": 0}, "days"),
                         ({"days": 10_000}, "days")):
        status, problem = await make(client, **wrong)
        assert (status, [x["path"] for x in problem["fields"]]) == (422, [field])
    status, made = await make(client)
    assert (status, made["rights"]) == (201, ALL)
    assert (await make(client))[1]["fields"][0]["code"] == "taken"
    with caplog.at_level(logging.INFO):
        assert (await get(outside, "/dicom-web/studies", bearer(made["token"]), params={"PatientName": "x"}))[0] == 204
    said = "".join(str(vars(record)) for record in caplog.records)
    assert f"token:{made['id']}" in said
    async with client.get("/admin/tokens", headers={"Accept": "text/html"}, params={"lang": "en"}) as answer:
        page = await answer.text()
    assert "API tokens" in page and made["token"][:8] in page
    async with client.get("/audit", headers={"Accept": "text/html"}) as answer:
        page += await answer.text()
    assert "PACS" in page
    rows = "".join(str(row) for row in await rows_of(app))
    stored = (app[keys.SETTINGS].data / "huizhen.db").read_bytes() if (app[keys.SETTINGS].data / "huizhen.db").exists() else b""
    secret = made["token"].removeprefix(made["token"][:8])
    assert secret not in said + page + rows and secret.encode() not in stored
    other = await open_browser()
    await sign_in(other, city.hospital_admin.login)
    async with other.get("/admin/tokens", headers={"Accept": "text/html"}) as answer:
        assert made["token"][:8] not in await answer.text()


