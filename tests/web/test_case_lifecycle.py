"""Every step of a consultation by HTTP, in the proper roles; what others get instead; races and stale forms."""

from __future__ import annotations

import asyncio
import io
from datetime import timedelta

import pytest
from aiohttp import FormData
from PIL import Image

from server import keys
from server.auth.people import actor_of
from tests.conftest import sign_in
from tests.paper.test_page import text_of

NUMBER = "11010519491231002X"
CONSENT = {"text_version": "2026-1-rescue", "signer": "", "mode": "witnesses", "witnesses": ["王建国", "李小红"]}


class Case:
    """Browsers of the city's people, and one consultation they work on."""

    def __init__(self, open_browser, city) -> None:
        self.open_browser, self.city = open_browser, city
        self.browsers: dict = {}
        self.id = self.patient = ""
        self.version = 0

    async def browser(self, who: str):
        if who not in self.browsers:
            self.browsers[who] = await self.open_browser()
            await sign_in(self.browsers[who], getattr(self.city, who).login)
        return self.browsers[who]

    async def call(self, who: str, method: str, path: str, **body):
        browser = await self.browser(who)
        async with getattr(browser, method)(path, **({"json": body} if method != "get" else {})) as answer:
            value = await answer.json() if "json" in answer.headers.get("Content-Type", "") else await answer.text()
            return answer.status, value

    async def do(self, who: str, verb: str, *, status: int = 200, **body):
        got, value = await self.call(who, "post", f"/api/consultations/{self.id}/{verb}", **body)
        assert got == status, value
        if status == 200 and "version" in value:
            self.version = value["version"]
        return value

    async def draft(self, **extra):
        status, patient = await self.call(
            "doctor", "post", "/api/patients", name="周小雨", identifiers=[{"system": "resident_id", "value": NUMBER}]
        )
        assert status == 201, patient
        self.patient = patient["id"]
        status, made = await self.call("doctor", "post", "/api/consultations", patient=self.patient, **extra)
        assert status == 201, made
        self.id, self.version = made["id"], made["version"]
        return self

    async def fill(self, **extra):
        status, saved = await self.call(
            "doctor", "put", f"/api/consultations/{self.id}/request",
            version=self.version, content={"purpose": "胸痛 2 小时"}, questions=["是否需要上转？"], **extra,
        )
        assert status == 200, saved
        self.version = saved["version"]
        await self.do("doctor", "consents", status=201, **CONSENT)
        return self

    async def sent(self, **extra):
        await (await self.draft(**extra)).fill()
        await self.do("doctor", "submit", version=self.version)
        return self

    async def offered(self, **extra):
        await self.sent(**extra)
        await self.do("dispatcher", "receive")
        await self.do("dispatcher", "offer", organisation=self.city.hospital)
        return self

    async def accepted(self, **extra):
        await self.offered(**extra)
        await self.do("expert", "accept")
        return self


@pytest.fixture
def case(open_browser, city) -> Case:
    return Case(open_browser, city)


async def test_a_request_is_refused_with_every_missing_field_at_once_and_stays_a_draft(case):
    await case.draft()
    refused = await case.do("doctor", "submit", status=422, version=case.version)
    assert {f["path"] for f in refused["fields"]} == {"questions", "consent"}
    assert all(f["message"] for f in refused["fields"])
    status, form = await case.call("doctor", "get", f"/api/consultations/{case.id}/request")
    assert (status, form["version"]) == (200, case.version)


async def test_from_submission_to_reading_every_step_is_pulled_by_its_own_role_alone(case):
    await case.sent()
    await case.do("doctor", "receive", status=403)
    await case.do("stranger", "receive", status=404)
    await case.do("dispatcher", "receive")
    await case.do("expert", "accept", status=403)
    await case.do("dispatcher", "offer", organisation=case.city.hospital)
    await case.do("stranger", "accept", status=404)
    await case.do("expert", "accept")
    await case.do("expert2", "accept", status=409)
    await case.do("expert", "start-review")
    await case.do("expert", "request-material", items=[{"item": "十八导联心电图"}])
    await case.do("doctor", "provide-material", note="已补")
    assert (await case.do("expert", "request-material", items=[{"item": "肌钙蛋白"}]))["state"] == "awaiting_material"
    assert (await case.do("expert", "continue-without", reason="情况紧急"))["state"] == "async_review"


