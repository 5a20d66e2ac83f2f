"""Our server in a process of its own, as it is deployed: `python -m bench.archive_server FOLDER` prints where it is."""

import asyncio
import json
import os
import sys
from pathlib import Path

from aiohttp import web

from server import keys
from server.app import create_app
from server.auth.passwords import Passwords
from server.dicomweb.ports import ARCHIVE
from server.serving import make_data_folder, rest_memory, runner_of
from server.settings import Settings
from tests.city import PASSWORD, build_city


async def serve(folder: Path) -> None:
    """Until the caller closes our standard input."""
    passwords = Passwords()
    settings = Settings(data=folder, host="127.0.0.1", port=0)
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
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
