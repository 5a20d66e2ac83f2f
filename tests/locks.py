"""Lock files name no host: whoever installs chooses the registry. `python -m tests.locks`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"(?:https?|git|ssh)[+:]|--(?:index-url|extra-index-url|find-links|trusted-host)|@\s*file:")


def wrong_lines() -> list[str]:
    """`file:line` of every address in a lock file, and of every package without a digest."""
    found = []
    for name in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            if ADDRESS.search(line.split(" #")[0]) and not line.lstrip().startswith("#"):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
        for block in re.split(r"\n(?=[a-z0-9])", text):
            if "==" in block and "--hash=sha256:" not in block:
                found.append(f"{name}: {block.split(maxsplit=1)[0]} has no digest")
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name, entry in packages.items():
        if "resolved" in entry:
            found.append(f"package-lock.json: {name} names {entry['resolved'][:60]}")
        if name and not entry.get("integrity") and not entry.get("link"):
            found.append(f"package-lock.json: {name} has no digest")
    return found


def main() -> int:
    """0 when all is well."""
    found = wrong_lines()
    for line in found:
        sys.stderr.write(line + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
