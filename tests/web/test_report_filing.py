"""A signed report exists once per channel, whatever dies when: the inbox, the patient's study, the hospital's pager."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import subprocess

import pydicom
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consult import model as m
from consult.offering import close_offers
from dicom.model import Scope
from server import keys
from server.dicomweb.ports import ARCHIVE
from server.filing.archive import deliver, uid_of
from server.filing.running import follow
from server.filing.webhook import page_offers, signature
from server.settings import Webhook
from server.storage.faults import add_hook
from tests.browser.seeds import put_consultation
from tests.city import PASSWORD
from tests.conftest import sign_in
from tests.needs import need_program
from tests.web.test_report_signing import call, signed, written
from tests.web.test_viewing import CT, STUDY, store


class KilledError(Exception):
    """Stands for the end of the process at a named point."""


def die_once(point):
    """Raises at the first passage of the point; returns what takes the hook away."""
    left = [1]

    def hook(name):
        if name == point and left:
            left.pop()
            raise KilledError(point)

    return add_hook(hook)


@pytest.fixture
async def expert(open_browser, city):
    browser = await open_browser()
    await sign_in(browser, city.expert.login)
    return browser


@pytest.fixture
async def case(app, city):
    made = await app[keys.WORK].run(put_consultation, city, state=m.State.ACCEPTED, expert=True)
    return made.id


async def file(app) -> int:
    await app[keys.ARCHIVE_STARTED].wait()
    return await deliver(app[keys.WORK], app[ARCHIVE], app[keys.ZONE])


def copies(app, city, study):
    return app[ARCHIVE].instances(Scope(organisations=frozenset({city.hospital})), study)


def run(*command) -> str:
    """Standard output of a program that has to succeed."""
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


async def filings(app, case):
    rows = await app[keys.WORK].read(lambda uow: uow.reports.filings(case))
    return {x.channel: x.state for x in rows}


async def test_the_report_joins_the_patients_study_with_the_very_bytes_that_were_signed(
    expert, case, app, city, open_browser, tmp_path
):
    technician = await open_browser()
    await sign_in(technician, city.technician.login)
    assert await store(technician) == 200
    await app[keys.WORK].run(
        lambda uow: uow.consultations.add_share(
            m.StudyShare(consultation=case, study_uid=STUDY, by=city.doctor.membership, since=uow.now)
        )
    )
    filed = await signed(expert, case)
    assert await file(app) == 1
    assert await filings(app, case) == {"inbox": "filed", "archive": "filed"}
    held = copies(app, city, STUDY)
    assert [x.sop_uid for x in held] == [uid_of("report", filed["version"])]
    async with expert.get(f"/api/report-versions/{filed['version']}/pdf") as answer:
        pdf = await answer.read()
    copy = tmp_path / "report.dcm"
    copy.write_bytes(app[ARCHIVE].read_file(held[0]))
    out = tmp_path / "report.pdf"
    await asyncio.to_thread(run, need_program("dcm2pdf", "dcmtk"), copy, out)
    assert out.read_bytes() == pdf
    dumped = await asyncio.to_thread(run, need_program("dcmdump", "dcmtk"), copy)
    assert "EncapsulatedPDFStorage" in dumped
    ours, theirs = pydicom.dcmread(copy), pydicom.dcmread(CT, force=True)
    assert (ours.PatientID, str(ours.PatientName)) == (theirs.PatientID, str(theirs.PatientName))


async def test_without_images_it_stands_in_a_study_of_its_own_for_the_consultation(expert, case, app, city):
    await signed(expert, case)
    assert await file(app) == 1
    assert len(copies(app, city, uid_of("consultation", case))) == 1


@pytest.mark.parametrize("point", ["report_before_record", "report_after_record", "filing_before_filed"])
async def test_it_is_filed_exactly_once_whatever_dies_when(expert, case, app, city, point):
    draft = await written(expert, case)
    undo = die_once(point)
    try:
        body = {"version": draft["version"], "password": PASSWORD}
        path = f"/api/reports/{draft['id']}/sign"
        status, _ = await call(expert, "post", path, body)
        assert status == (500 if point.startswith("report") else 200)
        if point == "report_before_record":
            assert await filings(app, case) == {}
            status, _ = await call(expert, "post", path, body)
            assert status == 200
        if point == "filing_before_filed":
            with pytest.raises(KilledError):
                await file(app)
    finally:
        undo()
    while await file(app):
        pass
    assert await file(app) == 0
    assert await filings(app, case) == {"inbox": "filed", "archive": "filed"}
    versions = await app[keys.WORK].read(lambda uow: uow.reports.versions(case))
    assert len(versions) == 1
    assert len(copies(app, city, uid_of("consultation", case))) == 1


async def test_each_amendment_adds_a_copy_to_the_same_series(expert, case, app, city):
    await signed(expert, case)
    await file(app)
    await call(expert, "post", f"/api/consultations/{case}/amend", {"reason": "更正"})
    await signed(expert, case, text="更正后")
    await file(app)
    held = copies(app, city, uid_of("consultation", case))
    assert len(held) == 2
    assert len({x.series_uid for x in held}) == 1


async def test_filing_begins_with_the_commit_that_signed_and_ends_with_the_server(app, city, client):
    hub, rounds, again = app[keys.HUB], [], asyncio.Event()

    async def step():
        rounds.append(1)
        again.set()

    job = asyncio.ensure_future(follow(hub, "filing", 3600, step))
    await again.wait()                                           # what was left of the last time
    again.clear()
    hub.publish("filing", {"report_version": "x"})
    await again.wait()
    hub.close()
    await job
    assert len(rounds) == 2


# ---- the pager ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def pager():
    """A hospital's pager: what it was told, and what it answers (a list of statuses, then 200)."""
    told, answers = [], []

    async def receive(request):
        told.append((await request.read(), dict(request.headers)))
        return web.Response(status=answers.pop(0) if answers else 200)

    application = web.Application()
    application.router.add_post("/hook", receive)
    server = TestServer(application)
    await server.start_server()
    server.told, server.answers = told, answers
    server.webhook = Webhook(url=str(server.make_url("/hook")), secret="s3cret-of-the-pager")
    yield server
    await server.close()


