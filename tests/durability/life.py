"""One run of the server, in a process of its own that can be killed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

from tests import warm

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
DEATH_SECONDS = 30


class Life:
    """One run of the server."""

    def __init__(self, pid: int, launcher: Launcher) -> None:
        self.pid = pid
        self._launcher = launcher
        self._code: int | None = None

    def code(self, seconds: float) -> int | None:
        """Its exit code, waiting up to so long; None while it lives."""
        if self._code is None:
            line = self._launcher.line(seconds)
            self._code = int(line) if line else None
        return self._code


class Launcher:
    """tests/durability/launcher.py; one life at a time."""

    def __init__(self) -> None:
        self._read = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.launcher"], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", warm.ADDRESS: warm.address()},
        )

    def launch(self, life: dict) -> Life:
        self._process.stdin.write(json.dumps(life).encode() + b"\n")
        self._process.stdin.flush()
        line = self.line(START_SECONDS)
        assert line, "the launcher does not answer"
        return Life(int(line), self)

    def line(self, seconds: float) -> bytes:
        """The next line within so long, or nothing."""
        while b"\n" not in self._read:
            readable, _, _ = select.select([self._process.stdout.fileno()], [], [], seconds)
            if not readable or not (some := os.read(self._process.stdout.fileno(), 64)):
                return b""
            self._read += some
        line, _, self._read = self._read.partition(b"\n")
        return line

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(DEATH_SECONDS)
        self._process.stdout.close()
