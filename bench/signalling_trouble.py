"""Whoever does harm in bench/signalling.py, a process of its own: `python -m bench.signalling_trouble`.

Reads one line of JSON (`at`: what the server said of itself, `rooms`: three of them) and goes on until it is ended.
What it costs must not be taken for what the server costs.
"""

import asyncio
import json
import sys
from pathlib import Path

from aiohttp import ClientError

from bench.signalling import Side


async def trouble(side: Side, rooms: list[int]) -> None:
    """One floods, one sends rubbish, one reads nothing; whoever is put out comes back."""

    async def again(room: int, frames: list[str], per_second: int, *, reads: bool) -> None:
        while True:
            try:
                end = await side.sit(room, 0)
                if not reads:
                    end.reader.cancel()
                while not end.ws.closed:
                    for frame in frames:
                        await end.ws.send_str(frame)
                        await asyncio.sleep(1 / per_second)
            except (ConnectionError, ClientError):
                pass
            await asyncio.sleep(0.25)            # as soon as a page comes back

    flood = json.dumps({"type": "cursor", "body": {"x": 1}})
    await asyncio.gather(
        again(rooms[0], [flood], 1000, reads=True),
        again(rooms[1], ["{", "[]", '{"type":"chat"}', "x" * 70_000], 100, reads=True),
        again(rooms[2], [json.dumps({"type": "ping", "at": 1})], 2, reads=False),
    )


async def main() -> None:
    given = json.loads(sys.stdin.readline())
    side = Side("ours", Path(), len(given["at"]["sessions"]))
    await side.sign_in(given["at"])
    await trouble(side, given["rooms"])


if __name__ == "__main__":
    asyncio.run(main())
