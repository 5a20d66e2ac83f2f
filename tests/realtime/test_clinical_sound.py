"""Sound and picture of an examination between two browsers: original sound, the curtain, a word about echo, a device that
loses its microphone to a telephone call, its loudspeaker, or the screen.
"""

from __future__ import annotations

import wave

import numpy as np
import pytest

from server.auth.passwords import Passwords
from tests.chromium import Chromium
from tests.realtime.stage import flows, open_stage, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LEFT, RIGHT = 80, 130      # Hz, as heart sounds are: what speech processing takes for hum


def write_heart(path):
    """Two seconds of a steady low tone in each channel beneath a voice-like buzz in both."""
    rate = 48000
    t = np.arange(rate * 2) / rate
    voice = sum(np.sin(2 * np.pi * 200 * k * t) / k for k in range(1, 12)) * np.clip(np.sin(2 * np.pi * 3 * t), 0, None)
    channels = [0.3 * np.sin(2 * np.pi * hertz * t) + 0.1 * voice for hertz in (LEFT, RIGHT)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.stack(channels, axis=1) * 26000).astype("<i2").tobytes())
    return path


SENT = """async () => {
  const rows = await window.room.call.peer.stats();
  const out = [...rows.values()].find((row) => row.type === 'outbound-rtp' && row.kind === 'audio');
  const codec = rows.get(out?.codecId);
  const {echoCancellation, noiseSuppression, autoGainControl} = window.room.devices.audio.getSettings();
  const sender = window.room.call.peer.pc.getSenders().find(({track}) => track?.kind === 'audio');
  return {codec: codec?.mimeType, fmtp: codec?.sdpFmtpLine ?? '', processed: [echoCancellation, noiseSuppression, autoGainControl],
          most: sender.getParameters().encodings[0].maxBitrate};
}"""
HEARD = """async () => {
  const context = window.ears ??= new AudioContext();
  await context.resume();
  const track = window.room.call.peer.pc.getReceivers().find(({track}) => track.kind === 'audio').track;
  const source = context.createMediaStreamSource(new MediaStream([track]));
  const split = context.createChannelSplitter(2);
  source.connect(split);
  const ears = [0, 1].map((channel) => {
    const ear = context.createAnalyser();
    ear.fftSize = 16384;
    ear.smoothingTimeConstant = 0;
    split.connect(ear, channel);
    return ear;
  });
  await new Promise((resolve) => setTimeout(resolve, 500));
  const levels = ears.map((ear) => {
    const bins = new Float32Array(ear.frequencyBinCount);
    ear.getFloatFrequencyData(bins);
    const at = (hertz) => bins[Math.round(hertz * ear.fftSize / context.sampleRate)];
    return [at(80), at(130)];
  });
  source.disconnect();
  return levels;   // [left: [80 Hz, 130 Hz], right: …] in dB
}"""


PICTURE = """() => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [8, 8];
  const ink = canvas.getContext('2d');
  ink.drawImage(document.getElementById('remote'), 0, 0, 8, 8);
  const [red, green, blue] = ink.getImageData(0, 0, 1, 1).data;
  return blue > green && green > red ? 'curtain' : green > 100 && blue < 60 ? 'camera' : `${red} ${green} ${blue}`;
}"""
ECHO = """() => {
  const { echo } = window.room.clinical;
  echo.rooms.forget();
  const now = performance.now();
  let level = -58;
  for (let at = 0; at < 240; at += 1) {      // twelve seconds of a voice that comes back after 200 ms, 10 dB weaker
    window.voice ??= [];
    if (at % 3 === 0) level = Math.random() < 0.3 ? -58 : -18 - 20 * Math.random();
    window.voice.push(level);
    echo.take(level, (window.voice[at - 4] ?? -80) - 10, now - (240 - at) * 50);
  }
  window.room.clinical.draw();
}"""
STEADY = """() => {      // a busy machine is no bad line
  const { call } = window.room;
  Object.assign(call.ladder, { at: 0, trial: null, hush: false, capacity: Infinity, hear: () => false });
  call.shape();
}"""
NOTES = "document.querySelector('.room-notes').textContent"


@pytest.fixture
async def pair(tmp_path, passwords: Passwords):
    chromium = Chromium(f"--use-file-for-fake-audio-capture={write_heart(tmp_path / 'heart.wav')}")
    try:
        async with open_stage(tmp_path, passwords, await chromium.browser()) as (stage, browser):
            doctor = await stage.enter(await stage.open(browser, "doctor"))
            expert = await stage.enter(await stage.open(browser, "expert"))
            for page in (doctor, expert):
                page.set_default_timeout(45_000)
            yield stage, doctor, expert
    finally:
        await chromium.close()


async def press(page, name):
    """An entry of the menu for what is needed now and then."""
    await page.locator("#more summary").press("Enter")
    await page.locator("#more").get_by_role("button", name=name).press("Enter")


