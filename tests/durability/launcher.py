"""Run as a program: imports the server once, then forks it for every life that a test asks for.

One JSON line on stdin asks for a life ({data, port, log, arming, signs}); stdout tells its pid and, when it ends, its exit
code (negative: the signal). Forking before any thread or loop exists is the same as starting anew, without the imports.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path

import pytest
from aiohttp import web

from server import cli, i18n, jobs, keyring, routes, serving
from server.paper import render
from server.signing import Signing
from server.storage import faults
from tests import warm


def live(life: dict) -> int:
    """The child: the server as `python -m server serve` runs it, killable at what the test arms."""
    log = os.open(life["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    if not life["signs"]:
        # Fonts and certificates cost half a second of each life; where nobody signs they are left cold.
        Signing.warm = lambda _self: None  # type: ignore[method-assign]
    warm.lend(pytest.MonkeyPatch())      # until the life ends
    faults._file = Path(life["arming"])
    return cli.run(["serve", "--data", life["data"], "--host", "127.0.0.1", "--port", str(life["port"])])


def warm_up() -> None:
    """What every life would do again, and alike: imports, regular expressions, catalogues."""
    assert all((serving, jobs, keyring, render))
    routes.install(web.Application())
    i18n.english()
    gc.collect()
    gc.freeze()     # so that a life's own collection does not walk through what it was born with


def main() -> None:
    warm_up()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = live(json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
