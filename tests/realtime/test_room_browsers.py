"""The room in two real browsers: decoded frames, audio energy, reloads, a cut socket, a server restart."""

import asyncio
from dataclasses import replace

import pytest

from consult import model as m
from server import keys
from server.auth.passwords import Passwords
from tests.realtime.stage import Stage, choose, flows, open_stage, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
UFRAG = "() => /a=ice-ufrag:(\\S+)/.exec(window.room.call.peer.pc.localDescription.sdp)[1]"


@pytest.fixture
async def room(tmp_path, passwords: Passwords, speaking):
    async with open_stage(tmp_path, passwords, await speaking.browser()) as (stage, browser):
        yield stage, browser


async def both(room):
    stage, browser = room
    doctor = await stage.enter(await stage.open(browser, "doctor"))
    expert = await stage.enter(await stage.open(browser, "expert"))
    return stage, doctor, expert


async def seats(stage: Stage):
    def read(uow):
        session = uow.meetings.running(stage.consultation)
        return session.id, [(x.membership, x.state) for x in uow.meetings.seats(session.id)]

    return await stage.app[keys.WORK].read(read)


async def test_both_sides_see_and_hear_each_other_and_only_finish_ends_it(room):
    stage, doctor, expert = await both(room)
    for page in (doctor, expert):
        await flows(page)
    await until(doctor, "document.getElementById('line').textContent === '网络良好'")

    # chat with delivery marks
    await doctor.get_by_role("tab", name="聊天").click()
    await doctor.get_by_label("写消息").fill("患者已在诊室")
    await doctor.get_by_label("写消息").press("Enter")
    await doctor.get_by_text("已送达").wait_for()
    await expert.get_by_role("tab", name="聊天").click()
    await expert.get_by_text("患者已在诊室").wait_for()

    # muted on one side is said on the other
    await doctor.locator("#mute").click()
    await expert.get_by_text("对方已静音").wait_for()
    await doctor.locator("#mute").click()

    # the signalling socket is cut: media flows on, the socket returns, nothing is asked
    before = await seats(stage)
    epoch = await doctor.evaluate("window.room.signalling.epoch")
    await doctor.evaluate("window.room.signalling.socket.close()")
    await until(doctor, "window.room.signalling.up === false")
    await flows(doctor)
    await until(doctor, "window.room.signalling.up === true")
    assert await doctor.evaluate("window.room.signalling.epoch") == epoch
    name = await expert.evaluate("window.room.call.peer.name")
    await flows(expert)
    assert await expert.evaluate("window.room.call.peer.name") == name

    # either browser reloads: the same seat of the same session, no click
    await doctor.reload()
    await until(doctor, "window.room && window.room.stage === 'in'")
    for page in (doctor, expert):
        await flows(page)
    await expert.reload()
    await until(expert, "window.room && window.room.stage === 'in'")
    for page in (doctor, expert):
        await flows(page)
    assert await seats(stage) == before

    # finish asks, and can be taken back
    await expert.locator("#finish").click()
    await expert.get_by_role("dialog").get_by_role("button", name="结束会诊").click()
    await until(doctor, "window.room.stage === 'ended'")
    assert await stage.state() is m.State.REPORTING
    await doctor.get_by_role("button", name="撤销结束").click()
    for page in (doctor, expert):
        await until(page, "window.room.stage === 'in'")
        await flows(page)
    assert (await seats(stage))[0] == before[0]
    assert stage.problems == []


async def test_after_a_server_restart_both_are_back_within_five_seconds_without_a_click(room):
    stage, doctor, expert = await both(room)
    for page in (doctor, expert):
        await flows(page)
    before = await seats(stage)
    await stage.stop()
    for page in (doctor, expert):
        await until(page, "window.room.signalling.up === false")
        await flows(page)                       # media does not need the server
    await stage.start()
    async with asyncio.timeout(5):
        for page in (doctor, expert):
            await until(page, "window.room.signalling.up === true")
    for page in (doctor, expert):
        await flows(page)
    assert await seats(stage) == before
    await doctor.get_by_role("tab", name="聊天").click()
    await doctor.get_by_label("写消息").fill("重启之后")
    await doctor.get_by_label("写消息").press("Enter")
    await doctor.get_by_text("已送达").wait_for()


