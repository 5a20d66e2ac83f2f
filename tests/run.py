"""All tests in two pytest processes at once: pages and rooms in browsers beside everything else. `python -m tests.run [PYTEST ARGUMENTS]`.

With paths or `-k` one process runs what was asked for. The browsers' output is shown as it comes, the other's when
both are through; each ends with pytest's own summary, and all with a few lines that name what failed and why. The
status is 0 only when both are.

Live media between browsers needs a processor at the right moment, which two busy processes do not leave it always: up
to five tests that play in browsers are tried once more, alone, and named. Everything else passes the first time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

HERE = Path(__file__).resolve().parent
STAGE = "tests.realtime.stage"  # what a test of the room imports that opens browsers
SLOWEST = "--durations=15"
MOST_AGAIN = 5
RESULTS = Path(".pytest_cache")
LONGEST_REASON = 300
IN_BROWSERS = ("tests/browser/", "tests/realtime/", "tests/durability/test_browsers.py")


# Of the viewer alone: they go with the rest, so that both processes are through at about the same time.
WITH_THE_REST = {"test_ecg.py", "test_front_end.py", "test_real_archive.py"}


def opens_browsers(path: Path) -> bool:
    """Whether the tests of this file play on pages in a browser."""
    folder, *_ = path.relative_to(HERE).parts
    if folder == "browser":
        return path.name not in WITH_THE_REST
    return folder == "realtime" and STAGE in path.read_text(encoding="utf-8")


def files() -> tuple[list[str], list[str]]:
    """(browsers, the rest): every test file belongs to one of the two."""
    every = sorted(HERE.rglob("test_*.py"))
    first, rest = [x for x in every if opens_browsers(x)], [x for x in every if not opens_browsers(x)]
    return [str(x.relative_to(HERE.parent)) for x in first], [str(x.relative_to(HERE.parent)) for x in rest]


def command(name: str, arguments: list[str]) -> list[str]:
    """One pytest with a cache and a file of results of its own."""
    kept = ["-o", f"cache_dir={RESULTS / name}", f"--junit-xml={RESULTS / name}.xml"]
    return [sys.executable, "-m", "pytest", SLOWEST, *kept, *arguments]


def names_tests(arguments: list[str]) -> bool:
    """Whether the arguments choose tests themselves."""
    return any(text.startswith(("tests", "-k", "-m", "--lf", "--last-failed")) for text in arguments)


def failed(name: str) -> list[str]:
    """The tests that failed in the process of that name."""
    try:
        found = json.loads((HERE.parent / RESULTS / name / "v" / "cache" / "lastfailed").read_text())
    except (OSError, ValueError):
        return []
    return sorted(found)


def reasons(name: str) -> Iterator[str]:
    """`test: why` of each that failed in the process of that name, a line each."""
    try:
        found = ET.parse(HERE.parent / RESULTS / f"{name}.xml")
    except (OSError, ET.ParseError):
        yield "no results were written"
        return
    for case in found.iter("testcase"):
        for why in (*case.iterfind("failure"), *case.iterfind("error")):
            text = " ".join((why.get("message") or "").split())
            yield f"{case.get('classname')}::{case.get('name')}: {text[:LONGEST_REASON]}"


def tell(statuses: dict[str, int]) -> None:
    """The end of a long output is what one reads first: what failed, in a few lines."""
    for name, status in statuses.items():
        print(f"{name}: {'all is well' if status == 0 else f'status {status}'}")
        if status:
            lines = list(reasons(name)) or ["every test passed; what failed afterwards stands above"]
            print(*lines, sep="\n", flush=True)


def may_try_again(tests: list[str]) -> bool:
    """Whether these failures may have been the other process's doing."""
    return 0 < len(tests) <= MOST_AGAIN and all(x.startswith(IN_BROWSERS) for x in tests)


def again(statuses: dict[str, int]) -> int:
    """The status in the end: what failed in browsers is tried alone."""
    tests = [x for name, status in statuses.items() if status == 1 for x in failed(name)]
    unexplained = any(status not in (0, 1) or (status == 1 and not failed(name)) for name, status in statuses.items())
    tell(statuses)
    if not any(statuses.values()) or unexplained or not may_try_again(tests):
        return max(statuses.values(), key=abs)
    print("\nFailed beside the other process, tried once more alone:", *tests, sep="\n  ", flush=True)
    status = subprocess.run(command("again", tests), cwd=HERE.parent, check=False).returncode
    tell({"again": status})
    return status


def main(arguments: list[str]) -> int:
    """The worse of the two statuses."""
    if names_tests(arguments):
        return subprocess.run(command("one", arguments), cwd=HERE.parent, check=False).returncode
    browsers, others = files()
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
    return again({"browsers": status, "others": status_of_rest})


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