async def test_of_two_experts_accepting_at_once_exactly_one_has_it(case):
    await case.offered()
    await case.browser("expert")
    await case.browser("expert2")
    path = f"/api/consultations/{case.id}/accept"
    answers = await asyncio.gather(case.call("expert", "post", path), case.call("expert2", "post", path))
    assert sorted(status for status, _ in answers) == [200, 409]


async def test_a_stale_form_is_refused_and_the_newer_text_stands(case):
    await (await case.draft()).fill()
    body = {"content": {"purpose": "另一个窗口写的"}, "questions": ["？"], "version": case.version - 1}
    status, refused = await case.call("doctor", "put", f"/api/consultations/{case.id}/request", **body)
    assert (status, refused["code"]) == (409, "stale")
    _, form = await case.call("doctor", "get", f"/api/consultations/{case.id}/request")
    assert form["content"]["content"]["purpose"] == "胸痛 2 小时"


async def test_a_returned_request_comes_back_to_the_dispatcher_complete(case, clock):
    await case.sent()
    await case.do("dispatcher", "receive")
    due = (clock() + timedelta(hours=4)).isoformat()
    await case.do("dispatcher", "return", items=[{"item": "既往心电图", "due": due}], note="请补")
    browser = await case.browser("doctor")
    async with browser.get(f"/consultations/{case.id}/edit") as answer:
        assert answer.status == 200
        assert "既往心电图" in await answer.text()
    assert (await case.do("doctor", "resubmit", note="已补"))["state"] == "triage"
    assert (await case.do("dispatcher", "reject", reason="不在服务范围"))["state"] == "rejected"


async def test_a_direct_request_rings_at_the_named_expert_without_triage(case):
    await case.draft(target={"addressing": "expert", "membership": case.city.expert.membership})
    await case.fill()
    assert (await case.do("doctor", "submit"))["state"] == "offered"
    await case.do("expert2", "accept", status=403)
    assert (await case.do("expert", "decline", reason="正在手术"))["state"] in {"offered", "triage"}


async def test_times_are_proposed_picked_changed_missed_and_set_again(case, clock):
    await case.accepted(mode="live")
    start = clock() + timedelta(days=1)
    window = {"start": start.isoformat(), "end": (start + timedelta(hours=2)).isoformat()}
    await case.do("doctor", "windows", windows=[window])
    assert (await case.do("expert", "schedule", at=window["start"]))["state"] == "scheduled"
    later = (start + timedelta(hours=1)).isoformat()
    await case.do("expert", "reschedule", at=later, reason="手术延时")
    clock.advance(days=1, hours=2)
    case.browsers.clear()          # the day after: everybody signs in again
    assert (await case.do("doctor", "no-show", reason="专家未到"))["state"] == "no_show"
    again = (clock() + timedelta(hours=3)).isoformat()
    assert (await case.do("doctor", "reschedule", at=again, reason="改到下午"))["state"] == "scheduled"
    assert (await case.do("doctor", "check-in"))["state"] == "checked_in"
    await case.do("expert", "check-in")
    assert (await case.do("expert", "cancel", reason="患者转院", fault="patient"))["state"] == "cancelled"


async def test_released_and_reassigned_the_former_expert_sees_the_row_alone(case):
    await case.accepted()
    await case.do("expert", "release", reason="去急诊")
    browser = await case.browser("expert")
    async with browser.get(f"/consultations/{case.id}") as answer:
        text = await answer.text()
        assert answer.status == 200
        assert "周小雨" not in text
        assert "胸痛" not in text
    await case.do("expert2", "accept")
    target = {"organisation": case.city.hospital, "membership": case.city.expert.membership}
    assert (await case.do("dispatcher", "reassign", reason="休假", **target))["state"] == "offered"
    await case.do("expert", "accept")


async def test_a_colleague_takes_over_with_a_reason_and_then_sees_the_patient(case):
    await case.sent()
    browser = await case.browser("colleague")
    async with browser.get(f"/consultations/{case.id}") as answer:
        assert "周小雨" not in await answer.text()
    await case.do("colleague", "take-over", status=422, reason="")
    await case.do("colleague", "take-over", reason="王医生下班")
    async with browser.get(f"/consultations/{case.id}") as answer:
        assert "周小雨" in await answer.text()
    assert (await case.do("colleague", "withdraw", reason="患者离开"))["state"] == "withdrawn"


async def test_an_admin_voids_by_mistake_entered_ones_and_a_conversion_replaces(case):
    await case.accepted()
    made = await case.do("doctor", "convert", reason="需要多学科", participation="mdt")
    assert made["id"] != case.id
    case.id = made["id"]
    await case.do("doctor", "enter-in-error", status=403, reason="录错")
    if made["state"] != "draft":
        assert (await case.do("clinic_admin", "enter-in-error", reason="录错"))["state"] == "entered_in_error"


