"""Our server in a process of its own, as it is deployed: `python -m bench.archive_server FOLDER` prints where it is.

It then does what each line of JSON on standard input says, answers with a line, and stops when the input ends:
{"do": "watch"} begins to watch the event loop, {"do": "stall"} gives its longest stall since then in ms,
{"do": "fill", "studies": n, "instances": m} enters a big index (`bench.archive_index`).
"""

import asyncio
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.archive_index import fill
from server import keys, logs
from server.app import create_app
from server.auth.passwords import Passwords
from server.dicomweb.ports import ARCHIVE
from server.serving import make_data_folder, rest_memory, runner_of, tune_process
from server.settings import Settings
from tests.city import PASSWORD, build_city

TICK = 0.002
TOGETHER = 500  # studies asked for at once
A_COMMAND = 5  # of them; a command is a savepoint, which SQLite looks through after each statement


class Watch:
    """How late the event loop comes back to a task that only waits, and how much of that it waited for a processor that
    others had (the clients share them with the server here).
    """

    def __init__(self) -> None:
        self.late: list[tuple[float, float]] = []
        self.task = asyncio.ensure_future(self.run())

    async def run(self) -> None:
        while True:
            before, waited = time.perf_counter(), waiting()
            await asyncio.sleep(TICK)
            self.late.append((time.perf_counter() - before - TICK, waiting() - waited))

    def told(self) -> dict[str, float]:
        """In ms: the longest stall, its wait for a processor, the longest without, what one in a thousand exceeds."""
        worst, waited = max(self.late)
        longest = sorted(late for late, _ in self.late)[-1 - len(self.late) // 1000]
        own = max(late - wait for late, wait in self.late)
        return {"ms": worst * 1000, "waited": waited * 1000, "own": own * 1000, "p999": longest * 1000}


def waiting() -> float:
    """Seconds that this thread was ready to run and did not (proc(5), schedstat)."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


async def serve(folder: Path) -> None:
    """Until the caller closes our standard input."""
    tune_process()
    passwords = Passwords()
    settings = Settings(data=folder, host="127.0.0.1", port=0)
    logs.configure(settings.logs.level, settings.logs.format)
    make_data_folder(settings)
    app = create_app(settings, passwords=passwords)
    runner = runner_of(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    city = await app[keys.WORK].run(build_city, passwords.hash_now(PASSWORD))
    await app[keys.ARCHIVE_STARTED].wait()
    rest_memory()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    pids = [os.getpid(), *app[ARCHIVE].workers.pids]
    print(json.dumps({"url": url, "login": city.technician.login, "pids": pids}), flush=True)
    watch: Watch | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        answer: dict[str, Any] = {}
        match asked["do"]:
            case "watch":
                watch = Watch()
            case "stall" if watch is not None:
                watch.task.cancel()
                answer = watch.told()
            case "fill":
                answer = {"instances": await fill_index(app, city.clinic, asked["studies"], asked["instances"])}
        print(json.dumps(answer), flush=True)
    await runner.cleanup()


async def fill_index(app: web.Application, organisation: str, studies: int, instances: int) -> int:
    """In the writer's own transactions; how many."""
    done = 0
    for first in range(0, studies, TOGETHER):
        until = min(first + TOGETHER, studies)
        commands = [
            partial(fill, organisation=organisation, first=n, studies=min(A_COMMAND, until - n), instances=instances)
            for n in range(first, until, A_COMMAND)
        ]
        done += sum(await asyncio.gather(*map(app[ARCHIVE].execute, commands)))
    return done


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