async def test_an_invited_colleague_waits_reads_why_and_is_let_in_with_keys_alone(room):
    stage, browser = room
    expert = await stage.enter(await stage.open(browser, "expert"))
    await expert.get_by_role("tab", name="成员").click()
    await expert.get_by_label("邀请同事或专家").fill(stage.city.colleague.name)
    found = expert.locator(".room-found li").filter(has_text=stage.city.colleague.name)
    await found.get_by_role("button", name="邀请").press("Enter")
    await expert.get_by_text("已邀请，还没有来").wait_for()
    await expert.get_by_label("还要等多久").select_option("5")
    await expert.get_by_label("说一句话").fill("正在看片")
    await expert.get_by_label("说一句话").press("Enter")

    guest = await stage.open(browser, "colleague", path="/")
    await guest.locator("#alerts summary").click()
    await guest.get_by_role("link", name="邀请您参加会诊").click()
    await guest.locator("#enter").click()
    await guest.get_by_text("正在看片").wait_for()
    await guest.get_by_text("前后请您进入（约 5 分钟）").wait_for()
    assert await guest.get_by_text("是否需要转上级医院").count() == 0

    await expert.get_by_role("dialog").get_by_role("button", name="请进").press("Enter")
    await guest.get_by_text("是否需要转上级医院").wait_for()       # what a guest reads while admitted
    await until(guest, "window.room?.stage === 'in'")
    await expert.locator(".room-people").get_by_text(stage.city.colleague.name).wait_for()
    await expert.locator(".room-people").get_by_role("button", name="移出").press("Enter")
    await expert.get_by_label("原因").fill("说完了")
    await expert.get_by_role("dialog").get_by_role("button", name="移出").press("Enter")
    await until(guest, "window.room.stage === 'closed'")
    assert stage.problems == []


async def test_a_refused_camera_leaves_a_voice_call_and_says_so(room):
    stage, browser = room
    doctor = await stage.open(browser, "doctor")
    await doctor.evaluate("""() => {
        const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = (wanted) => wanted.video
            ? Promise.reject(new DOMException('refused', 'NotAllowedError')) : real(wanted);
        window.room.devices.acquire();
    }""")
    await doctor.get_by_text("浏览器没有允许使用摄像头").wait_for()
    await stage.enter(doctor)
    expert = await stage.enter(await stage.open(browser, "expert"))
    await expert.get_by_text("对方没有打开画面，正在语音通话").wait_for()
    await until(doctor, "window.room.call.peer.state === 'connected'")
    await until(doctor, """async () => [...(await window.room.call.peer.stats()).values()]
        .some((row) => row.type === 'inbound-rtp' && row.kind === 'video' && row.framesDecoded > 5)""")
    energy = """async () => [...(await window.room.call.peer.stats()).values()]
        .find((row) => row.type === 'inbound-rtp' && row.kind === 'audio')?.totalAudioEnergy > 0"""
    await until(expert, energy)


async def test_a_clinic_on_a_thin_line_sends_no_more_than_its_limit_and_is_sent_no_more(room):
    stage, browser = room
    clinic = await stage.app[keys.WORK].run(lambda uow: uow.people.save_organisation(
        replace(uow.people.organisation(stage.city.clinic), room_kbps=100)
    ))
    assert clinic.room_kbps == 100
    doctor = await stage.enter(await stage.open(browser, "doctor"))
    expert = await stage.enter(await stage.open(browser, "expert"))
    for page in (doctor, expert):
        await until(page, "window.room.call?.ladder.cap === 100")
    await flows(doctor)
    await doctor.click("#line-menu")
    assert await doctor.inner_text("#line-place") == "本机构限定每个席位每秒 100 千比特。"
    await doctor.keyboard.press("Escape")
    await expert.click("#line-menu")
    assert await expert.locator("#line-place").count() == 0
    assert stage.problems == []