async def test_a_draft_is_deleted_and_nothing_else_may_be(case):
    await case.draft()
    status, _ = await case.call("doctor", "delete", f"/api/consultations/{case.id}")
    assert status == 204
    status, _ = await case.call("doctor", "get", f"/api/consultations/{case.id}/request")
    assert status == 404


async def test_a_sent_request_cannot_be_deleted(case):
    await case.sent()
    status, refused = await case.call("doctor", "delete", f"/api/consultations/{case.id}")
    assert (status, refused["code"]) == (409, "wrong_state")


async def test_an_emergency_needs_two_witnesses_and_rings_at_once(case):
    body = {"consent": CONSENT | {"witnesses": ["王建国"]}, "unknown_sex": "M"}
    status, refused = await case.call("doctor", "post", "/api/consultations/stat", **body)
    assert (status, [f["path"] for f in refused["fields"]]) == (422, ["consent.witnesses"])
    status, made = await case.call("doctor", "post", "/api/consultations/stat", **body | {"consent": CONSENT})
    assert (status, made["state"]) == (201, "offered")
    case.id = made["id"]
    await case.do("expert", "accept")
    _, form = await case.call("doctor", "get", f"/api/consultations/{case.id}/request")
    _, known = await case.call("doctor", "post", "/api/patients", name="周小雨",
                               identifiers=[{"system": "resident_id", "value": NUMBER}])
    await case.do("doctor", "complete", version=form["version"], content={"complaint": "胸痛"}, questions=["溶栓？"],
                  patient=known["id"])
    browser = await case.browser("expert")
    async with browser.get(f"/consultations/{case.id}") as answer:
        assert "周小雨" in await answer.text()


async def test_the_age_of_somebody_unknown_is_guessed_and_said_to_be_so_everywhere(case, app):
    body = {"consent": CONSENT, "unknown_sex": "M", "unknown_months": 60 * 12, "question": "是否溶栓？"}
    status, refused = await case.call("doctor", "post", "/api/consultations/stat", **body | {"unknown_months": 131 * 12})
    assert status == 422, refused
    status, made = await case.call("doctor", "post", "/api/consultations/stat", **body)
    assert status == 201, made
    case.id = made["id"]
    page = {"Accept": "text/html"}

    async def shown(who: str, path: str, lang: str = "zh") -> str:
        async with (await case.browser(who)).get(path, headers=page, params={"lang": lang}) as answer:
            assert answer.status == 200
            return await answer.text()

    assert "60–69" in await shown("expert", "/")                     # a queue row: the decade, as for everybody
    await case.do("expert", "accept")
    patient = (await app[keys.WORK].read(lambda uow: uow.consultations.get(case.id))).patient
    born = (await app[keys.WORK].read(lambda uow: uow.patients.get(patient))).birth_date.isoformat()
    for who, path in (("expert", "/"), ("expert", f"/consultations/{case.id}"), ("doctor", f"/patients/{patient}"),
                      ("expert", f"/consultations/{case.id}/report"), ("doctor", f"/consultations/{case.id}")):
        text = await shown(who, path)
        assert "约 60 岁" in text, path
        assert born not in text.partition('id="page-data"')[0], path
    _, draft = await case.call("expert", "post", f"/api/consultations/{case.id}/report")
    expert = await app[keys.WORK].read(lambda uow: actor_of(
        uow.people.staff(case.city.expert.staff), uow.people.membership(case.city.expert.membership)
    ))
    pdf, _missing = await app[keys.SIGNING].preview(expert, draft["id"], verify_url=lambda code: f"https://x/{code}")
    paper = "".join(text_of(pdf).split())
    assert "约60岁" in paper
    assert born not in paper
    assert "about 60 y" in await shown("expert", f"/consultations/{case.id}", "en")
    _, form = await case.call("doctor", "get", f"/api/patients/{patient}")
    assert form["birth_estimated"] is True
    status, known = await case.call("doctor", "patch", f"/api/patients/{patient}", version=form["version"],
                                    birth_date="1968-03-12")
    assert (status, known["birth_estimated"]) == (200, False)
    text = await shown("expert", f"/consultations/{case.id}")
    assert "58 岁" in text
    assert "约" not in text.partition('class="banner-name"')[2].partition("</p>")[0]


