"""The clinic's box: devices store in it, it carries everything to the city, and dies when it likes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import msgspec
import pytest

from server import keys
from server.app import create_app
from server.dicomweb.ports import ARCHIVE
from server.gateway import PLACE, check, open_gateway
from server.settings import Dimse, Gateway, GatewayDevice, Settings, SettingsError
from tests.archive.files import make
from tests.network.conftest import dcmtk
from tests.network.test_forwarding import there  # noqa: F401 a fixture

CT = GatewayDevice(title="CT1", address="127.0.0.1")


def settings_of(tmp_path, **gateway) -> Settings:
    given = {"url": "https://city.example/dicom-web", "token": "abc", "devices": (CT,)} | gateway
    return Settings(data=tmp_path / "box", dimse=Dimse(port=11112), gateway=Gateway(**given))


@pytest.mark.parametrize(("wrong", "named"), [
    ({"url": "http://city.example"}, "gateway.url"), ({"token": ""}, "gateway.token"), ({"devices": ()}, "gateway.devices"),
    ({"devices": (GatewayDevice(title="CT1"),)}, "address"), ({"compression": "jpeg"}, "gateway.compression"),
])  # fmt: skip
def test_what_is_missing_is_named(tmp_path, wrong, named):
    with pytest.raises(SettingsError, match=named):
        check(settings_of(tmp_path, **wrong))
    check(settings_of(tmp_path))
    with pytest.raises(SettingsError, match=r"dimse\.port"):
        check(msgspec.structs.replace(settings_of(tmp_path), dimse=Dimse()))


async def test_a_start_brings_the_settings_in_and_the_next_one_changes_them(tmp_path, app, city):
    with pytest.raises(SettingsError, match="accounts"):
        await open_gateway(app)
    seen = []
    for title, url in (("CT1", "https://a.example"), ("CT1", "https://a.example"), ("MR1", "https://b.example")):
        settings = settings_of(tmp_path, url=url, devices=(GatewayDevice(title=title, address="127.0.0.1"),))
        box = create_app(settings, background=False)
        await open_gateway(box)
        devices = await box[keys.WORK].read(lambda uow: uow.devices.of(PLACE))
        rows = await box[keys.WORK].read(lambda uow: uow.forwards.destinations())
        seen.append(([row.calling for row in devices], [row.url for row in rows]))
        await box[ARCHIVE].close()
        await asyncio.to_thread(box[keys.WORK].close)
    assert seen == [(["CT1"], ["https://a.example"])] * 2 + [(["MR1"], ["https://b.example"])]


async def started(config) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "--config", str(config), "gateway",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    async with asyncio.timeout(45):
        while b"stop with" not in (line := await process.stdout.readline()):
            assert line, "the gateway ended"
    return process


async def test_what_was_acknowledged_reaches_the_city_though_the_box_was_killed(tmp_path, there):  # noqa: F811
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "box.toml"
    config.write_text(
        f'data = "{tmp_path / "box"}"\n[dimse]\nport = {port}\n[gateway]\nurl = "{there.url}"\ntoken = "abc"\n'
        '[[gateway.devices]]\ntitle = "CT1"\naddress = "127.0.0.1"\n'
    )
    there.away = True
    files = []
    for n in range(1, 6):
        files.append(tmp_path / f"{n}.dcm")
        files[-1].write_bytes(make(f"1.2.3.1.{n}"))
    call = ("-aet", "CT1", "-aec", "HUIZHEN", "127.0.0.1", port)
    process = await started(config)
    try:
        stranger = await dcmtk("echoscu", "-aet", "NOBODY", *call[2:])
        assert stranger.code != 0
        said = await dcmtk("storescu", *call, *files)
        assert said.code == 0, said.text
        process.send_signal(signal.SIGKILL)
        await process.wait()
        there.away = False
        process = await started(config)
        async with asyncio.timeout(45):
            while len(there.held()) < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 45) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert set(there.asked) == {"Bearer abc"}
    assert there.archive.totals()["quarantine"] == 0
