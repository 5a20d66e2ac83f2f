"""A sharp picture in the room: over a line that breaks and a page that is loaded anew, byte for byte, at both sides."""

import io

import pytest
from PIL import Image

from server import keys
from server.auth.passwords import Passwords
from tests.realtime.stage import Stage, open_stage, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PIECES = "**/api/pictures/*?offset=*"


@pytest.fixture
async def room(tmp_path, passwords: Passwords, speaking):
    async with open_stage(tmp_path, passwords, await speaking.browser()) as (stage, browser):
        yield stage, browser


def photo(path, *, side: int):
    """Noise does not compress: about 1.1 bytes for each pixel."""
    out = io.BytesIO()
    Image.effect_noise((side, side), 90).convert("RGB").save(out, "JPEG", quality=90)
    path.write_bytes(out.getvalue() + b"what the camera wrote")
    return path


async def originals(stage: Stage) -> list[bytes]:
    """What the camera gave of every document of the consultation, in their order."""
    found = await stage.app[keys.WORK].read(lambda uow: uow.consultations.documents(stage.consultation))
    return [stage.app[keys.BLOBS].read(x.original) for x in found]


class Line:
    """Lets `most` pieces through, then none until it is mended."""

    def __init__(self, most: int) -> None:
        self.most, self.through = most, []

    async def __call__(self, route):
        if len(self.through) >= self.most:
            await route.abort()
        else:
            self.through.append(route.request.url)
            await route.continue_()


async def choose(page, path, title: str) -> None:
    await page.get_by_role("button", name="发送清晰图").click()
    await page.locator("#still-file").set_input_files(path)
    await page.get_by_label("说明").fill(title)
    await page.locator(".still-taken:not([hidden])").wait_for()
    await page.get_by_role("dialog").get_by_role("button", name="发送", exact=True).click()


async def test_a_picture_arrives_whole_over_a_cut_line_and_after_a_reload_and_opens_at_the_other_side(room, tmp_path):
    stage, browser = room
    doctor = await stage.enter(await stage.open(browser, "doctor"))
    expert = await stage.enter(await stage.open(browser, "expert"))
    assert await expert.locator("#still").count() == 0                 # material is the clinic's to give

    # cut in the middle: both sides see how far it is, and it goes on by itself
    first = photo(tmp_path / "a.jpg", side=700)
    line = Line(2)
    await doctor.route(PIECES, line)
    await choose(doctor, first, "右手背伤口")
    await doctor.get_by_text("网络中断，清晰图还没有发完").wait_for()
    assert len(line.through) == 2
    await expert.get_by_text(f"{stage.city.doctor.name}正在发来清晰图").wait_for()
    assert await originals(stage) == []
    await doctor.unroute(PIECES)
    await doctor.get_by_text("清晰图已送达").wait_for()
    assert await originals(stage) == [first.read_bytes()]

    # the other side opens it; it stands among the material at both
    await expert.get_by_text(f"{stage.city.doctor.name}发来一张清晰图").wait_for()
    await expert.get_by_role("button", name="打开").click()
    await until(expert, "document.querySelector('#stage .document-page')?.naturalWidth === 700")
    for page in (doctor, expert):
        await page.get_by_role("tab", name="右手背伤口").wait_for()

    # the page is loaded anew in the middle
    second = photo(tmp_path / "b.jpg", side=600)
    line = Line(1)
    await doctor.route(PIECES, line)
    await choose(doctor, second, "")
    await doctor.get_by_text("网络中断").wait_for()
    await doctor.reload()
    await until(doctor, "window.room && window.room.stage === 'in'")
    await doctor.unroute(PIECES)
    await doctor.get_by_text("清晰图已送达").wait_for()
    assert (await originals(stage))[1:] == [second.read_bytes()]

    # from the camera, by its own photograph or a frame of it
    await doctor.get_by_role("button", name="发送清晰图").click()
    await doctor.get_by_role("button", name="拍摄").click()
    await doctor.get_by_role("button", name="重拍").wait_for()
    await doctor.get_by_role("dialog").get_by_role("button", name="发送", exact=True).click()
    await until(expert, "document.querySelectorAll('#picker [role=tab]').length === 3")
    taken = Image.open(io.BytesIO((await originals(stage))[2]))
    assert taken.width >= 640

    # nothing is left behind in the browser, and a file of another kind is refused in words
    await until(doctor, """async () => {
        const open = indexedDB.open('huizhen-pictures');
        const base = await new Promise((resolve) => { open.onsuccess = () => resolve(open.result); });
        const all = base.transaction('pictures').objectStore('pictures').count();
        const count = await new Promise((resolve) => { all.onsuccess = () => resolve(all.result); });
        base.close();
        return count === 0;
    }""")
    await doctor.get_by_role("button", name="发送清晰图").click()
    await doctor.locator("#still-file").set_input_files(
        files=[{"name": "a.heic", "mimeType": "image/heic", "buffer": b"\0\0\0\x18ftypheic" + bytes(64)}]
    )
    await doctor.get_by_text("这是 HEIC 格式的照片").wait_for()
    assert [x for x in stage.problems if "ERR_FAILED" not in x] == []
