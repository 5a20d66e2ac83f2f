"""Inside a worker process: limits first, then a loop of one call at a time. It may not write files or open much."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import msgspec

from dicom.errors import DicomError
from dicom.model import Limits

_CPU_SECONDS = 60
_TOGETHER = 1 << 20


def main(fd: int, settings: str) -> None:
    """Serve calls until the parent closes its end."""
    sys.setrecursionlimit(2000)
    warnings.simplefilter("ignore")
    limits = Limits(**json.loads(settings))
    sock = socket.socket(fileno=fd)
    from dicom.workers import ops

    ops.warm()
    _confine(limits)
    _send(sock, ["ok", os.getpid()])
    while True:
        head = _receive(sock, 8)
        if head is None:
            return
        message = _receive(sock, int.from_bytes(head, "little"))
        if message is None:
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime)
        resource.setrlimit(resource.RLIMIT_CPU, (spent + _CPU_SECONDS, resource.RLIM_INFINITY))
        try:
            name, args = msgspec.msgpack.decode(message)
            del message
            answer: list[Any] = ["ok", ops.OPERATIONS[name](args, limits)]
        except DicomError as error:
            answer = ["error", [error.code, error.reason]]
        except MemoryError:
            answer = ["error", ["unsupported", "too_large_to_decode"]]
        except Exception:  # a decoder's own exceptions are many; none of their text is let out
            answer = ["error", ["unsupported", "unreadable"]]
        _send(sock, answer)
        del answer


def _confine(limits: Limits) -> None:
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    memory = size + limits.worker_memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def _receive(sock: socket.socket, size: int) -> bytes | None:
    buffer = bytearray(size)
    view = memoryview(buffer)
    got = 0
    while got < size:
        count = sock.recv_into(view[got:])
        if not count:
            return None
        got += count
    return bytes(buffer)


def _send(sock: socket.socket, answer: list[Any]) -> None:
    data = msgspec.msgpack.encode(answer)
    head = len(data).to_bytes(8, "little")
    if len(data) < _TOGETHER:
        sock.sendall(head + data)  # in one piece: the server wakes once
    else:
        sock.sendall(head)
        sock.sendall(data)
