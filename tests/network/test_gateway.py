"""The clinic's box: devices store in it, it carries everything to the city, and dies when it likes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicom.network.terms import NetworkLimits
from server import keys
from server.app import create_app
from server.dicomweb.ports import ARCHIVE
from server.dimse.reporting import report_commitments
from server.dimse.running import DIMSE, HOUSE, tls_context
from server.gateway import PLACE, check, open_gateway
from server.settings import Dimse, Gateway, GatewayDevice, Settings, SettingsError
from tests.archive.files import make
from tests.network.conftest import dcmtk
from tests.network.test_forwarding import there  # noqa: F401 a fixture
from tests.network.test_modality import CT as CT_STORAGE
from tests.network.test_modality import modality, references
from tests.network.test_server import certificate

CT = GatewayDevice(title="CT1", address="127.0.0.1")


def settings_of(tmp_path, **gateway) -> Settings:
    given = {"url": "https://city.example/dicom-web", "token": "abc", "devices": (CT,)} | gateway
    return Settings(data=tmp_path / "box", dimse=Dimse(port=11112), gateway=Gateway(**given))


@pytest.mark.parametrize(("wrong", "named"), [
    ({"url": "http://city.example"}, "gateway.url"), ({"token": ""}, "gateway.token"), ({"devices": ()}, "gateway.devices"),
    ({"devices": (GatewayDevice(title="CT1"),)}, "address"), ({"compression": "jpeg"}, "gateway.compression"),
    ({"devices": (GatewayDevice(title="CT1", address="127.0.0.1", host="127.0.0.1"),)}, "CT1: port"),
    ({"devices": (GatewayDevice(title="CT1", address="127.0.0.1", host="no host", port=104),)}, "CT1: host"),
    ({"devices": (GatewayDevice(title="CT1", address="127.0.0.1", coding="latin-1"),)}, "CT1: coding"),
    ({"devices": (GatewayDevice(title="CT1", address="127.0.0.1", conflict_status=0xB007),)}, "CT1: conflict_status"),
])  # fmt: skip
def test_what_is_missing_is_named(tmp_path, wrong, named):
    with pytest.raises(SettingsError, match=named):
        check(settings_of(tmp_path, **wrong))
    check(settings_of(tmp_path))
    moved = GatewayDevice(title="CT1", address="127.0.0.1", host="127.0.0.1", port=104, tls=True)
    with pytest.raises(SettingsError, match=r"dimse\.certificate"):
        check(settings_of(tmp_path, devices=(moved,)))
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


@asynccontextmanager
async def running(settings, **more):
    """The box on these settings, its ports and jobs in the test's own hands."""
    box = create_app(settings, background=False, **more)
    await open_gateway(box)
    runner = web.AppRunner(box)
    await runner.setup()
    await box[keys.ARCHIVE_STARTED].wait()
    try:
        yield box
    finally:
        await runner.cleanup()


class Listening:
    """A modality that waits for results of storage commitment."""

    def __init__(self, context=None) -> None:
        self.told = []
        ae = AE("MODALITY")
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        heard = [(evt.EVT_N_EVENT_REPORT, self._heard)]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=heard, ssl_context=context)
        self.port = self._server.server_address[1]

    def _heard(self, event):
        self.told.append((event.request.EventTypeID, event.event_information))
        return 0, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()


async def test_a_commitment_finds_the_device_at_the_address_it_has_moved_to(tmp_path):
    """Asked before the box was switched off, and the device listens on another port, encrypted, when it is on again."""
    ours, theirs = (certificate(tmp_path, name) for name in ("box", "device"))
    encrypted = Dimse(certificate=str(ours[0]), key=str(ours[1]), client_ca=str(theirs[0]))
    context = tls_context(Dimse(certificate=str(theirs[0]), key=str(theirs[1]), client_ca=str(ours[0])))

    def known(port, **more):
        one = GatewayDevice(title="MODALITY", address="127.0.0.1", host="127.0.0.1", port=port, **more)
        given = settings_of(tmp_path, devices=(one,))
        return msgspec.structs.replace(given, dimse=encrypted)      # the test opens the port

    def ask(link):
        status, _ = link.send_n_action(
            references((CT_STORAGE, "1.2.3.1.1"), (CT_STORAGE, "9.9")), 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
        )
        return status.Status

    async def report(box):
        return await report_commitments(box[keys.WORK], box[ARCHIVE], box[HOUSE], NetworkLimits())

    with Listening() as before:
        pass
    async with running(known(before.port)) as box:
        await box[ARCHIVE].ingest(make("1.2.3.1.1"), organisation=PLACE, source="dimse")
        number = await box[DIMSE].listen("127.0.0.1", 0)
        assert await modality(number, ask, contexts=[StorageCommitmentPushModel]) == 0
        (first,) = await box[keys.WORK].read(lambda uow: uow.devices.of(PLACE))
    with Listening(context) as device:
        changed = known(device.port, tls=True, coding="gb18030", conflict_status=0x0110)
        async with running(changed) as box:
            (row,) = await box[keys.WORK].read(lambda uow: uow.devices.of(PLACE))
            assert await report(box) == 1
            assert await report(box) == 0
        async with running(changed) as box:
            assert await box[keys.WORK].read(lambda uow: uow.devices.of(PLACE)) == [row]     # nothing to change
    assert (row.id, row.version, row.port) == (first.id, first.version + 1, device.port)
    assert (row.coding, row.conflict_status) == ("gb18030", 0x0110)
    ((kind, said),) = device.told
    assert (kind, said.TransactionUID) == (2, "1.2.3.4.5")
    assert [one.ReferencedSOPInstanceUID for one in said.ReferencedSOPSequence] == ["1.2.3.1.1"]
    assert [one.ReferencedSOPInstanceUID for one in said.FailedSOPSequence] == ["9.9"]


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
