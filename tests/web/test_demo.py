"""The demo city: complete after a stop in between, alive in every state, and nothing for anyone to get stuck in."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import func, select

from consult import model as m
from consult.access import Action, open_consultation
from consult.errors import ConsultError
from consult.escalating import expire_offers, expire_returned
from consult.feedback import last_day_from
from consult.lifecycle import CLOSED, TERMINAL, Trigger, steps
from consult.matching import rank_candidates
from consult.moving import pullers_of
from consult.people import OrganisationId
from dicom.model import Scope
from server import demo, keys
from server.app import create_app
from server.auth.passwords import Passwords
from server.demo import images, places, seeding
from server.demo.stage import Stage
from server.dicomweb.ports import ARCHIVE
from server.matching import facts_of
from server.paper.verify import verify_pdf
from server.romanise import romanise
from server.settings import Settings
from server.storage.columns import metadata
from server.storage.unit import verify_audit
from tests.city import build_city

START = datetime(2026, 11, 20, 3, 30, tzinfo=UTC)
# Signed leads to delivered in the same commit: nobody ever waits in it.
PASSED_THROUGH = {m.State.SIGNED}
# What is no way out: it only voids the consultation, or lets another doctor step in.
NO_WAY_OUT = {Trigger.ENTER_IN_ERROR, Trigger.TAKE_OVER}


def application(settings: Settings, *, now: datetime = START):
    return create_app(settings, clock=lambda: now, passwords=Passwords(memory_kib=64, passes=1), background=False)


async def seed(settings: Settings) -> list[str]:
    """Start, build what is missing, stop; what was said."""
    said: list[str] = []
    async with TestServer(application(settings)) as server:
        await demo.seed(server.app, said.append)
    return said


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A data folder whose first start was stopped while the consultations were told, and the second was not."""
    settings = Settings(data=tmp_path_factory.mktemp("demo") / "data", demo=True)

    class Stopped(Exception):
        pass

    def stop(stage):
        yield stage.ago(days=1)
        raise Stopped

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(seeding.tales_asking, "tales", lambda desk: [stop])
        with pytest.raises(Stopped):
            asyncio.run(seed(settings))
    said = asyncio.run(seed(settings))
    return settings, said


@pytest.fixture
async def server(built, tmp_path):
    """An application on a copy of it."""
    data = tmp_path / "data"
    shutil.copytree(built[0].data, data)
    async with TestServer(application(Settings(data=data, demo=True))) as running:
        yield running


@pytest.fixture
def city(server):
    return server.app


async def staged(app) -> Stage:
    """Keys of places and people."""

    def look(uow):
        stage = Stage(uow=uow, start=START, now=START)
        places.load(uow, stage)
        return stage

    return await app[keys.WORK].read(look)


def consultations(uow) -> list[m.Consultation]:
    ids = [x[0] for x in uow.link.connection.execute(select(metadata.tables["consultation"].c.id))]
    return [uow.consultations.get(x) for x in ids]


def ways_out(uow, stage: Stage, consultation: m.Consultation) -> dict[str, set[Trigger]]:
    """What each person of the city could do next."""
    found = {}
    for key, actor in stage.actors.items():
        try:
            opened = open_consultation(uow, actor, consultation.id, Action.REQUEST_STATUS)
        except ConsultError:
            continue
        if triggers := set(steps(consultation, pullers_of(opened))) - NO_WAY_OUT:
            found[key] = triggers
    return found


async def counts(app) -> dict[str, int]:
    def count(uow):
        run = uow.link.connection.execute
        return {name: run(select(func.count()).select_from(table)).scalar_one() for name, table in metadata.tables.items()}

    return await app[keys.WORK].read(count) | app[ARCHIVE].totals()