async def examined(doctor, expert):
    """Original sound on and off, held by the ladder, heard in two channels; then the curtain, across a reload too."""
    await doctor.evaluate(STEADY)
    await press(doctor, "传送原声")
    await until(doctor, f"async () => (await ({SENT})()).fmtp.includes('stereo=1')")
    await until(doctor, f"async () => (await ({SENT})()).most === 128000")
    sent = await doctor.evaluate(SENT)
    assert (sent["codec"], sent["processed"]) == ("audio/opus", [False, False, False])
    assert {"maxaveragebitrate=128000", "usedtx=0"} <= set(sent["fmtp"].split(";"))
    await until(expert, f"""async () => {{ const [left, right] = await ({HEARD})();
        return left[0] > left[1] + 20 && right[1] > right[0] + 20 && left[0] > -40 && right[1] > -40; }}""")
    await doctor.get_by_text("原声：不消回声，请戴耳机").wait_for()
    await expert.get_by_text("对方正在传送原声").wait_for()

    await doctor.evaluate("window.room.call.choose({ mode: 'speech', kbps: 0 })")
    await doctor.get_by_text("线路不够传送原声").wait_for()
    await until(expert, f"!{NOTES}.includes('原声')")
    await until(doctor, f"async () => (await ({SENT})()).most <= 32000")
    await doctor.evaluate("window.room.call.choose({ mode: 'clear', kbps: 0 })")
    await expert.get_by_text("对方正在传送原声").wait_for()

    await doctor.get_by_role("button", name="关闭原声").first.press("Enter")
    await until(doctor, f"async () => !(await ({SENT})()).fmtp.includes('stereo=1')")
    assert (await doctor.evaluate(SENT))["processed"] == [True, True, True]
    await until(expert, f"{NOTES} === ''")

    await until(expert, f"({PICTURE})() === 'camera'")
    await doctor.evaluate("window.camera = window.room.devices.video")
    await doctor.keyboard.press("b")
    assert await doctor.evaluate("[window.camera.readyState, window.room.devices.video.drawn]") == ["ended", True]
    await until(expert, f"({PICTURE})() === 'curtain'")
    await expert.get_by_text("对方正在检查，画面已遮挡").wait_for()
    await flows(expert)                                     # the sound goes on, and so does the curtain
    await doctor.reload(wait_until="commit")
    await until(doctor, "window.room?.stage === 'in' && window.room.devices.video?.drawn")
    await doctor.get_by_text("画面已遮挡，对方看不到").wait_for()
    await flows(expert)
    assert await expert.evaluate(PICTURE) == "curtain"
    await press(doctor, "恢复画面")
    await until(expert, f"({PICTURE})() === 'camera' && document.getElementById('absent').hidden")


async def unsettled(doctor, expert):
    """Echo, devices that come and go, the screen, a telephone call on the same device."""
    await until(doctor, "window.room.clinical.echo.incoming.level(window.room.call.peer.pc) > -50")
    await doctor.evaluate(ECHO)
    note = doctor.locator("[data-note=echo]")
    await note.get_by_text("好像有两台设备在同一房间").wait_for()
    await note.get_by_role("button", name="关麦克风").press("Enter")
    await expert.get_by_text("对方已静音").wait_for()
    assert await note.count() == 0
    await doctor.keyboard.press("m")

    await doctor.evaluate("""async () => {
        const { devices } = window.room;
        const real = await navigator.mediaDevices.enumerateDevices();
        const named = (kind, deviceId, label) => ({ kind, deviceId, label, groupId: '' });
        window.plugged = [...real, named('audioinput', 'stethoscope', '听诊器')];
        navigator.mediaDevices.enumerateDevices = async () => window.plugged;
        devices.chosen.output = 'gone';
        navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
    }""")
    await doctor.get_by_text("接上了另一个麦克风“听诊器”").wait_for()
    await doctor.get_by_role("button", name="改用它").wait_for()
    await doctor.get_by_text("声音改由系统默认的扬声器播放").wait_for()
    assert await doctor.evaluate("[window.room.devices.chosen.output, document.getElementById('sound').sinkId]") == ["", ""]
    await doctor.evaluate("""() => {
        window.unplugged = window.room.devices.audio;
        const { deviceId } = window.unplugged.getSettings();
        window.plugged = window.plugged.filter((device) => device.deviceId !== deviceId);
        navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
    }""")
    await doctor.get_by_text("已断开，已改用").wait_for()
    assert await doctor.evaluate("window.unplugged.readyState === 'ended' && window.room.devices.audio.readyState === 'live'")

    devtools = await doctor.context.new_cdp_session(doctor)      # what people are not asked for, tests have to grant
    context = (await devtools.send("Target.getTargetInfo"))["targetInfo"]["browserContextId"]
    await devtools.send("Browser.setPermission", {
        "permission": {"name": "screen-wake-lock"}, "setting": "granted", "browserContextId": context,
    })
    await doctor.evaluate("window.room.clinical.awake.back()")
    await until(doctor, "window.room.clinical.awake.lock !== null")
    await doctor.evaluate("() => { window.awake = window.room.clinical.awake.lock; return window.awake.release(); }")
    await until(doctor, "window.room.clinical.awake.lock !== null && window.room.clinical.awake.lock !== window.awake")

    await doctor.evaluate("""() => {
        window.said = [];
        new MutationObserver(() => window.said.push(document.querySelector('.room-notes').textContent))
            .observe(document.querySelector('.room-notes'), { childList: true, subtree: true });
        window.taken = window.room.devices.audio;
        Object.defineProperty(window.taken, 'muted', { value: true });
        window.taken.dispatchEvent(new Event('mute'));
    }""")
    await doctor.get_by_text("麦克风被来电或系统占用").wait_for()
    await doctor.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await until(doctor, f"window.room.devices.audio !== window.taken && {NOTES} === ''")
    assert await doctor.evaluate("window.said.some((text) => text.includes('通话打断了会诊，正在恢复'))")
    await flows(expert)


async def test_an_examination_is_heard_as_it_sounds_and_seen_only_when_it_may_be(pair):
    stage, doctor, expert = pair
    for page in (doctor, expert):
        await flows(page)
    await examined(doctor, expert)
    await unsettled(doctor, expert)
    assert stage.problems == []
