"""One walk through every page of the demo city in a language: its words, axe-core's findings and, when asked, a picture.

`visited(lang)` walks once for a whole test run; the tests of accessibility, of English and of the guide look at what
it brought back. `HUIZHEN_GUIDE=1` (`make docs`) has it take the pictures of docs/guide/.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image, ImageDraw, ImageFilter
from playwright.async_api import BrowserContext, Page, async_playwright

from dicom.model import Scope
from server import demo
from server.app import create_app
from server.auth.passwords import Passwords
from server.demo.seeding import PASSWORD
from server.dicomweb.ports import ARCHIVE
from server.serving import runner_of
from server.settings import Settings
from tests.browser.conftest import DESKTOP, WATCH_CSP
from tests.browser.playing import NOWHERE, chinese, until
from tests.chromium import FLAGS, KEEP_PICTURE
from tests.needs import need_chromium

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide" / "screenshots"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
MOST_BYTES = 150_000
GUIDED = bool(os.environ.get("HUIZHEN_GUIDE"))
NOT_IN_GUIDE = frozenset({"request-new", "verify", "not-found", "recordings"})     # twins of a page, or empty
# For a picture of the guide. What axe-core looks at is there once one is in; that two see each other, and how the page
# says that they do not, is told by tests/realtime.
SEES_THE_OTHER = """(() => {
  const video = document.getElementById('remote');
  if (room.call?.condition !== 'good' || !document.getElementById('absent').hidden || !video.videoWidth) return false;
  const pen = new OffscreenCanvas(8, 8).getContext('2d');
  pen.drawImage(video, 0, 0, 8, 8);
  return pen.getImageData(0, 0, 8, 8).data[0] > 100; // the wall, not the black before the first picture
})()"""
CAMERA = "HD Webcam"
NAME_CAMERA = """(() => {
  // Chromium calls a camera that plays a file by the file's path.
  const { get } = Object.getOwnPropertyDescriptor(MediaDeviceInfo.prototype, 'label');
  const label = { get() { return get.call(this).replace(/^.*[/]|[.]y4m$/g, ''); } };
  Object.defineProperty(MediaDeviceInfo.prototype, 'label', label);
})()"""
WCAG = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
WORDED = {"type": "rule", "values": [
    "aria-command-name", "aria-dialog-name", "aria-input-field-name", "aria-toggle-field-name", "button-name",
    "document-title", "frame-title", "html-has-lang", "html-lang-valid", "image-alt", "input-button-name", "label",
    "link-name", "select-name", "summary-name", "svg-img-alt", "valid-lang",
]}  # fmt: skip
"""What can differ between two languages of one page: names and the language itself. All else is asked in Chinese."""
RUN_AXE = """async (only) => (await axe.run(document, {resultTypes: ['violations'], runOnly: only})).violations
  .filter((x) => ['serious', 'critical'].includes(x.impact))
  .map((x) => `${x.id}: ${x.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' — ' + n.any.map((a) => a.message).join('; ').slice(0, 160)).join(' | ')}`)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One page: who looks at it, where, when it is ready, and what is done before one looks."""

    name: str
    who: str | None
    path: str
    ready: str = "main"
    act: Callable[[Page], Awaitable[Any]] | None = None
    beside: Stop | None = None
    """What somebody else has open before, and until one has looked."""
    status: int = 200


@dataclass(slots=True)
class Visit:
    """What the walk saw of a page."""

    name: str
    han: list[str] = field(default_factory=list)
    axe: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    failed: str = ""


class Facts:
    """Where the demo city's things are: looked up by state and person, never by a fixed id."""

    def __init__(self, database: Path) -> None:
        self.database = database

    def ask(self, sql: str, *values: Any) -> list[tuple]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, values).fetchall()

    def cases(self, state: str, part: str, *, more: str = "1") -> list[tuple[str, str]]:
        """(login, consultation) of everybody who has that part now in a consultation in that state."""
        return self.ask(
            "select s.login, c.id from consultation c join participant p on p.consultation = c.id and p.until is null "
            "join membership w on w.id = p.membership join staff s on s.id = w.staff "
            f"where c.state = ? and p.part = ? and {more} order by c.number", state, part,
        )  # fmt: skip

    def case(self, state: str, part: str, *, more: str = "1") -> tuple[str, str]:
        """The first of them."""
        return self.cases(state, part, more=more)[0]


