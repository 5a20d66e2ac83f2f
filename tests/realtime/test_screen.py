"""The screen instead of the camera's picture: what the other decodes is the screen, and the camera comes back."""

import pytest

from server.auth.passwords import Passwords
from tests.realtime.stage import flows, open_stage, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
# The fake camera and the fake screen look alike; the test pattern in the camera's place is grey here, the screen green.
RED = """(() => {
  const video = document.getElementById('remote');
  const canvas = Object.assign(document.createElement('canvas'), { width: 100, height: 100 });
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 100, 100);
  return context.getImageData(6, 40, 1, 1).data[0];
})()"""
SMALL = (1030, 640)
CAMERA, SCREEN = f"{RED} > 170", f"{RED} < 120"


@pytest.fixture
async def room(tmp_path, passwords: Passwords, speaking):
    async with open_stage(tmp_path, passwords, await speaking.browser()) as (stage, browser):
        yield stage, browser


async def share(page) -> None:
    await page.locator("#more summary").press("Enter")
    await page.get_by_role("button", name="共享屏幕", exact=True).press("Enter")
    await page.get_by_text("其他病人的信息不要露出").wait_for()
    await page.get_by_role("button", name="选择要共享的窗口").press("Enter")
    await page.get_by_text("您正在共享屏幕").wait_for()


async def test_the_screen_takes_the_cameras_place_large_at_the_other_side_and_the_camera_comes_back(room):
    stage, browser = room
    doctor = await stage.enter(await stage.open(browser, "doctor", size=SMALL))
    expert = await stage.enter(await stage.open(browser, "expert", size=SMALL))
    await expert.evaluate("window.room.devices.camera(false)")              # one way is enough to look at
    await doctor.evaluate("window.room.devices.usePattern()")
    await until(expert, CAMERA)
    connection = await expert.evaluate("window.room.call.peer.name")

    # the screen is what is decoded: sharp, few pictures a second
    await share(doctor)
    await expert.get_by_text("对方正在共享屏幕").wait_for()
    await until(expert, SCREEN)
    await until(expert, "document.getElementById('remote').videoHeight > 500")
    sent = await doctor.evaluate("""() => {
        const sender = window.room.call.peer.pc.getSenders().find((x) => x.track?.kind === 'video');
        return { fps: sender.getParameters().encodings[0].maxFramerate, hint: sender.track.contentHint };
    }""")
    assert sent["fps"] <= 5
    assert sent["hint"] == "detail"

    # over the images on demand, and back
    await expert.get_by_role("button", name="放大到影像区").press("Enter")
    await until(expert, "document.getElementById('video').offsetWidth > 500")
    await expert.keyboard.press("Escape")
    await until(expert, "document.getElementById('video').offsetWidth < 500")

    # the button ends it: the camera is back on the same connection
    await doctor.get_by_role("button", name="停止共享", exact=True).press("Enter")
    await until(expert, CAMERA)
    await flows(expert)
    assert await expert.get_by_text("对方正在共享屏幕").count() == 0
    assert await expert.evaluate("window.room.call.peer.name") == connection

    # so does the browser's own bar, and the end of the session
    await share(doctor)
    await expert.get_by_text("对方正在共享屏幕").wait_for()
    await doctor.evaluate("window.room.devices.screen.dispatchEvent(new Event('ended'))")
    await expert.get_by_text("对方正在共享屏幕").wait_for(state="detached")
    await share(doctor)
    await doctor.evaluate("window.kept = window.room.devices.screen")
    await expert.evaluate("window.room.signalling.send('finish')")
    await until(doctor, "window.room.stage === 'ended'")
    assert await doctor.evaluate("window.kept.readyState") == "ended"
    assert stage.problems == []
