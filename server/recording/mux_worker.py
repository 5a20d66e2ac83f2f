"""The child of server/recording/muxing.py: makes one film, under limits and behind everything else.

The key comes on stdin (32 bytes), which then stays open: when it ends, whoever asked has gone and so does this process.
On stdout one JSON object a line: {"progress"}, and last {"film"} or {"refused"}.
"""

import argparse
import json
import os
import resource
import sys
import threading
from pathlib import Path

MEMORY = 3 << 30                # of address space; what is resident is a tenth of it
CPU_HOURS = 12


def _watch() -> None:
    """End with whoever asked."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="server.recording.mux_worker", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    options = parser.parse_args()
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_HOURS * 3600, CPU_HOURS * 3600))
    key = b""
    while len(key) < 32 and (more := os.read(0, 32 - len(key))):
        key += more
    if len(key) < 32:
        return 1
    threading.Thread(target=_watch, daemon=True).start()

    from server.recording import film

    try:
        made = film.make(options.folder, key, options.target, lambda share: _say(progress=share))
    except film.NothingRecorded:
        _say(refused="empty")
    except film.WrongKey:
        _say(refused="key")
    else:
        _say(film=made)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