def stops(facts: Facts, archive: Any) -> list[Stop]:
    """Every page, with somebody to whom it is of use."""
    drafter, draft = facts.case("draft", "referring")
    returner, returned = facts.case("returned", "referring")
    [(offered,)] = facts.ask(
        "select c.id from consultation c join offer o on o.consultation = c.id and o.outcome = 'open' join staff s on s.login = "
        "'chenyaning' join membership w on w.staff = s.id and (o.membership = w.id or (o.membership is null and "
        "o.organisation = w.organisation)) where c.state = 'offered' order by c.number limit 1"
    )  # fmt: skip
    writer, writing = facts.case("reporting", "expert", more="exists (select 1 from study_share x where x.consultation = c.id)")
    receiver, delivered = facts.case("delivered", "referring")
    teller, told = facts.case("feedback", "referring")
    meeter, meeting = facts.case("in_session", "expert")
    seen_by, talk = facts.case(
        "checked_in", "expert", more="exists (select 1 from study_share x where x.consultation = c.id)"
    )
    [asker] = [login for login, case in facts.cases("checked_in", "referring") if case == talk]
    with_paper = facts.ask(
        "select s.login, c.id from consultation c join participant p on p.consultation = c.id and p.until is null and "
        "p.part = 'referring' join membership w on w.id = p.membership join staff s on s.id = w.staff join document d on "
        "d.consultation = c.id and d.voided_at is null and d.kind not in ('signature', 'consent') "
        "where c.state not in ('draft') order by c.number"
    )[0]  # fmt: skip
    [(code,)] = facts.ask("select code from report_version order by signed_at desc limit 1")
    [(order,)] = facts.ask(
        "select e.id from exam_order e join staff s on s.login = 'sunqiang' join membership w on w.staff = s.id and "
        "w.organisation = e.ordering order by e.at limit 1"
    )  # fmt: skip
    [(patient, registrar)] = facts.ask(
        "select c.patient, s.login from consultation c join membership w on w.id = c.requested_by join staff s on s.id = "
        "w.staff where c.state = 'delivered' order by c.number limit 1"
    )  # fmt: skip
    reading = {kind: _study(facts, archive, kind) for kind in ("CT", "ECG")}

    async def register(page: Page) -> None:
        await page.click("#register")
        await page.wait_for_selector("dialog[open] #f-name")

    async def look_for(page: Page) -> None:
        await page.fill("#finder input", "z")
        await page.wait_for_selector(".found-list li")

    async def see_image(page: Page) -> None:
        await until(page, "Boolean(window.viewer?.currentImage())", seconds=40)
        await page.evaluate("viewer.settled()")
        await until(page, "!document.querySelector('.vw-palette button').disabled")

    async def see_tracing(page: Page) -> None:
        await until(page, "Boolean(window.viewer?.ecg()?.geometry())", seconds=40)

    async def checked(page: Page) -> None:
        await until(page, "!document.querySelector('.room-verdict')?.hidden", seconds=30)

    async def entered(page: Page) -> None:
        await page.click("#enter")
        await until(page, "window.room?.stage === 'in'", seconds=30)

    async def together(page: Page) -> None:
        await entered(page)
        await until(page, "document.querySelector('#stage .vw-palette button')?.disabled === false", seconds=40)
        if GUIDED:
            await until(page, SEES_THE_OTHER, seconds=40)

    async def previewed(page: Page) -> None:
        await page.click("#preview")
        await page.wait_for_selector("dialog[open] img")

    async def tell(page: Page) -> None:
        await page.click("[data-kind=feedback]")
        await page.wait_for_selector("dialog[open] .feedback-form, dialog[open] form")

    async def open_paper(page: Page) -> None:
        await page.locator(".thumb").first.click()
        await page.wait_for_selector("dialog[open] .document-box img")

    sheets = "#sheets img"
    waiting = Stop(name="room", who=asker, path=f"/consultations/{talk}/room", ready="#enter", act=entered)
    return [
        Stop(name="login", who=None, path="/login", ready="#login-form"),
        Stop(name="worklist-clinic", who="zhoumin", path="/", ready="#worklist"),
        Stop(name="worklist-expert", who="chenyaning", path="/", ready="#worklist"),
        Stop(name="worklist-technician", who="sunqiang", path="/", ready="#worklist"),
        Stop(name="worklist-dispatcher", who="donghai", path="/", ready="#worklist"),
        Stop(name="patients", who="zhoumin", path="/patients", ready="#finder input", act=look_for),
        Stop(name="register", who="zhoumin", path="/patients", ready="#register", act=register),
        Stop(name="patient", who=registrar, path=f"/patients/{patient}"),
        Stop(name="request-new", who="zhoumin", path="/consultations/new", ready="#finder input"),
        Stop(name="request", who=drafter, path=f"/consultations/{draft}/edit", ready="#questions textarea"),
        Stop(name="request-returned", who=returner, path=f"/consultations/{returned}/edit", ready="#questions textarea"),
        Stop(name="stat", who="zhoumin", path="/consultations/new?urgency=stat", ready="#f-target-organisation option"),
        Stop(name="orders", who="sunqiang", path="/orders"),
        Stop(name="order-new", who="sunqiang", path="/orders/new", ready="#suggestions button"),
        Stop(name="order", who="sunqiang", path=f"/orders/{order}", ready="#accession"),
        Stop(name="upload", who="sunqiang", path="/upload", ready="#drop"),
        Stop(name="studies", who="sunqiang", path="/studies"),
        Stop(name="unmatched", who="sunqiang", path="/studies/unmatched", ready="#study dl"),
        Stop(name="quarantine", who="sunqiang", path="/studies/quarantine"),
        Stop(name="corrections", who="sunqiang", path="/studies/corrections"),
        Stop(name="fetch", who="sunqiang", path="/studies/fetch"),
        Stop(name="consultation-offered", who="chenyaning", path=f"/consultations/{offered}", ready="#case"),
        Stop(name="consultation", who=writer, path=f"/consultations/{writing}", ready="#case"),
        Stop(name="document", who=with_paper[0], path=f"/consultations/{with_paper[1]}", ready=".thumb", act=open_paper),
        Stop(name="image", who=reading["CT"][0], path=reading["CT"][1], act=see_image),
        Stop(name="ecg", who=reading["ECG"][0], path=reading["ECG"][1], act=see_tracing),
        Stop(name="precheck", who=meeter, path=f"/consultations/{meeting}/room", ready="#enter", act=checked),
        Stop(name="report-writing", who=writer, path=f"/consultations/{writing}/report", ready="#f-answers-1"),
        Stop(name="report-preview", who=writer, path=f"/consultations/{writing}/report", ready="#preview", act=previewed),
        Stop(name="inbox", who="zhoumin", path="/inbox"),
        Stop(name="report", who=receiver, path=f"/consultations/{delivered}/report", ready=sheets),
        Stop(name="feedback", who=teller, path=f"/consultations/{told}", ready="[data-kind=feedback]", act=tell),
        Stop(name="verify", who=None, path="/verify", ready="#code"),
        Stop(name="verify-code", who=None, path=f"/verify/{code}", ready="#verdict"),
        Stop(name="staff", who="wufang", path="/admin/staff"),
        Stop(name="organisations", who="fengrui", path="/admin/organisations"),
        Stop(name="devices", who="wufang", path="/admin/devices"),
        Stop(name="tokens", who="wufang", path="/admin/tokens"),
        Stop(name="forwards", who="wufang", path="/admin/forwards"),
        Stop(name="audit", who="jiangyi", path="/audit"),
        Stop(name="recordings", who="jiangyi", path="/recordings"),
        Stop(name="place", who="tangyun", path="/place"),
        Stop(name="password", who="zhoumin", path="/password"),
        # Last: afterwards both have a session that is under way.
        Stop(name="room", who=seen_by, path=f"/consultations/{talk}/room", ready="#enter", act=together, beside=waiting),
        Stop(name="not-found", who="zhoumin", path="/consultations/nowhere", status=404),
    ]


