"""Two Chromium profiles with a fake camera and spoken sound before the real server, which can be stopped and restarted."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page

from consult import model as m
from consult import patient as p
from consult.people import OrganisationId
from server import keys
from server.app import create_app
from server.auth.passwords import Passwords
from server.serving import runner_of
from server.settings import Ice, Media, Recorder, Settings
from tests.chromium import KEEP_PICTURE, Chromium
from tests.city import PASSWORD, City, build_city


def write_speech(path: Path) -> Path:
    """Two seconds of a voice-like sound: a 140 Hz buzz with formants, broken into syllables. Beeps would be cancelled."""
    rate = 48000
    t = np.arange(rate * 2) / rate
    syllable = np.sqrt(np.clip(np.sin(2 * np.pi * 3 * t), 0, None))
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / (1 + abs(140 * k - 600) / 200) for k in range(1, 20))
    samples = np.clip(voice * syllable * 0.25, -1, 1) * 26000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def build_case(uow, city: City, *, number: str = "HZ20261122-0001") -> m.ConsultationId:
    """A consultation of the city's doctor and expert that is checked in, with two questions."""
    patient = p.PatientId(uow.new_id())
    uow.patients.add(p.Patient(
        id=patient, name="测试患者", sex=p.Sex.MALE, birth_date=uow.now.date().replace(year=1968),
        allergies="青霉素", registered_by=city.clinic, created_at=uow.now,
    ))
    identity = m.ConsultationId(uow.new_id())
    uow.consultations.add(m.Consultation(
        id=identity, number=number, patient=patient, organisation=OrganisationId(city.clinic),
        requested_by=city.doctor.membership, service=m.Service.CLINICAL, mode=m.Mode.LIVE,
        target_organisation=city.hospital, target_membership=city.expert.membership, state=m.State.CHECKED_IN,
        state_since=uow.now, created_at=uow.now,
    ))
    uow.consultations.put_request(m.RequestVersion(
        consultation=identity, n=1, saved_by=city.doctor.membership, saved_at=uow.now,
        content={"purpose": "胸痛待查，是否需要转诊", "complaint": "反复胸痛 3 天", "history": "活动后加重，休息缓解。"},
    ))
    uow.consultations.put_questions(identity, (
        m.Question(consultation=identity, n=1, text="是否需要转上级医院？"),
        m.Question(consultation=identity, n=2, text="抗凝药物是否需要调整？"),
    ))
    for person, part in ((city.doctor, m.Part.REFERRING), (city.expert, m.Part.EXPERT)):
        uow.consultations.add_participant(m.Participant(
            consultation=identity, membership=person.membership, part=part, since=uow.now
        ))
    return identity


@dataclass
class Stage:
    """The server on one port and data folder, the city, one consultation that is checked in."""

    data: Path
    passwords: Passwords
    ice: Ice = field(default_factory=Ice)
    media: Media = field(default_factory=Media)
    recording: Recorder = field(default_factory=Recorder)
    city: City | None = None
    consultation: m.ConsultationId | None = None
    port: int = 0
    gate: int = 0                # a port that passes on to ours, which browsers take instead
    runner: web.AppRunner | None = None
    app: web.Application | None = None
    contexts: dict[str, BrowserContext] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.gate or self.port}"

    async def start(self) -> None:
        self.app = create_app(
            Settings(
                data=self.data, host="127.0.0.1", port=self.port, ice=self.ice, media=self.media,
                recording=self.recording,
            ),
            passwords=self.passwords,
        )
        self.runner = runner_of(self.app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        await self.runner.cleanup()

    async def build(self) -> None:
        hashed = self.passwords.hash_now(PASSWORD)
        self.city = await self.app[keys.WORK].run(build_city, hashed)
        self.consultation = await self.app[keys.WORK].run(build_case, self.city)
        self.app[keys.SETUP_CODE].clear()       # the installation has its people

    async def state(self) -> m.State:
        return (await self.app[keys.WORK].read(lambda uow: uow.consultations.get(self.consultation))).state

    async def open(
        self, browser: Browser, who: str, *, size=(1366, 768), permissions=True, lang="zh", path: str = "",
        keep_picture=True,
    ) -> Page:
        """A signed-in page of the room (or of another path) for one person."""
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]}, locale="zh-CN" if lang == "zh" else "en-GB",
            permissions=["camera", "microphone"] if permissions else [],
        )
        self.contexts[who] = context
        if keep_picture:
            await context.add_init_script(KEEP_PICTURE)
        person = getattr(self.city, who)
        answer = await context.request.post(
            f"{self.url}/api/login", data={"login": person.login, "password": PASSWORD}, headers={"Origin": self.url}
        )
        assert answer.ok, await answer.text()
        page = await context.new_page()
        page.on("console", lambda line: self.note(who, line.type, f"{line.text} {line.location['url']}"))
        page.on("pageerror", lambda error: self.note(who, "error", str(error)))
        await page.goto(self.url + (path or f"/consultations/{self.consultation}/room"))
        return page

    def note(self, who: str, kind: str, text: str) -> None:
        if kind == "error" or "Content Security Policy" in text:
            self.problems.append(f"{who}: {text}")

    async def enter(self, page: Page) -> Page:
        """Through the precheck."""
        await page.locator("#enter").click()
        await until(page, "window.room.stage === 'in'")
        return page


