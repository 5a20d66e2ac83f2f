"""The report through the web: written, signed with a password, filed, read, acknowledged, revised."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

from consult import model as m
from server import keys
from server.auth import people as people_of
from server.paper.authority import ROOT_FILE
from server.paper.verify import verify_pdf
from tests.browser.seeds import put_consultation
from tests.city import PASSWORD
from tests.conftest import sign_in

WORDS = "前壁导联 ST 段抬高"


@pytest.fixture
async def case(app, city):
    """A stored ECG consultation that the expert has accepted."""
    made = await app[keys.WORK].run(put_consultation, city, state=m.State.ACCEPTED, expert=True)
    return made.id


@pytest.fixture
async def people(open_browser, city):
    """Browsers of everyone who matters, signed in."""
    found = {}
    for who in ("expert", "expert2", "doctor", "colleague", "stranger"):
        found[who] = await open_browser()
        await sign_in(found[who], getattr(city, who).login)
    return SimpleNamespace(**found)


async def said(answer) -> dict:
    return await answer.json() if "json" in answer.content_type else {}


async def call(browser, method, path, body=None):
    """(status, JSON) of one call."""
    send = getattr(browser, method)
    async with send(path, **({} if body is None else {"json": body})) as answer:
        return answer.status, await said(answer)


async def written(browser, case, text=WORDS) -> dict:
    """The draft with an answer to the one question, as the editor saves it."""
    status, draft = await call(browser, "post", f"/api/consultations/{case}/report", {})
    assert status == 200, draft
    content = {"answers": [{"n": 1, "text": text}], "findings": "窦性心律"}
    status, saved = await call(browser, "put", f"/api/reports/{draft['id']}", {"version": draft["version"], "content": content})
    assert status == 200, saved
    return draft | saved


async def signed(browser, case, text=WORDS) -> dict:
    draft = await written(browser, case, text)
    body = {"version": draft["version"], "password": PASSWORD}
    status, filed = await call(browser, "post", f"/api/reports/{draft['id']}/sign", body)
    assert status == 200, filed
    return filed | {"report": draft["id"]}


async def test_a_signed_report_is_in_the_inbox_with_the_answer_and_its_bytes_are_genuine(people, case, app, settings, city):
    filed = await signed(people.expert, case)
    async with people.doctor.get(f"/api/report-versions/{filed['version']}/pdf") as answer:
        pdf = await answer.read()
        assert answer.status == 200
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="HZ20261122-')
    verdict = verify_pdf_in_thread(pdf, settings)
    assert verdict.genuine
    assert [x.name for x in verdict.signers] == [city.expert.name]

    def look(uow):
        version = uow.reports.version(filed["version"])
        return version, uow.consultations.get(case).state, {x.channel: x.state for x in uow.reports.filings(case)}

    version, state, filings = await app[keys.WORK].read(look)
    assert version.pdf_digest == hashlib.sha256(pdf).hexdigest()
    assert version.content["answers"] == [{"n": 1, "text": WORDS}]
    assert state is m.State.DELIVERED
    assert filings == {"inbox": "filed", "archive": "pending"}


def verify_pdf_in_thread(pdf, settings):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(verify_pdf, pdf, roots=[settings.key_folder / ROOT_FILE]).result()


async def test_one_flipped_byte_anywhere_is_found(people, case, settings):
    filed = await signed(people.expert, case)
    async with people.doctor.get(f"/api/report-versions/{filed['version']}/pdf") as answer:
        pdf = await answer.read()
    for place in (len(pdf) // 7, len(pdf) // 3, len(pdf) // 2, len(pdf) - 900, len(pdf) - 2):
        broken = bytearray(pdf)
        broken[place] ^= 1
        assert not verify_pdf_in_thread(bytes(broken), settings).genuine, place


async def test_signing_asks_for_the_password_and_then_stays_unlocked_for_fifteen_minutes(people, case, app, city, clock):
    draft = await written(people.expert, case)
    path = f"/api/reports/{draft['id']}/sign"
    status, refused = await call(people.expert, "post", path, {"version": draft["version"]})
    assert (status, refused["code"]) == (403, "unlock_required")
    check = {"version": draft["version"], "check": True}
    assert await call(people.expert, "post", path, check) == (200, {"unlocked_until": None})
    status, refused = await call(people.expert, "post", path, {"version": draft["version"], "password": "wrong wrong"})
    assert (status, refused["code"]) == (403, "wrong_password")
    assert refused["fields"][0]["path"] == "password"
    status, _ = await call(people.expert, "post", path, {"version": draft["version"], "password": PASSWORD})
    assert status == 200
    for minutes, expected in ((14, 200), (2, 403)):
        clock.advance(minutes=minutes)
        other = (await app[keys.WORK].run(put_consultation, city, state=m.State.ACCEPTED, expert=True)).id
        draft = await written(people.expert, other)
        path = f"/api/reports/{draft['id']}/sign"
        status, asked = await call(people.expert, "post", path, {"version": draft["version"], "check": True})
        assert (status, asked["unlocked_until"] is not None) == (200, expected == 200)
        assert (await app[keys.WORK].read(lambda uow, x=other: uow.consultations.get(x))).state == m.State.REPORTING
        status, _ = await call(people.expert, "post", path, {"version": draft["version"]})
        assert status == expected


async def test_a_check_before_signing_tells_what_is_missing_and_signs_nothing_even_with_a_password(people, case, app):
    _, draft = await call(people.expert, "post", f"/api/consultations/{case}/report", {})
    path = f"/api/reports/{draft['id']}/sign"
    body = {"version": draft["version"], "check": True}
    status, refused = await call(people.expert, "post", path, body)
    assert (status, refused["fields"][0]["path"]) == (422, "answers.1")
    status, refused = await call(people.expert, "post", path, body | {"version": draft["version"] + 1})
    assert (status, refused["code"]) == (409, "stale")
    draft = await written(people.expert, case)
    status, asked = await call(people.expert, "post", path, {"version": draft["version"], "check": True, "password": PASSWORD})
    assert (status, asked) == (200, {"unlocked_until": None})
    assert not await app[keys.WORK].read(lambda uow: uow.reports.versions(case))


async def test_what_is_missing_is_named_by_its_field_and_nothing_is_signed(people, case, app):
    _, draft = await call(people.expert, "post", f"/api/consultations/{case}/report", {})
    content = {"findings": "窦性心律"}
    _, saved = await call(people.expert, "put", f"/api/reports/{draft['id']}", {"version": 0, "content": content})
    body = {"version": saved["version"], "password": PASSWORD}
    status, refused = await call(people.expert, "post", f"/api/reports/{draft['id']}/sign", body)
    assert status == 422
    assert [(x["path"], x["code"]) for x in refused["fields"]] == [("answers.1", "required")]
    assert not await app[keys.WORK].read(lambda uow: uow.reports.versions(case))


async def test_a_text_saved_meanwhile_is_neither_overwritten_nor_signed(people, case):
    draft = await written(people.expert, case)
    late = {"version": draft["version"] - 1, "content": {"findings": "旧"}}
    status, refused = await call(people.expert, "put", f"/api/reports/{draft['id']}", late)
    assert (status, refused["code"]) == (409, "stale")
    body = {"version": draft["version"] - 1, "password": PASSWORD}
    status, refused = await call(people.expert, "post", f"/api/reports/{draft['id']}/sign", body)
    assert (status, refused["code"]) == (409, "stale")
    _, now = await call(people.expert, "get", f"/api/reports/{draft['id']}")
    assert now["content"]["findings"] == "窦性心律"


async def test_only_its_author_writes_and_signs_and_a_stranger_learns_nothing(people, case):
    draft = await written(people.expert, case)
    for who, expected in (("doctor", 404), ("colleague", 404), ("expert2", 404), ("stranger", 404)):
        browser = getattr(people, who)
        status, _ = await call(browser, "get", f"/api/reports/{draft['id']}")
        assert status == expected, who
        status, refused = await call(browser, "post", f"/api/reports/{draft['id']}/sign", {"version": draft["version"], "password": PASSWORD})
        assert status in {403, 404}, who
        assert refused["code"] in {"not_allowed", "not_found"}
    filed = await signed(people.expert, case)
    for who, expected in (("doctor", 200), ("expert", 200), ("colleague", 404), ("expert2", 404), ("stranger", 404)):
        async with getattr(people, who).get(f"/api/report-versions/{filed['version']}/pdf") as answer:
            assert answer.status == expected, who


async def test_the_clinic_reads_and_acknowledges_and_the_expert_sees_both(people, case, app, city, clock):
    filed = await signed(people.expert, case)
    clock.advance(minutes=3)
    status, _ = await call(people.expert, "post", f"/api/report-versions/{filed['version']}/open", {})
    assert status == 200
    inbox = lambda uow: next(x for x in uow.reports.filings(case) if x.channel == "inbox")  # noqa: E731
    assert (await app[keys.WORK].read(inbox)).read_at is None
    status, opened = await call(people.doctor, "post", f"/api/report-versions/{filed['version']}/open", {})
    assert status == 200
    assert len(opened["pages"]) >= 1
    async with people.doctor.get(f"/api/report-versions/{filed['version']}/pages/1") as answer:
        assert (answer.status, answer.content_type) == (200, "image/jpeg")
    async with people.doctor.get(f"/api/report-versions/{filed['version']}/pages/99") as answer:
        assert answer.status == 404
    assert (await app[keys.WORK].read(inbox)).read_by == city.doctor.membership
    async with people.expert.get(f"/consultations/{case}/report", headers={"Accept": "text/html"}) as answer:
        assert "2026-11-22 14:03" in await answer.text()
    status, _ = await call(people.doctor, "post", f"/api/consultations/{case}/acknowledge", {})
    assert status == 200
    assert (await app[keys.WORK].read(inbox)).acknowledged_by == city.doctor.membership
    status, refused = await call(people.doctor, "post", f"/api/consultations/{case}/acknowledge", {})
    assert (status, refused["code"]) == (409, "wrong_state")


async def test_a_colleague_takes_over_with_a_reason_before_acknowledging(people, case):
    await signed(people.expert, case)
    acknowledge = f"/api/consultations/{case}/acknowledge"
    status, _ = await call(people.colleague, "post", acknowledge, {})
    assert status in {403, 404}
    async with people.colleague.get(f"/consultations/{case}/report", headers={"Accept": "text/html"}) as answer:
        text = await answer.text()
        assert answer.status == 200
        assert 'data-kind="take-over"' in text
        assert "周小雨" not in text
    status, _ = await call(people.colleague, "post", f"/api/consultations/{case}/take-over", {"reason": "同事休假"})
    assert status == 200
    status, _ = await call(people.colleague, "post", acknowledge, {})
    assert status == 200


async def test_an_amendment_makes_a_new_version_and_both_stay(people, case, app):
    first = await signed(people.expert, case)
    status, _ = await call(people.expert, "post", f"/api/consultations/{case}/amend", {"reason": ""})
    assert status == 422
    status, _ = await call(people.doctor, "post", f"/api/consultations/{case}/amend", {"reason": "x"})
    assert status == 403
    status, _ = await call(people.expert, "post", f"/api/consultations/{case}/amend", {"reason": "右侧误写为左侧"})
    assert status == 201
    second = await signed(people.expert, case, text="更正：右侧")
    assert second["n"] == 2
    versions = await app[keys.WORK].read(lambda uow: uow.reports.versions(case))
    assert [(x.n, x.status, x.reason) for x in versions] == [
        (1, m.ReportStatus.FINAL, ""), (2, m.ReportStatus.AMENDED, "右侧误写为左侧"),
    ]
    for version in (first, second):
        async with people.doctor.get(f"/api/report-versions/{version['version']}/pdf") as answer:
            assert answer.status == 200
    async with people.doctor.get(f"/consultations/{case}/report", headers={"Accept": "text/html"}) as answer:
        text = await answer.text()
    assert "第 1 版" in text
    assert "右侧误写为左侧" in text


async def test_an_addendum_leaves_what_was_signed_as_it_was(people, case, app):
    await signed(people.expert, case)
    await call(people.expert, "post", f"/api/consultations/{case}/append", {"reason": "肌钙蛋白结果回报"})
    _, draft = await call(people.expert, "post", f"/api/consultations/{case}/report", {})
    assert draft["revision"]["status"] == "appended"
    changed = {**draft["content"], "findings": "改了", "addendum": "阳性"}
    _, saved = await call(people.expert, "put", f"/api/reports/{draft['id']}", {"version": draft["version"], "content": changed})
    body = {"version": saved["version"], "password": PASSWORD}
    status, refused = await call(people.expert, "post", f"/api/reports/{draft['id']}/sign", body)
    assert status == 422
    assert refused["fields"][0]["code"] == "unchanged_when_appending"
    content = {**draft["content"], "addendum": "肌钙蛋白阳性"}
    _, saved = await call(people.expert, "put", f"/api/reports/{draft['id']}", {"version": saved["version"], "content": content})
    status, filed = await call(people.expert, "post", f"/api/reports/{draft['id']}/sign", {"version": saved["version"]})
    assert status == 200, filed
    async with people.doctor.get(f"/api/report-versions/{filed['version']}/text") as answer:
        text = await answer.text()
    assert "肌钙蛋白阳性" in text
    assert WORDS in text


async def test_a_revision_that_is_not_wanted_is_given_up(people, case):
    await signed(people.expert, case)
    await call(people.expert, "post", f"/api/consultations/{case}/amend", {"reason": "x"})
    status, refused = await call(people.expert, "post", f"/api/consultations/{case}/append", {"reason": "y"})
    assert (status, refused["code"]) == (409, "conflict")
    status, _ = await call(people.expert, "post", f"/api/consultations/{case}/drop-revision", {})
    assert status == 200
    status, _ = await call(people.expert, "post", f"/api/consultations/{case}/append", {"reason": "y"})
    assert status == 201


async def test_sign_and_next_names_the_next_report_of_mine_the_most_urgent_first(people, case, app, city):
    stat = await app[keys.WORK].run(
        put_consultation, city, state=m.State.REPORTING, expert=True, urgency=m.Urgency.STAT, name="急"
    )
    await app[keys.WORK].run(put_consultation, city, state=m.State.REPORTING, expert=True, urgency=m.Urgency.ROUTINE)
    await app[keys.WORK].run(put_consultation, city, state=m.State.REPORTING)
    filed = await signed(people.expert, case)
    assert filed["next"]["href"] == f"/consultations/{stat.id}/report"


async def test_the_preview_shows_the_paper_without_a_signature_and_to_its_author_alone(people, case, app, clock):
    draft = await written(people.expert, case)
    clock.advance(microseconds=7)  # the press takes whole seconds
    path = f"/api/reports/{draft['id']}/preview"
    status, made = await call(people.expert, "post", path, {"version": draft["version"]})
    assert status == 200, made
    picture = f"{path}/{draft['version']}/{made['key']}/1"
    async with people.expert.get(picture) as answer:
        assert (answer.status, answer.content_type) == (200, "image/jpeg")
    for who in ("doctor", "expert2"):
        async with getattr(people, who).get(picture) as answer:
            assert answer.status == 404
    assert not await app[keys.WORK].read(lambda uow: uow.reports.versions(case))


async def test_an_unfinished_draft_is_previewed_with_what_is_missing_marked_and_still_cannot_be_signed(
    people, case, app, city, monkeypatch
):
    from tests.paper.test_page import text_of

    stamps, plain = [], app[keys.SHEETS].of

    async def noted(key, pdf, *, stamp=""):
        stamps.append(stamp)
        return await plain(key, pdf, stamp=stamp)

    monkeypatch.setattr(app[keys.SHEETS], "of", noted)

    def author(uow):
        return people_of.actor_of(uow.people.staff(city.expert.staff), uow.people.membership(city.expert.membership))

    expert = await app[keys.WORK].read(author)

    async def printed() -> str:
        pdf, _missing = await app[keys.SIGNING].preview(expert, draft["id"], verify_url=lambda code: f"https://x/{code}")
        return "".join(text_of(pdf).split())

    _, draft = await call(people.expert, "post", f"/api/consultations/{case}/report", {})
    path = f"/api/reports/{draft['id']}"
    status, made = await call(people.expert, "post", f"{path}/preview", {"version": draft["version"]})
    assert (status, made["missing"]) == (200, ["answers.1"])
    assert "【尚未填写】" in await printed()
    status, _ = await call(people.expert2, "post", f"{path}/preview", {"version": draft["version"]})
    assert status == 404
    status, refused = await call(people.expert, "post", f"{path}/sign", {"version": draft["version"], "password": PASSWORD})
    assert (status, [x["path"] for x in refused["fields"]]) == (422, ["answers.1"])
    content = {"answers": [{"n": 1, "text": WORDS}]}
    _, saved = await call(people.expert, "put", path, {"version": draft["version"], "content": content})
    status, made = await call(people.expert, "post", f"{path}/preview", {"version": saved["version"]})
    assert (status, made["missing"]) == (200, [])
    assert "【尚未填写】" not in await printed()
    assert stamps == ["草稿 · 未填完", "预览 · 未签名"]


async def test_both_sides_are_told_the_moment_a_report_is_signed(people, case, app, city):
    draft = await written(people.expert, case)
    with app[keys.HUB].subscribe({f"inbox:{city.clinic}", f"consultation:{case}", "filing"}) as notes:
        status, _ = await call(
            people.expert, "post", f"/api/reports/{draft['id']}/sign", {"version": draft["version"], "password": PASSWORD}
        )
        assert status == 200
        heard = set()
        while not {f"inbox:{city.clinic}", f"consultation:{case}", "filing"} <= heard:
            heard.add((await notes.get()).topic)


async def test_there_is_one_way_into_the_inbox_and_its_tab_counts_what_waits_there(people, case):
    await signed(people.expert, case)
    page = {"Accept": "text/html"}
    async with people.doctor.get("/?tab=inbox", headers=page, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/inbox")
    async with people.doctor.get("/", headers=page) as answer:
        assert 'href="/inbox" data-tab="inbox"' in await answer.text()

    async def waiting() -> int:
        async with people.doctor.get("/api/shell") as answer:
            return (await answer.json())["counts"]["inbox"]

    assert await waiting() == 1
    assert (await call(people.doctor, "post", f"/api/consultations/{case}/acknowledge", {}))[0] == 200
    assert await waiting() == 0
    _, draft = await call(people.expert, "post", f"/api/consultations/{case}/amend", {"reason": "更正"})
    body = {"version": draft["version"], "password": PASSWORD}
    assert (await call(people.expert, "post", f"/api/reports/{draft['report']}/sign", body))[0] == 200
    assert await waiting() == 1                             # acknowledged long ago, and yet something new to read


async def test_the_inbox_shows_the_name_to_who_takes_part_alone(people, case):
    await signed(people.expert, case)
    page = {"Accept": "text/html"}
    async with people.doctor.get("/inbox", headers=page) as answer:
        assert "周小雨" in await answer.text()
    async with people.colleague.get("/inbox", headers=page) as answer:
        text = await answer.text()
        assert str(case) in text
        assert "周小雨" not in text
    async with people.stranger.get("/inbox", headers=page) as answer:
        assert str(case) not in await answer.text()
    async with people.expert.get("/inbox", headers=page) as answer:
        assert answer.status == 403


PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFUlEQVR4nGP8z8DAwMDAxAADMAoAFgQBAcb7pKYAAAAASUVORK5CYII="


async def test_a_picture_from_the_reading_room_joins_the_draft_if_it_is_of_this_consultation(people, case, app, city):
    image = {"studyUid": "1.2.3", "seriesUid": "1.2.3.1", "sopUid": "1.2.3.1.1", "frame": 2, "window": None, "dataUrl": PNG}
    path = f"/api/consultations/{case}/key-images"
    status, _ = await call(people.expert, "post", path, image)
    assert status == 404                                     # not a study of this consultation
    await app[keys.WORK].run(
        lambda uow: uow.consultations.add_share(
            m.StudyShare(consultation=case, study_uid="1.2.3", by=city.doctor.membership, since=uow.now)
        )
    )
    status, _ = await call(people.doctor, "post", path, image)
    assert status in {403, 404}
    status, refused = await call(people.expert, "post", path, image | {"dataUrl": "data:image/png;base64,AAAA"})
    assert status == 422
    for _turn in range(2):                                   # sent again after a lost answer: still one picture
        status, made = await call(people.expert, "post", path, image)
        assert status == 201, made
    draft = await app[keys.WORK].read(lambda uow: uow.reports.get(made["report"]))
    [entry] = draft.content["key_images"]
    assert (entry["sop_uid"], entry["frame"]) == ("1.2.3.1.1", 2)
    async with people.expert.get(f"/api/reports/{draft.id}/key-images/{entry['document']}") as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")
    async with people.expert.get(f"/api/reports/{draft.id}/key-images/{'0' * 64}") as answer:
        assert answer.status == 404
    async with people.expert2.get(f"/api/reports/{draft.id}/key-images/{entry['document']}") as answer:
        assert answer.status == 404
    assert refused["code"] in {"document_refused", "invalid"}


async def test_a_second_signature_is_given_to_exactly_the_text_that_was_read(people, case, app, city):
    draft = await written(people.expert, case)
    reviewer = {"membership": city.expert2.membership}
    status, _ = await call(people.expert, "post", f"/api/consultations/{case}/reviewer", reviewer)
    assert status == 200
    sign = f"/api/reports/{draft['id']}/sign"
    body = {"version": draft["version"], "password": PASSWORD}
    status, refused = await call(people.expert, "post", sign, body)
    assert (status, refused["code"]) == (409, "conflict")
    status, seen = await call(people.expert2, "post", f"/api/consultations/{case}/report", {})
    assert (status, seen["id"], seen["editable"]) == (200, draft["id"], False)
    status, _ = await call(people.expert2, "put", f"/api/reports/{draft['id']}", {"version": draft["version"], "content": {}})
    assert status == 403
    approve = f"/api/reports/{draft['id']}/approve"
    asked = await call(people.expert2, "post", approve, {"version": draft["version"], "check": True})
    assert asked == (200, {"unlocked_until": None})
    status, refused = await call(people.expert2, "post", approve, {"version": draft["version"]})
    assert (status, refused["code"]) == (403, "unlock_required")
    status, _ = await call(people.expert2, "post", approve, body)
    assert status == 200
    changed = {"version": draft["version"], "content": {"answers": [{"n": 1, "text": "改过"}]}}
    _, saved = await call(people.expert, "put", f"/api/reports/{draft['id']}", changed)
    status, refused = await call(people.expert, "post", sign, {"version": saved["version"], "password": PASSWORD})
    assert (status, refused["code"]) == (409, "conflict")
    status, _ = await call(people.expert2, "post", approve, {"version": saved["version"]})
    assert status == 200
    status, filed = await call(people.expert, "post", sign, {"version": saved["version"], "password": PASSWORD})
    assert status == 200, filed
    signatures = await app[keys.WORK].read(lambda uow: uow.reports.signatures(filed["version"]))
    assert {x.staff for x in signatures} == {city.expert.staff, city.expert2.staff}
