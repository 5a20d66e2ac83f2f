"""All tests in two pytest processes at once: browsers beside everything else. `python -m tests.run [PYTEST ARGUMENTS]`.

With paths or `-k` one process runs what was asked for. The browsers' output is shown as it comes, the other's when
both are through; each ends with pytest's own summary. The status is 0 only when both are.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BROWSERS = ("browser", "realtime")
SLOWEST = "--durations=15"


def folders() -> tuple[list[str], list[str]]:
    """(browsers, the rest): every folder of tests/ with a test in it belongs to one of the two."""
    every = sorted({path.relative_to(HERE).parts[0] for path in HERE.rglob("test_*.py")})
    first = [f"tests/{name}" for name in every if name in BROWSERS]
    return first, [f"tests/{name}" for name in every if name not in BROWSERS]


def command(name: str, arguments: list[str]) -> list[str]:
    """One pytest with a cache of its own."""
    return [sys.executable, "-m", "pytest", SLOWEST, "-o", f"cache_dir=.pytest_cache/{name}", *arguments]


def names_tests(arguments: list[str]) -> bool:
    """Whether the arguments choose tests themselves."""
    return any(text.startswith(("tests", "-k", "-m", "--lf", "--last-failed")) for text in arguments)


def main(arguments: list[str]) -> int:
    """The worse of the two statuses."""
    if names_tests(arguments):
        return subprocess.run(command("one", arguments), cwd=HERE.parent, check=False).returncode
    browsers, others = folders()
    with tempfile.TemporaryFile() as heard:
        rest = subprocess.Popen(
            command("others", [*others, *arguments]), cwd=HERE.parent, stdout=heard, stderr=subprocess.STDOUT
        )
        try:
            status = subprocess.run(command("browsers", [*browsers, *arguments]), cwd=HERE.parent, check=False).returncode
            status_of_rest = rest.wait()
        finally:
            if rest.poll() is None:
                rest.terminate()
                rest.wait()
        heard.seek(0)
        sys.stdout.buffer.write(heard.read())
        sys.stdout.flush()
    return max(status, status_of_rest, key=abs)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