def _study(facts: Facts, archive: Any, modality: str) -> tuple[str, str]:
    """(expert, address) of a study of that kind that an expert may read."""
    rows = facts.ask(
        "select s.login, c.id, x.study_uid from consultation c join participant p on p.consultation = c.id and p.until is "
        "null and p.part = 'expert' join membership w on w.id = p.membership join staff s on s.id = w.staff join "
        "study_share x on x.consultation = c.id and x.until is null where c.state in ('accepted', 'scheduled', "
        "'checked_in', 'in_session', 'async_review', 'reporting') order by c.number"
    )  # fmt: skip
    for login, consultation, uid in rows:
        row = archive.study(Scope(studies=frozenset({uid})), uid)
        if row is not None and modality in row.modalities:
            return login, f"/studies/{uid}?consultation={consultation}"
    raise AssertionError(f"the demo city has no {modality} for an expert to read")


class Walk:
    """The demo city on a port, and a browser that goes through it in one language."""

    def __init__(self, lang: str, app: web.Application, port: int, browser) -> None:
        self.lang, self.app, self.port, self.browser = lang, app, port, browser
        self.people: dict[str | None, BrowserContext] = {}
        self.pages: dict[str | None, Page] = {}
        self.trouble: list[str] = []
        self.origin = f"http://localhost:{port}"

    async def person(self, login: str | None) -> BrowserContext:
        if login not in self.people:
            context = await self.browser.new_context(
                viewport={"width": DESKTOP[0], "height": DESKTOP[1]},
                locale="en-GB" if self.lang == "en" else "zh-CN", timezone_id="Asia/Shanghai", reduced_motion="reduce",
            )  # fmt: skip
            context.set_default_timeout(45_000)
            await context.add_init_script(WATCH_CSP)
            await context.add_init_script(NAME_CAMERA)
            await context.add_init_script(KEEP_PICTURE)
            if login is not None:
                answer = await context.request.post(
                    f"{self.origin}/api/login", data={"login": login, "password": PASSWORD}, headers={"Origin": self.origin}
                )
                assert answer.ok, f"{login}: {await answer.text()}"
            self.people[login] = context
        return self.people[login]

    async def page(self, login: str | None) -> Page:
        """The page that person has open: going on in it costs half of what a new one does."""
        if login not in self.pages:
            page = self.pages[login] = await (await self.person(login)).new_page()
            page.on("console", lambda said: said.type in {"error", "warning"} and self.note(f"{said.text} {said.location['url']}"))
            page.on("pageerror", lambda error: self.note(f"page error: {error}"))
        return self.pages[login]

    def note(self, text: str) -> None:
        self.trouble.append(text)

    async def visit(self, stop: Stop) -> Visit:
        seen = Visit(stop.name)
        self.trouble = seen.trouble
        stay = {stop.who, stop.beside.who} if stop.beside else {stop.who}
        for who in self.pages.keys() - stay:
            await self.pages.pop(who).close()       # nobody is left behind to listen and ring
        try:
            for there in (stop.beside, stop):
                if there is not None:
                    await self.arrive(await self.page(there.who), there)
            await self.look(self.pages[stop.who], stop, seen)
        except Exception as error:
            seen.failed = f"{type(error).__name__}: {error}"[:600]
        if stop.status != 200:
            seen.trouble = [x for x in seen.trouble if f"status of {stop.status}" not in x]
        return seen

    async def arrive(self, page: Page, stop: Stop) -> None:
        answer = await page.goto(self.origin + stop.path)
        assert answer.status == stop.status, f"{stop.path}: {answer.status}"
        await page.wait_for_selector(stop.ready, state="attached")
        if stop.act is not None:
            await stop.act(page)
        await page.wait_for_load_state("networkidle") if stop.who is None else await asyncio.sleep(0.2)

    async def look(self, page: Page, stop: Stop, seen: Visit) -> None:
        if GUIDED:
            GUIDE.mkdir(parents=True, exist_ok=True)
            (GUIDE / f"{stop.name}-{self.lang}.png").write_bytes(small_png(await page.screenshot()))
            return
        if self.lang == "en":
            seen.han = await chinese(page)
        await page.evaluate(AXE.read_text(encoding="utf-8"))
        seen.axe = await page.evaluate(RUN_AXE, WCAG if self.lang == "zh" else WORDED)


