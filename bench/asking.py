"""One client in a process of its own, so that its work is not counted as the server's: `python -m bench.asking`.

Reads {url, headers, paths, runs, skip} as JSON from standard input; asks the paths in turn over one connection and
prints the milliseconds of each answer, read whole and not unpacked, as a JSON list.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit


async def ask(**wanted: Any) -> list[float]:
    """The times, from such a process."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.asking", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = await child.communicate(json.dumps(wanted).encode())
    assert child.returncode == 0
    times: list[float] = json.loads(out)
    return times


def main() -> None:
    given = json.load(sys.stdin)
    parts = urlsplit(given["url"])
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    times = []
    for n, path in zip(range(given["runs"] + given["skip"]), itertools.cycle(given["paths"]), strict=False):
        begun = time.perf_counter()
        connection.request("GET", path, headers=given["headers"])
        answer = connection.getresponse()
        answer.read()
        taken = (time.perf_counter() - begun) * 1000
        assert answer.status == 200, (path, answer.status)
        if n >= given["skip"]:
            times.append(taken)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
