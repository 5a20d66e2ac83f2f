"""Click to first decoded remote frame, beside a bare call of two pages; opening a study to its first CT image.

Both sides hold their cameras before the click, in the room (after the precheck) and in the bare call alike; the two
kinds of run alternate in one browser.
"""

import time
from datetime import date, datetime
from pathlib import Path

from bench.common import Row, median
from consult import model as m
from dicom.specimens import Identity, new_uid, phantom
from server import keys
from server.auth.passwords import Passwords
from server.dicomweb.ports import ARCHIVE
from tests.chromium import CAMERA
from tests.realtime.stage import open_stage, until

FIRST_FRAME = """() => { window.firstFrame = 0; window.clicked = 0;
  const note = () => { window.clicked = performance.now(); };
  document.getElementById('enter').addEventListener('click', note, {capture: true});
  document.getElementById('remote').requestVideoFrameCallback(() => { window.firstFrame = performance.now(); }); }"""
HOLD = """async () => {
  window.stream = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480}, audio: true});
  return true; }"""
ANSWER = """() => { const wire = new BroadcastChannel('bare'); const peer = window.peer = new RTCPeerConnection();
  stream.getTracks().forEach((track) => peer.addTrack(track, stream));
  peer.onicecandidate = ({candidate}) => candidate && wire.postMessage({to: 'caller', candidate: candidate.toJSON()});
  wire.onmessage = async ({data}) => { if (data.to !== 'callee') return;
    if (data.offer) { await peer.setRemoteDescription(data.offer); await peer.setLocalDescription();
      wire.postMessage({to: 'caller', answer: peer.localDescription.toJSON()}); }
    else if (data.candidate) await peer.addIceCandidate(data.candidate); }; }"""
CALL = """() => new Promise((resolve) => { const clicked = performance.now();
  const wire = new BroadcastChannel('bare'); const peer = window.peer = new RTCPeerConnection();
  const video = document.createElement('video'); video.muted = true; video.autoplay = true; document.body.append(video);
  video.requestVideoFrameCallback(() => resolve(performance.now() - clicked));
  peer.ontrack = ({streams}) => { video.srcObject = streams[0]; };
  stream.getTracks().forEach((track) => peer.addTrack(track, stream));
  peer.onicecandidate = ({candidate}) => candidate && wire.postMessage({to: 'callee', candidate: candidate.toJSON()});
  wire.onmessage = async ({data}) => { if (data.to !== 'caller') return;
    if (data.answer) await peer.setRemoteDescription(data.answer);
    else if (data.candidate) await peer.addIceCandidate(data.candidate); };
  peer.setLocalDescription().then(() => wire.postMessage({to: 'callee', offer: peer.localDescription.toJSON()})); })"""
SLICES = 30


async def rows(folder: Path, *, quick: bool) -> list[Row]:
    folder.mkdir()
    images = []
    async with open_stage(folder, Passwords(), flags=(CAMERA.format(30),)) as (stage, browser):
        uid = await put_study(stage)
        first = await first_frames(
            stage, browser, runs=3 if quick else 20,
            seated="Boolean(room.material.viewer?.currentImage())",         # they sit before the images
        )
        for n in range(2 if quick else 7):
            images.append(await first_image(stage, browser, uid, f"image{n}"))
    return [
        first,
        Row(name="consultation page to first CT image on screen", unit="ms", ours=median(images),
            note="software drawing"),
    ]  # fmt: skip


async def first_frames(stage, browser, *, runs: int, seated: str = "window.room.stage === 'in'") -> Row:
    """The doctor comes in `runs` times to an expert for whom `seated` holds, in turns with a bare call."""
    ours, bare = [], []
    expert = await stage.enter(await stage.open(browser, "expert"))
    await until(expert, seated, seconds=120)
    for n in range(runs):
        bare.append(await bare_call(browser, stage.url))
        ours.append(await room_call(stage, browser, f"doctor{n}"))
    for name, times in (("room", ours), ("bare call", bare)):
        print(f"  {name}: {' '.join(f'{one:.0f}' for one in times)} ms", flush=True)
    await stage.contexts.pop("expert").close()
    return Row(name="click to first decoded remote frame, beside a bare call", unit="ms", ours=median(ours),
               peer=median(bare), goal=1.2)


async def bare_call(browser, url: str) -> float:
    context = await browser.new_context(permissions=["camera", "microphone"])
    caller, callee = await context.new_page(), await context.new_page()
    for page in (caller, callee):
        await page.goto(f"{url}/login")
        await page.evaluate(HOLD)
    await callee.evaluate(ANSWER)
    taken = await caller.evaluate(CALL)
    await context.close()
    return float(taken)


async def room_call(stage, browser, name: str) -> float:
    """The doctor comes in while the expert is there: seat, signalling, negotiation, first frame."""
    stage.city.people[name] = stage.city.doctor
    page = await stage.open(browser, name)
    await until(page, "document.getElementById('enter') && !document.getElementById('enter').disabled")
    await page.wait_for_timeout(1500)   # the camera is held, the precheck has settled
    await page.evaluate(FIRST_FRAME)
    await page.locator("#enter").click()
    await until(page, "window.firstFrame > 0", seconds=60)
    taken = await page.evaluate("window.firstFrame - window.clicked")
    await stage.contexts.pop(name).close()
    return float(taken)


async def put_study(stage) -> str:
    """A synthetic CT of the consultation's patient, through the archive's own door."""
    uid, series = new_uid(), new_uid()
    identity = Identity(
        name="测试患者", patient_id="BENCH", birth_date=date(1968, 1, 1), sex="M",
        study_at=datetime(2026, 11, 22, 9, 0), study_description="胸部平扫",
    )  # fmt: skip
    await stage.app[keys.ARCHIVE_STARTED].wait()
    for data in phantom(identity, study_uid=uid, series_uid=series, slices=SLICES):
        result = await stage.app[ARCHIVE].ingest(data, organisation=stage.city.clinic, source="bench")
        assert result.outcome == "stored", result

    def share(uow) -> None:
        uow.consultations.add_share(
            m.StudyShare(consultation=stage.consultation, study_uid=uid, by=None, since=uow.now)
        )

    await stage.app[keys.WORK].run(share)
    return uid


async def first_image(stage, browser, uid: str, name: str) -> float:
    """From the click on the study to an image of it in the viewer's canvas."""
    stage.city.people[name] = stage.city.expert
    page = await stage.open(browser, name)
    await page.goto(f"{stage.url}/consultations/{stage.consultation}")
    link = page.locator(f"[data-study='{uid}'] a.case-open")
    await link.wait_for()
    await page.wait_for_timeout(800)
    begun = time.perf_counter()
    await link.click()
    await page.wait_for_url("**/studies/**", wait_until="commit")
    await until(page, "Boolean(window.viewer?.currentImage?.())", seconds=60)
    taken = (time.perf_counter() - begun) * 1000
    await stage.contexts.pop(name).close()
    return taken