def film(path: Path) -> Path:
    """What the camera sees: somebody drawn, before a wall; YUV4MPEG2 in 4:2:0."""
    width, height = 640, 360
    picture = Image.new("RGB", (width, height), "#c9d3d6")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 300, width, height), fill="#8a7f74")
    pen.rectangle((60, 40, 190, 170), fill="#e6ecee", outline="#a9b5b9", width=4)
    pen.ellipse((175, 225, 465, 560), fill="#f4f6f7")
    pen.polygon(((290, 228), (350, 228), (320, 300)), fill="#6f93a8")
    pen.rectangle((298, 190, 342, 242), fill="#d9a98a")
    pen.ellipse((258, 62, 382, 190), fill="#2f2a2a")
    pen.ellipse((268, 84, 372, 214), fill="#e3b596")
    for x in (298, 342):
        pen.ellipse((x - 5, 136, x + 5, 146), fill="#2f2a2a")
    pen.arc((300, 158, 340, 188), 20, 160, fill="#9c5f50", width=4)
    luma, *chroma = picture.filter(ImageFilter.SMOOTH).convert("YCbCr").split()
    frame = b"FRAME\n" + luma.tobytes() + b"".join(x.resize((width // 2, height // 2)).tobytes() for x in chroma)
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420mpeg2\n".encode() + 2 * frame)
    return path


def small_png(data: bytes) -> bytes:
    """The picture with as many colours as fit into MOST_BYTES."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    for colours in (256, 128, 64, 32, 16):
        out = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= MOST_BYTES:
            break
    return out.getvalue()


def served(data: Path) -> web.AppRunner:
    """The application over that data folder."""
    settings = Settings(data=data, port=0, demo=True)
    return runner_of(create_app(settings, passwords=Passwords(memory_kib=64, passes=1), background=False))


_city: list[Path] = []


async def seeded() -> Path:
    """The data folder of a demo city nobody has walked through yet; seeded once, for both languages."""
    if not _city:
        folder = Path(tempfile.mkdtemp(prefix="huizhen-city-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        runner = served(folder / "data")
        await runner.setup()
        said: list[str] = []
        await demo.seed(runner.app, said.append)
        await runner.cleanup()
        _city.append(folder / "data")
    return _city[0]


async def walk(lang: str) -> list[Visit]:
    """Goes through every page of a fresh copy of the demo city."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="huizhen-tour-")))
        shutil.copytree(await seeded(), folder / "data")
        runner = served(folder / "data")
        app = runner.app
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        facts = Facts(folder / "data" / "huizhen.sqlite3")
        playwright = await stack.enter_async_context(async_playwright())
        camera = f"--use-file-for-fake-video-capture={film(folder / f'{CAMERA}.y4m')}"
        browser = await playwright.chromium.launch(executable_path=need_chromium(), args=[*FLAGS, NOWHERE, camera])
        stack.push_async_callback(browser.close)
        walking = Walk(lang, app, runner.addresses[0][1], browser)
        left_out = NOT_IN_GUIDE if GUIDED else frozenset()
        return [await walking.visit(x) for x in stops(facts, app[ARCHIVE]) if x.name not in left_out]


_seen: dict[str, list[Visit]] = {}


async def visited(lang: str) -> list[Visit]:
    """What one walk in that language saw; walked at the first question of a test run."""
    if lang not in _seen:
        _seen[lang] = await walk(lang)
    return _seen[lang]
