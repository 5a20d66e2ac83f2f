"""Archive workers for tests, forked from one warm process: a fresh interpreter costs half a second of a core, twice a server.

`lend(patch)` has every pool of this process start its workers so; `ADDRESS` lets the children of tests (durability's
server) share the process. A worker runs the same `dicom.workers.child.main` over the same kind of socket, in a process
of its own that nothing else shares; that it also starts as the server starts it, tests/archive/test_ingest.py says.
"""

from __future__ import annotations

import atexit
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

ADDRESS = "WARM_WORKERS"   # no HUIZHEN_…: that would be a setting
ROOT = Path(__file__).resolve().parents[1]


class Forked:
    """What of a Popen the pool uses; the process is no child of ours, so a descriptor stands for it."""

    def __init__(self, address: str, command: list[str], *, pass_fds: tuple[int, ...], **_given) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.connect("\0" + address)
            socket.send_fds(asking, [command[-1].encode()], list(pass_fds))
            answer, (self._descriptor,), _, _ = socket.recv_fds(asking, 32, 1)
        self.pid = int(answer)

    def _gone(self, milliseconds: int | None) -> bool:
        if self._descriptor < 0:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(milliseconds))

    def poll(self) -> int | None:
        return 0 if self._gone(0) else None

    def kill(self) -> None:
        if self._descriptor >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def wait(self) -> int:
        self._gone(None)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        return 0


def lend(patch) -> None:
    """Have `dicom.workers.pool` of this process fork its workers; the warm process starts with the first of them."""
    from dicom.workers import pool

    def start(command, **given) -> Forked:
        return Forked(address(), command, **given)

    patch.setattr(pool, "subprocess", SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL))


def address() -> str:
    """Where the warm process of this test run listens; started at the first question."""
    if ADDRESS not in os.environ:
        name = f"huizhen-workers-{secrets.token_hex(8)}"
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1", **threads}, start_new_session=True,
        )
        assert process.stdout.read(1) == b"+", "the process that workers are forked from did not start"

        def end() -> None:
            process.stdin.close()
            process.wait()
            process.stdout.close()

        atexit.register(end)
        os.environ[ADDRESS] = name
    return os.environ[ADDRESS]


def main(name: str) -> None:
    """Fork a worker for everybody who asks, until stdin ends."""
    from dicom.workers import child, ops

    ops.warm()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)      # nobody waits for them
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind("\0" + name)
        listening.listen(64)
        os.write(1, b"+")
        while True:
            readable, _, _ = select.select([0, listening], [], [])
            if 0 in readable:
                return
            asking, _ = listening.accept()
            # Servers of the durability tests are killed at any moment, also between asking and being answered.
            with asking, suppress(ConnectionError):
                settings, given, _, _ = socket.recv_fds(asking, 65536, 1)
                if given:
                    fork(asking, listening, given[0], settings.decode(), child.main)


def fork(asking, listening, given: int, settings: str, run) -> None:
    """A worker on the socket `given`; who asked gets its number and a descriptor of the process."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        asking.close()
        listening.close()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        os.close(nothing)
        try:
            run(given, settings)
        finally:
            os._exit(0)
    os.close(given)     # a worker whose server is gone ends by itself: nobody holds the other end
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        socket.send_fds(asking, [str(pid).encode()], [descriptor])
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1])