@asynccontextmanager
async def open_stage(
    tmp_path: Path, passwords: Passwords, shared: Browser | None = None, *, flags: tuple[str, ...] = (),
    ice: Ice | None = None, media: Media | None = None, recording: Recorder | None = None,
) -> AsyncIterator[tuple[Stage, Browser]]:
    """A stage before a browser with a speaking microphone: the shared one, or one of its own with `flags` more."""
    stage = Stage(
        data=tmp_path / "data", passwords=passwords, ice=ice or Ice(), media=media or Media(),
        recording=recording or Recorder(),
    )
    await stage.start()
    await stage.build()
    own = None if shared else speaking_chromium(tmp_path, *flags)
    try:
        yield stage, shared or await own.browser()
    finally:
        for context in stage.contexts.values():
            await context.close()
        if own is not None:
            await own.close()
        await stage.stop()


def speaking_chromium(folder: Path, *flags: str) -> Chromium:
    """A Chromium whose fake microphone speaks."""
    return Chromium(f"--use-file-for-fake-audio-capture={write_speech(folder / 'speech.wav')}", *flags)


async def until(page: Page, condition: str, *, arg=None, seconds: float = 45) -> None:
    """Polls a condition in the page. (Playwright's own waiting needs eval inside the page, which our CSP forbids.)"""
    script = condition if condition.startswith(("async", "(")) else f"() => {condition}"
    try:
        async with asyncio.timeout(seconds):
            while not await page.evaluate(script, arg):  # noqa: ASYNC110 - the page has no event to wait for
                await asyncio.sleep(0.05)
    except TimeoutError:
        state = await page.evaluate(STATE)
        raise AssertionError(f"not within {seconds} s: {condition}\n{state}") from None


async def choose(page: Page, mode: str) -> None:
    """Picture and speech, in the menu, as a person does."""
    await page.locator("#line-menu").click()
    await page.get_by_label("画面与语音").select_option(mode)
    await page.get_by_role("button", name="完成").click()


STATE = """() => window.room && ({stage: room.stage, up: room.signalling?.up, ended: room.signalling?.ended,
  line: document.getElementById('line')?.textContent, peer: room.call?.peer.state, name: room.call?.peer.name,
  silent: room.call?.silent, seats: [...room.seats.values()].map((s) => [s.name, s.state, s.connected])})"""
STATS = """async () => {
  const rows = [...(await window.room.call.peer.stats()).values()];
  const of = (kind) => rows.find((row) => row.type === 'inbound-rtp' && row.kind === kind) ?? {};
  return {frames: of('video').framesDecoded ?? 0, energy: of('audio').totalAudioEnergy ?? 0,
          samples: of('audio').totalSamplesReceived ?? 0};
}"""


async def flows(page: Page) -> dict:
    """Waits until decoded frames and audio energy have risen from now on; the later reading."""
    await until(page, "window.room.call?.peer.state === 'connected'")
    before = await page.evaluate(STATS)
    try:
        await until(
            page,
            f"""async (before) => {{ const now = await ({STATS})(); return now.frames > before.frames + 5
                && now.energy > before.energy; }}""",
            arg=before,
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\nbefore: {before}\nnow: {await page.evaluate(STATS)}") from None
    return await page.evaluate(STATS)
