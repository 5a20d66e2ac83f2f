"""How good a call was, on the consultation's page and in the API, in both languages."""

from __future__ import annotations

import re

import pytest

from consult import attending, line_quality
from consult.line_sums import RTT_STEPS, SeatLine
from server import keys
from tests.conftest import sign_in
from tests.realtime.stage import build_case


@pytest.fixture
async def case(app, city):
    """A session that is over: the doctor's line was thin and broke once, the expert's was well."""

    def build(uow):
        case = build_case(uow, city)
        actors = {who: uow.people.membership(getattr(city, who).membership) for who in ("doctor", "expert")}
        people = {
            who: attending.Actor(
                membership=x.id, staff=x.staff, organisation=x.organisation, role=x.role, name=who
            ) for who, x in actors.items()
        }
        session = attending.open_session(uow, actor=people["doctor"], consultation=case)
        lines = []
        for who, more in (
            ("doctor", {
                "setup_ms": 1240, "video_ms": 60_000, "audio_ms": 9_000, "turn_ms": 69_000, "concealed_ms": 1_800,
                "freezes": 3, "falls": 2, "breaks": 1, "silent_ms": 12_000, "restarts": 2, "sent": 12_300_000,
                "rtt": (0,) * 8 + (20,) + (0,) * (len(RTT_STEPS) - 8),
            }),
            ("expert", {"video_ms": 69_000, "turn_ms": 69_000}),
        ):
            seat = attending.take_seat(uow, actor=people[who], session=session.id)
            attending.admit(uow, actor=people[who], seat=seat.id)
            attending.save_precheck(
                uow, actor=people[who], seat=seat.id,
                result={"why": "slow", "rtt_ms": 900, "grade": "fair"} if who == "doctor" else {"why": ["<b>"]},
            )
            lines.append(SeatLine(seat=seat.id, session=session.id, heard_ms=60_000, **more))
        line_quality.add_lines(uow, lines)
        attending.finish_session(uow, actor=people["expert"], session=session.id)
        return case

    return await app[keys.WORK].run(build)


async def test_the_page_says_it_in_one_sentence_and_the_rest_for_whoever_asks(client, city, case):
    await sign_in(client, city.expert.login)
    async with client.get(f"/consultations/{case}") as answer:
        text = await answer.text()
    card = text[text.index('id="calls"'):]
    card = card[:card.index("</article>")]
    for words in (
        "语音偶有断续，画面降级 2 次，断线 1 次，共 0 秒。",       # never longer than the session was
        "1.2 秒", "3.0%", "清晰画面 1 分 0 秒 · 仅语音 9 秒", "经中继服务器 1 分 9 秒", "12.3 MB",
        "网络较慢（往返 900 毫秒），预计以语音为主。", "恢复通路 2 次，重建连接 0 次",
    ):
        assert words in card, words
    assert card.count('scope="col"') == 2
    async with client.get(f"/consultations/{case}?lang=en") as answer:
        english = await answer.text()
    assert "Speech broken now and then, picture lowered 2×, cut off 1×" in english


async def test_the_api_gives_figures_and_nobody_else_is_told(client, city, case, open_browser):
    await sign_in(client, city.doctor.login)
    async with client.get(f"/api/consultations/{case}/quality") as answer:
        (session,) = (await answer.json())["sessions"]
    assert (session["speech"], session["falls"], session["breaks"]) == ("fair", 2, 1)
    doctor = next(x for x in session["seats"] if x["part"] == "referring")
    line = doctor["line"]
    assert (line["setup_ms"], line["concealed"], line["rungs_ms"]["audio"]) == (1240, 0.03, 9000)
    assert 56 <= line["rtt_ms"]["median"] <= 80
    assert doctor["precheck"]["grade"] == "fair"
    stranger = await open_browser()
    await sign_in(stranger, city.dispatcher.login)
    async with stranger.get(f"/api/consultations/{case}/quality") as answer:
        assert answer.status == 404
    async with stranger.get(f"/consultations/{case}") as answer:
        assert not re.search(r'id="calls"', await answer.text())
