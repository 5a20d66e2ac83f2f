"""`huizhen` and `python -m server`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit status."""
    from server.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
