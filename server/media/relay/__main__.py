"""`python -m server.media.relay`: started by the web process (server/media/packet_relay.py), not by hand."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from pathlib import Path

from server import logs
from server.media.relay.ice import IceLite
from server.media.relay.service import ALONE_SECONDS, Service

LOG = logging.getLogger("huizhen.media")


async def serve(options: argparse.Namespace) -> None:
    """Open the UDP port (another one where it is taken), then serve."""
    lite = IceLite()
    try:
        await lite.open(port=options.port, addresses=options.address, public=options.public)
    except OSError as error:
        LOG.error("media port", exc_info=error, extra={"port": options.port})
        await lite.open(port=0, addresses=options.address, public=options.public)
    service = Service(lite, linger=options.linger, most_cpu=options.most_cpu)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.ended.set)
    try:
        await service.run(options.socket)
    finally:
        lite.close()


def main() -> int:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="server.media.relay", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address", action="append", default=[])
    parser.add_argument("--public", action="append", default=[])
    parser.add_argument("--linger", type=float, default=ALONE_SECONDS)
    parser.add_argument("--most-cpu", type=float, default=80.0)
    parser.add_argument("--log", choices=["json", "text"], default="json")
    options = parser.parse_args()
    logs.configure("info", options.log)
    asyncio.run(serve(options))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
