"""C-STORE by dcmtk's storescu: ours, Debian's Orthanc, `storescp --ignore`. `python -m bench.dimse [--quick]`.

Ours and Orthanc keep what they acknowledge on disk; ours has its registry, audit, digests and study rows on.
`storescp --ignore` writes nothing: what the sender itself can do. Each row with tuned and with default sockets
(dcmtk's TCP_NODELAY and TCP_BUFFER_LENGTH), one and four associations, every round with instances of its own.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from bench import archive_peer
from bench.archive_sides import Phantom, busy
from bench.common import Row, show
from server import keys
from server.app import create_app
from server.dicomweb.ports import ARCHIVE
from server.dimse.running import DIMSE
from server.serving import make_data_folder, runner_of
from server.settings import Settings
from server.storage.devices import DeviceRow
from tests.city import build_city

STORESCU, STORESCP = "/usr/bin/storescu", "/usr/bin/storescp"
TUNED = {"TCP_NODELAY": "1", "TCP_BUFFER_LENGTH": "4194304"}
SIDES = ("ours", "orthanc", "ignore")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


async def serve(folder: Path) -> None:
    """Our server without its web side, in a process of its own, until standard input is closed."""
    settings = Settings(data=folder)
    make_data_folder(settings)
    app = create_app(settings)
    runner = runner_of(app)
    await runner.setup()
    city = await app[keys.WORK].run(build_city, "no password")
    await app[keys.WORK].run(lambda uow: uow.devices.add(DeviceRow(
        id="bench", organisation=city.clinic, name="bench", called="HUIZHEN", calling="BENCH", address="127.0.0.1",
        created_at=uow.now,
    )))
    await app[keys.ARCHIVE_STARTED].wait()
    port = await app[DIMSE].listen("127.0.0.1", 0)
    print(json.dumps({"port": port, "pids": [os.getpid(), *app[ARCHIVE].workers.pids]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


async def start_ours(folder: Path) -> tuple[asyncio.subprocess.Process, int, list[int]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.dimse", "--serve", str(folder),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    said = json.loads(await child.stdout.readline())
    return child, said["port"], said["pids"]


async def start_orthanc(folder: Path) -> tuple[asyncio.subprocess.Process, int, str]:
    program, _ = archive_peer.find()
    folder.mkdir(parents=True)
    port, web = free_port(), free_port()
    settings = {
        "Name": "bench", "StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": web,
        "DicomServerEnabled": True, "DicomPort": port, "DicomAet": "HUIZHEN", "DicomAlwaysAllowStore": True,
        "DicomCheckModalityHost": False, "SyncStorageArea": True, "StorageCompression": False,
        "AuthenticationEnabled": True, "RegisteredUsers": {archive_peer.NAME: archive_peer.WORD},
        "RemoteAccessAllowed": False, "OverwriteInstances": False,
    }  # fmt: skip
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings))
    child = await asyncio.create_subprocess_exec(program, str(path), env=os.environ | TUNED, **QUIET)
    async with aiohttp.ClientSession(headers=archive_peer.LOGIN) as session:
        for _ in range(200):
            try:
                async with session.get(f"http://127.0.0.1:{web}/system") as answer:
                    return child, port, (await answer.json())["Version"]
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
    raise RuntimeError("Orthanc did not start")


async def start_ignoring(folder: Path) -> tuple[asyncio.subprocess.Process, int]:
    folder.mkdir(parents=True)
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        STORESCP, "--ignore", "--fork", "-aet", "HUIZHEN", str(port), cwd=folder, env=os.environ | TUNED, **QUIET
    )
    await asyncio.sleep(0.5)
    return child, port


async def send(folders: Sequence[Path], port: int, environment: dict[str, str]) -> float:
    """Instances per second of as many associations as there are folders."""
    total = sum(len(list(folder.iterdir())) for folder in folders)
    begun = time.perf_counter()
    children = [
        await asyncio.create_subprocess_exec(
            STORESCU, "+sd", "--max-send-pdu", "131072", "-aet", "BENCH", "-aec", "HUIZHEN", "127.0.0.1", str(port),
            str(folder), env={"PATH": "/usr/bin", **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for folder in folders
    ]
    for child in children:
        _, said = await child.communicate()
        assert child.returncode == 0, said[-500:]
    return total / (time.perf_counter() - begun)


def write(folder: Path, phantom: Phantom, study: int, count: int) -> Path:
    folder.mkdir(parents=True)
    for n in range(count):
        (folder / f"{n}.dcm").write_bytes(phantom.file(study, n))
    return folder


def ready() -> bool:
    """Whether dcmtk is installed."""
    return Path(STORESCU).exists() and Path(STORESCP).exists()


async def measure(folder: Path, instances: int, *, orthanc: bool = True) -> tuple[list[Row], dict[str, str]]:
    """C-STORE by 1 and 4 associations; `orthanc`: beside it, where it is installed."""
    ours, our_port, our_pids = await start_ours(folder / "ours")
    ignoring, ignore_port = await start_ignoring(folder / "ignored")
    running, ports = [ours, ignoring], {"ours": our_port, "ignore": ignore_port}
    pids = {"ours": our_pids, "ignore": []}
    versions = {"dcmtk": version_of(STORESCU), "orthanc": "not installed"}
    if orthanc and archive_peer.find() is not None:
        peer, ports["orthanc"], versions["orthanc"] = await start_orthanc(folder / "orthanc")
        running.append(peer)
        pids["orthanc"] = [peer.pid]
    phantom, found, study = Phantom(side=512), [], 1000
    try:
        for clients in (1, 4):
            for name, environment in (("tuned", TUNED), ("default", {})):
                rates, cpu = {}, {}
                # With default sockets a sender waits tens of milliseconds for each instance: fewer say the same.
                each = max(5, (instances if environment else instances // 10) // clients)
                for side in (one for one in SIDES if one in ports):
                    folders = []
                    for _ in range(clients):
                        study += 1
                        folders.append(write(folder / "send" / str(study), phantom, study, each))
                    before = busy(pids[side])
                    rates[side] = await send(folders, ports[side], environment)
                    cpu[side] = (busy(pids[side]) - before) * 1000 / (each * clients)
                    shutil.rmtree(folder / "send")
                spent = " / ".join(f"{cpu[side]:.1f}" for side in cpu if pids[side])
                found.append(Row(
                    name=f"C-STORE, {clients} associations, {name} sockets", unit="/s", ours=rates["ours"],
                    peer=rates.get("orthanc"), goal=2 if name == "tuned" and "orthanc" in rates else None, floor=True,
                    note=f"{rates['ours'] / rates['ignore']:.0%} of storescp --ignore ({rates['ignore']:.0f}/s), "
                    f"CPU of the server {spent} ms an instance",
                ))  # fmt: skip
    finally:
        ours.stdin.close()
        for child in running[1:]:
            child.terminate()
        for child in running:
            await child.wait()
    return found, versions


def version_of(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return next((word for word in said.split() if word.startswith("v3")), "?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a coarser answer within a minute")
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(given.serve))
        return
    with tempfile.TemporaryDirectory(prefix="huizhen-bench-") as folder:
        found, versions = asyncio.run(measure(Path(folder), 120 if given.quick else given.instances))
    show("dimse", found, more=versions)


if __name__ == "__main__":
    main()