async def test_every_state_in_which_somebody_waits_is_there(city):
    found = Counter(x.state for x in await city[keys.WORK].read(consultations))
    wanted = set(m.State) - TERMINAL - PASSED_THROUGH
    assert wanted <= set(found), wanted - set(found)
    assert {m.State.WITHDRAWN, m.State.REJECTED, m.State.CANCELLED, m.State.ARCHIVED} <= set(found)


async def test_every_open_consultation_has_a_way_out_for_somebody(city):
    stage = await staged(city)

    def stuck(uow):
        return [x.state for x in consultations(uow) if x.state not in CLOSED and not ways_out(uow, stage, x)]

    assert await city[keys.WORK].read(stuck) == []


async def test_one_waits_for_its_last_outcome_and_one_is_archived_with_both_ratings(city):
    stage = await staged(city)

    def look(uow):
        found = {x.state: x for x in consultations(uow)}
        waiting, archived = found[m.State.FEEDBACK], found[m.State.ARCHIVED]
        told = [(x.side.value, x.day, bool(x.rating)) for x in uow.feedback.of(archived.id)]
        doors = ways_out(uow, stage, waiting)
        return waiting, [x.day for x in uow.feedback.of(waiting.id)], doors, told, last_day_from(uow, waiting)

    waiting, days, doors, told, last_from = await city[keys.WORK].read(look)
    assert days == [7]
    assert doors["zhoumin"] == {Trigger.GIVE_FEEDBACK}
    assert last_from < START < waiting.due_at
    assert told == [("expert", None, True), ("clinic", 7, True), ("clinic", 30, False)]


async def test_when_all_offers_have_run_out_the_dispatcher_has_them_and_nothing_is_stuck(city):
    stage, work = await staged(city), city[keys.WORK]
    for day in range(5, 12):
        work.clock = partial(START.__add__, timedelta(days=day))
        await work.run(expire_offers)
    await work.run(expire_returned)

    def look(uow):
        return [(x.state, ways_out(uow, stage, x)) for x in consultations(uow) if x.state not in CLOSED]

    later = await work.read(look)
    assert m.State.OFFERED not in {state for state, _ in later}
    assert all(ways for _, ways in later)


async def test_offers_wait_long_enough_for_whoever_starts_the_demo(city):
    def open_offers(uow):
        return [o for x in consultations(uow) for o in uow.offers.of(x.id) if o.outcome is m.OfferOutcome.OPEN]

    left = sorted(x.expires_at - START for x in await city[keys.WORK].read(open_offers))
    assert len(left) == 3
    assert left[0] > timedelta(minutes=29)
    assert left[1] > timedelta(hours=8)


async def test_studies_are_matched_as_planned_two_not_and_one_is_somebody_elses(city):
    stage, archive = await staged(city), city[ARCHIVE]
    rows = {}
    for place in stage.places.values():
        for row in archive.studies(Scope(organisations=frozenset({place}))):
            rows[row.study_uid] = (row, place)
    assert len(rows) == len(images.PLANNED)

    def look(uow):
        found = {}
        for uid, (row, place) in rows.items():
            match = uow.studies.match(uid, OrganisationId(place))
            found[row.description] = match and (match.method.value, uow.patients.get(match.patient).name)
        return found

    matched = await city[keys.WORK].read(look)
    assert [x for x, match in matched.items() if match is None] and Counter(matched.values())[None] == 2
    assert matched["胸部 CT 平扫"] == ("accession", "张建国")
    assert matched["心脏彩超（孕期）"] == ("patient_id", "陈晓雨")
    # Written for one man, filed under another's order.
    assert matched["上腹部 MR 复查"] == ("accession", "李强")
    (wrong,) = [row for row, _ in rows.values() if row.description == "上腹部 MR 复查"]
    assert "赵" in wrong.patient_name
    (nodule,) = [row for row, _ in rows.values() if row.description == "胸部 CT 平扫"]
    assert nodule.instance_count == 120


