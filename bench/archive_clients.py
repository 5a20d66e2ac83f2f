"""Clients in processes of their own, so that none waits for another's interpreter, nor the server for theirs."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bench.wire import prepare

Call = Callable[[], object]


def timed(clients: int, calls: list[Call]) -> tuple[float, list[float]]:
    """(calls per second, milliseconds of each). Each client has a stretch of the calls, one after the other."""
    processes = multiprocessing.get_context("fork")  # the calls and what they send are there without being copied
    begin = processes.Barrier(clients)
    running = []
    for n in range(clients):
        part = calls[n * len(calls) // clients : (n + 1) * len(calls) // clients]
        ours, theirs = processes.Pipe(duplex=False)
        child = processes.Process(target=_client, args=(part, begin, theirs), daemon=True)
        child.start()
        theirs.close()
        running.append((child, ours))
    said = []
    for child, pipe in running:
        try:
            said.append(pipe.recv())
        except EOFError:
            raise RuntimeError("a client ended without a word") from None
        child.join()
    wrong = [one for one in said if isinstance(one, str)]
    if wrong:
        raise RuntimeError(wrong[0])
    taken = max(end for _, end, _ in said) - min(start for start, _, _ in said)
    return len(calls) / taken, [ms for _, _, times in said for ms in times]


def _client(calls: list[Call], begin: Any, answer: Connection) -> None:
    times = []
    prepare()
    try:
        begin.wait(timeout=60)
        start = time.perf_counter()  # the same clock in every process
        for call in calls:
            begun = time.perf_counter()
            call()
            times.append((time.perf_counter() - begun) * 1000)
        answer.send((start, time.perf_counter(), times))
    except BaseException as error:
        answer.send(f"{type(error).__name__}: {error}"[:500])