async def test_pictures_come_back_after_speech_alone_although_the_path_was_restarted_meanwhile(room):
    stage, doctor, expert = await both(room)
    for page in (doctor, expert):
        await flows(page)
    for page in (doctor, expert):
        await choose(page, "speech")
        await until(page, "room.call.rung === 'audio' && !room.call.peer.sending.picture")
    for page in (doctor, expert):       # either side offers, the other answers while it sends no picture
        before = await page.evaluate(UFRAG)
        await page.evaluate("room.call.peer.restart()")
        await until(page, f"({UFRAG})() !== '{before}' && room.call.peer.pc.signalingState === 'stable'")
    for page in (doctor, expert):
        assert await page.evaluate("room.call.peer.pc.getSenders().every((x) => x.track?.kind !== 'video' || !x.getParameters().encodings[0].active)")
    for page in (doctor, expert):
        await choose(page, "auto")
    for page in (doctor, expert):
        await flows(page)
    assert stage.problems == []


async def test_a_second_tab_takes_the_seat_and_the_first_is_told(room):
    stage, doctor, expert = await both(room)
    await flows(expert)
    second = await stage.contexts["doctor"].new_page()
    await second.goto(doctor.url)
    await stage.enter(second)
    await doctor.get_by_text("已在另一个窗口打开").wait_for()
    await flows(second)
    await flows(expert)


async def test_a_silent_path_is_restarted_and_after_fifteen_seconds_both_see_the_telephone_numbers(room):
    stage, doctor, expert = await both(room)
    for page in (doctor, expert):
        await flows(page)
    before = await doctor.evaluate(UFRAG)
    for page in (doctor, expert):
        # Heartbeats get lost on the way and nothing else comes, as on a path that is cut.
        await page.evaluate("() => { const { peer } = window.room.call; peer.beat = () => {}; peer.received = async () => 0; }")
    await until(doctor, "document.getElementById('line').textContent.startsWith('通话中断，正在重新连接')")
    await until(doctor, f"({UFRAG})() !== '{before}'")
    for page in (doctor, expert):
        await until(page, "document.getElementById('line').textContent.startsWith('音视频不通，请用电话沟通')", seconds=40)
        await page.locator("#absent").get_by_text("0571-88880000").first.wait_for()
    assert await stage.state() is m.State.IN_SESSION
    for page in (doctor, expert):
        await page.evaluate("() => { const { peer } = window.room.call; delete peer.beat; delete peer.received; }")
    for page in (doctor, expert):
        await until(page, "/^网络/.test(document.getElementById('line').textContent)")
        await flows(page)


async def test_the_page_has_no_han_character_in_english_and_fits_a_phone(room):
    stage, browser = room
    doctor = await stage.open(browser, "doctor", size=(390, 844), lang="en")
    await stage.enter(doctor)
    for tab in ("Imaging", "Questions", "Chat", "Material"):
        await doctor.get_by_role("tab", name=tab).click()
    text = await doctor.evaluate("""() => {
        const own = ['.banner', '.topbar', '.room-questions', '.room-summary', '.room-name', '.room-phones', '[data-user]'];
        const copy = document.body.cloneNode(true);
        for (const node of copy.querySelectorAll([...own, 'script'].join())) node.remove();
        return copy.textContent + [...copy.querySelectorAll('*')].flatMap(
            (node) => [...node.attributes].map((attribute) => attribute.value)).join(' ');
    }""")
    assert [x for x in text if "\u4e00" <= x <= "\u9fff"] == []
    assert await doctor.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert stage.problems == []
