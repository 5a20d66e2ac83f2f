"""One side of bench/signalling.py, a process of its own: `python -m bench.signalling_server ours|bare FOLDER SESSIONS`.

Prints a line of JSON that says where it is, answers each line on standard input with its memory, its processor time
and the largest replay buffer, and stops when the input ends. `bare` passes a text frame on to whoever else is in its
room, and nothing more.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from consult import attending
from consult.people import Actor
from server import keys
from server.app import create_app
from server.auth.passwords import Passwords
from server.serving import make_data_folder, rest_memory, runner_of, tune_process
from server.settings import Settings
from server.signalling.setup import ROOMS
from tests.city import PASSWORD, build_city
from tests.realtime.stage import build_case


async def ours(folder: Path, sessions: int) -> tuple[web.AppRunner, dict[str, Any]]:
    """The application with a consultation in session for every room."""
    tune_process()                                                              # as `huizhen serve` does
    settings, passwords = Settings(data=folder, host="127.0.0.1", port=0), Passwords()
    make_data_folder(settings)
    app = create_app(settings, passwords=passwords)
    runner = runner_of(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    work, hashed = app[keys.WORK], passwords.hash_now(PASSWORD)
    city = await work.run(build_city, hashed)
    app[keys.SETUP_CODE].clear()

    doctor = Actor(
        membership=city.doctor.membership, staff=city.doctor.staff, organisation=city.doctor.organisation,
        role=city.doctor.role, name=city.doctor.name,
    )

    def open_all(uow: Any) -> list[str]:
        cases = [build_case(uow, city, number=f"HZ20261122-{n:04}") for n in range(sessions)]
        return [attending.open_session(uow, actor=doctor, consultation=case).id for case in cases]

    opened = await work.run(open_all)
    rest_memory()
    people = [city.doctor.login, city.expert.login]
    return runner, {"sessions": opened, "logins": people, "password": PASSWORD}


async def bare(_folder: Path, sessions: int) -> tuple[web.AppRunner, dict[str, Any]]:
    """aiohttp's WebSockets and a dictionary of rooms."""
    rooms: dict[str, list[web.WebSocketResponse]] = {}

    async def socket(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False, heartbeat=10.0)
        await ws.prepare(request)
        room = rooms.setdefault(request.query["room"], [])
        room.append(ws)
        async for frame in ws:
            if frame.type is WSMsgType.TEXT:
                for other in room:
                    if other is not ws:
                        await other.send_str(frame.data)
        room.remove(ws)
        return ws

    app = web.Application()
    app.router.add_get("/socket", socket)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    return runner, {"sessions": [str(x) for x in range(sessions)]}


async def main(side: str, folder: Path, sessions: int) -> None:
    runner, said = await {"ours": ours, "bare": bare}[side](folder, sessions)
    print(json.dumps({"port": runner.addresses[0][1], **said}), flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        replay = 0
        if side == "ours":
            rooms = runner.app[ROOMS].rooms.values()
            replay = max((live.replay.size for room in rooms for live in room.seats.values()), default=0)
        print(json.dumps({"pss_kb": pss_kb(), "replay": replay, "cpu": time.process_time()}), flush=True)
    await runner.cleanup()


def pss_kb(process: str = "self") -> int:
    """Of this process or another's number; the workers are not the relay's."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