async def test_each_stray_study_finds_its_order_at_the_top_of_the_candidates(city):
    stage, archive = await staged(city), city[ARCHIVE]
    place = stage.places["liuxiang"]
    rows = {x.description: x for x in archive.studies(Scope(organisations=frozenset({place})))}

    def look(uow, description):
        facts = facts_of(rows[description], OrganisationId(place))
        ranked = rank_candidates(uow, actor=stage.actors["sunqiang"], facts=facts, romanise=romanise)
        return ranked[0].patient.name, ranked[0].order and ranked[0].order.procedure

    assert await city[keys.WORK].read(look, "颈椎侧位") == ("刘桂芳", "颈椎侧位 DR")
    assert await city[keys.WORK].read(look, "颈部淋巴结彩超") == ("黄丽华", "颈部淋巴结彩超")


async def test_what_stopped_in_between_is_not_there_twice_and_a_further_start_changes_nothing(built, city):
    assert any("3/3" in x for x in built[1])
    before = await counts(city)
    said: list[str] = []
    await demo.seed(city, said.append)
    assert said == []
    assert await counts(city) == before


async def test_events_are_told_in_order_and_never_after_now(city):
    def look(uow):
        return [[e.at for e in uow.events.of(f"consultation:{x.id}")] for x in consultations(uow)]

    for times in await city[keys.WORK].read(look):
        assert times == sorted(times)
        assert START - timedelta(days=42) < times[0] <= times[-1] <= START


async def test_reports_are_genuine_and_the_audit_chain_is_whole(city):
    def look(uow):
        versions = [v for x in consultations(uow) for v in uow.reports.versions(x.id)]
        return [(v.status, uow.reports.pdf(v.id)) for v in versions], verify_audit(uow)

    signed, broken = await city[keys.WORK].read(look)
    assert broken is None
    assert Counter(status for status, _ in signed) == {m.ReportStatus.FINAL: 4, m.ReportStatus.AMENDED: 1}
    root = city[keys.SETTINGS].key_folder / "root.crt"
    for _, pdf in signed:
        assert (await asyncio.to_thread(verify_pdf, pdf, roots=[root])).genuine


async def test_the_sign_in_page_shows_one_account_per_role_and_its_password_fits(server, city):
    shown = await demo.accounts(city)
    assert {x["role"] for x in shown} == {x.role for x in places.POSTS}
    for one in shown:
        account = await city[keys.WORK].read(
            lambda uow, login: uow.accounts.get(uow.people.staff_by_login(login).id), one["login"]
        )
        assert city[keys.PASSWORDS].verify_now(account.password_hash, one["password"])
        assert not account.must_change
    assert any(shown[0]["login"] in line and shown[0]["password"] in line for line in await demo.describe(city))
    async with TestClient(server) as client:
        page = await (await client.get("/login")).text()
    assert all(f'data-login="{x["login"]}"' in page for x in shown)


async def test_once_others_can_reach_the_server_the_known_password_is_gone(built, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(built[0].data, data)
    async with TestServer(application(Settings(data=data, demo=True, host="0.0.0.0"))) as server:
        app = server.app
        await demo.seed(app, lambda _: None)
        shown = await demo.accounts(app)
        assert {x["password"] for x in shown} == {""}
        told = "\n".join(await demo.describe(app))
        assert seeding.PASSWORD not in told
        stored = await app[keys.WORK].read(lambda uow: uow.settings.get(seeding.NAME))
        assert stored["password"] in told
        for post in places.people_of():
            account = await app[keys.WORK].read(
                lambda uow, login: uow.accounts.get(uow.people.staff_by_login(login).id), post.login
            )
            assert not app[keys.PASSWORDS].verify_now(account.password_hash, seeding.PASSWORD)


async def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    async with TestServer(application(Settings(data=tmp_path / "data", demo=True))) as server:
        app = server.app
        await app[keys.WORK].run(build_city, "hash")
        before, said = await counts(app), []
        await demo.seed(app, said.append)
        assert await counts(app) == before
        assert len(said) == 1
        assert await demo.accounts(app) == []