async def test_a_picture_becomes_fresh_pages_for_the_parts_alone_and_a_text_is_refused(case):
    await case.accepted()
    picture = io.BytesIO()
    Image.new("RGB", (60, 40), "white").save(picture, "JPEG")

    async def send(who, data, kind="document"):
        form = FormData()
        form.add_field("kind", kind)
        form.add_field("title", "化验单")
        form.add_field("file", data, filename="a.jpg", content_type="image/jpeg")
        browser = await case.browser(who)
        async with browser.post(f"/api/consultations/{case.id}/documents", data=form) as answer:
            return answer.status, await answer.json()

    status, document = await send("doctor", picture.getvalue())
    assert (status, document["pages"]) == (201, 1)
    assert (await send("doctor", b"MZ not a picture"))[0] == 422
    assert (await send("doctor", picture.getvalue(), kind="virus"))[0] == 422
    assert (await send("stranger", picture.getvalue()))[0] == 404
    page = f"/api/documents/{document['id']}/pages/1"
    for who, expected in (("doctor", 200), ("expert", 200), ("expert2", 404), ("stranger", 404), ("dispatcher", 404)):
        browser = await case.browser(who)
        async with browser.get(page) as answer:
            assert answer.status == expected, who
            if expected == 200:
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert (await answer.read()) != picture.getvalue()
    status, voided = await case.call("doctor", "post", f"/api/documents/{document['id']}/void", reason="不清楚")
    assert (status, voided["voided_reason"]) == (200, "不清楚")


async def test_consent_is_withdrawn_with_a_reason_and_stays_on_record(case):
    await case.draft()
    given = await case.do("doctor", "consents", status=201, **CONSENT)
    await case.do("doctor", f"consents/{given['id']}/withdraw", reason="患者改变主意")
    refused = await case.do("doctor", "submit", status=422)
    assert "consent" in {f["path"] for f in refused["fields"]}


async def test_whom_a_clinic_may_ask_are_the_experts_of_the_places_linked_to_it(case):
    status, found = await case.call("doctor", "get", "/api/targets?service=ecg")
    assert status == 200
    names = [x["name"] for place in found["places"] for x in place["experts"]]
    assert sorted(names) == ["林主任", "陈主任"]
    assert (await case.call("doctor", "get", "/api/targets?service=nothing"))[0] == 400
    assert (await case.call("technician", "get", "/api/targets"))[0] == 403


async def test_the_timeline_tells_the_parts_who_and_why_and_the_pool_only_the_steps(case):
    await case.offered()
    _, full = await case.call("doctor", "get", f"/api/consultations/{case.id}/timeline")
    told = [(x["trigger"], x["who"].split(" ")[0]) for x in full["timeline"]]
    assert told[0] == ("start_draft", "王建国")
    assert told[-1] == ("offer", "何调度")
    await case.do("doctor", "withdraw", reason="患者自行前往医院")
    _, full = await case.call("doctor", "get", f"/api/consultations/{case.id}/timeline")
    assert full["timeline"][-1]["reason"] == "患者自行前往医院"
    _, row = await case.call("colleague", "get", f"/api/consultations/{case.id}/timeline")
    assert {x["reason"] for x in row["timeline"]} == {""}
    assert "record_consent" not in {x["trigger"] for x in row["timeline"]}
    assert (await case.call("stranger", "get", f"/api/consultations/{case.id}/timeline"))[0] == 404


async def test_a_consultation_of_a_merged_patient_shows_the_one_who_remains(case):
    await case.sent()
    _, kept = await case.call("doctor", "post", "/api/patients", name="周晓雨", sex="F")
    await case.call("doctor", "post", f"/api/patients/{case.patient}/merge", target=kept["id"], reason="改名")
    browser = await case.browser("doctor")
    async with browser.get(f"/consultations/{case.id}") as answer:
        assert "周晓雨" in await answer.text()


async def test_a_technician_reads_what_is_missing_and_provides_it_without_reading_the_request(case):
    await case.accepted()
    await case.do("expert", "start-review")
    await case.do("expert", "request-material", items=[{"item": "十八导联心电图"}])
    browser = await case.browser("technician")
    async with browser.get(f"/consultations/{case.id}") as answer:
        text = await answer.text()
    assert "十八导联心电图" in text
    assert 'data-to="provide-material"' in text
    assert "胸痛" not in text
    async with (await case.browser("expert2")).get(f"/consultations/{case.id}") as answer:
        assert "十八导联心电图" not in await answer.text()
    assert (await case.do("technician", "provide-material", note="已上传"))["state"] == "async_review"
