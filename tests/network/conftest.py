"""A listener on a real archive, a backend that remembers what it was asked, and Debian's dcmtk as the peer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dicom.archive import Archive
from dicom.model import Scope
from dicom.network.ports import Address, Device, NoSuchTitleError
from dicom.network.scp import Listener
from dicom.network.services import SERVICES
from dicom.network.terms import NetworkLimits
from tests.needs import need_program


@dataclass
class House:
    """The server's side, as the network sees it."""

    devices: dict[str, Device] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)
    items: list = field(default_factory=list)
    uses: list = field(default_factory=list)
    kept: list = field(default_factory=list)
    committed: list = field(default_factory=list)
    steps: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)

    def add(self, calling: str, organisation: str = "clinic", **more) -> Device:
        device = Device(id=f"id-{calling}", organisation=organisation, called="HUIZHEN", calling=calling, **more)
        self.devices[calling] = device
        return device

    async def admit(self, call):
        self.calls.append(call)
        if call.called != "HUIZHEN":
            raise NoSuchTitleError
        return self.devices.get(call.calling)

    async def allow(self, device, use, studies=()):
        self.uses.append((device.calling, use, tuple(studies)))
        return Scope(organisations=frozenset({device.organisation}), holder=device.organisation)

    async def stored(self, device, result):
        self.kept.append(result)

    async def destination(self, device, title):
        return self.addresses.get(title)

    def romanise(self, text):
        return {"张": "Zhang", "三": "San", "胸部": "XiongBu"}.get(text, "?")

    async def worklist(self, device):
        return self.items

    async def commit_requested(self, device, transaction, pairs):
        self.committed.append((device.calling, transaction, tuple(pairs)))
        return device.calling in self.addresses

    async def step_created(self, device, change):
        if change.uid in self.steps:
            return False
        self.steps[change.uid] = change
        return True

    async def step_changed(self, device, change):
        if change.uid not in self.steps:
            return "unknown"
        if self.steps[change.uid].status != "IN PROGRESS":
            return "final"
        self.steps[change.uid] = change
        return "ok"


@pytest.fixture
async def house() -> House:
    house = House()
    house.add("MODALITY")
    return house


@pytest.fixture
def workers() -> int:
    """Worker processes; a test that needs one says `@pytest.mark.parametrize("workers", [1])`."""
    return 0


@pytest.fixture
async def archive(tmp_path, workers):
    opened = Archive.open(tmp_path / "archive", worker_count=workers)
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def listen(house, archive):
    """`await listen(**limits)` → (listener, port)."""
    opened = []

    async def one(timers=None, services=None, context=None, refused=lambda _: None, **limits):
        listener = Listener(
            house, archive, services=SERVICES if services is None else services, limits=NetworkLimits(**limits),
            timers=timers, refused=refused,
        )  # fmt: skip
        opened.append(listener)
        return listener, await listener.listen("127.0.0.1", 0, context)

    yield one
    for listener in opened:
        await listener.close()


@dataclass
class Said:
    code: int
    text: str


async def dcmtk(program: str, *arguments, cwd: Path | None = None) -> Said:
    """One of Debian's tools by its full path (pynetdicom installs programs of the same names)."""
    path = need_program(f"/usr/bin/{program}", "dcmtk")
    process = await asyncio.create_subprocess_exec(
        path, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=cwd,
        env={"TCP_NODELAY": "1", "PATH": "/usr/bin"},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return Said(process.returncode, out.decode("utf-8", "replace"))