async def test_urgent_offers_are_told_once_signed_and_without_the_patient(app, city, client, pager):
    work = app[keys.WORK]
    urgent = await work.run(put_consultation, city, urgency=m.Urgency.URGENT)
    await work.run(put_consultation, city, urgency=m.Urgency.ROUTINE)
    assert await page_offers(work, pager.webhook) == 1
    assert await page_offers(work, pager.webhook) == 0
    [(body, headers)] = pager.told
    told = json.loads(body)
    assert (told["event"], told["consultation"], told["urgency"]) == ("offer", urgent.id, "urgent")
    assert "周小雨" not in body.decode()
    assert "胸痛" not in body.decode()
    expected = "sha256=" + hmac.new(b"s3cret-of-the-pager", body, hashlib.sha256).hexdigest()
    assert headers["X-Huizhen-Signature"] == expected == signature("s3cret-of-the-pager", body)


async def test_a_pager_that_fails_is_called_again_until_the_offer_is_taken(app, city, client, pager, clock):
    work = app[keys.WORK]
    made = await work.run(put_consultation, city, urgency=m.Urgency.STAT)
    pager.answers += [500, 503]
    assert await page_offers(work, pager.webhook) == 0
    assert await page_offers(work, pager.webhook) == 0           # not at once again
    assert len(pager.told) == 1
    clock.advance(seconds=6)
    assert await page_offers(work, pager.webhook) == 0
    assert len(pager.told) == 2
    await work.run(close_offers, made.id, m.OfferOutcome.ACCEPTED, by=None)
    pager.answers.append(500)
    clock.advance(seconds=30)
    await page_offers(work, pager.webhook)
    clock.advance(hours=1)
    await page_offers(work, pager.webhook)
    assert len(pager.told) == 3                                  # given up: somebody has it


async def test_an_emergency_without_an_answer_is_told_once_more(app, city, client, pager, clock):
    work = app[keys.WORK]
    await work.run(put_consultation, city, urgency=m.Urgency.STAT, minutes_ago=0)
    await work.run(put_consultation, city, urgency=m.Urgency.URGENT, minutes_ago=0)
    assert await page_offers(work, pager.webhook) == 2
    clock.advance(minutes=2, seconds=59)
    assert await page_offers(work, pager.webhook) == 0
    clock.advance(seconds=1)
    assert await page_offers(work, pager.webhook) == 1
    told = json.loads(pager.told[-1][0])
    assert (told["event"], told["urgency"]) == ("unanswered", "stat")
    assert told["id"].startswith("unanswered:")
    assert await page_offers(work, pager.webhook) == 0


async def test_without_an_address_nobody_is_called(app, city, client):
    await app[keys.WORK].run(put_consultation, city, urgency=m.Urgency.STAT)
    assert await page_offers(app[keys.WORK], Webhook()) == 0
