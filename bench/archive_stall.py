"""Four clients upload and sixteen read: how long does the event loop keep others waiting?"""

import asyncio
import threading
import time
from itertools import count

from bench.archive_sides import Ours, Phantom, Run, Side
from bench.common import Row, p

OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
STUDY = 8000


def press(side: Side, phantom: Phantom, held: int, seconds: float) -> list[float]:
    """The milliseconds of each frame read meanwhile."""
    until, times, numbers, lock = time.monotonic() + seconds, [], count(), threading.Lock()
    wrong: list[BaseException] = []

    def upload() -> None:
        while time.monotonic() < until:
            with lock:  # the phantom is one dataset that is changed and written
                n = next(numbers)
                files = [phantom.file(STUDY + n, i) for i in range(4)]
            side.store(side.together(files))

    def read(reader: int) -> None:
        n = reader
        while time.monotonic() < until:
            n += 1
            begun = time.perf_counter()
            uid = f"2.25.9{held}"
            side.fetch(f"/studies/{uid}/series/{uid}.1/instances/{uid}.1.{n % 100 + 1}/frames/1", OCTETS)
            times.append((time.perf_counter() - begun) * 1000)

    def guarded(work, *given) -> None:
        try:
            work(*given)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=guarded, args=(upload,)) for _ in range(4)]
    threads += [threading.Thread(target=guarded, args=(read, n)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise wrong[0]
    return times


async def rows(run: Run, ours: Ours, phantom: Phantom, held: int, *, seconds: float) -> list[Row]:
    """The longest stall, and what a reader notices. `held`: a study of 100 instances that is stored."""
    name = "longest stall of the event loop, 4 upload, 16 read"
    await ours.do("watch")
    times = await asyncio.to_thread(press, ours.side, phantom, held, seconds)
    stall = await ours.do("stall")
    run.note(name, ours.side, 0, times)
    note = f"of it {stall['waited']:.0f} waiting for a processor; one in a thousand exceeds {stall['p999']:.0f} ms; "
    note += f"{len(times) / seconds:.0f} frames/s meanwhile, P99 {p(times, 0.99):.0f} ms"
    own = "the same without the wait for a processor that the clients had"
    return [
        Row(name=name, unit="ms", ours=stall["ms"], goal=50, note=note),
        Row(name=own, unit="ms", ours=stall["own"]),
    ]
